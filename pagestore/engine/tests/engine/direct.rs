//! Commits of one round trip: which are, and that the store's own check misses nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use verso_engine::Engine;
use verso_engine::kv::memory::{ManualClock, MemoryKv, MemoryOptions};
use verso_pagestore::{
    CommitError, LeaseAnswer, LeaseId, LeaseRequest, LeaseStanding, PageStore, Snapshot,
};

use crate::support::{
    commit, content, create, engine_over, name, newest, participant, reader, request,
};

/// A store whose time the tests move.
fn store() -> (Engine<MemoryKv>, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::default());
    let options = MemoryOptions {
        clock: clock.clone(),
        ..MemoryOptions::default()
    };
    (engine_over(MemoryKv::new(options)), clock)
}

/// Attempts at commits while something is done, such as "direct committed".
fn attempts(something: impl FnOnce()) -> BTreeMap<String, u64> {
    let recorder = DebuggingRecorder::new();
    metrics::with_local_recorder(&recorder, something);
    let counted = recorder.snapshotter().snapshot().into_vec();
    let attempts = counted.into_iter().filter_map(|(key, _, _, value)| {
        let labels: Vec<_> = key.key().labels().map(metrics::Label::value).collect();
        let DebugValue::Counter(count) = value else {
            return None;
        };
        Some((labels.join(" "), count))
    });
    attempts.collect()
}

fn counts<const N: usize>(expected: [&str; N]) -> BTreeMap<String, u64> {
    expected.map(|kind| (kind.to_owned(), 1)).into()
}

fn take_lease(store: &dyn PageStore, snapshot: &Snapshot) -> verso_pagestore::Lease {
    let request = LeaseRequest {
        database: snapshot.database,
        id: LeaseId::random().expect("random numbers"),
        time_to_live: Duration::from_secs(5),
        ticket: None,
        stuck: None,
    };
    match store.lease(&request).expect("the store answers") {
        LeaseAnswer::Granted(lease) => lease,
        LeaseAnswer::HandedOver(_) | LeaseAnswer::Waiting { .. } => panic!("somebody has it"),
    }
}

#[test]
fn a_young_transaction_is_committed_without_a_look() {
    let (store, clock) = store();
    create(&store, "a", 3);
    let snapshot = newest(&store, "a");
    clock.advance(Duration::from_secs(3));
    let counted = attempts(|| {
        commit(&store, snapshot, &[2], &[(1, 7)], 3).expect("no conflict");
    });
    assert_eq!(counted, counts(["direct committed"]));
    assert_eq!(content(&store, &newest(&store, "a")), [7, 2, 3]);
}

#[test]
fn an_old_transaction_looks_first() {
    let (store, clock) = store();
    create(&store, "a", 3);
    let snapshot = newest(&store, "a");
    clock.advance(Duration::from_secs(6));
    let counted = attempts(|| {
        commit(&store, snapshot, &[2], &[(1, 7)], 3).expect("no conflict");
    });
    assert_eq!(counted, counts(["checked committed"]));
}

#[test]
fn a_conflict_is_found_and_named() {
    let (store, _) = store();
    create(&store, "a", 3);
    let snapshot = newest(&store, "a");
    let winner = commit(&store, snapshot, &[], &[(2, 9)], 3).expect("it is first");
    let counted = attempts(|| {
        let refused = commit(&store, snapshot, &[2], &[(3, 7)], 3).expect_err("page 2 changed");
        let CommitError::Conflict(conflict) = refused else {
            panic!("{refused}");
        };
        assert_eq!((conflict.page.get(), conflict.winner), (2, winner.version));
    });
    assert_eq!(counted, counts(["direct conflict", "checked refused"]));
}

#[test]
fn a_lease_that_was_taken_since_is_respected() {
    let (store, _) = store();
    create(&store, "a", 3);
    let other = create(&store, "b", 1);
    let snapshot = newest(&store, "a");
    let lease = take_lease(&store, &snapshot);
    let write = || commit(&store, snapshot, &[], &[(1, 7)], 3);
    let refused = CommitError::Leased {
        database: snapshot.database,
    };
    let counted = attempts(|| assert_eq!(write().expect_err("it is held"), refused));
    assert_eq!(counted, counts(["direct conflict", "checked refused"]));
    // Who begins while it is held knows, and who only reads need not.
    let later = newest(&store, "a");
    assert_eq!(snapshot.lease, LeaseStanding::Free);
    assert!(later.lease.is_held_as(&lease));
    let counted = attempts(|| {
        commit(&store, later, &[], &[(1, 7)], 3).expect_err("it is held");
    });
    assert_eq!(counted, counts(["checked refused"]));
    let joint = request(vec![
        reader(snapshot, &[2]),
        participant(other, &[], &[(1, 8)], 1),
    ]);
    let counted = attempts(|| {
        store.commit(&joint).expect("nothing is in its way");
    });
    assert_eq!(counted, counts(["direct committed"]));
    store.release_lease(&lease).expect("it is held");
    let counted = attempts(|| {
        write().expect("it is free again");
    });
    assert_eq!(counted, counts(["direct conflict", "checked committed"]));
}

#[test]
fn a_database_that_was_removed_since_stays_so() {
    let (store, _) = store();
    create(&store, "a", 3);
    let snapshot = newest(&store, "a");
    store.remove(&name("a")).expect("it is there");
    let refused = commit(&store, snapshot, &[], &[(1, 7)], 3).expect_err("it is gone");
    let database = snapshot.database;
    assert_eq!(refused, CommitError::Removed { database });
    assert_eq!(store.list(None, 10).expect("a list"), []);
    assert_eq!(store.name_of(database).expect("an answer"), None);
}

#[test]
fn a_transaction_over_databases_is_as_old_as_its_oldest_snapshot() {
    let (store, clock) = store();
    create(&store, "a", 3);
    create(&store, "b", 3);
    let old = newest(&store, "a");
    clock.advance(Duration::from_secs(3));
    let young = newest(&store, "b");
    let joint = || {
        request(vec![
            participant(old, &[2], &[(1, 7)], 3),
            participant(young, &[2], &[(1, 7)], 3),
        ])
    };
    let counted = attempts(|| {
        store.commit(&joint()).expect("no conflict");
    });
    assert_eq!(counted, counts(["direct committed"]));
    let counted = attempts(|| {
        let refused = store.commit(&joint()).expect_err("page 1 of both changed");
        assert!(matches!(refused, CommitError::Conflict(_)), "{refused}");
    });
    assert_eq!(counted, counts(["direct conflict", "checked refused"]));
}

#[test]
fn the_snapshot_after_an_own_commit_is_checked() {
    let (store, _) = store();
    let before = create(&store, "a", 3);
    let own = request(vec![participant(before, &[], &[(1, 7)], 3)]);
    let committed = store.commit(&own).expect("no conflict");
    // As a client continues: others may have committed at this very version.
    let after = Snapshot {
        version: committed.version,
        commit: own.id,
        read_version: committed.read_version,
        lease: LeaseStanding::Unknown,
        mark: None,
        ..before
    };
    let counted = attempts(|| {
        commit(&store, after, &[], &[(1, 8)], 3).expect("no conflict");
    });
    assert_eq!(counted, counts(["checked committed"]));
}

#[test]
fn the_same_commit_again_finds_itself() {
    let (store, _) = store();
    let snapshot = create(&store, "a", 3);
    let same = request(vec![participant(snapshot, &[], &[(1, 7)], 3)]);
    let first = store.commit(&same).expect("no conflict");
    commit(&store, newest(&store, "a"), &[], &[(1, 9)], 3).expect("another in between");
    let counted = attempts(|| {
        let again = store.commit(&same).expect("it has happened");
        assert_eq!(again.version, first.version);
    });
    assert_eq!(counted, counts(["direct conflict", "checked committed"]));
    assert_eq!(content(&store, &newest(&store, "a")), [9, 2, 3]);
}
