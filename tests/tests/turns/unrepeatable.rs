//! Statements that must not run twice: they take their turn before they read.

use rusqlite::Connection;
use verso_tests::scale::scaled;
use verso_tests::sessions::execute;
use verso_tests::{TestStore, code, integer};

use super::rival::Duel;
use super::{assert_intact, connect, impatient, in_threads};

const RIVAL: &str = "UPDATE t SET n = n + 1000 WHERE id = 2";

fn duel() -> (TestStore, Duel) {
    let store = TestStore::new();
    let duel = Duel::new(&store.path());
    (store, duel)
}

/// Nobody else commits while such a statement runs, and afterwards anybody does.
#[test]
fn they_run_once_under_the_lease() {
    for (statement, expected) in [
        ("INSERT INTO t (n) VALUES (rival()) RETURNING id", vec![3]),
        (
            "UPDATE t SET n = n + rival() WHERE id = 2 RETURNING n",
            vec![20],
        ),
        ("DELETE FROM t WHERE id + rival() = 1 RETURNING n", vec![10]),
        (
            "WITH x AS (SELECT 7 + rival() AS n) INSERT INTO t (n) SELECT n FROM x RETURNING n",
            vec![7],
        ),
        ("UPDATE t SET n = changes() + rival()", vec![]),
        ("UPDATE t SET n = Total_Changes () + rival()", vec![]),
    ] {
        let (store, duel) = duel();
        let (result, calls, answer) = duel.disturbed(RIVAL, || execute(&duel.db, statement));
        assert_eq!(answer, Err(5), "{statement}");
        assert_eq!(result, Ok(expected), "{statement}");
        assert!(calls >= 1, "{statement}");
        execute(&impatient(&store.path()), RIVAL).expect("the lease was given back");
    }
}

#[test]
fn counts_of_changes_inside_a_statement_are_those_before_it() {
    let (_store, duel) = duel();
    execute(&duel.db, "INSERT INTO t VALUES (3, 0), (4, 0), (5, 0)").unwrap();
    let total = i64::try_from(duel.db.total_changes()).unwrap();
    let update = "UPDATE t SET n = changes() + rival() WHERE id = 3";
    let (result, _, _) = duel.disturbed(RIVAL, || execute(&duel.db, update));
    assert_eq!(result, Ok(vec![]));
    assert_eq!(duel.rows("SELECT n FROM t WHERE id = 3"), [3]);
    execute(&duel.db, "UPDATE t SET n = total_changes() WHERE id = 3").unwrap();
    assert_eq!(duel.rows("SELECT n FROM t WHERE id = 3"), [total + 1]);
}

/// Rows are handed out before SQLite commits, so the lease is held as long as a cursor is
/// open; and whether anybody reads them must not matter.
#[test]
fn rows_that_nobody_reads_are_written_all_the_same() {
    let store = TestStore::new();
    let db = connect(&store.path());
    execute(&db, "CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER)").unwrap();
    let other = impatient(&store.path());
    let insert = "INSERT INTO t (n) VALUES (1), (2), (3) RETURNING id";
    for read in 0..4 {
        let mut statement = db.prepare(insert).unwrap();
        let mut rows = statement.query([]).unwrap();
        for _ in 0..read {
            assert!(rows.next().unwrap().is_some());
            assert_eq!(
                execute(&other, "DELETE FROM t"),
                Err(5),
                "the turn is taken"
            );
        }
        drop(rows);
        drop(statement);
        // rusqlite does not step a statement of which no row is asked for.
        let expected = if read == 0 { 0 } else { 3 };
        assert_eq!(
            integer(&other, "SELECT count(*) FROM t"),
            expected,
            "{read} rows read"
        );
        assert_eq!(execute(&other, "DELETE FROM t"), Ok(vec![]));
    }
}

/// A conflict of a statement that hands out rows would be told at the end of the cursor,
/// where many drivers do not look. So it must be told before the first row.
#[test]
fn beside_an_open_cursor_rows_are_handed_out_only_if_they_stay() {
    let (store, duel) = duel();
    let other = impatient(&store.path());
    let open = |db: &Connection| -> Result<i64, i32> {
        let mut statement = db
            .prepare("INSERT INTO t (n) VALUES (0) RETURNING id")
            .map_err(|error| code(&error))?;
        let mut rows = statement.query([]).map_err(|error| code(&error))?;
        let row = rows.next().map_err(|error| code(&error))?;
        let id = row.expect("a row").get(0).expect("an integer");
        // A rival commits while the rows are handed out, if it can.
        let rival = execute(&other, RIVAL);
        assert_eq!(rival, Err(5), "the turn is taken");
        Ok(id)
    };
    let mut select = duel.db.prepare("SELECT id FROM t").unwrap();
    let mut cursor = select.query([]).unwrap();
    assert!(cursor.next().unwrap().is_some());
    let id = open(&duel.db).expect("nobody was faster");
    let found = format!("SELECT count(*) FROM t WHERE id = {id}");
    assert_eq!(integer(&other, &found), 1);
    // The cursor's snapshot is overtaken: refused before any row is handed out.
    execute(&other, RIVAL).unwrap();
    assert_eq!(open(&duel.db), Err(517));
    drop(cursor);
    assert!(open(&duel.db).is_ok());
    assert_eq!(integer(&other, "SELECT count(*) FROM t"), 4);
}

#[test]
fn threads_are_given_every_id_once() {
    let (store, duel) = duel();
    let rounds = scaled(60);
    let given = in_threads(8, |number| {
        let db = connect(&store.path());
        let insert = format!("INSERT INTO t (n) VALUES ({number}) RETURNING id");
        let ids = (0..rounds).map(|_| match execute(&db, &insert).as_deref() {
            Ok([id]) => *id,
            other => panic!("one id: {other:?}"),
        });
        ids.collect::<Vec<i64>>()
    });
    let mut given: Vec<i64> = given.into_iter().flatten().collect();
    given.sort_unstable();
    assert_eq!(
        duel.rows("SELECT id FROM t WHERE id > 2 ORDER BY id"),
        given
    );
    assert_eq!(given.len() as u64, 8 * rounds);
    given.dedup();
    assert_eq!(given.len() as u64, 8 * rounds, "an id was given twice");
}

/// Each takes a job off a queue and marks it.
#[test]
fn jobs_are_handed_out_once() {
    let (store, duel) = duel();
    let jobs = scaled(160);
    let fill = format!(
        "DELETE FROM t; WITH RECURSIVE i (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM i
         WHERE i < {jobs}) INSERT INTO t SELECT i, 0 FROM i"
    );
    execute(&duel.db, &fill).unwrap();
    let taken = in_threads(8, |_| {
        let db = connect(&store.path());
        let take = "UPDATE t SET n = 1 WHERE id = (SELECT min(id) FROM t WHERE n = 0) RETURNING id";
        let jobs = std::iter::repeat_with(|| execute(&db, take).expect("its turn comes"));
        jobs.map_while(|found| found.first().copied())
            .collect::<Vec<i64>>()
    });
    let mut taken: Vec<i64> = taken.into_iter().flatten().collect();
    taken.sort_unstable();
    assert_eq!(taken, (1..=jobs.cast_signed()).collect::<Vec<i64>>());
}

#[test]
fn vacuum_reindex_and_analyze_succeed_among_writers() {
    let (store, duel) = duel();
    execute(&duel.db, "CREATE INDEX t_n ON t (n)").unwrap();
    let rounds = scaled(60);
    in_threads(5, |number| {
        let db = connect(&store.path());
        for round in 0..rounds {
            let statement = match number {
                0 if round % 10 == 0 => "VACUUM",
                0 if round % 10 == 3 => "REINDEX",
                0 if round % 10 == 6 => "ANALYZE",
                0 => continue,
                _ => "INSERT INTO t (n) VALUES (7)",
            };
            assert_eq!(
                execute(&db, statement),
                Ok(vec![]),
                "{statement}, round {round}"
            );
        }
    });
    let expected = 2 + (4 * rounds).cast_signed();
    assert_eq!(duel.rows("SELECT count(*) FROM t"), [expected]);
    assert_intact(&duel.db);
}

/// What VACUUM reads is what it writes: nobody commits in between.
#[test]
fn vacuum_takes_its_turn_before_it_reads() {
    let (store, duel) = duel();
    let holder = connect(&store.path());
    execute(&holder, "CREATE INDEX t_n ON t (n)").unwrap();
    duel.db.busy_timeout(std::time::Duration::ZERO).unwrap();
    execute(&holder, "BEGIN IMMEDIATE").unwrap();
    for statement in ["VACUUM", "REINDEX", "ANALYZE"] {
        assert_eq!(execute(&duel.db, statement), Err(5), "{statement}");
        assert!(duel.db.is_autocommit(), "{statement}");
    }
    // It writes another file, and only reads this one.
    let copy = store.folder().join("copy.db");
    let into = format!("VACUUM INTO 'file:{}?vfs=unix'", copy.display());
    assert_eq!(execute(&duel.db, &into), Ok(vec![]));
    execute(&holder, "UPDATE t SET n = 1; COMMIT").unwrap();
    for statement in ["VACUUM", "REINDEX", "ANALYZE"] {
        assert_eq!(execute(&duel.db, statement), Ok(vec![]), "{statement}");
    }
    assert_eq!(duel.rows("SELECT n FROM t"), [1, 1]);
    execute(&impatient(&store.path()), RIVAL).expect("the lease was given back");
}
