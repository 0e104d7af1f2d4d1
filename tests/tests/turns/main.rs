//! Goal: writers take turns by themselves. What the documentation promises to succeed does
//! so at the first attempt, exactly once; and what it lets fail fails with the code that it
//! names, loses nothing, and can be tried again.
//! Method: many threads and processes on one row without any retry of their own; and
//! conflicts made on purpose, by a function that runs a rival in the middle of a statement.

mod attached;
mod busy;
mod connections;
mod counting;
mod immediate;
mod queued;
mod races;
mod rival;
mod start;
mod statements;
mod unrepeatable;

use std::path::Path;
use std::thread;
use std::time::Duration;

use rusqlite::Connection;
use verso_tests::sessions::{self, execute};
use verso_tests::workers::Orders;
use verso_tests::{TestStore, integer, open, text, uri};

const DATABASE: &str = "app.db";
/// More than any turn of these tests may take to come.
const PATIENCE: Duration = Duration::from_mins(1);

/// Not a test of its own: worker processes begin here.
#[test]
fn worker() {
    if let Some(orders) = Orders::received() {
        match orders.role.as_str() {
            sessions::ROLE => sessions::serve(&orders),
            "count" => counting::work(&orders),
            "share" => counting::work_for_a_share(&orders),
            "immediate" => immediate::work(&orders),
            "wait" => immediate::work_waiting(&orders),
            "queued" => queued::work(&orders),
            other => panic!("unknown role {other}"),
        }
    }
}

/// Opens the database of these tests, with more URI parameters, patience, and no fsync.
fn connect_with(store: &Path, parameters: &str) -> Connection {
    let db = open(&uri(store, DATABASE, parameters)).expect("the database opens");
    db.busy_timeout(PATIENCE).expect("a timeout");
    execute(&db, "PRAGMA synchronous = OFF").expect("SQL");
    db
}

fn connect(store: &Path) -> Connection {
    connect_with(store, "")
}

/// Opens the database for a writer that does not wait.
fn impatient(store: &Path) -> Connection {
    let db = connect(store);
    db.busy_timeout(Duration::ZERO).expect("a timeout");
    db
}

/// A store with a counter, and a connection to it.
fn counter() -> (TestStore, Connection) {
    let store = TestStore::new();
    let db = connect(&store.path());
    execute(
        &db,
        "CREATE TABLE counter (n INTEGER); INSERT INTO counter VALUES (0)",
    )
    .expect("SQL");
    (store, db)
}

const ADD: &str = "UPDATE counter SET n = n + 1";

fn counted(db: &Connection) -> i64 {
    integer(db, "SELECT n FROM counter")
}

fn assert_intact(db: &Connection) {
    assert_eq!(text(db, "PRAGMA integrity_check"), "ok");
}

/// Runs the same in so many threads, which all begin at once.
fn in_threads<T: Send>(count: u64, work: impl Fn(u64) -> T + Sync) -> Vec<T> {
    let start = std::sync::Barrier::new(usize::try_from(count).expect("few threads"));
    thread::scope(|scope| {
        let threads: Vec<_> = (0..count)
            .map(|number| {
                let (work, start) = (&work, &start);
                scope.spawn(move || {
                    start.wait();
                    work(number)
                })
            })
            .collect();
        let joined = threads.into_iter().map(thread::ScopedJoinHandle::join);
        joined
            .map(|result| result.expect("the thread's own message says why"))
            .collect()
    })
}
