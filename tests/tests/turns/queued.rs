//! `writers=queued`: a transaction takes its turn at its first write, and its commit does
//! not conflict.

use std::path::Path;

use rusqlite::Connection;
use verso_tests::scale::scaled;
use verso_tests::sessions::execute;
use verso_tests::workers::{Orders, Worker, report};
use verso_tests::{code, integer, text};

use super::{
    ADD, PATIENCE, assert_intact, connect, connect_with, counted, counter, impatient, in_threads,
};

const WRITERS: u64 = 8;
const VARIABLE: &str = "VERSO_WRITERS";

fn queued_by_uri(store: &Path) -> Connection {
    connect_with(store, "&writers=queued")
}

fn queued_by_pragma(store: &Path) -> Connection {
    let db = connect(store);
    assert_eq!(text(&db, "PRAGMA verso_writers = queued"), "queued");
    db
}

/// Transactions of a program that knows nothing of conflicts.
fn transact(db: &Connection, number: u64, rounds: u64) {
    assert_eq!(text(db, "PRAGMA verso_writers"), "queued");
    for round in 0..rounds {
        let body = format!("INSERT INTO t VALUES ({number}, {round}); {ADD}");
        for step in ["BEGIN", &body, "COMMIT"] {
            assert_eq!(execute(db, step), Ok(vec![]), "{step}");
        }
    }
}

pub(crate) fn work(orders: &Orders) {
    match verso_tests::open(&verso_tests::uri(&orders.store, super::DATABASE, "")) {
        Ok(db) => {
            db.busy_timeout(PATIENCE).expect("a timeout");
            execute(&db, "PRAGMA synchronous = OFF").expect("SQL");
            transact(&db, orders.number, orders.rounds);
            report("done");
        }
        Err(error) => {
            let message = verso_vfs::last_error().unwrap_or_default();
            report(format!("{} {message}", code(&error)));
        }
    }
}

fn table(db: &Connection) {
    execute(db, "CREATE TABLE t (writer INTEGER, round INTEGER)").expect("SQL");
}

fn assert_all_there(db: &Connection, transactions: u64) {
    assert_eq!(counted(db).unsigned_abs(), transactions);
    let rows = integer(db, "SELECT count(*) FROM (SELECT DISTINCT * FROM t)");
    assert_eq!(rows.unsigned_abs(), transactions);
    assert_intact(db);
}

#[test]
fn commits_of_threads_do_not_fail() {
    let (store, db) = counter();
    table(&db);
    let rounds = scaled(100);
    in_threads(WRITERS, |number| {
        let connect = if number % 2 == 0 {
            queued_by_uri
        } else {
            queued_by_pragma
        };
        transact(&connect(&store.path()), number, rounds);
    });
    assert_all_there(&db, WRITERS * rounds);
}

#[test]
fn commits_of_processes_do_not_fail() {
    let (store, db) = counter();
    table(&db);
    let rounds = scaled(50);
    let environment = [(VARIABLE, "queued")];
    let workers: Vec<_> = (0..WRITERS)
        .map(|number| Worker::start_in("queued", number, rounds, &store.path(), &environment))
        .collect();
    for worker in workers {
        assert_eq!(worker.finish(), ["done"]);
    }
    assert_all_there(&db, WRITERS * rounds);
}

#[test]
fn a_transaction_that_was_overtaken_is_told_at_its_first_write() {
    let (store, other) = counter();
    let other_at_once = impatient(&store.path());
    for connect in [queued_by_uri, queued_by_pragma] {
        let db = connect(&store.path());
        let before = counted(&db);
        execute(&db, "BEGIN; SELECT n FROM counter").unwrap();
        execute(&other, ADD).unwrap();
        for _ in 0..3 {
            assert_eq!(execute(&db, ADD), Err(517));
            assert!(!db.is_autocommit(), "until the ROLLBACK");
            assert_eq!(counted(&db), before, "in its snapshot");
            let turn = "BEGIN IMMEDIATE; UPDATE counter SET n = n + 1; COMMIT";
            assert_eq!(
                execute(&other_at_once, turn),
                Ok(vec![]),
                "the lease is free"
            );
        }
        execute(&db, "ROLLBACK").unwrap();
        assert_eq!(counted(&db), before + 4);
        execute(
            &db,
            "BEGIN; SELECT n FROM counter; UPDATE counter SET n = n + 1",
        )
        .unwrap();
        assert_eq!(execute(&other_at_once, ADD), Err(5), "it has its turn");
        assert_eq!(execute(&db, "COMMIT"), Ok(vec![]));
        assert_eq!(counted(&other), before + 5);
    }
}

#[test]
fn a_first_write_that_waited_in_vain_can_be_tried_again() {
    let (store, holder) = counter();
    let db = queued_by_uri(&store.path());
    db.busy_timeout(std::time::Duration::ZERO).unwrap();
    execute(&holder, "BEGIN IMMEDIATE").unwrap();
    execute(&db, "BEGIN; SELECT n FROM counter").unwrap();
    assert_eq!(execute(&db, ADD), Err(5));
    assert!(!db.is_autocommit());
    execute(&holder, "ROLLBACK").unwrap();
    assert_eq!(execute(&db, ADD), Ok(vec![]));
    assert_eq!(execute(&db, "COMMIT"), Ok(vec![]));
    assert_eq!(counted(&holder), 1);
}

#[test]
fn readers_of_the_mode_wait_for_nobody() {
    let (store, holder) = counter();
    let db = queued_by_uri(&store.path());
    db.busy_timeout(std::time::Duration::ZERO).unwrap();
    execute(&holder, "BEGIN IMMEDIATE; UPDATE counter SET n = 5").unwrap();
    assert_eq!(
        execute(&db, "BEGIN; SELECT n FROM counter; COMMIT"),
        Ok(vec![0])
    );
    execute(&holder, "COMMIT").unwrap();
    assert_eq!(counted(&db), 5);
}

#[test]
fn both_kinds_of_writers_mix() {
    let (store, db) = counter();
    table(&db);
    let rounds = scaled(60);
    in_threads(9, |number| {
        match number % 3 {
            0 => transact(&queued_by_uri(&store.path()), number, rounds),
            1 => {
                let db = connect(&store.path());
                for round in 0..rounds {
                    let insert = format!("INSERT INTO t VALUES ({number}, {round})");
                    assert_eq!(execute(&db, &insert), Ok(vec![]));
                    assert_eq!(execute(&db, ADD), Ok(vec![]));
                }
            }
            _ => {
                let db = connect(&store.path());
                for round in 0..rounds {
                    let sql =
                        format!("BEGIN; INSERT INTO t VALUES ({number}, {round}); {ADD}; COMMIT");
                    // An optimistic transaction is run again, as the documentation says.
                    while let Err(code) = execute(&db, &sql) {
                        assert_eq!(code, 517);
                        assert!(db.is_autocommit(), "a conflict is told at the COMMIT");
                    }
                }
            }
        }
    });
    assert_all_there(&db, 9 * rounds);
}

#[test]
fn a_mode_that_does_not_exist_is_refused_with_advice() {
    const ADVICE: &str = "use concurrent or queued";
    let (store, db) = counter();
    let error = store.try_connect(super::DATABASE, "&writers=many");
    assert_eq!(error.map(drop).map_err(|error| code(&error)), Err(14));
    let message = verso_vfs::last_error_of(14).unwrap();
    assert!(
        message.contains("'many'") && message.contains(ADVICE),
        "{message}"
    );

    let error = db
        .query_row("PRAGMA verso_writers = many", [], |_| Ok(()))
        .unwrap_err();
    assert_eq!(code(&error), 1);
    let message = error.to_string();
    assert!(
        message.contains("'many'") && message.contains(ADVICE),
        "{message}"
    );
    assert_eq!(text(&db, "PRAGMA verso_writers"), "concurrent");

    let environment = [(VARIABLE, "many")];
    let worker = Worker::start_in("queued", 0, 0, &store.path(), &environment);
    let told = worker.finish().join("\n");
    assert!(told.starts_with("14 "), "{told}");
    assert!(told.contains("'many'") && told.contains(ADVICE), "{told}");
}
