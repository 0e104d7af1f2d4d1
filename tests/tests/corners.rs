//! Goal: corners of waiting and of transactions over several databases: cursors that stay
//! open, databases that are only read or attached twice, a main database of another VFS.
//! Method: one scenario each, as somebody who wanted to break it thought of it.

use std::thread;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use verso_tests::{TestStore, code, integer};

fn attach(store: &TestStore, db: &Connection, name: &str, schema: &str, more: &str) {
    let uri = store.uri(name, more);
    db.execute_batch(&format!(
        "ATTACH '{uri}' AS {schema}; PRAGMA {schema}.synchronous = OFF"
    ))
    .expect("it attaches");
}

fn connect(store: &TestStore, main: &str, other: &str) -> Connection {
    let db = store.connect(main);
    db.busy_timeout(Duration::from_secs(3)).expect("it works");
    db.execute_batch("PRAGMA synchronous = OFF")
        .expect("it works");
    attach(store, &db, other, "other", "");
    db
}

fn two() -> (TestStore, Connection) {
    let store = TestStore::new();
    let db = connect(&store, "a", "b");
    db.execute_batch(
        "CREATE TABLE main.ta (n); INSERT INTO main.ta VALUES (1000), (0), (0);
         CREATE TABLE other.tb (n); INSERT INTO other.tb VALUES (0);
         CREATE TABLE other.log (n)",
    )
    .expect("it works");
    (store, db)
}

const MOVE: &str = "BEGIN; UPDATE main.ta SET n = n - 1 WHERE rowid = 1;
    UPDATE other.tb SET n = n + 1; COMMIT";

/// An autocommit statement that lost twice reads main without the lease.
#[test]
fn a_repeated_statement_over_two_databases_succeeds() {
    let (store, _db) = two();
    let holder = connect(&store, "a", "b");
    let loser = connect(&store, "a", "b");
    assert_eq!(integer(&loser, "SELECT n FROM main.ta"), 1000);
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    holder
        .execute_batch(
            "UPDATE main.ta SET n = n - 1 WHERE rowid = 1; UPDATE other.tb SET n = n + 1",
        )
        .unwrap();
    let begun = Instant::now();
    let waiter = thread::spawn(move || {
        let result = loser.execute(
            "INSERT INTO other.log SELECT n FROM main.ta WHERE rowid = 1",
            [],
        );
        (result.map_err(|error| code(&error)), begun.elapsed())
    });
    thread::sleep(Duration::from_millis(500));
    holder.execute_batch("COMMIT").unwrap();
    let (result, took) = waiter.join().unwrap();
    assert!(
        result == Ok(1) && took < Duration::from_secs(2),
        "{result:?} after {took:?}"
    );
}

/// Queued writers: what was read in another database before the first write, and has
/// changed, is told at the commit. Told earlier, SQLite would take it for the end of a wait.
#[test]
fn what_a_queued_writer_read_in_another_database_before_is_told_at_the_commit() {
    let (store, writer) = two();
    let db = connect(&store, "a", "b");
    db.execute_batch("PRAGMA main.verso_writers = queued; PRAGMA other.verso_writers = queued")
        .unwrap();
    db.execute_batch("BEGIN").unwrap();
    assert_eq!(integer(&db, "SELECT n FROM main.ta"), 1000);
    writer.execute_batch(MOVE).unwrap();
    db.execute_batch("UPDATE other.tb SET n = n + 1").unwrap();
    let error = db.execute_batch("COMMIT").unwrap_err();
    assert_eq!(code(&error), 517);
    assert_eq!(integer(&db, "SELECT n FROM other.tb"), 1);
}

/// Two connections that attach in opposite orders.
#[test]
fn begin_immediate_in_opposite_orders_makes_progress() {
    let (store, _db) = two();
    let run = |main: &'static str, other: &'static str| {
        let db = connect(&store, main, other);
        thread::spawn(move || {
            let mut worst = Duration::ZERO;
            let mut failures = 0;
            for _ in 0..100 {
                let begun = Instant::now();
                if db.execute_batch("BEGIN IMMEDIATE; COMMIT").is_err() {
                    failures += 1;
                }
                worst = worst.max(begun.elapsed());
                if failures > 0 {
                    break;
                }
            }
            (failures, worst)
        })
    };
    let (one, two) = (run("a", "b"), run("b", "a"));
    let (one, two) = (one.join().unwrap(), two.join().unwrap());
    assert!(
        one.0 + two.0 == 0 && one.1.max(two.1) < Duration::from_secs(2),
        "{one:?} {two:?}"
    );
}

/// A database that is attached read-only is read under the lease as well.
#[test]
fn begin_immediate_commits_whatever_it_read_in_a_read_only_database() {
    let (store, writer) = two();
    writer.busy_timeout(Duration::ZERO).unwrap();
    let db = store.connect("a");
    attach(&store, &db, "b", "other", "&mode=ro");
    db.busy_timeout(Duration::from_secs(3)).unwrap();
    db.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(integer(&db, "SELECT n FROM other.tb"), 0);
    let error = writer.execute("UPDATE other.tb SET n = 7", []).unwrap_err();
    assert_eq!(code(&error), 5, "what the transaction reads stays as it is");
    db.execute("UPDATE main.ta SET n = 5 WHERE rowid = 2", [])
        .unwrap();
    let result = db.execute_batch("COMMIT").map_err(|error| code(&error));
    assert_eq!(result, Ok(()));
}

/// One database through two attachments, under the lease.
#[test]
fn a_database_attached_twice_does_not_wait_for_itself() {
    let (store, _db) = two();
    let db = connect(&store, "a", "a");
    // Optimistic, it works.
    db.execute(
        "UPDATE main.ta SET n = (SELECT max(n) FROM other.ta) WHERE rowid = 2",
        [],
    )
    .unwrap();
    let begun = Instant::now();
    let sql = "UPDATE main.ta SET n = (SELECT max(n) FROM other.ta) WHERE rowid = 2 RETURNING n";
    let result = db
        .query_row(sql, [], |row| row.get::<_, i64>(0))
        .map_err(|error| code(&error));
    assert_eq!(result, Ok(1000), "after {:?}", begun.elapsed());
}

/// A RELEASE that cannot succeed any more keeps the lease.
#[test]
fn a_refused_release_keeps_nobody_waiting() {
    let (store, third) = two();
    let holder = connect(&store, "a", "b");
    let db = connect(&store, "a", "b");
    db.execute_batch("SAVEPOINT s; UPDATE main.ta SET n = n + 1")
        .unwrap();
    holder
        .execute_batch("BEGIN IMMEDIATE; UPDATE main.ta SET n = n + 1")
        .unwrap();
    let waiter = thread::spawn(move || {
        let code = db.execute_batch("RELEASE s").map_err(|error| code(&error));
        (db, code)
    });
    thread::sleep(Duration::from_millis(300));
    holder.execute_batch("COMMIT").unwrap();
    let (db, result) = waiter.join().unwrap();
    assert_eq!(result, Err(5));
    assert!(!db.is_autocommit());
    third.busy_timeout(Duration::from_secs(2)).unwrap();
    let result = third
        .execute_batch("BEGIN IMMEDIATE; COMMIT")
        .map_err(|error| code(&error));
    assert_eq!(result, Ok(()));
}

/// A commit that took back the lease of a database that is still read.
#[test]
fn queued_writes_beside_a_cursor_over_another_database() {
    let (store, _db) = two();
    let db = connect(&store, "a", "b");
    db.execute_batch("PRAGMA main.verso_writers = queued; PRAGMA other.verso_writers = queued")
        .unwrap();
    let mut cursor = db.prepare("SELECT n FROM main.ta").unwrap();
    let mut rows = cursor.query([]).unwrap();
    let mut results = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        let n: i64 = row.get(0).unwrap();
        let result = db.execute("INSERT INTO other.log VALUES (?1)", [n]);
        results.push(result.map_err(|error| (code(&error), verso_vfs::last_error())));
    }
    assert_eq!(results, [Ok(1), Ok(1), Ok(1)]);
}

/// Queued writers are a matter of the connection, not of one of its databases.
#[test]
fn queued_is_for_the_connection() {
    let (store, writer) = two();
    let db = store.try_connect("a", "&writers=queued").unwrap();
    attach(&store, &db, "b", "other", "");
    db.execute_batch("PRAGMA verso_writers = queued").unwrap();
    writer.busy_timeout(Duration::ZERO).unwrap();
    db.execute_batch("BEGIN; UPDATE other.tb SET n = n + 1")
        .unwrap();
    let _ = writer.execute_batch("BEGIN; UPDATE other.tb SET n = n + 1; COMMIT");
    assert_eq!(
        db.execute_batch("COMMIT").map_err(|error| code(&error)),
        Ok(())
    );
}

/// A short lease beside a long one is not renewed in time.
#[test]
fn leases_of_different_times_to_live() {
    let (store, long) = two();
    let mut options = verso_vfs::Options::new(verso_open::open);
    options.name = "short".to_owned();
    options.lease_time_to_live = Duration::from_millis(200);
    verso_vfs::register(options).unwrap();
    let short = || {
        let uri = store.uri("b", "").replace("vfs=verso", "vfs=short");
        let db = verso_tests::open(&uri).unwrap();
        db.busy_timeout(Duration::from_secs(2)).unwrap();
        db
    };
    let (holder, waiter) = (short(), short());
    let a = store.connect("a");
    drop(long);
    a.execute_batch("BEGIN IMMEDIATE").unwrap();
    thread::sleep(Duration::from_millis(50));
    holder
        .execute_batch("BEGIN IMMEDIATE; INSERT INTO log VALUES (1)")
        .unwrap();
    let other = thread::spawn(move || {
        waiter
            .execute_batch("BEGIN IMMEDIATE; COMMIT")
            .map_err(|error| code(&error))
    });
    thread::sleep(Duration::from_millis(550));
    assert_eq!(
        holder.execute_batch("COMMIT").map_err(|error| code(&error)),
        Ok(())
    );
    other.join().unwrap().unwrap();
}

/// The same without queued writers: one wait at a COMMIT spoils BEGIN IMMEDIATE.
#[test]
fn begin_immediate_beside_a_cursor_commits() {
    let (store, holder) = two();
    let db = connect(&store, "a", "b");
    let mut cursor = db.prepare("SELECT n FROM main.ta").unwrap();
    let mut rows = cursor.query([]).unwrap();
    rows.next().unwrap().unwrap();
    db.execute_batch("BEGIN; INSERT INTO other.log VALUES (1)")
        .unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    let waiter = thread::spawn(move || {
        thread::sleep(Duration::from_millis(200));
        holder.execute_batch("COMMIT").unwrap();
    });
    db.execute_batch("COMMIT").unwrap();
    waiter.join().unwrap();
    // Nobody else is there any more.
    let result = db.execute_batch("BEGIN IMMEDIATE; INSERT INTO other.log VALUES (2); COMMIT");
    assert_eq!(
        result.map_err(|error| (code(&error), verso_vfs::last_error())),
        Ok(())
    );
}

/// One database through two attachments, with queued writers.
#[test]
fn queued_with_a_database_attached_twice() {
    let (store, _db) = two();
    let db = connect(&store, "a", "a");
    db.busy_timeout(Duration::from_millis(500)).unwrap();
    db.execute_batch("PRAGMA other.synchronous = FULL; PRAGMA synchronous = FULL")
        .unwrap();
    db.execute_batch("PRAGMA main.verso_writers = queued")
        .unwrap();
    let result = db.execute("INSERT INTO main.ta SELECT n FROM other.ta", []);
    assert_eq!(
        result.map_err(|error| (code(&error), verso_vfs::last_error())),
        Ok(3)
    );
}

/// A commit that was acknowledged is there: main is a local file, one database is
/// written, and one that is attached read-only is read, while others write that one.
#[test]
fn an_acknowledged_commit_beside_a_read_only_database_is_there() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    let (store, _db) = two();
    let uri = format!("file:{}", store.folder().join("local.db").display());
    let db = verso_tests::open(&uri).unwrap();
    db.busy_timeout(Duration::from_secs(3)).unwrap();
    db.execute_batch("CREATE TABLE l (n)").unwrap();
    attach(&store, &db, "a", "v", "");
    attach(&store, &db, "b", "r", "&mode=ro");
    // A local file whose part of the commit takes a while, after that of the Verso database.
    let big = store.folder().join("big.db");
    db.execute_batch(&format!(
        "ATTACH '{}' AS big; CREATE TABLE big.x (n); INSERT INTO big.x VALUES (0)",
        big.display()
    ))
    .unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let writer = {
        let done = Arc::clone(&done);
        let other = store.connect("b");
        other.busy_timeout(Duration::from_secs(3)).unwrap();
        other.execute_batch("PRAGMA synchronous = OFF").unwrap();
        thread::spawn(move || {
            while !done.load(Ordering::Relaxed) {
                other.execute("UPDATE tb SET n = n + 1", []).unwrap();
                thread::sleep(Duration::from_millis(90));
            }
        })
    };
    let transaction = || {
        let sql = "BEGIN; INSERT INTO l VALUES (1); INSERT INTO v.ta SELECT 5 FROM r.tb;
            UPDATE big.x SET n = randomblob(10000000); COMMIT";
        let result = db.execute_batch(sql);
        if !db.is_autocommit() {
            db.execute_batch("ROLLBACK").unwrap();
        }
        result.map_err(|error| code(&error))
    };
    let mut acknowledged = 0;
    for _ in 0..25 {
        match transaction() {
            Ok(()) => acknowledged += 1,
            Err(code) => assert!([5, 517].contains(&code), "{code}"),
        }
    }
    done.store(true, Ordering::Relaxed);
    writer.join().unwrap();
    assert_eq!(transaction(), Ok(()), "nobody is in the way");
    acknowledged += 1;
    let there = integer(&db, "SELECT count(*) FROM v.ta WHERE n = 5");
    let local = integer(&db, "SELECT count(*) FROM l");
    assert_eq!((there, local), (acknowledged, acknowledged));
}

fn local_main(store: &TestStore) -> Connection {
    let uri = format!("file:{}", store.folder().join("local.db").display());
    let db = verso_tests::open(&uri).expect("it works");
    db.busy_timeout(Duration::from_secs(1)).expect("it works");
    db.execute_batch("CREATE TABLE l (n)").expect("it works");
    attach(store, &db, "a", "v", "");
    db.execute_batch("PRAGMA v.synchronous = FULL")
        .expect("it works");
    db
}

/// Main is a local file. A COMMIT that conflicts is rolled back, also where a cursor is
/// open: nothing of it is seen, and nobody waits for it.
#[test]
fn a_refused_commit_with_a_local_main_is_rolled_back_under_a_cursor() {
    let (store, other) = two();
    let db = local_main(&store);
    let mut cursor = db.prepare("SELECT n FROM v.ta").unwrap();
    let mut rows = cursor.query([]).unwrap();
    rows.next().unwrap().unwrap();
    db.execute_batch("BEGIN; INSERT INTO l VALUES (1); INSERT INTO v.ta VALUES (77)")
        .unwrap();
    other
        .execute("UPDATE main.ta SET n = n + 1000 WHERE rowid = 1", [])
        .unwrap();
    let error = db.execute_batch("COMMIT").unwrap_err();
    let message = verso_vfs::last_error();
    assert_eq!(code(&error), 517);
    let dirty = db.query_row("SELECT count(*) FROM v.ta WHERE n = 77", [], |row| {
        row.get::<_, i64>(0)
    });
    let lease = other
        .execute_batch("BEGIN IMMEDIATE; COMMIT")
        .map_err(|error| code(&error));
    let names_conflict = message
        .as_deref()
        .is_some_and(|text| text.contains("conflict in"));
    assert!(
        dirty.as_ref().ok() == Some(&0) && lease.is_ok() && names_conflict,
        "{dirty:?} {lease:?} {message:?}"
    );
}

/// The same without a cursor, over several rounds: what follows works and is right.
#[test]
fn after_a_refused_commit_with_a_local_main() {
    let (store, other) = two();
    let db = local_main(&store);
    for round in 0..3 {
        db.execute_batch("BEGIN; INSERT INTO l VALUES (1); INSERT INTO v.ta VALUES (77)")
            .unwrap();
        other
            .execute("UPDATE main.ta SET n = n + 1000 WHERE rowid = 1", [])
            .unwrap();
        assert_eq!(code(&db.execute_batch("COMMIT").unwrap_err()), 517);
        assert_eq!(
            integer(&db, "SELECT count(*) FROM v.ta WHERE n = 77"),
            round
        );
        assert_eq!(integer(&db, "SELECT count(*) FROM l"), round);
        db.execute_batch("BEGIN; INSERT INTO l VALUES (1); INSERT INTO v.ta VALUES (77); COMMIT")
            .unwrap();
        assert_eq!(
            integer(&other, "SELECT count(*) FROM main.ta WHERE n = 77"),
            round + 1
        );
        other
            .execute("UPDATE main.ta SET n = n WHERE n <> 77", [])
            .unwrap();
    }
}
