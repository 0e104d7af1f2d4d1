//! Goal: exactly once, and any size, on a real cluster as well.
//! Method: a store below a prefix of its own, with answers that are lost and others who commit
//! between the reads and the commit of a transaction.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use verso_engine::Engine;
use verso_engine::kv::faulty::{Fault, Faulty};
use verso_engine::kv::fdb::FdbKv;
use verso_engine::kv::{KeyRange, Kv, KvTransaction};
use verso_pagestore::{
    CommitError, CommitRequest, Durability, PageStore, PageWrite, Participant, StoreUrl,
};

use crate::support::{
    commit, content, create, engine_over, filled, name, newest, page, participant, request,
};

/// Two nodes on a new store of the cluster that `VERSO_TEST_FDB_CLUSTER` names.
struct World {
    faulty: Faulty<FdbKv>,
    mortal: Engine<Faulty<FdbKv>>,
    other: Engine<FdbKv>,
    kv: FdbKv,
}

impl World {
    fn new() -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let Ok(cluster) = std::env::var("VERSO_TEST_FDB_CLUSTER") else {
            println!("skipped: no FoundationDB");
            return None;
        };
        let (process, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let url = format!("fdb:{cluster}?prefix=engine/{process:x}/{count:x}");
        let StoreUrl::FoundationDb(url) = StoreUrl::parse(&url).expect("a URL") else {
            panic!("this is a cluster");
        };
        let kv = FdbKv::open(&url).expect("a cluster");
        clear(&kv);
        let faulty = Faulty::new(kv.clone());
        Some(Self {
            mortal: engine_over(faulty.clone()),
            other: engine_over(kv.clone()),
            faulty,
            kv,
        })
    }
}

impl Drop for World {
    fn drop(&mut self) {
        clear(&self.kv);
    }
}

fn clear(kv: &FdbKv) {
    let mut transaction = kv.begin().expect("a cluster");
    transaction.clear_range(&KeyRange::prefix(b""));
    transaction.commit(Durability::Full).expect("no conflict");
}

/// Commits of the database with this one's id.
fn commits(store: &dyn PageStore, request: &CommitRequest) -> usize {
    let log = store.log(&name("a"), None, 1000).expect("a log");
    log.iter().filter(|commit| commit.id == request.id).count()
}

#[test]
fn a_lost_answer_is_asked_for_again_whatever_came_between() {
    let Some(world) = World::new() else { return };
    create(&world.other, "a", 2);
    for fault in [Fault::UnknownApplied, Fault::UnknownNotApplied] {
        let base = newest(&world.other, "a");
        let first = request(vec![participant(base, &[2], &[(2, 9)], 2)]);
        world.faulty.script([Some(fault)]);
        // Before the second attempt others change the page, and change it back.
        let others = engine_over(world.kv.clone());
        world.faulty.before_commits(move |number| {
            if number == 1 {
                for byte in [8, 2] {
                    commit(&others, newest(&others, "a"), &[], &[(2, byte)], 2).expect("alone");
                }
            }
        });
        match (fault, world.mortal.commit(&first)) {
            (Fault::UnknownApplied, Ok(outcome)) => {
                assert!(newest(&world.other, "a").version >= outcome.version);
                assert_eq!(commits(&world.other, &first), 1);
                assert_eq!(
                    world.other.commit(&first).expect("known").version,
                    outcome.version
                );
            }
            (_, Err(CommitError::Conflict(_))) => assert_eq!(commits(&world.other, &first), 0),
            (_, other) => panic!("{fault:?}: {other:?}"),
        }
        world.faulty.before_commits(|_| {});
    }
}

#[test]
fn two_attempts_in_flight_at_once_are_one_commit() {
    let Some(world) = World::new() else { return };
    create(&world.other, "a", 2);
    for round in 0..10_u8 {
        let base = newest(&world.other, "a");
        let same = request(vec![participant(base, &[2], &[(2, round)], 2)]);
        let outcome = Arc::new(Mutex::new(None));
        let (theirs, copy) = (Arc::clone(&outcome), same.clone());
        let others = engine_over(world.kv.clone());
        world.faulty.before_commits(move |number| {
            if number == 0 {
                let outcome = others.commit(&copy).expect("nobody is in its way");
                *theirs.lock().expect("no panic") = Some(outcome.version);
            }
        });
        let ours = world.mortal.commit(&same).expect("it is known").version;
        assert_eq!(Some(ours), *outcome.lock().expect("no panic"));
        assert_eq!(commits(&world.other, &same), 1);
    }
}

#[test]
fn both_at_the_same_time_from_two_threads() {
    let Some(world) = World::new() else { return };
    create(&world.other, "a", 2);
    for round in 0..30_u8 {
        let base = newest(&world.other, "a");
        let same = request(vec![participant(base, &[2], &[(2, round)], 2)]);
        let (one, other) = std::thread::scope(|scope| {
            let one = scope.spawn(|| world.mortal.commit(&same).expect("it is known"));
            let other = world.other.commit(&same).expect("it is known");
            (one.join().expect("no panic"), other)
        });
        assert_eq!(one.version, other.version);
        assert_eq!(commits(&world.other, &same), 1);
        assert_eq!(
            content(&world.other, &newest(&world.other, "a")),
            [1, round]
        );
    }
}

#[test]
fn threads_that_count_with_lost_answers_lose_and_double_nothing() {
    let Some(world) = World::new() else { return };
    create(&world.other, "a", 2);
    let faulty = Faulty::seeded(world.kv.clone(), 42, 300);
    let store = engine_over(faulty);
    commit(&store, newest(&store, "a"), &[], &[(2, 0)], 2).expect("alone");
    let increment = || {
        loop {
            let snapshot = newest(&store, "a");
            let value = *content(&store, &snapshot).get(1).expect("two pages");
            match commit(&store, snapshot, &[2], &[(2, value + 1)], 2) {
                Ok(_) => return,
                Err(CommitError::Conflict(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..25).for_each(|_| increment()));
        }
    });
    assert_eq!(content(&store, &newest(&store, "a")), [1, 100]);
}

#[test]
fn a_large_commit_goes_on_where_its_node_died() {
    const PAGES: u32 = 12_000;
    let Some(world) = World::new() else { return };
    for dies_after in [1, 3, 100] {
        let database = format!("large-{dies_after}");
        let base = create(&world.other, &database, 3);
        let part = participant(base, &[], &[(1, 7)], PAGES);
        let change = part.change.map(|mut change| {
            change.staged = (2..=PAGES).collect();
            change
        });
        let large = request(vec![Participant { change, ..part }]);
        for numbers in (2..=PAGES).collect::<Vec<_>>().chunks(2000) {
            let write = |&number: &u32| PageWrite {
                number: page(number),
                page: filled(7),
            };
            let part: Vec<_> = numbers.iter().map(write).collect();
            let staged = world.other.stage(large.id, base.database, &part);
            staged.expect("room");
        }
        let faulty = Faulty::new(world.kv.clone());
        let lives = std::iter::repeat_n(None, dies_after);
        faulty.script(lives.chain(std::iter::repeat_n(Some(Fault::Busy), 20)));
        let died = engine_over(faulty).commit(&large).is_err();
        assert_eq!(died, dies_after < 100);
        assert!(!died || content(&world.other, &newest(&world.other, &database)) == [1, 2, 3]);
        let outcome = world.other.commit(&large).expect("it goes on");
        let after = newest(&world.other, &database);
        assert_eq!(after.version, outcome.version);
        assert_eq!(content(&world.other, &after), vec![7; PAGES as usize]);
        commit(&world.other, after, &[], &[(1, 8)], PAGES).expect("the lease is free");
    }
}
