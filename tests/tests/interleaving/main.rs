//! Goal: whatever several connections do, in whatever order, their transactions are
//! serializable in the order of their commits, and each reads one snapshot.
//! Method: a seed chooses the steps of several connections in one thread; a model says what
//! each statement must return, and every committed transaction is replayed on the model at
//! the moment of its commit. A failed seed runs again, and tells its steps, with
//! `VERSO_SEED=… cargo test -p verso-tests --test interleaving`.

mod model;
mod world;

use verso_tests::TestStore;
use verso_tests::scale::{is_replay, seeds};

use world::{Counts, World};

const SEEDS: u64 = 200;
const STEPS: u64 = 150;

/// Says which seed failed.
struct Replay(u64);

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("run it again with VERSO_SEED={}", self.0);
        }
    }
}

fn all_seeds(uri: impl Fn(u64) -> String) {
    let mut total = Counts::default();
    for seed in seeds(SEEDS) {
        let _replay = Replay(seed);
        let mut world = World::new(uri(seed), seed);
        world.run(STEPS);
        let counts = world.finish();
        total.commits += counts.commits;
        total.conflicts += counts.conflicts;
        total.cursors += counts.cursors;
    }
    if !is_replay() {
        let enough = total.commits > SEEDS && total.conflicts > SEEDS && total.cursors > SEEDS;
        assert!(enough, "too little happened: {total:?}");
    }
}

#[test]
fn transactions_are_serializable_in_an_embedded_store() {
    let store = TestStore::new();
    all_seeds(|seed| store.uri(&format!("{seed}.db"), ""));
}

#[test]
fn transactions_are_serializable_in_a_store_in_memory() {
    all_seeds(|seed| format!("file:{seed}.db?vfs=verso&store=memory:interleaving"));
}
