//! What the cache saves, and what it must not forget.

use std::time::Duration;

use verso_pagestore::{
    BeginError, Changes, Lease, LeaseAnswer, LeaseId, LeaseRequest, PageStore as _, Snapshot,
};

use super::support::{HOUR, World, commit, filled, name, page, since, try_commit};

#[test]
fn warm_pages_are_not_asked_for() {
    let world = World::new(1 << 20, HOUR);
    filled(&*world.store(), "a", 4);
    let old = world.newest("a");
    let read = |snapshot, pages: &[u32]| world.asked(|| drop(world.read(snapshot, pages)));
    assert_eq!(read(&old, &[1, 2, 3, 4]), (0, 4));
    assert_eq!(read(&old, &[4, 3, 3, 1]), (0, 0));
    // Somebody else's commit: what it did not write is still warm, in the new state and the old.
    commit(&*world.store(), "a", &[(2, 9)], 512, 4);
    let new = world.newest("a");
    assert_eq!(read(&new, &[1, 2, 3, 4]), (0, 1));
    assert_eq!(read(&new, &[1, 2, 3, 4]), (0, 0));
    assert_eq!(read(&old, &[1, 3, 4]), (0, 0));
    let statistics = world.warm.cache_statistics();
    assert_eq!((statistics.misses, statistics.hits), (5, 4 + 3 + 4 + 3));
}

#[test]
fn a_begin_asks_once_and_is_never_stale() {
    let world = World::new(1 << 20, HOUR);
    filled(&*world.store(), "a", 4);
    let first = since(&world.newest("a"));
    let mut last = first;
    for byte in 1..50 {
        let committed = commit(&*world.store(), "a", &[(2, byte)], 512, 4);
        for known in [None, Some(first), Some(last)] {
            let asked = world.asked(|| {
                let begun = world.begin("a", known).expect("it exists");
                assert_eq!(begun.snapshot.version, committed.version);
            });
            assert_eq!(asked, (1, 0));
        }
        last = since(&world.newest("a"));
    }
}

#[test]
fn a_store_with_marks_is_asked_only_after_a_commit() {
    let world = World::new(1 << 20, HOUR).with_marks();
    filled(&*world.store(), "a", 4);
    filled(&*world.store(), "b", 4);
    let first = since(&world.newest("a"));
    for byte in 1..20 {
        for known in [None, Some(first)] {
            let asked = world.asked(|| drop(world.begin("a", known)));
            assert_eq!(asked, (0, 0));
        }
        // A mark is of the whole store.
        let database = ["a", "b"][usize::from(byte % 2 == 0)];
        commit(&*world.store(), database, &[(2, byte)], 512, 4);
        let asked = world.asked(|| drop(world.begin("a", Some(first))));
        assert_eq!(asked, (1, 0));
    }
}

#[test]
fn after_a_commit_through_the_node_nothing_is_asked() {
    let world = World::new(1 << 20, HOUR).with_marks();
    filled(&*world.store(), "a", 4);
    let mut known = world.newest("a");
    for byte in 1..20 {
        // As it comes from a client; some commits make the database shorter, or longer again.
        let (snapshot, count) = (
            Snapshot {
                mark: None,
                ..known
            },
            4 + u32::from(byte) % 2,
        );
        let writes = [(2, byte), (5, byte)];
        try_commit(&world.warm, snapshot, &writes, 512, count).expect("nobody else is there");
        let asked = world.asked(|| {
            let begun = world.begin("a", Some(since(&known))).expect("it exists");
            known = begun.snapshot;
        });
        assert_eq!(asked, (0, 0));
        world.read(&known, &[1, 2, 3, 4]).expect("it exists");
        if byte % 5 == 0 {
            commit(&*world.store(), "a", &[(3, byte)], 512, 4);
            known = world.newest("a");
        }
    }
}

/// A snapshot of a client that is not the node's newest, or that says so wrongly.
#[test]
fn a_commit_that_follows_on_another_state_is_left_to_the_store() {
    let world = World::new(1 << 20, HOUR).with_marks();
    filled(&*world.store(), "a", 4);
    let old = world.newest("a");
    commit(&*world.store(), "a", &[(2, 1)], 512, 4);
    let new = world.newest("a");
    let lie = Snapshot {
        read_version: new.read_version,
        mark: new.mark,
        ..old
    };
    for (page, snapshot) in [(3, old), (4, lie)] {
        try_commit(&world.warm, snapshot, &[(page, 9)], 512, 4).expect("nobody wrote that");
        let asked = world.asked(|| drop(world.begin("a", Some(since(&old)))));
        assert_eq!(asked, (1, 0));
    }
}

#[test]
fn a_name_that_moved_is_not_answered_from_memory() {
    let world = World::new(1 << 20, HOUR).with_marks();
    filled(&*world.store(), "a", 4);
    world.newest("a");
    world.store().rename(&name("a"), &name("b")).expect("free");
    world.newest("b");
    let gone = world.begin("a", None);
    assert!(matches!(gone, Err(BeginError::NoSuchDatabase { .. })));
    world.store().rename(&name("b"), &name("a")).expect("free");
    world.newest("a");
    world.begin("b", None).expect_err("it has moved back");
}

#[test]
fn a_client_that_committed_elsewhere_is_answered_at_once() {
    let world = World::new(1 << 20, HOUR);
    filled(&*world.store(), "a", 4);
    world.newest("a");
    commit(&*world.store(), "a", &[(2, 1)], 512, 4);
    // The cache never saw this state as the newest one.
    let between = world.store().begin(&name("a"), None);
    let between = since(&between.expect("it exists").snapshot);
    commit(&*world.store(), "a", &[(3, 1)], 512, 4);
    let asked = world.asked(|| drop(world.begin("a", Some(between))));
    assert_eq!(asked, (1, 0));
}

#[test]
fn as_many_commits_are_listed_as_the_store_lists() {
    let world = World::new(256 << 20, HOUR);
    filled(&*world.store(), "a", 2);
    let mut states = vec![since(&world.newest("a"))];
    for byte in 0..1010_u32 {
        let byte = u8::try_from(byte % 200).expect("a byte");
        commit(&*world.store(), "a", &[(2, byte)], 512, 2);
        // Looks at every tenth state, so that the others are learnt from the changelog.
        let begun = if byte.is_multiple_of(10) {
            world.begin("a", states.last().copied())
        } else {
            world.store().begin(&name("a"), None)
        };
        states.push(since(&begun.expect("it exists").snapshot));
    }
    for back in [1, 9, 10, 999, 1000, 1001, 1002, 1010] {
        let known = states[states.len() - 1 - back];
        let (begins, _) = world.asked(|| {
            let begun = world.begin("a", Some(known)).expect("it exists");
            let is_listed = matches!(begun.changes, Changes::Commits(_));
            assert_eq!(is_listed, back <= 1000, "{back} commits");
        });
        assert_eq!(begins, if back <= 1000 { 1 } else { 2 }, "{back} commits");
    }
    // So many commits between two looks are too much for the cache as well.
    let old = world.newest("a");
    world.read(&old, &[1, 2]).expect("it exists");
    for byte in 0..1001_u32 {
        let byte = u8::try_from(byte % 200).expect("a byte");
        commit(&*world.store(), "a", &[(2, byte)], 512, 2);
    }
    let new = world.newest("a");
    world.read(&new, &[1, 2]).expect("it exists");
    world.read(&old, &[1, 2]).expect("it exists");
    let again = world.asked(|| drop(world.read(&new, &[1, 2])));
    assert_eq!(again, (0, 0), "it goes on from there");
}

#[test]
fn another_page_size_makes_all_pages_new() {
    let world = World::new(1 << 20, HOUR);
    filled(&*world.store(), "a", 8);
    let before = world.newest("a");
    let all = [1, 2, 3, 4, 5, 6, 7, 8];
    world.read(&before, &all).expect("it exists");
    commit(&*world.store(), "a", &[(1, 1), (2, 2)], 1024, 2);
    let after = world.newest("a");
    world.read(&after, &[2, 1]).expect("it exists");
    world.read(&after, &[3]).expect_err("it was cut off");
    world.read(&before, &all).expect("the past is still there");
    // A client that is wrong about the size gets the store's own error.
    let wrong = verso_pagestore::Snapshot {
        page_size: before.page_size,
        ..after
    };
    world.read(&wrong, &[2]).expect_err("it has another size");
}

#[test]
fn the_cache_stays_within_its_bytes() {
    const BYTES: u64 = 256 << 10;
    let world = World::new(BYTES, HOUR);
    for database in ["a", "b", "c", "d"] {
        filled(&*world.store(), database, 250);
    }
    for round in 0..4 {
        for database in ["a", "b", "c", "d"] {
            commit(&*world.store(), database, &[(7, round)], 512, 250);
            let snapshot = world.newest(database);
            for first in (1..=250).step_by(10) {
                let pages: Vec<u32> = (first..first + 10).collect();
                world.read(&snapshot, &pages).expect("it exists");
            }
            let statistics = world.warm.cache_statistics();
            assert!(statistics.bytes <= BYTES, "{statistics:?}");
            assert!(statistics.pages > 0);
        }
    }
}

#[test]
fn commits_go_through() {
    let world = World::new(1 << 20, Duration::ZERO);
    filled(&*world.store(), "a", 2);
    let snapshot = world.newest("a");
    let committed = try_commit(&world.warm, snapshot, &[(1, 7), (2, 7)], 512, 2);
    let committed = committed.expect("no conflict");
    let newest = world.newest("a");
    assert_eq!(newest.version, committed.version);
    let read = world.read(&newest, &[1, 2]).expect("it exists");
    assert_eq!(read[1].page, vec![7; 512]);
    assert_eq!(read[0].page[24..28], [0; 4], "as the store keeps page 1");
    let pages = [page(1)];
    assert!(world.warm.read(&snapshot, &pages).is_ok());
    try_commit(&world.warm, snapshot, &[(1, 8)], 512, 2).expect_err("it lost");
}

/// The lease of a database, and a place in the queue behind it.
fn held_and_waiting(world: &World, known: &Snapshot) -> (Lease, LeaseRequest) {
    let asks = || LeaseRequest {
        database: known.database,
        id: LeaseId::random().expect("random numbers"),
        time_to_live: HOUR,
        ticket: None,
        stuck: None,
    };
    let LeaseAnswer::Granted(held) = world.store().lease(&asks()).expect("an answer") else {
        panic!("it is free");
    };
    let mut waiting = asks();
    let turn = world
        .warm
        .lease_and_begin(&waiting, &name("a"), Some(since(known)));
    let Ok((LeaseAnswer::Waiting { ticket, .. }, None)) = turn else {
        panic!("somebody holds it: {turn:?}");
    };
    waiting.ticket = Some(ticket);
    (held, waiting)
}

#[test]
fn the_state_that_comes_with_a_lease_is_learnt() {
    let world = World::new(1 << 20, HOUR);
    filled(&*world.store(), "a", 4);
    let first = world.newest("a");
    world.read(&first, &[1, 2, 3, 4]).expect("it exists");
    commit(&*world.store(), "a", &[(2, 8)], 512, 4);
    let second = world.newest("a");
    for (round, known) in [(1, first), (2, second), (3, first)] {
        // Nobody tells the node.
        let committed = commit(&*world.store(), "a", &[(3, 10 + round)], 512, 4);
        let (held, waiting) = held_and_waiting(&world, &known);
        world.store().release_lease(&held).expect("it is its own");
        let mut start = None;
        let asked = world.asked(|| {
            let turn = world
                .warm
                .lease_and_begin(&waiting, &name("a"), Some(since(&known)));
            let Ok((LeaseAnswer::HandedOver(lease), begun)) = turn else {
                panic!("it was handed over: {turn:?}");
            };
            start = begun.map(|start| (lease, start.begun));
        });
        assert_eq!(asked, (0, 0));
        let (lease, begun) = start.expect("it begins");
        assert_eq!(begun.snapshot.version, committed.version);
        // What the store itself would answer.
        let own = world.store().begin(&name("a"), Some(since(&known)));
        assert_eq!(begun.changes, own.expect("it exists").changes);
        let asked = world.asked(|| drop(world.read(&begun.snapshot, &[1, 2, 3, 4])));
        assert_eq!(asked, (0, if round == 1 { 2 } else { 1 }));
        world.store().release_lease(&lease).expect("it is its own");
    }
}
