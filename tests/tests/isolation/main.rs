//! Goal: concurrent transactions are serializable, however warm the page caches of their
//! connections are, wherever the connections live.
//! Method: pairs of transactions in every order of their steps, compared with plain SQLite
//! that runs them one after the other; and races with an invariant.

mod cases;
mod cursors;
mod old_snapshots;
mod pair;
mod races;

use verso_tests::TestStore;
use verso_tests::scale::{fewer_when_remote, is_soak};
use verso_tests::sessions::{self, Place, attach};
use verso_tests::workers::Orders;

use cases::CASES;
use pair::{Oracle, Pair};

/// Not a test of its own: worker processes begin here.
#[test]
fn worker() {
    if let Some(orders) = Orders::received() {
        match orders.role.as_str() {
            sessions::ROLE => sessions::serve(&orders),
            races::ROLE => races::work(&orders),
            other => panic!("unknown role {other}"),
        }
    }
}

/// Runs all cases between two connections, with at most `most` orders of steps each.
fn all_cases(place: Place, most: usize) {
    let store = TestStore::new();
    let mut pair = Pair::open(place, &store, "app.db", None);
    for case in CASES {
        pair.check(
            case,
            &Oracle::new(case),
            if is_soak() { 10_000 } else { most },
        );
    }
}

#[test]
fn every_order_of_steps_is_serializable_in_one_thread() {
    all_cases(Place::Here, fewer_when_remote(35));
}

#[test]
fn every_order_of_steps_is_serializable_between_threads() {
    all_cases(Place::Thread, fewer_when_remote(10));
}

#[test]
fn every_order_of_steps_is_serializable_between_processes() {
    all_cases(Place::Process, fewer_when_remote(10));
}

#[test]
fn every_order_of_steps_is_serializable_in_an_attached_database() {
    let store = TestStore::new();
    let command = attach(&store.path(), "app.db");
    let mut pair = Pair::open(Place::Here, &store, "main.db", Some(&command));
    for case in CASES.iter().filter(|case| !case.changes_schema) {
        pair.check(
            case,
            &Oracle::new(case),
            if is_soak() {
                10_000
            } else {
                fewer_when_remote(20)
            },
        );
    }
}

#[test]
fn databases_of_one_store_never_conflict() {
    let store = TestStore::new();
    let mut pair = Pair::open(Place::Here, &store, "one.db", None);
    pair.use_second_database(&store, "two.db");
    for case in CASES {
        pair.check_independent(case, fewer_when_remote(20));
    }
}
