//! Statements and transactions over several databases of a store.

use std::time::{Duration, Instant};

use rusqlite::Connection;
use verso_tests::scale::scaled;
use verso_tests::sessions::{attach, execute};
use verso_tests::{TestStore, integer, open};

use super::rival::Duel;
use super::{PATIENCE, assert_intact, in_threads};

/// A duel over `app.db`, whose connection has `other.db` attached.
fn duel() -> (TestStore, Duel, Connection) {
    let store = TestStore::new();
    let other = store.connect("other.db");
    execute(&other, "CREATE TABLE log (n INTEGER)").expect("SQL");
    let duel = Duel::new(&store.path());
    execute(&duel.db, &attach(&store.path(), "other.db")).expect("SQL");
    (store, duel, other)
}

#[test]
fn a_statement_that_reads_another_database_runs_again() {
    let (_store, duel, other) = duel();
    let insert = "INSERT INTO other.log SELECT n + rival() FROM main.t WHERE id = 2";
    duel.wins_at_second_attempt(insert, "UPDATE t SET n = n + 1000 WHERE id = 2");
    assert_eq!(integer(&other, "SELECT n FROM log"), 1020);
    assert_intact(&other);
}

/// Several files commit together, which SQLite does not begin again.
#[test]
fn a_statement_that_writes_two_databases_tells_a_conflict() {
    let (_store, duel, other) = duel();
    let trigger = "CREATE TEMP TRIGGER kept AFTER UPDATE ON main.t BEGIN
                       INSERT INTO log VALUES (new.n);
                   END";
    execute(&duel.db, trigger).unwrap();
    let update = "UPDATE t SET n = n + 1 + rival() WHERE id = 2";
    let rival = "UPDATE t SET n = n + 1000 WHERE id = 2";
    let (result, calls, answer) = duel.disturbed(rival, || execute(&duel.db, update));
    assert_eq!((answer, result, calls), (Ok(vec![]), Err(517), 1));
    assert!(duel.db.is_autocommit());
    assert_eq!(duel.rows("SELECT n FROM t WHERE id = 2"), [1020]);
    assert_eq!(integer(&other, "SELECT count(*) FROM log"), 0);
    assert_eq!(execute(&duel.db, update), Ok(vec![]));
    assert_eq!(integer(&other, "SELECT n FROM log"), 1021);
}

/// A connection with one database as main and the other one attached.
fn both(store: &TestStore, main: &str, other: &str) -> Connection {
    let db = open(&store.uri(main, "")).expect("the database opens");
    db.busy_timeout(PATIENCE).expect("a timeout");
    execute(&db, "PRAGMA synchronous = OFF").expect("SQL");
    execute(&db, &attach(&store.path(), other)).expect("SQL");
    execute(&db, "PRAGMA other.synchronous = OFF").expect("SQL");
    db
}

/// All take the leases of both databases, those of one in the other's order.
#[test]
fn one_database_is_attached_by_many() {
    let store = TestStore::new();
    let schema = "CREATE TABLE counter (n INTEGER); INSERT INTO counter VALUES (0)";
    for name in ["one.db", "two.db"] {
        execute(&store.connect(name), schema).unwrap();
    }
    let rounds = scaled(25);
    in_threads(6, |_| {
        let db = both(&store, "one.db", "two.db");
        for round in 0..rounds {
            let sql = if round % 2 == 0 {
                "BEGIN IMMEDIATE; UPDATE main.counter SET n = n + 1;
                 UPDATE other.counter SET n = n + 1; COMMIT"
            } else {
                "UPDATE other.counter SET n = n + 1; UPDATE main.counter SET n = n + 1"
            };
            assert_eq!(execute(&db, sql), Ok(vec![]), "{sql}");
        }
    });
    let db = both(&store, "one.db", "two.db");
    for schema in ["main", "other"] {
        let n = integer(&db, &format!("SELECT n FROM {schema}.counter"));
        assert_eq!(n.unsigned_abs(), 6 * rounds);
    }
}

#[test]
fn databases_attached_in_opposite_orders_do_not_block_each_other() {
    let store = TestStore::new();
    let schema = "CREATE TABLE counter (n INTEGER); INSERT INTO counter VALUES (0)";
    for name in ["one.db", "two.db"] {
        execute(&store.connect(name), schema).unwrap();
    }
    let rounds = scaled(25);
    let begin = Instant::now();
    in_threads(4, |number| {
        let (main, other) = if number % 2 == 0 {
            ("one.db", "two.db")
        } else {
            ("two.db", "one.db")
        };
        let db = both(&store, main, other);
        db.busy_timeout(Duration::from_secs(10)).expect("a timeout");
        for _ in 0..rounds {
            let sql = "BEGIN IMMEDIATE; UPDATE main.counter SET n = n + 1;
                       UPDATE other.counter SET n = n + 1; COMMIT";
            assert_eq!(execute(&db, sql), Ok(vec![]), "after {:?}", begin.elapsed());
        }
    });
    let db = both(&store, "one.db", "two.db");
    assert_eq!(
        integer(&db, "SELECT n FROM main.counter").unsigned_abs(),
        4 * rounds
    );
    assert_eq!(
        integer(&db, "SELECT n FROM other.counter").unsigned_abs(),
        4 * rounds
    );
}
