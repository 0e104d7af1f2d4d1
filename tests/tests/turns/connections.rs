//! Connections that share more than a database: a thread, a schema of attachments.

use std::time::{Duration, Instant};

use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};
use verso_tests::integer;
use verso_tests::scale::scaled;
use verso_tests::sessions::execute;

use super::{ADD, assert_intact, connect, counted, counter, impatient, in_threads};

#[test]
fn two_connections_of_one_thread_do_not_wait_forever() {
    let (store, holder) = counter();
    let db = connect(&store.path());
    db.busy_timeout(Duration::from_millis(100)).unwrap();
    for _ in 0..3 {
        execute(&holder, "BEGIN IMMEDIATE; UPDATE counter SET n = n + 1").unwrap();
        for statement in ["BEGIN IMMEDIATE", ADD] {
            let begin = Instant::now();
            assert_eq!(execute(&db, statement), Err(5), "{statement}");
            let waited = begin.elapsed();
            assert!(waited >= Duration::from_millis(95), "{waited:?}");
            assert!(waited < Duration::from_secs(2), "{waited:?}");
        }
        execute(&holder, "COMMIT").unwrap();
        assert_eq!(execute(&db, ADD), Ok(vec![]));
    }
    assert_eq!(counted(&holder), 6);
}

#[test]
fn cached_statements_count_exactly() {
    let (store, db) = counter();
    let rounds = scaled(150);
    in_threads(6, |number| {
        let db = connect(&store.path());
        for round in 0..rounds {
            let mut add = db
                .prepare_cached("UPDATE counter SET n = n + ?1")
                .expect("SQL");
            assert_eq!(add.execute([1]), Ok(1));
            if number == 0 && round % 20 == 0 {
                // Every prepared statement has to be prepared again.
                let ddl = format!("CREATE TABLE new_{round} (n INTEGER)");
                assert_eq!(execute(&db, &ddl), Ok(vec![]));
            }
        }
    });
    assert_eq!(counted(&db).unsigned_abs(), 6 * rounds);
}

/// A backup writes without any statement, and can be gone on with where it had to wait.
#[test]
fn a_backup_into_a_held_database_waits() {
    let (store, holder) = counter();
    let source = Connection::open_in_memory().unwrap();
    execute(
        &source,
        "CREATE TABLE copied (n INTEGER); INSERT INTO copied VALUES (7)",
    )
    .unwrap();
    let mut db = impatient(&store.path());
    execute(&holder, "BEGIN IMMEDIATE").unwrap();
    {
        let backup = Backup::new(&source, &mut db).unwrap();
        assert_eq!(backup.step(-1), Ok(StepResult::Busy));
        assert_eq!(counted(&holder), 0);
        execute(&holder, "COMMIT").unwrap();
        assert_eq!(backup.step(-1), Ok(StepResult::Done));
    }
    assert_eq!(integer(&db, "SELECT n FROM copied"), 7);
    assert_eq!(integer(&holder, "SELECT n FROM copied"), 7);
    assert_intact(&holder);
}
