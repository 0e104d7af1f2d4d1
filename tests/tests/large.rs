//! Goal: a transaction of any size is a transaction.
//! Method: one that is larger than the store takes at once, while others read and write, and one
//! whose process is killed in the middle of its commit. `VERSO_LARGE_MIB` says how large.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use verso_tests::sessions::execute;
use verso_tests::workers::{Orders, Worker, report};
use verso_tests::{TestStore, code, integer, open, text, uri};

const DATABASE: &str = "app.db";

/// Bytes of a row.
const ROW: u64 = 100_000;

/// How many rows a transaction writes: more than is published at once.
fn rows() -> u64 {
    let mebibytes = std::env::var("VERSO_LARGE_MIB").ok();
    let mebibytes = mebibytes.map_or(80, |text| text.parse().expect("a number of MiB"));
    mebibytes * (1 << 20) / ROW
}

fn insert(rows: u64) -> String {
    format!(
        "INSERT INTO t SELECT value, randomblob({ROW}) FROM
             (WITH RECURSIVE n (value) AS (VALUES (1) UNION ALL SELECT value + 1 FROM n
                                           WHERE value < {rows}) SELECT value FROM n)"
    )
}

fn run(db: &Connection, sql: &str) {
    execute(db, sql).unwrap_or_else(|code| panic!("{sql}: {code}: {:?}", verso_vfs::last_error()));
}

fn create(store: &TestStore) -> Connection {
    let db = store.connect(DATABASE);
    run(
        &db,
        "CREATE TABLE t (n INTEGER PRIMARY KEY, b BLOB); CREATE TABLE other (n INTEGER)",
    );
    db
}

/// Not a test of its own: worker processes begin here.
#[test]
fn worker() {
    if let Some(orders) = Orders::received() {
        let db = open(&uri(&orders.store, DATABASE, "")).expect("the database opens");
        run(&db, "BEGIN");
        run(&db, &insert(orders.rounds));
        report("written");
        run(&db, "COMMIT");
        report("committed");
    }
}

/// The number of rows that somebody sees.
fn seen(path: &Path) -> i64 {
    let db = open(&uri(path, DATABASE, "")).expect("the database opens");
    integer(&db, "SELECT count(*) FROM t")
}

#[test]
fn a_transaction_of_any_size_appears_at_once() {
    let store = TestStore::new();
    let db = create(&store);
    let all = i64::try_from(rows()).expect("not that many");
    run(&db, "BEGIN");
    run(&db, &insert(rows()));
    let (path, committed) = (store.path(), AtomicBool::new(false));
    thread::scope(|scope| {
        let readers = scope.spawn(|| {
            let reader = open(&uri(&path, DATABASE, "")).expect("the database opens");
            let mut reads = 0;
            while !committed.load(Ordering::Relaxed) {
                let count = integer(&reader, "SELECT count(*) FROM t");
                assert!(count == 0 || count == all, "{count} of {all} rows");
                reads += 1;
            }
            reads
        });
        let began = Instant::now();
        run(&db, "COMMIT");
        println!(
            "{} MB committed in {:?}",
            rows() * ROW / 1_000_000,
            began.elapsed()
        );
        committed.store(true, Ordering::Relaxed);
        assert!(readers.join().expect("no error") > 0);
    });
    let fresh = store.connect(DATABASE);
    assert_eq!(integer(&fresh, "SELECT count(*) FROM t"), all);
    let bytes = integer(&fresh, "SELECT sum(length(b)) FROM t");
    assert_eq!(bytes, all * ROW.cast_signed());
    assert_eq!(text(&fresh, "PRAGMA integrity_check"), "ok");
    run(&fresh, "INSERT INTO other VALUES (1)");
    run(&db, "UPDATE other SET n = n + 1");
}

#[test]
fn a_large_transaction_that_lost_leaves_nothing() {
    let store = TestStore::new();
    let db = create(&store);
    run(&db, "BEGIN; SELECT count(*) FROM other");
    run(&db, &insert(rows()));
    run(&store.connect(DATABASE), "INSERT INTO other VALUES (1)");
    assert_eq!(execute(&db, "COMMIT"), Err(517), "SQLITE_BUSY_SNAPSHOT");
    assert_eq!(seen(&store.path()), 0);
    run(&db, "INSERT INTO t VALUES (1, 'small')");
    assert_eq!(seen(&store.path()), 1);
}

#[test]
fn a_process_killed_in_the_middle_of_a_large_commit_leaves_all_or_nothing() {
    let mut outcomes = [0, 0];
    for round in 0..4_u64 {
        let store = TestStore::new();
        let db = create(&store);
        db.busy_timeout(Duration::from_mins(1)).expect("a setting");
        let worker = Worker::start("write", round, rows(), &store.path());
        assert_eq!(worker.line().expect("it writes"), "written");
        thread::sleep(Duration::from_millis(700 * round));
        let told = worker.kill();
        // Waits for the lease of what has come to a halt, and goes on.
        let began = Instant::now();
        while let Err(error) = db.execute_batch("BEGIN IMMEDIATE; INSERT INTO other VALUES (1)") {
            assert_eq!(
                code(&error) & 0xff,
                5,
                "{error}: {:?}",
                verso_vfs::last_error()
            );
            assert!(began.elapsed() < Duration::from_mins(2), "{error}");
        }
        run(&db, "COMMIT");
        let count = seen(&store.path());
        let is_done = count > 0;
        if is_done {
            assert_eq!(count, i64::try_from(rows()).expect("not that many"));
        } else {
            assert!(told.is_empty(), "it was committed");
        }
        outcomes[usize::from(is_done)] += 1;
        assert_eq!(integer(&db, "SELECT sum(n) FROM other"), 1);
        assert_eq!(text(&db, "PRAGMA integrity_check"), "ok");
    }
    println!("{outcomes:?} of the killed had nothing, and all of it");
}
