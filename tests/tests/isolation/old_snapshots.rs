//! Snapshots and caches that thousands of commits have passed.

use rusqlite::Connection;
use verso_tests::random::Random;
use verso_tests::{TestStore, code, integer};

const ROWS: u64 = 50;
const ORIGINAL: &str = "SELECT count(*) = 50 AND min(n = id) = 1 FROM a";

fn connect(store: &TestStore) -> Connection {
    let db = store.connect("app.db");
    db.execute_batch("PRAGMA synchronous = OFF").expect("SQL");
    db
}

/// Two connections to tables `a` and `b` with every row on a page of its own and `n` = `id`.
fn two_connections(store: &TestStore) -> (Connection, Connection) {
    let (one, two) = (connect(store), connect(store));
    one.execute_batch(
        "PRAGMA page_size = 1024;
         CREATE TABLE a (id INTEGER PRIMARY KEY, n INTEGER, pad BLOB);
         CREATE TABLE b (id INTEGER PRIMARY KEY, n INTEGER, pad BLOB);
         WITH RECURSIVE ids (id) AS (VALUES (1) UNION ALL SELECT id + 1 FROM ids WHERE id < 50)
             INSERT INTO a SELECT id, id, zeroblob(700) FROM ids;
         INSERT INTO b SELECT * FROM a;",
    )
    .expect("the schema is right");
    (one, two)
}

/// Commits so many changes of single rows.
fn churn(db: &Connection, table: &str, random: &mut Random, commits: u64) {
    let mut statement = db
        .prepare(&format!("UPDATE {table} SET n = n + 1 WHERE id = ?1"))
        .expect("SQL");
    for _ in 0..commits {
        let changed = statement.execute([(1 + random.below(ROWS)).cast_signed()]);
        assert_eq!(changed.expect("nobody else writes"), 1);
    }
}

#[test]
fn a_snapshot_stays_what_it_was() {
    let store = TestStore::new();
    let (old, writer) = two_connections(&store);
    let (cold, mut random) = (connect(&store), Random::new(1));
    for (reader, is_warm) in [(&old, true), (&cold, false)] {
        if is_warm {
            assert_eq!(integer(reader, ORIGINAL), 1);
        }
        reader.execute_batch("BEGIN").unwrap();
        assert_eq!(integer(reader, "SELECT n FROM a WHERE id = 7"), 7);
    }
    for _ in 0..5 {
        churn(&writer, "a", &mut random, 600);
        let id = 1 + random.below(ROWS);
        let sql = format!("SELECT n = id FROM a WHERE id = {id}");
        assert_eq!(
            (integer(&old, &sql), integer(&cold, &sql)),
            (1, 1),
            "row {id}"
        );
    }
    assert_eq!((integer(&old, ORIGINAL), integer(&cold, ORIGINAL)), (1, 1));
    cold.execute_batch("COMMIT").unwrap();
    assert_eq!(integer(&cold, ORIGINAL), 0);
    old.execute_batch("UPDATE b SET n = 0 WHERE id = 1")
        .unwrap();
    let error = old.execute_batch("COMMIT").unwrap_err();
    assert_eq!(code(&error), 517, "{error}");
    let total = (1 + ROWS) * ROWS / 2 + 3000;
    for db in [&old, &cold, &writer] {
        assert_eq!(integer(db, "SELECT sum(n) FROM a").unsigned_abs(), total);
        assert_eq!(integer(db, "SELECT n FROM b WHERE id = 1"), 1);
    }
}

#[test]
fn an_old_transaction_commits_if_nothing_that_it_read_has_changed() {
    let store = TestStore::new();
    let (old, writer) = two_connections(&store);
    let mut random = Random::new(2);
    let fresh = connect(&store);
    fresh
        .execute_batch("BEGIN; UPDATE b SET n = -5 WHERE id = 5")
        .unwrap();
    churn(&writer, "a", &mut random, 3000);
    fresh.execute_batch("COMMIT").unwrap();
    assert_eq!(integer(&old, "SELECT n FROM b WHERE id = 5"), -5);
}

#[test]
fn a_warm_cache_is_never_stale_however_many_commits_have_passed() {
    let store = TestStore::new();
    let (creator, writer) = two_connections(&store);
    let (idle, mut random) = (connect(&store), Random::new(3));
    let mut total = integer(&idle, "SELECT sum(n) FROM a");
    for commits in [0, 1, 2, 100, 998, 999, 1000, 1001, 1002, 4097] {
        // Only the last of the commits is about what the idle connection has in its cache.
        churn(&writer, "b", &mut random, commits);
        churn(&writer, "a", &mut random, 1);
        total += 1;
        let sum = integer(&idle, "SELECT sum(n) FROM a");
        assert_eq!(sum, total, "after {commits} other commits");
        assert_eq!(integer(&creator, "SELECT sum(n) FROM a"), total);
    }
}
