//! Goal: whatever a transaction reads in several databases, it reads as of one moment, and
//! the next transaction sees the newest state again.
//! Method: an invariant over two databases that every commit keeps, readers that look at
//! both while commits fall in between, and statements that are not one transaction.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rusqlite::Connection;
use verso_tests::sessions::attach;
use verso_tests::{TestStore, integer};

const TOTAL: i64 = 1000;
const BOTH: &str = "SELECT (SELECT n FROM main.account) + (SELECT n FROM other.account)";
const MOVE: &str =
    "BEGIN; UPDATE main.account SET n = n - 1; UPDATE other.account SET n = n + 1; COMMIT";

/// A connection to one database, with the other one attached.
fn connect(store: &TestStore) -> Connection {
    let db = store.connect("a");
    db.busy_timeout(Duration::from_mins(1)).expect("a timeout");
    db.execute_batch(&attach(&store.path(), "b"))
        .expect("it attaches");
    db.execute_batch("PRAGMA synchronous = OFF; PRAGMA other.synchronous = OFF")
        .expect("a pragma");
    db
}

fn accounts() -> (TestStore, Connection) {
    let store = TestStore::new();
    let db = connect(&store);
    db.execute_batch(&format!(
        "CREATE TABLE main.account (n); INSERT INTO main.account VALUES ({TOTAL});
         CREATE TABLE other.account (n); INSERT INTO other.account VALUES (0)"
    ))
    .expect("two accounts");
    (store, db)
}

#[test]
fn a_transaction_reads_the_second_database_as_of_its_first_read() {
    let (store, writer) = accounts();
    let reader = connect(&store);
    // Its cache has seen both, at different times.
    assert_eq!(integer(&reader, BOTH), TOTAL);
    for round in 0..3 {
        reader.execute_batch("BEGIN").unwrap();
        let here = integer(&reader, "SELECT n FROM main.account");
        writer.execute_batch(MOVE).unwrap();
        writer.execute_batch(MOVE).unwrap();
        let there = integer(&reader, "SELECT n FROM other.account");
        assert_eq!(here + there, TOTAL, "round {round}");
        assert_eq!(integer(&reader, BOTH), TOTAL, "round {round}");
        reader.execute_batch("COMMIT").unwrap();
        assert_eq!(
            integer(&reader, "SELECT n FROM other.account"),
            there + 2,
            "the next one sees the newest state"
        );
    }
}

#[test]
fn what_was_read_of_an_earlier_moment_still_counts_at_the_commit() {
    let (store, writer) = accounts();
    let reader = connect(&store);
    reader.execute_batch("BEGIN").unwrap();
    let here = integer(&reader, "SELECT n FROM main.account");
    writer.execute_batch(MOVE).unwrap();
    reader
        .execute("UPDATE other.account SET n = n + ?1", [here])
        .unwrap();
    let error = reader.execute_batch("COMMIT").unwrap_err();
    assert_eq!(verso_tests::code(&error), 517);
    assert_eq!(integer(&reader, BOTH), TOTAL);
    reader.execute_batch(MOVE).unwrap();
    assert_eq!(integer(&writer, "SELECT n FROM other.account"), 2);
}

#[test]
fn a_single_statement_reads_one_moment() {
    let (store, _) = accounts();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let db = connect(&store);
                for _ in 0..150 {
                    // Either the whole transfer is run again, or it came through.
                    while db.execute_batch(MOVE).is_err() {
                        let _ = db.execute_batch("ROLLBACK");
                    }
                }
                done.store(true, Ordering::Relaxed);
            });
        }
        scope.spawn(|| {
            let db = connect(&store);
            while !done.load(Ordering::Relaxed) {
                assert_eq!(integer(&db, BOTH), TOTAL);
            }
        });
    });
    let db = connect(&store);
    assert_eq!(integer(&db, "SELECT n FROM other.account"), 300);
}

#[test]
fn statements_beside_an_open_cursor_see_the_newest_state() {
    let (store, other_writer) = accounts();
    let db = connect(&store);
    db.execute_batch(
        "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 20)
         INSERT INTO main.account SELECT n FROM c",
    )
    .unwrap();
    let mut cursor = db.prepare("SELECT n FROM main.account").unwrap();
    let mut rows = cursor.query([]).unwrap();
    rows.next().unwrap().expect("a first row");
    // Not read by this cursor: the newest schema and the newest rows are there.
    other_writer
        .execute_batch("CREATE TABLE other.late (n); INSERT INTO other.account VALUES (0)")
        .unwrap();
    assert_eq!(integer(&db, "SELECT count(*) FROM other.late"), 0);
    assert_eq!(integer(&db, "SELECT count(*) FROM other.account"), 2);
    let mut count = 2;
    while let Some(row) = rows.next().unwrap() {
        let n: i64 = row.get(0).unwrap();
        db.execute("INSERT INTO other.account VALUES (?1)", [n])
            .unwrap();
        count += 1;
        assert_eq!(integer(&db, "SELECT count(*) FROM other.account"), count);
    }
    assert_eq!(count, 22);
}
