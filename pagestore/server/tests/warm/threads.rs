//! Several threads begin and read through the cache while others commit.

use std::thread;

use parking_lot::Mutex;
use verso_pagestore::{Changes, PageStore, Version};

use super::model::Random;
use super::support::{HOUR, World, filled, name, page, since, try_commit};

const PAGES: u32 = 12;
const COMMITS: usize = 150;
const BEGINS: usize = 300;

#[test]
fn begins_are_fresh_and_pages_are_right_whoever_commits() {
    for world in [
        World::new(1 << 20, HOUR),
        World::new(1 << 20, HOUR).with_marks(),
    ] {
        write_and_look(&world);
    }
}

fn write_and_look(world: &World) {
    filled(&*world.store(), "a", 12);
    // The newest version that was acknowledged.
    let acknowledged = Mutex::new(Version::MIN);
    thread::scope(|scope| {
        for seed in 0..2 {
            let acknowledged = &acknowledged;
            scope.spawn(move || write(world, acknowledged, seed));
        }
        for seed in 10..13 {
            let acknowledged = &acknowledged;
            scope.spawn(move || look(world, acknowledged, seed));
        }
    });
}

fn write(world: &World, acknowledged: &Mutex<Version>, seed: u64) {
    let mut random = Random::new(seed);
    for _ in 0..COMMITS {
        // Directly, or through the cache.
        let direct = world.store();
        let store: &dyn PageStore = if random.below(2) == 0 {
            &*direct
        } else {
            &world.warm
        };
        let begun = store.begin(&name("a"), None).expect("it exists");
        let writes = [(1 + random.below(PAGES), random.byte())];
        // It may lose to the other one.
        if let Ok(committed) = try_commit(store, begun.snapshot, &writes, 512, PAGES) {
            let mut newest = acknowledged.lock();
            *newest = (*newest).max(committed.version);
        }
    }
}

fn look(world: &World, acknowledged: &Mutex<Version>, seed: u64) {
    let mut random = Random::new(seed);
    let mut states = Vec::new();
    for _ in 0..BEGINS {
        let known = (!states.is_empty() && random.below(4) > 0).then(|| random.pick(&states));
        let at_least = *acknowledged.lock();
        let begun = world.warm.begin(&name("a"), known).expect("it exists");
        let snapshot = begun.snapshot;
        assert!(snapshot.version >= at_least, "a stale begin");
        if let (Some(known), Changes::Commits(told)) = (known, &begun.changes) {
            let all = world.store().begin(&name("a"), Some(known));
            let Changes::Commits(mut all) = all.expect("it exists").changes else {
                panic!("there are few commits");
            };
            all.retain(|commit| commit.version <= snapshot.version);
            assert_eq!(*told, all);
        } else {
            assert_eq!((known, begun.changes), (None, Changes::Unknown));
        }
        states.push(since(&snapshot));
        let pages: Vec<_> = (0..4).map(|_| page(1 + random.below(PAGES))).collect();
        let read = world.warm.read(&snapshot, &pages);
        assert_eq!(read, world.store().read(&snapshot, &pages));
    }
}
