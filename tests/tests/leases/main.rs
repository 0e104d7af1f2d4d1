//! Goal: a writer lease is held by whoever lives and wants it, and by nobody else: it is
//! given back at once, taken over from the dead and the stopped and only from them, and who
//! lost it commits nothing.
//! Method: processes that hold leases of a short time to live, SIGKILL and SIGSTOP from
//! outside, and forks.
#![cfg(unix)]

mod commits;
mod forked;
mod queue;
mod release;
mod takeover;

use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;
use verso_tests::sessions::{self, execute};
use verso_tests::workers::Orders;
use verso_tests::{TestStore, integer, open, text, uri};

const DATABASE: &str = "app.db";
/// Of the leases in these tests: long enough for a machine that stalls a little.
const TIME_TO_LIVE: Duration = Duration::from_secs(1);
/// More than any turn of these tests may take to come.
const PATIENCE: Duration = Duration::from_mins(1);
const ADD: &str = "UPDATE counter SET n = n + 1";

/// Not a test of its own: worker processes begin here.
#[test]
fn worker() {
    if let Some(orders) = Orders::received() {
        match orders.role.as_str() {
            sessions::ROLE => sessions::serve(&orders),
            "commit" => commits::work(&orders),
            "fork" => forked::work(&orders),
            "queue" => queue::work(&orders),
            other => panic!("unknown role {other}"),
        }
    }
}

fn connect(store: &Path) -> Connection {
    let db = open(&uri(store, DATABASE, "")).expect("the database opens");
    db.busy_timeout(PATIENCE).expect("a timeout");
    execute(&db, "PRAGMA synchronous = OFF").expect("SQL");
    db
}

/// Opens the database for a writer that does not wait.
fn impatient(store: &Path) -> Connection {
    let db = connect(store);
    db.busy_timeout(Duration::ZERO).expect("a timeout");
    db
}

/// A store with a counter and an empty table, and a connection to it.
fn counter() -> (TestStore, Connection) {
    counter_in(TestStore::with_leases_of(TIME_TO_LIVE))
}

fn counter_in(store: TestStore) -> (TestStore, Connection) {
    let db = connect(&store.path());
    let schema = "CREATE TABLE counter (n INTEGER); INSERT INTO counter VALUES (0);
                  CREATE TABLE rows (id INTEGER PRIMARY KEY, who INTEGER)";
    execute(&db, schema).expect("SQL");
    (store, db)
}

fn counted(db: &Connection) -> i64 {
    integer(db, "SELECT n FROM counter")
}

fn assert_intact(db: &Connection) {
    assert_eq!(text(db, "PRAGMA integrity_check"), "ok");
}
