//! A turn that was handed over begins with the answer that tells it: on the newest state, as with a
//! begin of its own.

use verso_engine::kv::faulty::{Fault, Faulty};
use verso_engine::kv::memory::{MemoryKv, MemoryOptions};
use verso_pagestore::{
    Begun, Changes, CommitError, Lease, LeaseAnswer, LeaseRequest, PageStore, Since, Snapshot,
    Start,
};

use crate::publishing::{first_request, take_over};
use crate::support::{commit, content, create, engine_over, memory, name, newest, participant};

fn since(snapshot: &Snapshot) -> Since {
    Since {
        database: snapshot.database,
        version: snapshot.version,
        commit: snapshot.commit,
    }
}

fn ask(store: &dyn PageStore, asks: &LeaseRequest, since: Since) -> (LeaseAnswer, Option<Begun>) {
    let answer = store.lease_and_begin(asks, &name("a"), Some(since));
    let (answer, start) = answer.expect("the store answers");
    let begun = start.map(|Start { begun, pages }| {
        assert_eq!(pages, [], "who has the store reads them from there");
        begun
    });
    (answer, begun)
}

/// Somebody who waits behind a holder.
fn waits(store: &dyn PageStore, known: &Snapshot) -> LeaseRequest {
    let mut asks = first_request(known.database);
    let (LeaseAnswer::Waiting { ticket, .. }, None) = ask(store, &asks, since(known)) else {
        panic!("somebody holds it");
    };
    asks.ticket = Some(ticket);
    asks
}

fn handed_over(answer: LeaseAnswer) -> Lease {
    match answer {
        LeaseAnswer::HandedOver(lease) => lease,
        LeaseAnswer::Granted(_) | LeaseAnswer::Waiting { .. } => {
            panic!("it was handed over: {answer:?}")
        }
    }
}

fn write(store: &dyn PageStore, snapshot: Snapshot, byte: u8, lease: Lease) -> Snapshot {
    let mut part = participant(snapshot, &[2], &[(2, byte)], 3);
    part.lease = Some(lease);
    let outcome = store.commit(&crate::support::request(vec![part]));
    outcome.expect("it holds the lease");
    newest(store, "a")
}

#[test]
fn a_turn_begins_on_what_the_one_before_it_committed() {
    let store = memory();
    let known = create(&store, "a", 3);
    let mut lease = take_over(&store, known.database);
    let all = [(); 4].map(|()| waits(&store, &known));
    let mut before = newest(&store, "a");
    for (turn, asks) in (10..).zip(&all) {
        let after = write(&store, before, turn, lease);
        let mut next = after;
        // An answer may be lost.
        for _ in 0..2 {
            let (answer, begun) = ask(&store, asks, since(&before));
            lease = handed_over(answer);
            let begun = begun.expect("it begins");
            let own = store.begin(&name("a"), Some(since(&before)));
            let own = own.expect("it exists");
            assert_eq!(begun.changes, own.changes);
            let read_version = begun.snapshot.read_version;
            assert!(read_version <= own.snapshot.read_version);
            let snapshot = Snapshot {
                read_version,
                ..own.snapshot
            };
            assert_eq!(begun.snapshot, snapshot);
            assert_eq!(begun.snapshot.version, after.version);
            assert!(begun.snapshot.lease.is_held_as(&lease));
            next = begun.snapshot;
        }
        before = next;
        assert_eq!(content(&store, &before), [1, turn, 3]);
    }
}

/// What is read at each look must not be much.
#[test]
fn who_has_missed_many_commits_begins_by_itself() {
    for (missed, begins) in [(100, true), (101, false)] {
        let store = memory();
        let known = create(&store, "a", 3);
        for _ in 0..missed {
            commit(&store, newest(&store, "a"), &[], &[(2, 7)], 3).expect("no conflict");
        }
        let lease = take_over(&store, known.database);
        let asks = waits(&store, &known);
        store.release_lease(&lease).expect("it is its own");
        let (answer, begun) = ask(&store, &asks, since(&known));
        handed_over(answer);
        assert_eq!(begun.is_some(), begins, "{missed}");
        let own = store.begin(&name("a"), Some(since(&known)));
        let Changes::Commits(commits) = own.expect("it exists").changes else {
            panic!("a begin tells more");
        };
        assert_eq!(commits.len(), missed);
    }
}

/// Until it is taken, others may commit without a lease: what was read before is not the newest.
#[test]
fn a_lease_that_was_free_brings_no_state() {
    let kv = Faulty::new(MemoryKv::new(MemoryOptions::default()));
    let store = engine_over(kv.clone());
    let known = create(&store, "a", 3);
    let other = engine_over(kv.inner().clone());
    kv.before_commits(move |_| {
        let overtakes = commit(&other, newest(&other, "a"), &[], &[(1, 7)], 3);
        overtakes.map(|_| ()).unwrap_or_default();
    });
    let asks = first_request(known.database);
    let (answer, begun) = ask(&store, &asks, since(&known));
    let LeaseAnswer::Granted(lease) = answer else {
        panic!("it is free: {answer:?}");
    };
    assert_eq!(begun, None);
    let snapshot = newest(&store, "a");
    assert_eq!(content(&store, &snapshot), [7, 2, 3]);
    assert!(snapshot.lease.is_held_as(&lease));
}

#[test]
fn who_does_not_know_the_newest_past_begins_by_itself() {
    let store = memory();
    let known = create(&store, "a", 3);
    let another = create(&store, "b", 3);
    let lease = take_over(&store, known.database);
    let asks = waits(&store, &known);
    store.release_lease(&lease).expect("it is its own");
    let lost = Since {
        commit: another.commit,
        ..since(&known)
    };
    for since in [lost, since(&another)] {
        let (answer, begun) = ask(&store, &asks, since);
        handed_over(answer);
        assert_eq!(begun, None);
    }
    let nothing = store.lease_and_begin(&asks, &name("a"), None);
    assert_eq!(nothing.expect("an answer").1, None);
    // The name stands for another database by now.
    store.rename(&name("a"), &name("c")).expect("it is there");
    let (answer, begun) = ask(&store, &asks, since(&known));
    handed_over(answer);
    assert_eq!(begun, None);
}

/// The request that begins may be one that also removes a second place of the same wait.
#[test]
fn lost_answers_do_not_lose_the_state() {
    for fault in [
        Fault::UnknownApplied,
        Fault::UnknownNotApplied,
        Fault::Conflict,
    ] {
        let kv = Faulty::new(MemoryKv::new(MemoryOptions::default()));
        let store = engine_over(kv.clone());
        let known = create(&store, "a", 3);
        let lease = take_over(&store, known.database);
        kv.script([Some(Fault::UnknownApplied)]);
        let twice = waits(&store, &known);
        let after = write(&store, known, 9, lease);
        kv.script([Some(fault)]);
        let (answer, begun) = ask(&store, &twice, since(&known));
        let lease = handed_over(answer);
        let begun = begun.expect("it begins");
        assert_eq!(begun.snapshot.version, after.version, "{fault:?}");
        write(&store, begun.snapshot, 8, lease);
        assert_eq!(content(&store, &newest(&store, "a")), [1, 8, 3]);
    }
}

/// A commit from it is checked as one from a begin of its own.
#[test]
fn a_turn_that_was_taken_over_cannot_commit() {
    let store = memory();
    let known = create(&store, "a", 3);
    let lease = take_over(&store, known.database);
    let [slow, mut next] = [(); 2].map(|()| waits(&store, &known));
    store.release_lease(&lease).expect("it is its own");
    let (answer, begun) = ask(&store, &slow, since(&known));
    let lost = handed_over(answer);
    let (LeaseAnswer::Waiting { view, .. }, None) = ask(&store, &next, since(&known)) else {
        panic!("it is not its turn");
    };
    next.stuck = Some(view);
    let (LeaseAnswer::Granted(lease), None) = ask(&store, &next, since(&known)) else {
        panic!("the other one stood still");
    };
    write(&store, newest(&store, "a"), 9, lease);
    let mut part = participant(begun.expect("it begins").snapshot, &[], &[(1, 8)], 3);
    part.lease = Some(lost);
    let late = store.commit(&crate::support::request(vec![part]));
    let database = known.database;
    assert_eq!(late.map(|_| ()), Err(CommitError::LeaseLost { database }));
    assert_eq!(content(&store, &newest(&store, "a")), [1, 9, 3]);
}
