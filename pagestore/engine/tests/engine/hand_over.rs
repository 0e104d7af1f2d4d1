//! A lease that goes from its holder to the first in the queue, in one key-value transaction: to
//! nobody else, to nobody twice, and not to whoever has left.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use verso_engine::kv::faulty::{Fault, Faulty};
use verso_engine::kv::memory::{MemoryKv, MemoryOptions};
use verso_pagestore::{
    CommitError, CommitRequest, DatabaseId, Lease, LeaseAnswer, LeaseError, LeaseRequest,
    LeaseStanding, LeaseView, PageStore, Place, Snapshot,
};

use crate::publishing::{World, all, first_request, large, take_over};
use crate::support::{commit, content, create, engine_over, name, newest, participant, request};

/// Somebody who waits, and has a place in the queue.
fn waits(store: &dyn PageStore, database: DatabaseId) -> LeaseRequest {
    let mut asks = first_request(database);
    match store.lease(&asks).expect("the store answers") {
        LeaseAnswer::Waiting { ticket, .. } => asks.ticket = Some(ticket),
        LeaseAnswer::Granted(_) | LeaseAnswer::HandedOver(_) => panic!("nobody holds it"),
    }
    asks
}

fn place(asks: &LeaseRequest) -> Place {
    Place {
        database: asks.database,
        id: asks.id,
        ticket: asks.ticket.expect("it waits"),
    }
}

/// The lease that was handed over to whoever asks.
fn has(store: &dyn PageStore, asks: &LeaseRequest) -> Lease {
    match store.lease(asks).expect("the store answers") {
        LeaseAnswer::HandedOver(lease) => lease,
        LeaseAnswer::Granted(_) | LeaseAnswer::Waiting { .. } => panic!("it was not handed over"),
    }
}

fn sees(store: &dyn PageStore, asks: &LeaseRequest) -> LeaseView {
    match store.lease(asks).expect("the store answers") {
        LeaseAnswer::Waiting { view, .. } => view,
        LeaseAnswer::Granted(_) | LeaseAnswer::HandedOver(_) => panic!("it is not its turn"),
    }
}

/// A commit under a lease.
fn write(snapshot: Snapshot, byte: u8, lease: Lease) -> CommitRequest {
    let mut part = participant(snapshot, &[2], &[(2, byte)], 3);
    part.lease = Some(lease);
    request(vec![part])
}

fn faulty() -> Faulty<MemoryKv> {
    Faulty::new(MemoryKv::new(MemoryOptions::default()))
}

#[test]
fn a_commit_and_a_release_hand_over_to_the_first_who_waits() {
    let store = engine_over(faulty());
    let base = create(&store, "a", 3);
    let database = base.database;
    let mut lease = take_over(&store, database);
    let waiting: Vec<_> = (0..6).map(|_| waits(&store, database)).collect();
    for (turn, asks) in (10..).zip(&waiting) {
        let snapshot = newest(&store, "a");
        if turn % 3 == 0 {
            store.release_lease(&lease).expect("it is its own");
        } else {
            let outcome = store.commit(&write(snapshot, turn, lease));
            outcome.expect("it holds the lease");
            assert_eq!(content(&store, &newest(&store, "a")), [1, turn, 3]);
        }
        let before = std::mem::replace(&mut lease, has(&store, asks));
        assert_eq!(lease.epoch, before.epoch + 1);
        assert!(newest(&store, "a").lease.is_held_as(&lease));
        assert_eq!(
            store.renew_lease(&before),
            Err(LeaseError::Lost { database })
        );
        let lost = Err(CommitError::LeaseLost { database });
        let late = store.commit(&write(newest(&store, "a"), 99, before));
        assert_eq!(late.map(|_| ()), lost);
        store
            .release_lease(&before)
            .expect("there is nothing to do");
    }
    store.release_lease(&lease).expect("it is its own");
    assert_eq!(newest(&store, "a").lease, LeaseStanding::Free);
}

#[test]
fn who_died_while_it_waited_is_found_out_soon() {
    let store = engine_over(faulty());
    let database = create(&store, "a", 3).database;
    let lease = take_over(&store, database);
    let dead = waits(&store, database);
    let mut next = waits(&store, database);
    store.release_lease(&lease).expect("it is its own");
    let view = sees(&store, &next);
    let LeaseView::Held { time_to_live, .. } = view else {
        panic!("it was handed over to the dead one: {view:?}");
    };
    assert_eq!(
        time_to_live,
        LeaseRequest::time_to_confirm(dead.time_to_live)
    );
    assert!(time_to_live < dead.time_to_live / 2);
    next.stuck = Some(view);
    let LeaseAnswer::Granted(taken) = store.lease(&next).expect("the store answers") else {
        panic!("it stood still");
    };
    // If the other one was only slow, it waits again.
    assert!(matches!(sees(&store, &dead), LeaseView::Held { .. }));
    store.release_lease(&taken).expect("it is its own");
}

/// All who wait in one process die together, so one of them is waited for.
#[test]
fn the_dead_of_one_process_are_found_out_together() {
    for is_held in [false, true] {
        let store = engine_over(faulty());
        let database = create(&store, "a", 3).database;
        let mut died = first_request(database);
        let (lease, held) = if is_held {
            // It is the holder that dies.
            (None, store.lease(&died).expect("it is free"))
        } else {
            let lease = take_over(&store, database);
            (Some(lease), store.lease(&died).expect("an answer"))
        };
        assert_eq!(matches!(held, LeaseAnswer::Granted(_)), is_held);
        let live = [waits(&store, database), waits(&store, database)];
        for _ in 0..5 {
            died.id = died.id.beside().expect("random numbers");
            store.lease(&died).expect("it waits");
        }
        let last = waits(&store, database);
        if let Some(lease) = lease {
            store.release_lease(&lease).expect("it is its own");
        }
        let [mut first, second] = live;
        first.stuck = Some(sees(&store, &first));
        let LeaseAnswer::Granted(lease) = store.lease(&first).expect("an answer") else {
            panic!("it stood still");
        };
        store.release_lease(&lease).expect("it is its own");
        let lease = has(&store, &second);
        store.release_lease(&lease).expect("it is its own");
        has(&store, &last);
    }
}

/// Who is slow in a process that lives loses its own turn only.
#[test]
fn those_who_wait_beside_the_one_that_takes_over_stay() {
    let store = engine_over(faulty());
    let database = create(&store, "a", 3).database;
    let lease = take_over(&store, database);
    let slow = waits(&store, database);
    let mut beside = [(); 2].map(|()| {
        let mut asks = first_request(database);
        asks.id = slow.id.beside().expect("random numbers");
        if let Ok(LeaseAnswer::Waiting { ticket, .. }) = store.lease(&asks) {
            asks.ticket = Some(ticket);
        }
        asks
    });
    store.release_lease(&lease).expect("it is its own");
    beside[0].stuck = Some(sees(&store, &beside[0]));
    let LeaseAnswer::Granted(lease) = store.lease(&beside[0]).expect("an answer") else {
        panic!("it stood still");
    };
    store.release_lease(&lease).expect("it is its own");
    has(&store, &beside[1]);
}

#[test]
fn a_sign_of_life_confirms() {
    let store = engine_over(faulty());
    let database = create(&store, "a", 3).database;
    let lease = take_over(&store, database);
    let next = waits(&store, database);
    let mut other = waits(&store, database);
    store.release_lease(&lease).expect("it is its own");
    let unconfirmed = sees(&store, &other);
    let lease = has(&store, &next);
    store.renew_lease(&lease).expect("it is its own");
    other.stuck = Some(unconfirmed);
    let confirmed = sees(&store, &other);
    let LeaseView::Held { time_to_live, .. } = confirmed else {
        panic!("it is held: {confirmed:?}");
    };
    assert_eq!(time_to_live, next.time_to_live);
    let again = store.lease(&next).expect("the store answers");
    assert_eq!(again, LeaseAnswer::Granted(lease));
}

#[test]
fn very_short_leases_are_not_lengthened() {
    let confirm = |milliseconds| {
        LeaseRequest::time_to_confirm(Duration::from_millis(milliseconds)).as_millis()
    };
    assert_eq!(
        [100, 1000, 5000, 60_000].map(confirm),
        [100, 250, 1000, 12_000]
    );
}

/// Whoever leaves at the moment at which it gets the lease has it, or has left: never both.
#[test]
fn who_leaves_while_the_lease_is_handed_over_does_not_keep_it() {
    for is_commit in [false, true] {
        for checked in [false, true] {
            let kv = faulty();
            let store = engine_over(kv.clone());
            let mut base = create(&store, "a", 3);
            let database = base.database;
            let lease = take_over(&store, database);
            let leaves = waits(&store, database);
            let stays = waits(&store, database);
            if !checked {
                base = newest(&store, "a");
            }
            let other = engine_over(kv.inner().clone());
            kv.before_commits(move |number| {
                if number == 0 {
                    other.leave_queue(&place(&leaves)).expect("it leaves");
                }
            });
            if is_commit {
                let outcome = store.commit(&write(base, 9, lease));
                outcome.expect("it holds the lease");
            } else {
                store.release_lease(&lease).expect("it is its own");
            }
            assert_eq!(has(&store, &stays).epoch, lease.epoch + 1);
        }
    }
}

#[test]
fn who_was_handed_the_lease_while_it_left_passes_it_on() {
    let kv = faulty();
    let store = engine_over(kv.clone());
    let database = create(&store, "a", 3).database;
    let lease = take_over(&store, database);
    let [leaves, stays] = [(); 2].map(|()| waits(&store, database));
    let other = engine_over(kv.inner().clone());
    kv.before_commits(move |number| {
        if number == 0 {
            other.release_lease(&lease).expect("it is its own");
        }
    });
    store.leave_queue(&place(&leaves)).expect("it leaves");
    assert_eq!(has(&store, &stays).epoch, lease.epoch + 2);
    // Again, long after.
    store.leave_queue(&place(&leaves)).expect("it has left");
    assert_eq!(has(&store, &stays).epoch, lease.epoch + 2);
}

#[test]
fn lost_answers_hand_over_once() {
    for fault in [
        Fault::UnknownApplied,
        Fault::UnknownNotApplied,
        Fault::Conflict,
        Fault::TooOld,
    ] {
        let kv = faulty();
        let store = engine_over(kv.clone());
        let database = create(&store, "a", 3).database;
        let lease = take_over(&store, database);
        let [first, second] = [(); 2].map(|()| waits(&store, database));
        let own = write(newest(&store, "a"), 9, lease);
        kv.script([Some(fault)]);
        let outcome = store.commit(&own).expect("it is asked again");
        let next = has(&store, &first);
        assert_eq!(next.epoch, lease.epoch + 1, "{fault:?}");
        assert_eq!(store.commit(&own).expect("known").version, outcome.version);
        assert_eq!(has(&store, &first), next, "{fault:?}");
        kv.script([Some(fault)]);
        store.release_lease(&next).expect("it is its own");
        assert_eq!(has(&store, &second).epoch, next.epoch + 1, "{fault:?}");
        kv.script([Some(fault)]);
        store.leave_queue(&place(&second)).expect("it leaves");
        assert_eq!(newest(&store, "a").lease, LeaseStanding::Free, "{fault:?}");
    }
}

/// A request whose answer is lost makes two places of one wait.
#[test]
fn a_second_place_of_the_same_wait_gets_nothing() {
    for asks_before in [false, true] {
        let kv = faulty();
        let store = engine_over(kv.clone());
        let database = create(&store, "a", 3).database;
        let lease = take_over(&store, database);
        kv.script([Some(Fault::UnknownApplied)]);
        let twice = waits(&store, database);
        let other = waits(&store, database);
        store.release_lease(&lease).expect("it is its own");
        let lease = if asks_before {
            has(&store, &twice)
        } else {
            Lease {
                database,
                epoch: lease.epoch + 1,
                id: twice.id,
            }
        };
        store.release_lease(&lease).expect("it is its own");
        assert_eq!(has(&store, &other).epoch, lease.epoch + 1);
    }
}

#[test]
fn a_publication_hands_over_with_its_last_step_and_not_before() {
    let world = World::new();
    let database = create(&world.other, "a", 3).database;
    let lease = take_over(&world.other, database);
    let next = waits(&world.other, database);
    let request = large(&world, newest(&world.other, "a"), 7, Some(lease));
    let other = engine_over(world.kv.clone());
    let early = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&early);
    world.faulty.before_commits(move |_| {
        let answer = other.lease(&next).expect("the store answers");
        seen.lock().expect("no panic").push(answer);
    });
    world.mortal.commit(&request).expect("it holds the lease");
    let early = early.lock().expect("no panic");
    assert!(early.len() > 5);
    let is_waiting = |answer: &LeaseAnswer| matches!(answer, LeaseAnswer::Waiting { .. });
    assert!(early.iter().all(is_waiting), "{early:?}");
    let lease = has(&world.other, &next);
    let now = newest(&world.other, "a");
    assert_eq!(content(&world.other, &now), all(7));
    assert!(now.lease.is_held_as(&lease));
    // It may publish in turn.
    let request = large(&world, now, 8, Some(lease));
    world.other.commit(&request).expect("it holds the lease");
    let now = newest(&world.other, "a");
    assert_eq!(content(&world.other, &now), all(8));
    assert_eq!(now.lease, LeaseStanding::Free);
}

#[test]
fn what_is_left_of_a_publication_is_removed_before_it_is_handed_over() {
    let world = World::new();
    let database = create(&world.other, "a", 3).database;
    let (before, _) = world.records(database);
    let lease = take_over(&world.other, database);
    let request = large(&world, newest(&world.other, "a"), 7, Some(lease));
    world.dies_after(8);
    let died = world.mortal.commit(&request);
    died.expect_err("its node has died");
    let next = waits(&world.other, database);
    world.other.release_lease(&lease).expect("it is its own");
    let lease = has(&world.other, &next);
    assert_eq!(world.records(database), (before, 0));
    let now = newest(&world.other, "a");
    let mut part = participant(now, &[], &[(1, 9)], 3);
    part.lease = Some(lease);
    let outcome = world.other.commit(&crate::support::request(vec![part]));
    outcome.expect("it holds the lease");
    assert_eq!(content(&world.other, &newest(&world.other, "a")), [9, 2, 3]);
}

#[test]
fn who_began_while_it_was_free_is_refused_after_a_hand_over() {
    let store = engine_over(faulty());
    let base = create(&store, "a", 3);
    let database = base.database;
    let free = newest(&store, "a");
    let lease = take_over(&store, database);
    let next = waits(&store, database);
    store.release_lease(&lease).expect("it is its own");
    let leased = Err(CommitError::Leased { database });
    let refused = commit(&store, free, &[], &[(3, 9)], 3);
    assert_eq!(refused.map(|_| ()), leased);
    let own = write(newest(&store, "a"), 9, has(&store, &next));
    store.commit(&own).expect("it holds the lease");
    commit(&store, free, &[], &[(3, 9)], 3).expect("it is free");
}

/// After a commit that hands the lease over, a client must not go on as if it were free.
#[test]
fn nobody_goes_on_from_a_commit_that_hands_over() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("store").display());
    let url = verso_pagestore::StoreUrl::parse(&url).unwrap();
    let store = verso_engine::open(&url).unwrap();
    let store = &*store;
    create(store, "a", 3);
    let lease = take_over(store, newest(store, "a").database);
    let own = write(newest(store, "a"), 8, lease);
    assert!(store.commit(&own).unwrap().mark.is_some(), "nobody waits");
    let lease = take_over(store, lease.database);
    let next = waits(store, lease.database);
    let own = write(newest(store, "a"), 9, lease);
    assert_eq!(store.commit(&own).unwrap().mark, None);
    has(store, &next);
}

#[test]
fn a_removed_database_takes_its_queue_along() {
    let store = engine_over(faulty());
    let database = create(&store, "a", 3).database;
    let lease = take_over(&store, database);
    let next = waits(&store, database);
    store.remove(&name("a")).expect("it is there");
    let removed = Err(LeaseError::Removed { database });
    assert_eq!(store.lease(&next), removed);
    store.release_lease(&lease).expect("there is nothing to do");
    store
        .leave_queue(&place(&next))
        .expect("there is nothing to do");
    assert_eq!(store.lease(&next), removed);
}
