//! Goal: a commit larger than one key-value transaction is as atomic, isolated and exactly-once as
//! any other, whatever happens between its steps.
//! Method: a store that takes little at once, and a node that dies at each of its transactions.

use std::sync::Arc;
use std::time::Duration;

use verso_engine::Engine;
use verso_engine::kv::faulty::{Fault, Faulty};
use verso_engine::kv::memory::{ManualClock, MemoryKv, MemoryOptions};
use verso_engine::kv::{Isolation, KeyRange, Kv, KvTransaction, RangeQuery};
use verso_pagestore::{
    CommitError, CommitRequest, DatabaseId, Lease, LeaseAnswer, LeaseId, LeaseRequest,
    LeaseStanding, LeaseView, PageStore, PageWrite, Participant, Place, Snapshot,
};

use crate::support::{
    commit, content, create, engine_over, filled, name, newest, page, participant, reader, request,
};

/// More pages than the store takes in one transaction.
pub(crate) const PAGES: u32 = 100;

/// No publication of the tests has so many transactions.
pub(crate) const MANY: usize = 60;

/// A store, a node that fails as the tests say, and a node that does not.
pub(crate) struct World {
    pub(crate) kv: MemoryKv,
    pub(crate) faulty: Faulty<MemoryKv>,
    pub(crate) mortal: Engine<Faulty<MemoryKv>>,
    pub(crate) other: Engine<MemoryKv>,
}

impl World {
    pub(crate) fn new() -> Self {
        // Whoever waits lets its time pass.
        let mut options = MemoryOptions {
            clock: Arc::new(ManualClock::default()),
            ..MemoryOptions::default()
        };
        options.limits.transaction_bytes = 40_000;
        let kv = MemoryKv::new(options);
        let faulty = Faulty::new(kv.clone());
        Self {
            mortal: engine_over(faulty.clone()),
            other: engine_over(kv.clone()),
            faulty,
            kv,
        }
    }

    /// The node dies before its transaction of this number, from now on.
    pub(crate) fn dies_after(&self, transactions: usize) {
        let lives = std::iter::repeat_n(None, transactions);
        self.faulty
            .script(lives.chain(std::iter::repeat_n(Some(Fault::Busy), MANY)));
    }

    /// Keys of a database of one kind.
    fn keys(&self, database: DatabaseId, kind: u8) -> usize {
        let prefix = [b"d", &database.get().to_be_bytes()[..], &[kind]].concat();
        let all = RangeQuery::first(usize::MAX, KeyRange::prefix(&prefix));
        let mut transaction = self.kv.begin().expect("memory");
        let pairs = transaction.range(&all, Isolation::Snapshot);
        pairs.expect("memory").len()
    }

    /// Page records, and what publications leave beside them.
    pub(crate) fn records(&self, database: DatabaseId) -> (usize, usize) {
        let left = self.keys(database, b's') + self.keys(database, b'u');
        (self.keys(database, b'p'), left)
    }
}

/// A commit of all pages of a database, most of them staged.
pub(crate) fn large(
    world: &World,
    base: Snapshot,
    byte: u8,
    lease: Option<Lease>,
) -> CommitRequest {
    let part = participant(base, &[], &[(1, byte), (2, byte)], PAGES);
    let change = part.change.map(|mut change| {
        change.staged = (3..=PAGES).collect();
        change
    });
    let request = request(vec![Participant {
        change,
        lease,
        ..part
    }]);
    stage(world, &request, base.database, byte);
    request
}

fn stage(world: &World, request: &CommitRequest, database: DatabaseId, byte: u8) {
    for part in (3..=PAGES).collect::<Vec<_>>().chunks(20) {
        let write = |&number: &u32| PageWrite {
            number: page(number),
            page: filled(byte),
        };
        let part: Vec<_> = part.iter().map(write).collect();
        let staged = world.other.stage(request.id, database, &part);
        staged.expect("room");
    }
}

#[test]
fn what_others_have_removed_is_not_published_in_part() {
    let world = World::new();
    let base = create(&world.other, "a", 3);
    let database = base.database;
    let (before, _) = world.records(database);
    let request = large(&world, base, 7, None);
    world.dies_after(8);
    world
        .mortal
        .commit(&request)
        .expect_err("its node has died");
    let lease = take_over(&world.other, database);
    world.other.release_lease(&lease).expect("it is its own");
    let lost = CommitError::LeaseLost { database };
    assert_eq!(world.other.commit(&request), Err(lost));
    assert_eq!(content(&world.other, &newest(&world.other, "a")), [1, 2, 3]);
    assert_eq!(world.records(database), (before, 0));
}

/// The first request of a client that wants the lease.
pub(crate) fn first_request(database: DatabaseId) -> LeaseRequest {
    LeaseRequest {
        database,
        id: LeaseId::random().expect("random numbers"),
        time_to_live: Duration::from_secs(5),
        ticket: None,
        stuck: None,
    }
}

/// A client that waits for a lease, and takes it over once it has seen it unchanged.
pub(crate) fn take_over(store: &dyn PageStore, database: DatabaseId) -> Lease {
    let mut request = first_request(database);
    loop {
        match store.lease(&request).expect("the store answers") {
            LeaseAnswer::Granted(lease) | LeaseAnswer::HandedOver(lease) => return lease,
            LeaseAnswer::Waiting { ticket, view, .. } => {
                request.ticket = Some(ticket);
                request.stuck = Some(view);
            }
        }
    }
}

pub(crate) fn all(byte: u8) -> Vec<u8> {
    vec![byte; PAGES as usize]
}

#[test]
fn a_large_commit_is_published_and_leaves_nothing_else() {
    let world = World::new();
    let base = create(&world.other, "a", 3);
    let database = base.database;
    let (before, _) = world.records(database);
    let request = large(&world, base, 7, None);
    let outcome = world.other.commit(&request).expect("no conflict");
    let after = newest(&world.other, "a");
    assert_eq!((after.version, after.commit), (outcome.version, request.id));
    assert_eq!(content(&world.other, &after), all(7));
    assert_eq!(content(&world.other, &base), [1, 2, 3]);
    assert_eq!(world.records(database), (before + 100, 0));
    assert_eq!(after.lease, LeaseStanding::Free);
    // Again, and after others.
    assert_eq!(
        world.other.commit(&request).expect("known").version,
        outcome.version
    );
    commit(&world.other, after, &[], &[(1, 8)], PAGES).expect("the lease is free");
    stage(&world, &request, database, 9);
    assert_eq!(
        world.other.commit(&request).expect("known").version,
        outcome.version
    );
    assert_eq!(world.records(database), (before + 101, 0));
}

#[test]
fn a_node_that_dies_at_any_step_leaves_the_old_state_and_the_next_writer_goes_on() {
    for step in 0..MANY {
        let world = World::new();
        let base = create(&world.other, "a", 3);
        let database = base.database;
        let (before, _) = world.records(database);
        let request = large(&world, base, 7, None);
        world.dies_after(step);
        if world.mortal.commit(&request).is_ok() {
            assert!(step > 8, "there are that many steps");
            return;
        }
        // Who reads sees the old state.
        let seen = newest(&world.other, "a");
        assert_eq!(seen.version, base.version, "step {step}");
        assert_eq!(content(&world.other, &seen), [1, 2, 3]);
        // Who writes gets the lease, and sees it, too.
        let lease = take_over(&world.other, database);
        let seen = newest(&world.other, "a");
        let part = participant(seen, &[], &[(1, 9), (4, 9)], 4);
        let small = crate::support::request(vec![Participant {
            lease: Some(lease),
            ..part
        }]);
        world.other.commit(&small).expect("nothing is in its way");
        assert_eq!(
            content(&world.other, &newest(&world.other, "a")),
            [9, 2, 3, 9]
        );
        let (records, left) = world.records(database);
        assert_eq!(records, before + 2, "step {step}");
        // Before the first step nobody knew of the staged pages.
        assert!(left == 0 || world.keys(database, b'u') == 0, "step {step}");
        // The commit cannot come back.
        let refused = world
            .other
            .commit(&request)
            .expect_err("page 1 has changed");
        assert!(matches!(refused, CommitError::Conflict(_)), "{refused}");
        assert_eq!(
            content(&world.other, &newest(&world.other, "a")),
            [9, 2, 3, 9]
        );
        assert_eq!(world.records(database), (before + 2, 0), "step {step}");
    }
    panic!("it has fewer steps");
}

#[test]
fn another_node_finishes_what_a_dead_one_began() {
    for step in 0..MANY {
        let world = World::new();
        let base = create(&world.other, "a", 3);
        let (before, _) = world.records(base.database);
        let request = large(&world, base, 7, None);
        world.dies_after(step);
        let is_done = world.mortal.commit(&request).is_ok();
        let outcome = world.other.commit(&request).expect("it goes on");
        let after = newest(&world.other, "a");
        assert_eq!(after.version, outcome.version);
        assert_eq!(content(&world.other, &after), all(7));
        let once = (before + 100, 0);
        assert_eq!(world.records(base.database), once, "step {step}");
        commit(&world.other, after, &[], &[(1, 8)], PAGES).expect("the lease is free");
        if is_done {
            return;
        }
    }
    panic!("it has fewer steps");
}

#[test]
fn unknown_results_at_any_step_are_found_out() {
    for fault in [
        Fault::UnknownApplied,
        Fault::UnknownNotApplied,
        Fault::Conflict,
    ] {
        for step in 0..MANY {
            let world = World::new();
            let base = create(&world.other, "a", 3);
            let (before, _) = world.records(base.database);
            let request = large(&world, base, 7, None);
            let lives = std::iter::repeat_n(None, step);
            world.faulty.script(lives.chain([Some(fault)]));
            let outcome = world.mortal.commit(&request).expect("it finds out");
            let after = newest(&world.other, "a");
            assert_eq!(after.version, outcome.version, "{fault:?} at {step}");
            assert_eq!(content(&world.other, &after), all(7));
            let log = world.other.log(&name("a"), None, 10).expect("a log");
            let own = log.iter().filter(|commit| commit.id == request.id);
            assert_eq!(own.count(), 1);
            let once = (before + 100, 0);
            assert_eq!(world.records(base.database), once, "{fault:?} at {step}");
            if world.faulty.injected() == 0 {
                break;
            }
        }
    }
}

#[test]
fn a_publication_keeps_others_from_committing_and_refuses_to_overtake_them() {
    let world = World::new();
    let base = create(&world.other, "a", 3);
    let database = base.database;
    let request = large(&world, base, 7, None);
    world.dies_after(6);
    world
        .mortal
        .commit(&request)
        .expect_err("its node has died");
    let write = |snapshot| commit(&world.other, snapshot, &[], &[(3, 9)], 3);
    let leased = CommitError::Leased { database };
    assert_eq!(write(base), Err(leased.clone()));
    assert_eq!(write(newest(&world.other, "a")), Err(leased.clone()));
    let another = large(&world, base, 8, None);
    assert_eq!(world.other.commit(&another), Err(leased));
    world.other.commit(&request).expect("it goes on");
    let refused = write(base).expect_err("page 1 has changed");
    assert!(matches!(refused, CommitError::Conflict(_)), "{refused}");
    // The other way round: what has lost is not published at all.
    let old = newest(&world.other, "a");
    commit(&world.other, old, &[], &[(50, 9)], PAGES).expect("no conflict");
    let (records, _) = world.records(database);
    let late = large(&world, old, 8, None);
    let CommitError::Conflict(conflict) = world.other.commit(&late).expect_err("page 50") else {
        panic!("it has lost");
    };
    assert_eq!(conflict.page, page(50));
    assert_eq!(world.records(database).0, records);
}

#[test]
fn the_holder_of_a_lease_publishes_under_it() {
    for step in 0..MANY {
        let world = World::new();
        let base = create(&world.other, "a", 3);
        let database = base.database;
        let lease = take_over(&world.other, database);
        let base = newest(&world.other, "a");
        let request = large(&world, base, 7, Some(lease));
        world.dies_after(step);
        let is_done = world.mortal.commit(&request).is_ok();
        if !is_done {
            // The client is alive, and says so.
            world.other.renew_lease(&lease).expect("it is its own");
            let again = take_over_once(&world.other, database);
            assert!(matches!(again, LeaseAnswer::Waiting { .. }));
            if step % 2 == 0 {
                world.other.commit(&request).expect("it goes on");
            } else {
                world.other.release_lease(&lease).expect("it gives up");
                assert_eq!(content(&world.other, &newest(&world.other, "a")), [1, 2, 3]);
                let snapshot = newest(&world.other, "a");
                assert_eq!(snapshot.lease, LeaseStanding::Free, "step {step}");
                commit(&world.other, snapshot, &[], &[(1, 9)], 3).expect("it is free");
                assert_eq!(content(&world.other, &newest(&world.other, "a")), [9, 2, 3]);
                continue;
            }
        }
        assert_eq!(content(&world.other, &newest(&world.other, "a")), all(7));
        assert_eq!(world.records(database).1, 0, "step {step}");
        if is_done {
            return;
        }
    }
    panic!("it has fewer steps");
}

fn take_over_once(store: &dyn PageStore, database: DatabaseId) -> LeaseAnswer {
    let request = first_request(database);
    let answer = store.lease(&request).expect("the store answers");
    if let LeaseAnswer::Waiting { ticket, view, .. } = &answer {
        assert!(matches!(view, LeaseView::Held { .. }));
        let place = Place {
            database,
            id: request.id,
            ticket: *ticket,
        };
        store.leave_queue(&place).expect("it leaves");
    }
    answer
}

#[test]
fn who_takes_over_and_dies_while_it_removes_is_followed_by_the_next() {
    for step in 0..MANY {
        let world = World::new();
        let base = create(&world.other, "a", 3);
        let database = base.database;
        let (before, _) = world.records(database);
        let request = large(&world, base, 7, None);
        world.dies_after(8);
        world
            .mortal
            .commit(&request)
            .expect_err("its node has died");
        // A second node that dies, and a third.
        let faulty = Faulty::new(world.kv.clone());
        let second = engine_over(faulty.clone());
        let mut asks = first_request(database);
        if let Ok(LeaseAnswer::Waiting { ticket, view, .. }) = second.lease(&asks) {
            (asks.ticket, asks.stuck) = (Some(ticket), Some(view));
        }
        let lives = std::iter::repeat_n(None, step);
        faulty.script(lives.chain(std::iter::repeat_n(Some(Fault::Busy), MANY)));
        let answer = second.lease(&asks);
        if step % 2 == 0 {
            // The same client asks again.
            let again = world.other.lease(&asks).expect("the store answers");
            assert!(
                matches!(again, LeaseAnswer::Granted(_)),
                "step {step}: {again:?}"
            );
        } else {
            take_over(&world.other, database);
        }
        assert_eq!(world.records(database), (before, 0), "step {step}");
        assert_eq!(content(&world.other, &newest(&world.other, "a")), [1, 2, 3]);
        if answer.is_ok() {
            assert!(step > 1, "taking and removing are two steps");
            return;
        }
    }
    panic!("it has fewer steps");
}

#[test]
fn several_databases_are_published_together() {
    for step in 0..MANY {
        let world = World::new();
        let a = create(&world.other, "a", 3);
        let b = create(&world.other, "b", 3);
        let only_read = create(&world.other, "c", 2);
        let first = large(&world, a, 7, None);
        let mut parts = first.participants.clone();
        parts.push(participant(b, &[], &[(2, 8)], 3));
        parts.push(reader(only_read, &[2]));
        let joint = CommitRequest {
            participants: parts,
            ..first
        };
        world.dies_after(step);
        let is_done = world.mortal.commit(&joint).is_ok();
        let contents = || {
            let of = |database| content(&world.other, &newest(&world.other, database));
            (of("a"), of("b"))
        };
        if is_done {
            assert_eq!(contents(), (all(7), vec![1, 8, 3]));
            return;
        }
        assert_eq!(contents(), (vec![1, 2, 3], vec![1, 2, 3]), "step {step}");
        if step % 2 == 0 {
            world.other.commit(&joint).expect("it goes on");
            assert_eq!(contents(), (all(7), vec![1, 8, 3]));
        } else {
            // What was read has changed: all of it is refused, and removed.
            commit(&world.other, only_read, &[], &[(2, 9)], 2).expect("nobody minds");
            let refused = world
                .other
                .commit(&joint)
                .expect_err("page 2 of c has changed");
            assert!(matches!(refused, CommitError::Conflict(_)), "{refused}");
            assert_eq!(contents(), (vec![1, 2, 3], vec![1, 2, 3]));
        }
        for snapshot in [newest(&world.other, "a"), newest(&world.other, "b")] {
            assert_eq!(world.records(snapshot.database).1, 0, "step {step}");
            assert_eq!(snapshot.lease, LeaseStanding::Free);
        }
    }
    panic!("it has fewer steps");
}
