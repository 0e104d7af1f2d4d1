//! How much random tests do, and which seeds they run.

/// Names the one seed to run.
const SEED: &str = "VERSO_SEED";
/// Asks for much longer tests.
const SOAK: &str = "VERSO_SOAK";

/// The seeds from 0 to `count`, or the one that `VERSO_SEED` names.
///
/// # Panics
/// If `VERSO_SEED` is not a number.
#[must_use]
pub fn seeds(count: u64) -> Vec<u64> {
    match std::env::var(SEED) {
        Ok(seed) => vec![seed.parse().expect("VERSO_SEED is a number")],
        Err(_) => (0..scaled(count)).collect(),
    }
}

/// Whether one seed is replayed, so that a test should tell what it does.
#[must_use]
pub fn is_replay() -> bool {
    std::env::var_os(SEED).is_some()
}

/// Whether `VERSO_SOAK=1` asks for everything.
#[must_use]
pub fn is_soak() -> bool {
    std::env::var(SOAK).is_ok_and(|value| value == "1")
}

/// `count`, or a part of it where every request goes to a node or to a cluster: of what only takes
/// longer there.
#[must_use]
pub fn fewer_when_remote(count: usize) -> usize {
    if crate::nodes::are_wanted() || crate::nodes::on_a_cluster() {
        count.div_ceil(5)
    } else {
        count
    }
}

/// How often something is done that only takes longer where the store is remote: about `count`
/// times.
#[must_use]
pub fn rounds(count: usize) -> u64 {
    scaled(fewer_when_remote(count) as u64)
}

/// `count`, or much more than that with `VERSO_SOAK=1`.
#[must_use]
pub fn scaled(count: u64) -> u64 {
    if is_soak() { count * 20 } else { count }
}
