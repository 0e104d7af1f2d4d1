//! A SELECT that is open while its own connection writes, and others do.

use rusqlite::Connection;
use verso_tests::{TestStore, code, integer};

const ROWS: i64 = 20;

/// Two connections to a table `a` with every row on a page of its own, and a table `b`.
fn two_connections(store: &TestStore) -> (Connection, Connection) {
    let creator = store.connect("app.db");
    creator
        .execute_batch(
            "PRAGMA page_size = 1024;
         CREATE TABLE a (id INTEGER PRIMARY KEY, n INTEGER, pad BLOB);
         CREATE TABLE b (id INTEGER PRIMARY KEY, n INTEGER, pad BLOB);
         WITH RECURSIVE ids (id) AS (VALUES (1) UNION ALL SELECT id + 1 FROM ids WHERE id < 20)
             INSERT INTO a SELECT id, 0, zeroblob(700) FROM ids;
         INSERT INTO b VALUES (1, 0, zeroblob(700)), (2, 0, zeroblob(700));",
        )
        .expect("the schema is right");
    let connect = || {
        let db = store.connect("app.db");
        db.execute_batch("PRAGMA synchronous = OFF").expect("SQL");
        db
    };
    (connect(), connect())
}

/// Reads table `a` row by row, and calls `between` with the number of each.
fn scan(db: &Connection, mut between: impl FnMut(i64)) -> Vec<i64> {
    let mut statement = db.prepare("SELECT id, n FROM a ORDER BY id").expect("SQL");
    let mut rows = statement.query([]).expect("it begins");
    let mut found = Vec::new();
    while let Some(row) = rows.next().expect("the snapshot can be read to its end") {
        found.push(row.get("n").expect("a number"));
        between(row.get("id").expect("a number"));
    }
    found
}

fn sum(db: &Connection, table: &str) -> i64 {
    integer(db, &format!("SELECT sum(n) FROM {table}"))
}

#[test]
fn writes_of_the_same_connection_commit_while_a_select_is_open() {
    let store = TestStore::new();
    let (one, two) = two_connections(&store);
    for _ in 0..3 {
        assert_eq!(sum(&one, "a"), 0, "every page is in the cache");
        let before = integer(&one, "SELECT n FROM b WHERE id = 1");
        let found = scan(&one, |_| {
            for (db, id) in [(&one, 1), (&two, 2)] {
                db.execute("UPDATE b SET n = n + 1 WHERE id = ?1", [id])
                    .unwrap();
            }
        });
        assert_eq!(found, vec![0; 20]);
        let after = integer(&one, "SELECT n FROM b WHERE id = 1");
        assert_eq!(after, before + ROWS);
        assert_eq!(sum(&two, "b"), 2 * after);
    }
}

#[test]
fn a_select_reads_its_own_connections_writes_of_rows_to_come() {
    let store = TestStore::new();
    let (one, two) = two_connections(&store);
    assert_eq!(sum(&one, "a"), 0);
    let found = scan(&one, |id| {
        one.execute("UPDATE a SET n = id WHERE id = ?1", [id + 1])
            .unwrap();
    });
    let expected: Vec<i64> = (1..=ROWS).map(|id| if id == 1 { 0 } else { id }).collect();
    assert_eq!(found, expected);
    assert_eq!(sum(&two, "a"), expected.iter().sum::<i64>());
}

#[test]
fn a_select_goes_on_in_its_snapshot_after_a_write_was_refused() {
    let store = TestStore::new();
    let (one, two) = two_connections(&store);
    assert_eq!(sum(&one, "a"), 0, "every page is in the cache");
    let found = scan(&one, |id| {
        if id == 5 {
            two.execute("UPDATE a SET n = 100", []).unwrap();
        }
        if id >= 5 {
            let error = one.execute("UPDATE b SET n = n + 1", []).unwrap_err();
            assert_eq!(code(&error), 517, "{error}");
        }
    });
    assert_eq!(found, vec![0; 20]);
    assert_eq!(sum(&one, "a"), 100 * ROWS);
    one.execute("UPDATE b SET n = n + 1", []).unwrap();
    assert_eq!((sum(&two, "a"), sum(&two, "b")), (100 * ROWS, 2));
}

/// Without anything in the cache, a commit between two rows may take the changes of others
/// over, if none is of a page that was read.
#[test]
fn an_open_select_sees_all_or_nothing_of_what_others_committed() {
    for (first, second) in [(3, 15), (10, 15), (1, 2), (19, 20)] {
        let store = TestStore::new();
        let (one, two) = two_connections(&store);
        let mut outcome = None;
        let found = scan(&one, |id| {
            if id == 5 {
                two.execute("UPDATE a SET n = 1 WHERE id IN (?1, ?2)", [first, second])
                    .unwrap();
                outcome = Some(
                    one.execute("UPDATE b SET n = n + 1", [])
                        .map_err(|e| code(&e)),
                );
            }
        });
        let seen = found.iter().sum::<i64>();
        match outcome.unwrap() {
            Ok(_) => assert_eq!(seen, 2, "rows {first} and {second}"),
            Err(code) => assert_eq!((code, seen), (517, 0), "rows {first} and {second}"),
        }
        assert_eq!(sum(&one, "a"), 2);
    }
}
