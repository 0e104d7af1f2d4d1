//! Goal: a connection with bounded freshness may lack what others committed within the bound,
//! and nothing else: its own commits are there, a conflict is not met twice because of the age
//! of a snapshot, and transactions are as serializable as with strict freshness.
//! Method: bounds of an hour, so that whatever ends one early must be the code that ought to,
//! and of some milliseconds; the connection's own counts say what was asked of the store.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use verso_tests::sessions::attach;
use verso_tests::{TestStore, code, integer, text};

const HOUR: &str = "&freshness=bounded:3600000";
const READ: &str = "SELECT n FROM t";

/// A store with one number in it, and a connection that writes.
fn number() -> (TestStore, Connection) {
    let store = TestStore::new();
    let db = connect(&store, "");
    db.execute_batch("CREATE TABLE t (n); INSERT INTO t VALUES (0)")
        .expect("it works");
    (store, db)
}

/// A store with a number in each of two databases, and a connection that writes both.
fn two_numbers() -> (TestStore, Connection) {
    let store = TestStore::new();
    let db = connect(&store, "");
    let schema = "CREATE TABLE main.t (n); INSERT INTO main.t VALUES (0);
                  CREATE TABLE other.t (n); INSERT INTO other.t VALUES (0)";
    let sql = format!("{}; {schema}", attach(&store.path(), "b"));
    db.execute_batch(&sql).expect("two tables");
    (store, db)
}

fn connect(store: &TestStore, parameters: &str) -> Connection {
    let db = store.try_connect("a", parameters).expect("it works");
    db.busy_timeout(Duration::from_mins(1)).expect("it works");
    db.execute_batch("PRAGMA synchronous = OFF")
        .expect("it works");
    db
}

fn count(db: &Connection, name: &str) -> i64 {
    integer(db, &format!("SELECT verso_stats() ->> '{name}'"))
}

fn increment(db: &Connection) {
    db.execute("UPDATE t SET n = n + 1", []).expect("it works");
}

#[test]
fn within_the_bound_nothing_is_asked_of_the_store() {
    let (store, writer) = number();
    let reader = connect(&store, HOUR);
    assert_eq!(integer(&reader, READ), 0);
    let requests = count(&reader, "requests");
    increment(&writer);
    for _ in 0..10 {
        assert_eq!(integer(&reader, READ), 0, "the snapshot is not an hour old");
    }
    assert_eq!(count(&reader, "requests"), requests);
    assert_eq!(text(&reader, "PRAGMA verso_freshness = strict"), "strict");
    assert_eq!(integer(&reader, READ), 1);
    assert!(count(&reader, "requests") > requests);
}

#[test]
fn after_the_bound_the_newest_is_read() {
    let (store, writer) = number();
    let reader = connect(&store, "&freshness=bounded:20");
    assert_eq!(integer(&reader, READ), 0);
    increment(&writer);
    let committed = Instant::now();
    while integer(&reader, READ) == 0 {
        assert!(committed.elapsed() < Duration::from_mins(1), "never seen");
        thread::sleep(Duration::from_millis(1));
    }
    increment(&writer);
    thread::sleep(Duration::from_millis(25));
    assert_eq!(integer(&reader, READ), 2, "20 ms are over");
}

#[test]
fn own_commits_are_always_seen() {
    let (store, writer) = number();
    let db = connect(&store, HOUR);
    for round in 0..10 {
        assert_eq!(integer(&db, READ), round * 2);
        increment(&writer);
        increment(&db);
        assert_eq!(
            integer(&db, READ),
            round * 2 + 2,
            "and what came before them"
        );
    }
}

#[test]
fn after_an_own_commit_transactions_begin_at_it() {
    let (store, _) = number();
    let db = connect(&store, HOUR);
    for round in 1..10 {
        increment(&db);
        let committed = text(&db, "SELECT verso_version()");
        db.execute_batch("PRAGMA shrink_memory; BEGIN").unwrap();
        assert_eq!(integer(&db, READ), round);
        assert_eq!(text(&db, "SELECT verso_version()"), committed);
        db.execute_batch("COMMIT").unwrap();
    }
}

#[test]
fn a_conflict_over_what_was_only_read_is_not_met_again_either() {
    let (store, writer) = two_numbers();
    let db = connect(&store, "");
    let other = store.uri("b", HOUR);
    db.execute_batch(&format!("ATTACH '{other}' AS other"))
        .unwrap();
    assert_eq!(integer(&db, "SELECT n FROM other.t"), 0);
    writer.execute_batch("UPDATE other.t SET n = 7").unwrap();
    let copy =
        "BEGIN; SELECT n FROM other.t; UPDATE main.t SET n = 5 + (SELECT n FROM other.t); COMMIT";
    let error = db.execute_batch(copy).unwrap_err();
    assert_eq!(code(&error), 517, "{error}");
    db.execute_batch(copy).unwrap();
    assert_eq!(integer(&db, "SELECT n FROM main.t"), 12);
}

#[test]
fn what_an_earlier_moment_left_in_the_cache_is_not_taken_for_newer() {
    let (store, writer) = two_numbers();
    let db = connect(&store, HOUR);
    db.execute_batch(&attach(&store.path(), "b")).unwrap();
    assert_eq!(integer(&db, "SELECT n FROM main.t"), 0);
    writer
        .execute_batch("BEGIN; UPDATE main.t SET n = 1; UPDATE other.t SET n = 1; COMMIT")
        .unwrap();
    assert_eq!(integer(&db, "SELECT n FROM other.t"), 1, "it is strict");
    db.execute_batch("PRAGMA other.verso_freshness = 'bounded:3600000'")
        .unwrap();
    let both = "SELECT (SELECT n FROM main.t) * 10 + (SELECT n FROM other.t)";
    assert_eq!(integer(&db, both), 0, "both as of the first begin");
    assert_eq!(
        integer(&db, "SELECT n FROM other.t"),
        1,
        "time does not run backwards"
    );
}

#[test]
fn a_conflict_is_not_met_again_because_of_an_old_snapshot() {
    let (store, writer) = number();
    let db = connect(&store, HOUR);
    assert_eq!(integer(&db, READ), 0);
    increment(&writer);
    db.execute_batch("BEGIN").unwrap();
    let seen = integer(&db, READ);
    assert_eq!(seen, 0);
    db.execute("UPDATE t SET n = ?1 + 1", [seen]).unwrap();
    let error = db.execute_batch("COMMIT").unwrap_err();
    assert_eq!(code(&error), 517);
    assert!(db.is_autocommit(), "the COMMIT has ended it");
    db.execute_batch("BEGIN").unwrap();
    let seen = integer(&db, READ);
    assert_eq!(seen, 1, "the next one begins afresh");
    db.execute("UPDATE t SET n = ?1 + 1", [seen]).unwrap();
    db.execute_batch("COMMIT").unwrap();
    assert_eq!(integer(&writer, READ), 2);
}

#[test]
fn a_statement_runs_again_on_the_newest() {
    let (store, writer) = number();
    let db = connect(&store, HOUR);
    assert_eq!(integer(&db, READ), 0);
    increment(&writer);
    increment(&db);
    assert_eq!(integer(&db, READ), 2);
    assert_eq!(count(&db, "retries"), 1);
    assert_eq!(count(&db, "conflicts"), 1);
    assert_eq!(count(&db, "commits"), 1);
}

#[test]
fn what_takes_the_lease_reads_the_newest() {
    let (store, writer) = number();
    let db = connect(&store, HOUR);
    assert_eq!(integer(&db, READ), 0);
    increment(&writer);
    db.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(integer(&db, READ), 1);
    increment(&db);
    db.execute_batch("COMMIT").unwrap();

    // A queued transaction that reads first learns at its first write that it came too late.
    db.execute_batch("PRAGMA verso_writers = queued").unwrap();
    assert_eq!(integer(&db, READ), 2);
    increment(&writer);
    db.execute_batch("BEGIN").unwrap();
    assert_eq!(integer(&db, READ), 2);
    let error = db.execute("UPDATE t SET n = n + 1", []).unwrap_err();
    assert_eq!(code(&error), 517);
    db.execute_batch("ROLLBACK; BEGIN").unwrap();
    assert_eq!(integer(&db, READ), 3);
    increment(&db);
    db.execute_batch("COMMIT").unwrap();

    // One that writes first waits for its turn, and then reads what is newest.
    assert_eq!(integer(&db, READ), 4);
    increment(&writer);
    db.execute_batch("BEGIN").unwrap();
    increment(&db);
    db.execute_batch("COMMIT").unwrap();
    assert_eq!(integer(&writer, READ), 6);
}

#[test]
fn the_past_and_back_again_is_not_held_back() {
    let (store, writer) = number();
    let db = connect(&store, HOUR);
    let version = text(&db, "SELECT verso_version()");
    assert_eq!(integer(&db, READ), 0);
    db.execute_batch(&format!("PRAGMA verso_at = '{version}'"))
        .unwrap();
    assert_eq!(integer(&db, READ), 0);
    increment(&writer);
    db.execute_batch("PRAGMA verso_at = newest").unwrap();
    assert_eq!(integer(&db, READ), 1);
}

#[test]
fn increments_of_many_are_exact() {
    const WRITERS: i64 = 4;
    const EACH: i64 = 50;
    let (store, writer) = number();
    thread::scope(|scope| {
        for number in 0..WRITERS {
            let store = &store;
            scope.spawn(move || {
                let db = connect(store, "&freshness=bounded:50");
                for round in 0..EACH {
                    if (round + number) % 2 == 0 {
                        increment(&db);
                        continue;
                    }
                    let attempt = || -> rusqlite::Result<()> {
                        db.execute_batch("BEGIN")?;
                        let seen: i64 = db.query_row(READ, [], |row| row.get(0))?;
                        db.execute("UPDATE t SET n = ?1", [seen + 1])?;
                        db.execute_batch("COMMIT")
                    };
                    let mut attempts = 0;
                    while let Err(error) = attempt() {
                        assert_eq!(code(&error), 517, "{error}");
                        assert!(db.is_autocommit(), "the COMMIT has ended it");
                        attempts += 1;
                        assert!(attempts < 1000, "no turn in 1000 attempts");
                    }
                }
            });
        }
    });
    assert_eq!(integer(&writer, READ), WRITERS * EACH);
}

#[test]
fn two_databases_are_read_as_of_one_moment() {
    const TOTAL: i64 = 100;
    let store = TestStore::new();
    let connect = |parameters: &str| {
        let db = connect(&store, parameters);
        db.execute_batch(&attach(&store.path(), "b")).unwrap();
        db.execute_batch("PRAGMA other.synchronous = OFF").unwrap();
        db
    };
    let writer = connect("");
    writer
        .execute_batch(&format!(
            "CREATE TABLE main.t (n); INSERT INTO main.t VALUES ({TOTAL});
             CREATE TABLE other.t (n); INSERT INTO other.t VALUES (0)"
        ))
        .unwrap();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let reads = scope.spawn(|| {
            let reader = connect("&freshness=bounded:5");
            reader
                .execute_batch("PRAGMA other.verso_freshness = 'bounded:15'")
                .unwrap();
            let mut seen = 0;
            while !is_over.load(Ordering::Relaxed) {
                let sql = "SELECT (SELECT n FROM other.t) + (SELECT n FROM main.t)";
                assert_eq!(integer(&reader, sql), TOTAL);
                let sql = "SELECT (SELECT n FROM main.t) + (SELECT n FROM other.t)";
                assert_eq!(integer(&reader, sql), TOTAL);
                // One of them alone, so that what is known of the two differs in age.
                seen = integer(&reader, "SELECT n FROM other.t");
            }
            seen
        });
        for _ in 0..100 {
            writer
                .execute_batch(
                    "BEGIN; UPDATE main.t SET n = n - 1; UPDATE other.t SET n = n + 1; COMMIT",
                )
                .unwrap();
            thread::sleep(Duration::from_millis(1));
        }
        is_over.store(true, Ordering::Relaxed);
        assert!(reads.join().unwrap() > 0, "the reader saw some of it");
    });
}

/// What SQLite reads of a database when it opens it is of that moment, and nothing else is.
#[test]
fn whoever_opened_before_a_commit_sees_it() {
    let store = TestStore::new();
    let early = store.connect("app.db");
    let on_empty = text(&early, "SELECT verso_version()");
    let other = store.connect("app.db");
    let sql = "PRAGMA page_size = 8192; CREATE TABLE t (n INTEGER); INSERT INTO t VALUES (1)";
    other.execute_batch(sql).expect("SQL");
    let newest = text(&other, "SELECT verso_version()");
    assert_ne!(on_empty, newest);
    assert_eq!(text(&early, "SELECT verso_version()"), newest);
    assert_eq!(integer(&early, "SELECT n FROM t"), 1);
    assert_eq!(integer(&early, "PRAGMA page_size"), 8192);
    let late = store.connect("app.db");
    other.execute_batch("UPDATE t SET n = 2").expect("SQL");
    assert_eq!(integer(&late, "SELECT n FROM t"), 2);
}
