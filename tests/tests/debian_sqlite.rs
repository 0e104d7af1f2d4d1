//! Goal: the VFS works inside the SQLite library that the system brings, not only in the
//! bundled one, and ordinary programs that know nothing of it write one database with it:
//! without a second attempt anywhere, and exactly.
//! Method: Python programs (`tests/python`), whose module `sqlite3` uses the system's
//! library, in many threads and processes, alone and beside Rust writers with the bundled
//! SQLite. On Debian 12 the system's is 3.40.1.
#![cfg(unix)]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use rusqlite::Connection;
use verso_tests::python::{self, Program};
use verso_tests::scale;
use verso_tests::{TestStore, integer, open, text, uri};

const DATABASE: &str = "app.db";
const WRITERS: u64 = 8;

/// A store with a database of a counter, a turn to take, and orders.
fn counter() -> (TestStore, Connection) {
    let store = TestStore::new();
    let db = store.connect(DATABASE);
    db.execute_batch(
        "CREATE TABLE counter (n INTEGER); INSERT INTO counter VALUES (0);
         CREATE TABLE turn (taken INTEGER); INSERT INTO turn VALUES (0);
         CREATE TABLE orders (id INTEGER PRIMARY KEY, thread INTEGER, round INTEGER);",
    )
    .expect("SQL");
    (store, db)
}

/// So many processes of one program at once, with one set of arguments.
fn start(count: u64, program: &str, store: &Path, arguments: &[&str]) -> Vec<Program> {
    (0..count)
        .map(|_| Program::start(program, store, arguments))
        .collect()
}

fn finish(programs: Vec<Program>) {
    // All end before the first failure is told, which may be why the others failed.
    let outcomes: Vec<_> = programs.into_iter().map(Program::outcome).collect();
    let failures: Vec<_> = outcomes.into_iter().filter_map(Result::err).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn assert_counted(db: &Connection, expected: u64) {
    assert_eq!(
        integer(db, "SELECT n FROM counter").cast_unsigned(),
        expected
    );
    assert_eq!(text(db, "PRAGMA integrity_check"), "ok");
}

/// A Rust program's writers: autocommit statements through the bundled SQLite.
fn count_in_rust(store: &Path, rounds: u64) {
    thread::scope(|scope| {
        for _ in 0..WRITERS {
            scope.spawn(|| {
                let db = open(&uri(store, DATABASE, "")).expect("the database opens");
                db.busy_timeout(Duration::from_mins(1)).expect("a timeout");
                db.execute_batch("PRAGMA synchronous = OFF").expect("SQL");
                for _ in 0..rounds {
                    let changed = db.execute("UPDATE counter SET n = n + 1", []);
                    assert_eq!(changed, Ok(1));
                }
            });
        }
    });
}

/// Orders from so many threads of one process: each id was given once, and is in the table
/// with what was inserted under it.
fn check_orders(threads: u64, rounds: u64) {
    let (store, db) = counter();
    let arguments = [threads.to_string(), rounds.to_string()];
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let told = Program::start("returning.py", &store.path(), &arguments).finish();
    let given: BTreeSet<String> = told.iter().cloned().collect();
    assert_eq!(given.len(), told.len(), "an order was told twice");
    let mut orders = db
        .prepare("SELECT id || ' ' || thread || ' ' || round FROM orders")
        .expect("SQL");
    let found: Result<BTreeSet<String>, _> = orders
        .query_map([], |row| row.get(0))
        .expect("SQL")
        .collect();
    assert_eq!(found.expect("SQL"), given);
    // Ids are unique in a table; so many rows were given as many of them.
    assert_eq!(given.len() as u64, threads * rounds);
    assert_eq!(text(&db, "PRAGMA integrity_check"), "ok");
}

#[test]
fn the_library_keeps_its_bundled_sqlite_to_itself() {
    let symbols = Command::new("nm")
        .args(["-D", "--defined-only"])
        .arg(python::library())
        .output()
        .expect("nm comes with the C compiler (apt-get install binutils)");
    assert!(symbols.status.success(), "{symbols:?}");
    let symbols = String::from_utf8(symbols.stdout).expect("symbols are ASCII");
    assert!(symbols.contains("verso_tests_register"), "{symbols}");
    assert!(!symbols.contains("sqlite3"), "{symbols}");
}

#[test]
fn two_sqlite_libraries_share_a_database() {
    let (store, db) = counter();
    let python = |sql| Program::start("sql.py", &store.path(), sql).finish();
    let asked = ["SELECT sqlite_version(), sqlite_compileoption_used('DEBUG')"];
    let [version, told] = &python(&asked)[..] else {
        panic!("two lines");
    };
    let Some((same, has_asserts)) = told.split_once(' ') else {
        panic!("two columns: {told}");
    };
    assert_eq!(version, same);
    assert_ne!(version, rusqlite::version(), "the bundled SQLite");
    let system = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    // With asserts it is one that was built for the tests.
    if system.contains("VERSION_CODENAME=bookworm") && has_asserts == "0" {
        assert_eq!(version, "3.40.1", "Debian's SQLite");
    }

    python(&["UPDATE counter SET n = 7", "CREATE TABLE made (t)"]);
    assert_eq!(integer(&db, "SELECT n FROM counter"), 7);
    db.execute_batch("INSERT INTO made VALUES ('in Rust')")
        .unwrap();
    let lines = python(&["SELECT t FROM made", "PRAGMA integrity_check"]);
    assert_eq!(lines[1..], ["in Rust", "ok"]);
}

#[test]
fn a_program_that_hangs_is_killed_and_one_that_fails_is_told() {
    let (store, _) = counter();
    let endless = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i FROM n)
                   SELECT i FROM n WHERE i > 1";
    let limit = Duration::from_secs(2);
    let hanging = Program::start_limited("sql.py", &store.path(), &[endless], limit);
    let failure = hanging.outcome().unwrap_err();
    assert!(failure.contains("killed after 2s"), "{failure}");

    let failing = Program::start("sql.py", &store.path(), &["SELECT * FROM absent"]);
    let failure = failing.outcome().unwrap_err();
    assert!(failure.contains("no such table: absent"), "{failure}");
    assert!(failure.contains("exit status: 1"), "{failure}");
}

#[test]
fn one_thread_counts() {
    let (store, db) = counter();
    let _ = Program::start("counter.py", &store.path(), &["1", "200"]).finish();
    assert_counted(&db, 200);
}

#[test]
fn sixteen_threads_count_without_a_second_attempt() {
    let (store, db) = counter();
    let rounds = scale::rounds(1000);
    let _ = Program::start("counter.py", &store.path(), &["16", &rounds.to_string()]).finish();
    assert_counted(&db, 16 * rounds);
}

#[test]
fn eight_processes_count_without_a_second_attempt() {
    let (store, db) = counter();
    let rounds = scale::rounds(500);
    let arguments = ["1", &rounds.to_string()];
    finish(start(WRITERS, "counter.py", &store.path(), &arguments));
    assert_counted(&db, WRITERS * rounds);
}

#[test]
fn a_process_in_pythons_default_mode_counts() {
    let (store, db) = counter();
    finish(start(1, "read_modify_write.py", &store.path(), &["200"]));
    assert_counted(&db, 200);
    assert_eq!(integer(&db, "SELECT taken FROM turn"), 200);
}

#[test]
fn processes_in_pythons_default_mode_take_turns() {
    let (store, db) = counter();
    let rounds = scale::rounds(200);
    let arguments = [&*rounds.to_string()];
    finish(start(
        WRITERS,
        "read_modify_write.py",
        &store.path(),
        &arguments,
    ));
    assert_counted(&db, WRITERS * rounds);
    let turns = integer(&db, "SELECT taken FROM turn");
    assert_eq!(turns.cast_unsigned(), WRITERS * rounds);
}

#[test]
fn python_transactions_and_rust_statements_count_together() {
    let (store, db) = counter();
    let rounds = scale::rounds(200);
    let arguments = [&*rounds.to_string()];
    let programs = start(WRITERS, "read_modify_write.py", &store.path(), &arguments);
    count_in_rust(&store.path(), rounds);
    finish(programs);
    assert_counted(&db, 2 * WRITERS * rounds);
    let turns = integer(&db, "SELECT taken FROM turn");
    assert_eq!(turns.cast_unsigned(), WRITERS * rounds);
}

#[test]
fn one_thread_is_given_each_id_once() {
    check_orders(1, 100);
}

#[test]
fn threads_are_given_each_id_once() {
    check_orders(8, scale::rounds(100));
}
