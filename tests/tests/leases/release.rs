//! A lease ends with its transaction, however that ends, and nobody has to wait for it.

use rusqlite::Connection;
use verso_tests::sessions::{attach, execute};

use super::{ADD, assert_intact, connect, counted, counter, impatient};

/// Texts of SQL that end without a transaction, and whether the last statement fails.
const ENDINGS: [(&str, bool); 14] = [
    ("BEGIN IMMEDIATE; COMMIT", false),
    ("BEGIN EXCLUSIVE; ROLLBACK", false),
    (
        "BEGIN IMMEDIATE; UPDATE counter SET n = n + 1; COMMIT",
        false,
    ),
    (
        "BEGIN IMMEDIATE; UPDATE counter SET n = n + 1; ROLLBACK",
        false,
    ),
    ("BEGIN IMMEDIATE; UPDATE counter SET n = n; COMMIT", false),
    ("BEGIN IMMEDIATE; SELECT n FROM counter; COMMIT", false),
    (
        "BEGIN IMMEDIATE; SAVEPOINT a; UPDATE counter SET n = 5; ROLLBACK TO a; RELEASE a; COMMIT",
        false,
    ),
    ("INSERT INTO rows VALUES (1, 1) RETURNING id", true),
    (
        "BEGIN IMMEDIATE; INSERT OR ROLLBACK INTO rows VALUES (1, 1)",
        true,
    ),
    (
        "UPDATE counter SET n = abs(-9223372036854775808) RETURNING n",
        true,
    ),
    ("UPDATE rows SET who = 0 WHERE id = -1 RETURNING id", false),
    ("ANALYZE", false),
    ("VACUUM", false),
    (
        "BEGIN IMMEDIATE; CREATE TABLE x (n); DROP TABLE x; COMMIT",
        false,
    ),
];

#[test]
fn whoever_ends_a_transaction_gives_the_lease_back() {
    let (store, db) = counter();
    execute(&db, "INSERT INTO rows VALUES (1, 1)").unwrap();
    let next = impatient(&store.path());
    for (sql, fails) in ENDINGS {
        let answer = execute(&db, sql);
        assert_eq!(answer.is_err(), fails, "{sql}: {answer:?}");
        assert!(db.is_autocommit(), "{sql}");
        for turn in ["BEGIN IMMEDIATE; COMMIT", ADD] {
            assert_eq!(execute(&next, turn), Ok(vec![]), "after {sql}");
        }
    }
    let expected = i64::try_from(ENDINGS.len()).unwrap() + 1;
    assert_eq!(counted(&db), expected);
    assert_intact(&db);
}

/// Statements that fail in a transaction do not end it, nor its lease.
#[test]
fn a_failed_statement_inside_keeps_the_lease() {
    let (store, db) = counter();
    let next = impatient(&store.path());
    execute(&db, "BEGIN IMMEDIATE; INSERT INTO rows VALUES (1, 1)").unwrap();
    assert_eq!(execute(&db, "INSERT INTO rows VALUES (1, 1)"), Err(1555));
    assert_eq!(execute(&next, ADD), Err(5));
    execute(&db, ADD).unwrap();
    assert_eq!(execute(&db, "COMMIT"), Ok(vec![]));
    assert_eq!(execute(&next, ADD), Ok(vec![]));
    assert_eq!(counted(&db), 2);
}

fn close(db: Connection) {
    db.close().map_err(|(_, error)| error).expect("it closes");
}

#[test]
fn a_closed_connection_gives_the_lease_back() {
    let (store, _) = counter();
    let next = impatient(&store.path());
    for begin in [
        "BEGIN IMMEDIATE",
        "BEGIN IMMEDIATE; UPDATE counter SET n = 1000",
        "PRAGMA verso_writers = queued; BEGIN; UPDATE counter SET n = 1000",
        "PRAGMA cache_size = 1; BEGIN IMMEDIATE; UPDATE counter SET n = 1000; INSERT INTO rows \
         WITH RECURSIVE i (i) AS (VALUES (5) UNION ALL SELECT i + 1 FROM i WHERE i < 2000) \
         SELECT i, i FROM i",
    ] {
        for end in [close, drop::<Connection>] {
            let db = connect(&store.path());
            execute(&db, begin).unwrap();
            assert_eq!(execute(&next, ADD), Err(5), "{begin}");
            end(db);
            assert_eq!(execute(&next, ADD), Ok(vec![]), "{begin}");
        }
    }
    assert_eq!(counted(&next), 8);
    assert_intact(&next);
}

#[test]
fn a_dropped_cursor_gives_the_lease_back() {
    let (store, db) = counter();
    let next = impatient(&store.path());
    let mut insert = db
        .prepare("INSERT INTO rows (who) VALUES (1), (2) RETURNING id")
        .unwrap();
    for _ in 0..3 {
        let mut rows = insert.query([]).unwrap();
        assert!(rows.next().unwrap().is_some());
        assert_eq!(execute(&next, ADD), Err(5));
        drop(rows);
        assert_eq!(execute(&next, ADD), Ok(vec![]));
    }
}

/// The leases of all databases are taken before SQLite comes to the local file.
#[test]
fn a_begin_that_fails_keeps_no_lease() {
    let (store, _) = counter();
    let other = store.connect("other.db");
    other.busy_timeout(std::time::Duration::ZERO).unwrap();
    execute(
        &other,
        "CREATE TABLE t (n INTEGER); INSERT INTO t VALUES (0)",
    )
    .unwrap();
    let file = store.folder().join("local.db");
    let local = Connection::open(&file).unwrap();
    execute(&local, "CREATE TABLE t (n INTEGER); BEGIN IMMEDIATE").unwrap();
    let db = impatient(&store.path());
    execute(
        &db,
        &format!("ATTACH 'file:{}?vfs=unix' AS local", file.display()),
    )
    .unwrap();
    execute(&db, &attach(&store.path(), "other.db")).unwrap();
    let next = impatient(&store.path());
    for _ in 0..3 {
        assert_eq!(execute(&db, "BEGIN IMMEDIATE"), Err(5));
        assert_eq!(execute(&next, ADD), Ok(vec![]));
        assert_eq!(execute(&other, "UPDATE t SET n = n + 1"), Ok(vec![]));
    }
    // A lease of the second database that is held keeps that of the first one free.
    execute(&local, "COMMIT").unwrap();
    execute(&other, "BEGIN IMMEDIATE").unwrap();
    assert_eq!(execute(&db, "BEGIN IMMEDIATE"), Err(5));
    assert_eq!(execute(&next, ADD), Ok(vec![]));
    execute(&other, "COMMIT").unwrap();
    assert_eq!(execute(&db, "BEGIN IMMEDIATE; COMMIT"), Ok(vec![]));
}

/// A transaction has the leases of all databases, and gives all of them back.
#[test]
fn leases_of_attached_databases_end_together() {
    let (store, _) = counter();
    let other = store.connect("other.db");
    other.busy_timeout(std::time::Duration::ZERO).unwrap();
    execute(
        &other,
        "CREATE TABLE t (n INTEGER); INSERT INTO t VALUES (0)",
    )
    .unwrap();
    let next = impatient(&store.path());
    let db = connect(&store.path());
    execute(&db, &attach(&store.path(), "other.db")).unwrap();
    for writes in [
        "",
        "UPDATE counter SET n = n + 1",
        "UPDATE other.t SET n = n + 1",
        "UPDATE counter SET n = n + 1; UPDATE other.t SET n = n + 1",
    ] {
        for end in ["COMMIT", "ROLLBACK"] {
            execute(&db, &format!("BEGIN IMMEDIATE; {writes}")).unwrap();
            assert_eq!(execute(&next, ADD), Err(5), "{writes}");
            assert_eq!(
                execute(&other, "UPDATE t SET n = n + 1"),
                Err(5),
                "{writes}"
            );
            execute(&db, end).unwrap();
            assert_eq!(execute(&next, ADD), Ok(vec![]), "{writes}; {end}");
            assert_eq!(
                execute(&other, "UPDATE t SET n = n + 1"),
                Ok(vec![]),
                "{writes}; {end}"
            );
        }
    }
    assert_eq!(counted(&next), 8 + 2);
    // Detached, it has no part in anything any more.
    execute(&db, "DETACH other; BEGIN IMMEDIATE").unwrap();
    assert_eq!(execute(&other, "UPDATE t SET n = n + 1"), Ok(vec![]));
    execute(&db, "COMMIT").unwrap();
}
