//! Goal: an application sees no difference between plain SQLite and Verso.
//! Method: the same random SQL on both, from a seed: rows, errors, counters and the whole
//! content must be the same, for a second Verso connection too.
//!
//! `VERSO_SEEDS=n` runs n seeds instead of a few, `VERSO_SEED=n` only that one, and
//! `VERSO_STEPS=n` makes each run longer.

mod generate;
mod outcome;
mod pair;
mod queries;
mod schema;
mod shrink;
mod step;

use std::fmt::Write as _;
use std::sync::Once;

use pair::{Counts, Difference};
use rusqlite::{Connection, OpenFlags};
use step::{Setup, Step};
use verso_vfs::Options;

const SEEDS: u64 = 16;
const STEPS: usize = 250;

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().expect("a number in the environment variable"))
}

fn steps() -> usize {
    variable("VERSO_STEPS").map_or(STEPS, |steps| usize::try_from(steps).expect("a length"))
}

/// Runs a seed; panics with a short list of steps if the two sides differ.
fn run(seed: u64) -> Counts {
    let (setup, steps) = generate::generate(seed, steps());
    match pair::run(&setup, &steps) {
        Ok(counts) => counts,
        Err(difference) => {
            let first = format!("step {}: {}", difference.step, difference.text);
            let (steps, difference) = shrink::shrink(&setup, steps, difference);
            panic!(
                "seed {seed}: {first}\n\nreplay with VERSO_SEED={seed}; shortened to:\n{}",
                script(&setup, &steps, &difference)
            );
        }
    }
}

fn script(setup: &Setup, steps: &[Step], difference: &Difference) -> String {
    let mut text = setup.to_string();
    for step in steps {
        let _ = writeln!(text, "{step}");
    }
    let _ = write!(text, "{}", difference.text);
    text
}

/// Bytes of the page cache: small, so that pages come from it and from the store by turns.
const CACHE: u64 = 256 << 10;

/// The first database of a process decides how large its page cache is.
fn use_a_small_cache() {
    static USED: Once = Once::new();
    USED.call_once(|| {
        let options = Options {
            name: "small".to_owned(),
            cache_bytes: CACHE,
            ..Options::new(verso_open::open)
        };
        verso_vfs::register(options).expect("a free VFS name");
        let flags = OpenFlags::default();
        Connection::open_with_flags("file:x?vfs=small&store=memory:x", flags)
            .and_then(|db| db.execute_batch("SELECT * FROM sqlite_schema"))
            .expect("a database in memory");
    });
}

/// Every `of`-th seed, so that the tests of this file share the seeds and the cores.
fn run_share(share: u64, of: u64) {
    use_a_small_cache();
    let seeds = match variable("VERSO_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..variable("VERSO_SEEDS").unwrap_or(SEEDS),
    };
    let mut total = Counts::default();
    for seed in seeds.filter(|seed| seed % of == share) {
        let counts = run(seed);
        total.steps += counts.steps;
        total.failed += counts.failed;
    }
    println!("{total:?}");
    assert!(
        total.failed * 2 <= total.steps,
        "most statements mean something: {total:?}"
    );
}

#[test]
fn even_seeds_are_the_same_on_both_sides() {
    run_share(0, 2);
}

#[test]
fn odd_seeds_are_the_same_on_both_sides() {
    run_share(1, 2);
}
