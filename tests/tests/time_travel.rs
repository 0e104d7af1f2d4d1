//! Goal: every past moment of a database can be read, exactly as it was, and not written.
//! Method: a dump after each of many random commits, compared with what `at=` shows later.

use std::thread;
use std::time::Duration;

use rusqlite::Connection;
use verso_pagestore::CommitRecord;
use verso_tests::history::commits;
use verso_tests::random::Random;
use verso_tests::scale::fewer_when_remote;
use verso_tests::{TestStore, code, dump, integer, text};

/// Commits of the tests that look at all of them, and of the others.
const MANY: usize = 50;
const FEW: usize = 20;
const NAME: &str = "app.db";
/// `SQLITE_READONLY`, whatever its detail.
const READ_ONLY: i32 = 8;

fn run(db: &Connection, sql: &str) {
    db.execute_batch(sql)
        .unwrap_or_else(|error| panic!("{sql}: {error}: {:?}", verso_vfs::last_error()));
}

/// One commit.
fn change(random: &mut Random, number: usize) -> String {
    let (row, length) = (random.below(80), random.below(9000));
    match random.below(12) {
        0 => format!("CREATE TABLE u{number} AS SELECT {row} AS n, s FROM t"),
        1 => format!("DELETE FROM t WHERE n % 5 = {}", row % 5),
        2 => format!("ALTER TABLE t ADD COLUMN c{number} DEFAULT {row}"),
        3 => format!("CREATE INDEX i{number} ON t(s, n)"),
        4 => format!("PRAGMA user_version = {number}"),
        5 => format!("PRAGMA page_size = {}; VACUUM", 512 << random.below(8)),
        6 => "DELETE FROM t".to_owned(),
        _ => format!(
            "INSERT OR REPLACE INTO t(n, s) WITH RECURSIVE i(n) AS (SELECT {row} UNION ALL \
             SELECT n + 1 FROM i LIMIT 15) SELECT n, printf('%0*d', {length}, {number}) FROM i"
        ),
    }
}

/// A database's past, as it was when it was the present.
struct Past {
    store: TestStore,
    moments: Vec<(CommitRecord, String)>,
}

impl Past {
    fn new(seed: u64, count: usize) -> Self {
        let (store, mut random) = (TestStore::new(), Random::new(seed));
        let db = store.connect(NAME);
        let mut past = Self {
            store,
            moments: Vec::new(),
        };
        past.record(&db);
        run(&db, "PRAGMA page_size = 1024; PRAGMA synchronous = off");
        run(&db, "CREATE TABLE t(n INTEGER PRIMARY KEY, s)");
        past.record(&db);
        for number in 0..count {
            run(&db, &change(&mut random, number));
            past.record(&db);
        }
        past
    }

    fn record(&mut self, db: &Connection) {
        let newest = commits(&self.store, NAME).into_iter().next();
        let newest = newest.expect("a database has a commit");
        if self.moments.last().map(|(record, _)| record) != Some(&newest) {
            self.moments.push((newest, dump::main(db)));
        }
        // Times are in milliseconds, and those of two commits shall differ.
        thread::sleep(Duration::from_millis(2));
    }

    fn at(&self, moment: &str) -> Connection {
        self.store
            .try_connect(NAME, &format!("&at={moment}"))
            .unwrap_or_else(|error| panic!("{moment}: {error}: {:?}", verso_vfs::last_error()))
    }
}

#[test]
fn every_version_is_as_it_was() {
    let past = Past::new(1, fewer_when_remote(MANY));
    assert!(
        past.moments.len() > fewer_when_remote(MANY) / 2,
        "{}",
        past.moments.len()
    );
    for (record, expected) in &past.moments {
        let db = past.at(&record.version.to_string());
        dump::assert_same(expected, &dump::main(&db), &record.version.to_string());
    }
    // All of them at once, in a process-wide cache, and again in reverse.
    let open: Vec<Connection> = past
        .moments
        .iter()
        .map(|(record, _)| past.at(&record.version.to_string()))
        .collect();
    for (db, (record, expected)) in open.iter().zip(&past.moments).rev() {
        dump::assert_same(expected, &dump::main(db), &record.version.to_string());
    }
}

#[test]
fn every_time_shows_the_newest_commit_before_it() {
    let past = Past::new(2, fewer_when_remote(MANY));
    for (number, (record, expected)) in past.moments.iter().enumerate() {
        let time = record.time.to_string();
        assert!(time.ends_with('Z'), "{time}");
        dump::assert_same(expected, &dump::main(&past.at(&time)), &time);
        let before = verso_pagestore::UnixMillis::new(record.time.get() - 1).to_string();
        let earlier = number.checked_sub(1);
        if let Some((_, earlier)) = earlier.and_then(|number| past.moments.get(number)) {
            dump::assert_same(earlier, &dump::main(&past.at(&before)), &before);
        } else {
            let opened = past.store.try_connect(NAME, &format!("&at={before}"));
            let error = opened.expect_err("there is nothing before the first version");
            assert_eq!(code(&error), 14, "{error}");
        }
    }
    let (_, newest) = past.moments.last().unwrap();
    dump::assert_same(newest, &dump::main(&past.at("-0s")), "now");
}

#[test]
fn a_moment_stays_while_the_database_goes_on() {
    let past = Past::new(3, fewer_when_remote(FEW));
    let (record, expected) = past.moments.get(past.moments.len() / 2).unwrap();
    let db = past.at(&record.version.to_string());
    dump::assert_same(expected, &dump::main(&db), "before");
    let writer = past.store.connect(NAME);
    run(
        &writer,
        "PRAGMA page_size = 4096; VACUUM; DROP TABLE t; CREATE TABLE other(n)",
    );
    dump::assert_same(expected, &dump::main(&db), "after");
    run(&db, "BEGIN");
    dump::assert_same(expected, &dump::main(&db), "in a transaction");
    run(&db, "COMMIT");
}

#[test]
fn the_past_cannot_be_written() {
    let past = Past::new(4, fewer_when_remote(FEW));
    let before = commits(&past.store, NAME).len();
    for (record, expected) in past.moments.iter().skip(1).step_by(7) {
        let db = past.at(&record.version.to_string());
        assert!(db.is_readonly("main").unwrap());
        for sql in [
            "INSERT INTO t(n) VALUES (1000)",
            "CREATE TABLE new(n)",
            "PRAGMA user_version = 9",
            "DROP TABLE t",
            "VACUUM",
        ] {
            let error = db.execute_batch(sql).expect_err(sql);
            assert_eq!(code(&error) & 0xff, READ_ONLY, "{sql}: {error}");
        }
        run(
            &db,
            "CREATE TEMP TABLE notes(n); INSERT INTO notes VALUES (1)",
        );
        assert_eq!(text(&db, "PRAGMA integrity_check"), "ok");
        dump::assert_same(expected, &dump::main(&db), "it is as it was");
    }
    assert_eq!(commits(&past.store, NAME).len(), before);
}

#[test]
fn the_past_attached_to_the_present() {
    let past = Past::new(5, fewer_when_remote(FEW));
    let db = past.store.connect(NAME);
    run(&db, "DROP TABLE IF EXISTS kept; CREATE TABLE kept(n, s)");
    for (record, _) in past.moments.iter().skip(1).step_by(9) {
        let uri = past.store.uri(NAME, &format!("&at={}", record.version));
        db.execute("ATTACH ?1 AS past", [&uri]).unwrap();
        let old = dump::rows(&db, "SELECT n, s FROM past.t").unwrap();
        // SQLite begins to read there and to write here.
        run(
            &db,
            "BEGIN IMMEDIATE; DELETE FROM kept; INSERT INTO kept SELECT n, s FROM past.t",
        );
        run(&db, "COMMIT; DETACH past");
        let reader = past.store.connect(NAME);
        assert_eq!(dump::rows(&reader, "SELECT n, s FROM kept").unwrap(), old);
    }
}

#[test]
fn a_pragma_moves_a_connection_to_the_past_and_back() {
    let store = TestStore::new();
    let db = store.connect("a");
    let other = store.connect("a");
    run(&db, "CREATE TABLE t (n); INSERT INTO t VALUES (1)");
    let version = text(&db, "PRAGMA verso_version");
    assert_eq!(integer(&other, "SELECT sum(n) FROM t"), 1);
    run(&other, "INSERT INTO t VALUES (2)");
    let sum = "SELECT sum(n) FROM t";
    for _ in 0..3 {
        assert_eq!(integer(&db, sum), integer(&other, sum));
        let pinned = text(&db, &format!("PRAGMA verso_at = '{version}'"));
        assert_eq!(pinned, version);
        assert_eq!(text(&db, "PRAGMA verso_at"), version);
        assert_eq!(text(&db, "PRAGMA verso_version"), version);
        assert_eq!(integer(&db, sum), 1);
        run(&other, "INSERT INTO t VALUES (3)");
        assert_eq!(integer(&db, sum), 1, "it stays");
        for sql in [
            "INSERT INTO t VALUES (4)",
            "CREATE TABLE u (n)",
            "BEGIN IMMEDIATE",
        ] {
            let error = db.execute_batch(sql).unwrap_err();
            assert_eq!(code(&error) & 0xff, READ_ONLY, "{sql}");
            let _ = db.execute_batch("ROLLBACK");
        }
        run(&db, "PRAGMA verso_at = newest");
        run(&db, "INSERT INTO t VALUES (10)");
    }
    for (sql, reason) in [
        ("PRAGMA verso_at = 'yesterday'", "is not a moment"),
        ("PRAGMA verso_at = '00000000000000ff0000'", "has no version"),
    ] {
        let error = db.execute_batch(sql).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
        assert_eq!(integer(&db, sum), integer(&other, sum));
    }
    run(&db, "BEGIN; SELECT * FROM t");
    let error = db
        .execute_batch(&format!("PRAGMA verso_at = '{version}'"))
        .unwrap_err();
    assert!(error.to_string().contains("end it first"), "{error}");
    run(&db, "COMMIT");
}
