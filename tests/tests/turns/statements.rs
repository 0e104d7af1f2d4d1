//! Statements that run again unseen: what they did and tell is that of one attempt.

use std::sync::{Arc, Mutex};

use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::{Connection, params};
use verso_tests::sessions::execute;
use verso_tests::{TestStore, code, integer};

use super::rival::Duel;
use super::{assert_intact, connect, impatient};

/// What the rival does to the one page of `t`.
const RIVAL: &str = "UPDATE t SET n = n + 1000 WHERE id = 2";

fn duel() -> (TestStore, Duel) {
    let store = TestStore::new();
    let duel = Duel::new(&store.path());
    (store, duel)
}

#[test]
fn every_kind_of_statement_comes_to_what_one_attempt_does() {
    for (statement, expected) in [
        (
            "UPDATE t SET n = n + 1 + rival() WHERE id = 2",
            vec![1, 10, 2, 1021],
        ),
        (
            "INSERT INTO t SELECT id + 2, n + rival() FROM t WHERE id = 2",
            vec![1, 10, 2, 1020, 4, 1020],
        ),
        (
            "INSERT INTO t VALUES (3, 30 + rival())",
            vec![1, 10, 2, 1020, 3, 30],
        ),
        ("REPLACE INTO t VALUES (2, 7 + rival())", vec![1, 10, 2, 7]),
        (
            "INSERT INTO t VALUES (2, 1) ON CONFLICT (id) DO UPDATE SET n = n + 5 + rival()",
            vec![1, 10, 2, 1025],
        ),
        (
            "DELETE FROM t WHERE id = 2 AND n + rival() > 15",
            vec![1, 10],
        ),
        (
            "WITH x AS (SELECT max(n) + rival() AS n FROM t) UPDATE t SET n = (SELECT n FROM x)",
            vec![1, 1020, 2, 1020],
        ),
        (
            "-- a comment\n /* and another */ update t set n = 5 + rival() where id = 1",
            vec![1, 5, 2, 1020],
        ),
    ] {
        let (_store, duel) = duel();
        duel.wins_at_second_attempt(statement, RIVAL);
        assert_eq!(duel.rows("SELECT id, n FROM t"), expected, "{statement}");
        assert_intact(&duel.db);
    }
}

/// How SQLite undoes the attempt that lost must not matter.
#[test]
fn every_kind_of_journal_undoes_the_lost_attempt() {
    let fill = "WITH RECURSIVE i (i) AS (VALUES (3) UNION ALL SELECT i + 1 FROM i WHERE i < 3000)
                INSERT INTO t SELECT i, i FROM i";
    for mode in ["DELETE", "TRUNCATE", "PERSIST", "MEMORY", "WAL", "OFF"] {
        for cache in [2000, 2] {
            let (store, duel) = duel();
            execute(&duel.db, fill).unwrap();
            let settings = format!("PRAGMA journal_mode = {mode}; PRAGMA cache_size = {cache}");
            execute(&duel.db, &settings).unwrap();
            let update = "UPDATE t SET n = n + 1 + (CASE WHEN id = 2999 THEN rival() ELSE 0 END)";
            duel.wins_at_second_attempt(update, "UPDATE t SET n = n + 1000 WHERE id = 7");
            let insert = "INSERT INTO t SELECT id + 5000, n + (CASE WHEN id = 2999 THEN rival() ELSE 0 END) FROM t";
            duel.wins_at_second_attempt(insert, "UPDATE t SET n = n + 1000 WHERE id = 8");
            let expected = 2 * (4_501_527 + 3000 + 2000);
            for db in [&duel.db, &connect(&store.path())] {
                let context = format!("{mode}, cache {cache}");
                assert_eq!(integer(db, "SELECT sum(n) FROM t"), expected, "{context}");
                assert_eq!(integer(db, "SELECT count(*) FROM t"), 6000, "{context}");
                assert_intact(db);
            }
        }
    }
}

#[test]
fn a_new_table_is_filled_from_the_second_attempt() {
    let (_store, duel) = duel();
    duel.wins_at_second_attempt(
        "CREATE TABLE copy AS SELECT id, n + rival() AS n FROM t WHERE id = 2",
        RIVAL,
    );
    assert_eq!(duel.rows("SELECT id, n FROM copy"), [2, 1020]);
}

#[test]
fn a_rival_that_changes_the_schema_is_seen_by_the_second_attempt() {
    let (_store, duel) = duel();
    let rival = "ALTER TABLE t ADD COLUMN m INTEGER DEFAULT 3";
    duel.wins_at_second_attempt("UPDATE t SET n = rival() WHERE id = 1", rival);
    assert_eq!(duel.rows("SELECT id, n, m FROM t"), [1, 0, 3, 2, 20, 3]);

    let rival = "ALTER TABLE t DROP COLUMN n";
    let (result, calls, _) = duel.disturbed(rival, || {
        execute(&duel.db, "UPDATE t SET n = 6 + rival() WHERE id = 1")
    });
    assert_eq!((result, calls), (Err(1), 1), "no such column: n");
}

#[test]
fn an_attempt_that_fails_by_what_the_rival_did_is_an_error() {
    let (_store, duel) = duel();
    let insert = "INSERT INTO t VALUES (3, 30 + rival())";
    let rival = "INSERT INTO t VALUES (3, 0)";
    let (result, calls, answer) = duel.disturbed(rival, || execute(&duel.db, insert));
    assert_eq!((answer, calls), (Ok(vec![]), 2));
    assert_eq!(result, Err(1555), "SQLITE_CONSTRAINT_PRIMARYKEY");
    assert!(duel.db.is_autocommit());
    // No lease is left over, and no count of losses that would change anything.
    duel.wins_at_second_attempt("UPDATE t SET n = n + 1 + rival() WHERE id = 1", RIVAL);
}

#[test]
fn triggers_run_once_and_write_other_tables() {
    let (_store, duel) = duel();
    let schema = "CREATE TABLE log (seen INTEGER); CREATE TABLE sums (n INTEGER);
        INSERT INTO sums VALUES (0);
        CREATE TRIGGER kept AFTER UPDATE ON t BEGIN
            INSERT INTO log VALUES (new.n);
            UPDATE sums SET n = n + new.n;
        END";
    execute(&duel.db, schema).unwrap();
    let before = duel.db.total_changes();
    duel.wins_at_second_attempt(
        "UPDATE t SET n = n + 1 + rival() WHERE id = 2",
        "UPDATE t SET n = n + 1000 WHERE id = 2",
    );
    // The rival has no such function, but its own run of the trigger counts too.
    assert_eq!(duel.rows("SELECT seen FROM log"), [1020, 1021]);
    assert_eq!(duel.rows("SELECT n FROM sums"), [2041]);
    assert_eq!(duel.db.changes(), 1);
    // A known limit: SQLite counts what triggers did in attempts that it rolled back.
    assert_eq!(duel.db.total_changes() - before, 3 + 2);
}

/// A known limit, since a trigger is not in the text of the statement: `changes()` in one that
/// has changed nothing yet is that of the lost attempt.
#[test]
fn changes_in_a_trigger_may_be_those_of_a_lost_attempt() {
    let (_store, duel) = duel();
    let schema = "CREATE TABLE log (seen INTEGER);
        CREATE TRIGGER kept AFTER UPDATE ON t BEGIN
            INSERT INTO log VALUES (changes());
        END";
    execute(&duel.db, schema).unwrap();
    execute(&duel.db, "INSERT INTO t VALUES (50, 0), (51, 0), (52, 0)").unwrap();
    duel.wins_at_second_attempt(
        "UPDATE t SET n = n + 1 + rival() WHERE id = 2",
        "INSERT INTO t VALUES (70, 1)",
    );
    assert_eq!(duel.rows("SELECT seen FROM log"), [0]);
}

#[test]
fn last_insert_rowid_is_never_that_of_a_lost_attempt() {
    let (_store, duel) = duel();
    execute(&duel.db, "INSERT INTO t VALUES (50, 0)").unwrap();
    let insert = "INSERT INTO t (n) VALUES (last_insert_rowid() + rival())";
    duel.wins_at_second_attempt(insert, "INSERT INTO t VALUES (70, 0)");
    assert_eq!(duel.db.last_insert_rowid(), 71, "the row that was inserted");
    assert_eq!(
        duel.rows("SELECT n FROM t WHERE id = 71"),
        [50],
        "the value from before"
    );
    assert_eq!(duel.db.changes(), 1);

    // A statement that inserts nothing in its second attempt leaves it alone.
    let insert =
        "INSERT INTO t (n) SELECT rival() WHERE NOT EXISTS (SELECT * FROM t WHERE id = 90)";
    let (result, _, _) = duel.disturbed("INSERT INTO t VALUES (90, 0)", || {
        duel.db.execute(insert, [])
    });
    assert_eq!(result, Ok(0));
    assert_eq!(duel.db.last_insert_rowid(), 71);
    assert_eq!(duel.db.changes(), 0);
}

#[test]
fn counts_of_changes_are_those_of_the_attempt_that_committed() {
    let (_store, duel) = duel();
    let before = duel.db.total_changes();
    let update = "UPDATE t SET n = n + 1 + rival()";
    let (result, _, _) = duel.disturbed("INSERT INTO t VALUES (3, 0)", || {
        duel.db.execute(update, [])
    });
    assert_eq!(result, Ok(3));
    assert_eq!(duel.db.changes(), 3);
    assert_eq!(duel.db.total_changes() - before, 3);
}

#[test]
fn a_prepared_statement_keeps_its_bindings() {
    let (_store, duel) = duel();
    let sql = "UPDATE t SET n = n + ?1 + rival() WHERE id = ?2";
    for round in 1..4 {
        let (result, calls, _) = duel.disturbed(RIVAL, || {
            let mut statement = duel.db.prepare_cached(sql).expect("SQL");
            statement.execute(params![round, 2])
        });
        assert_eq!((result, calls), (Ok(1), 2));
    }
    assert_eq!(duel.rows("SELECT n FROM t WHERE id = 2"), [20 + 6 + 3000]);
    // Bound once, and run several times.
    let mut statement = duel
        .db
        .prepare("INSERT INTO t (n) VALUES (?1 + rival())")
        .unwrap();
    statement.raw_bind_parameter(1, 77).unwrap();
    for _ in 0..2 {
        let (result, calls, _) = duel.disturbed(RIVAL, || statement.raw_execute());
        assert_eq!((result, calls), (Ok(1), 2));
    }
    assert_eq!(duel.rows("SELECT count(*) FROM t WHERE n = 77"), [2]);
}

/// After two losses a statement has the lease, so the third attempt is the last.
#[test]
fn a_statement_that_loses_again_and_again_goes_first() {
    let (store, duel) = duel();
    let rival = Mutex::new((impatient(&store.path()), Vec::new()));
    let shared = Arc::new(rival);
    let (called, flags) = (Arc::clone(&shared), FunctionFlags::SQLITE_UTF8);
    let always = move |_: &mut Context<'_>| {
        let mut rival = called.lock().expect("nobody panics with it");
        let answer = execute(&rival.0, RIVAL);
        rival.1.push(answer);
        Ok(0)
    };
    duel.db
        .create_scalar_function("always", 0, flags, always)
        .unwrap();
    let update = "UPDATE t SET n = n + 1 + always() WHERE id = 2";
    assert_eq!(duel.db.execute(update, []), Ok(1));
    assert_eq!(shared.lock().unwrap().1, [Ok(vec![]), Ok(vec![]), Err(5)]);
    assert_eq!(duel.rows("SELECT n FROM t WHERE id = 2"), [2021]);
}

/// A cursor that is open on the same connection reads one snapshot, so nothing can be run
/// again beside it.
#[test]
fn beside_an_open_cursor_a_conflict_is_told() {
    let (_store, duel) = duel();
    let mut select = duel.db.prepare("SELECT id, n FROM t ORDER BY id").unwrap();
    let mut cursor = select.query([]).unwrap();
    let first: i64 = cursor.next().unwrap().unwrap().get(1).unwrap();
    let update = "UPDATE t SET n = 5 + rival() WHERE id = 1";
    let (result, calls, answer) = duel.disturbed(RIVAL, || duel.db.execute(update, []));
    assert_eq!(answer, Ok(vec![]));
    assert_eq!(result.map_err(|error| code(&error)), Err(517));
    assert_eq!(calls, 1, "it was not run again");
    let second: i64 = cursor.next().unwrap().unwrap().get(1).unwrap();
    assert_eq!(
        (first, second),
        (10, 20),
        "the cursor goes on in its snapshot"
    );
    assert!(cursor.next().unwrap().is_none());
    drop(cursor);
    assert_eq!(duel.rows("SELECT n FROM t"), [10, 1020]);
    duel.wins_at_second_attempt(update, RIVAL);
}

fn blob_conflict(db: &Connection, rival: impl FnOnce()) -> rusqlite::Result<()> {
    let mut blob = db.blob_open("main", "blobs", "data", 1, false)?;
    std::io::Write::write_all(&mut blob, b"mine").expect("room in the blob");
    rival();
    blob.close()
}

#[test]
fn a_blob_handle_that_loses_says_so() {
    let (store, duel) = duel();
    let schema = "CREATE TABLE blobs (id INTEGER PRIMARY KEY, data BLOB);
                  INSERT INTO blobs VALUES (1, zeroblob(4))";
    execute(&duel.db, schema).unwrap();
    let other = connect(&store.path());
    let rival = || drop(execute(&other, "UPDATE blobs SET data = x'00000001'").expect("SQL"));
    let lost = blob_conflict(&duel.db, rival);
    assert_eq!(lost.map_err(|error| code(&error)), Err(517));
    let stored = "SELECT data = CAST('mine' AS BLOB) FROM blobs";
    assert_eq!(integer(&duel.db, stored), 0);
    assert_eq!(blob_conflict(&duel.db, || ()), Ok(()));
    assert_eq!(integer(&other, stored), 1);
}

#[test]
fn an_interrupt_between_attempts_leaves_nothing_behind() {
    let (store, duel) = duel();
    let handle = duel.db.get_interrupt_handle();
    let path = store.path();
    let interrupting = move |_: &mut Context<'_>| {
        execute(&connect(&path), RIVAL).expect("SQL");
        handle.interrupt();
        Ok(0)
    };
    let flags = FunctionFlags::SQLITE_UTF8;
    duel.db
        .create_scalar_function("stop", 0, flags, interrupting)
        .unwrap();
    let update = "UPDATE t SET n = n + 1 + stop()";
    let result = duel.db.execute(update, []);
    assert_eq!(
        result.map_err(|error| code(&error)),
        Err(9),
        "SQLITE_INTERRUPT"
    );
    let n = integer(&duel.db, "SELECT sum(n) FROM t");
    assert_eq!((n - 30) % 1000, 0, "nothing of it is stored");
    let other = impatient(&store.path());
    execute(&other, "BEGIN IMMEDIATE; UPDATE t SET n = 0; COMMIT").unwrap();
    assert_eq!(integer(&duel.db, "SELECT sum(n) FROM t"), 0);
}
