//! Goal: through faults of every kind and in every order of events, committed transactions are
//! strictly serializable, take effect exactly once and are never lost, readers see whole
//! snapshots, and nothing is left behind.
//!
//! Method: clients, nodes and the engine run on the simulated store, one seed a run. A seed that
//! fails is printed, and runs exactly so again:
//!
//! ```text
//! VERSO_SEED=17 cargo test -p verso-engine --test simulation
//! VERSO_SEEDS=50000 cargo test -p verso-engine --test simulation
//! ```

#[cfg(test)]
mod catalogue;
#[cfg(test)]
mod check;
#[cfg(test)]
mod client;
#[cfg(test)]
mod history;
#[cfg(test)]
mod leases;
#[cfg(test)]
mod loads;
#[cfg(test)]
mod moments;
#[cfg(test)]
mod pages;
#[cfg(test)]
mod run;
#[cfg(test)]
mod storage;
#[cfg(test)]
mod summary;
#[cfg(test)]
mod truth;
#[cfg(test)]
mod world;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::thread;

    use parking_lot::Mutex;

    use crate::run::run;
    use crate::summary::Summary;

    /// As many as a build without optimisation runs in about a minute on two cores.
    const SEEDS: u64 = 6000;

    fn number(variable: &str) -> Option<u64> {
        let text = std::env::var(variable).ok()?;
        Some(text.parse().expect("a number"))
    }

    fn run_or_tell(seed: u64) -> Result<Summary, String> {
        run(seed).map_err(|error| format!("VERSO_SEED={seed}: {error}"))
    }

    #[test]
    fn every_seed_is_serializable_and_exactly_once() {
        if let Some(seed) = number("VERSO_SEED") {
            println!("{:#?}", run_or_tell(seed).unwrap());
            return;
        }
        let seeds = number("VERSO_SEEDS").unwrap_or(SEEDS);
        let next = AtomicU64::new(0);
        let failures = Mutex::new(Vec::new());
        let sum = Mutex::new(Summary::default());
        let work = || {
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= seeds || !failures.lock().is_empty() {
                    return;
                }
                match run_or_tell(seed) {
                    Ok(summary) => sum.lock().add(&summary),
                    Err(failure) => failures.lock().push((seed, failure)),
                }
            }
        };
        let workers = thread::available_parallelism().map_or(2, |cores| cores.get() + 1);
        thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(work);
            }
        });
        let mut failures = failures.into_inner();
        failures.sort();
        assert!(failures.is_empty(), "{}", failures[0].1);
        let sum = sum.into_inner();
        println!("{seeds} seeds: {sum:?}");
        // Runs in which nothing happens prove nothing.
        let least = usize::try_from(seeds / 100).expect("it is small");
        assert!(sum.least() >= least, "{sum:?}");
    }

    #[test]
    fn a_seed_is_always_the_same_run() {
        for seed in 0..20 {
            assert_eq!(run(seed), run(seed), "seed {seed}");
        }
    }
}
