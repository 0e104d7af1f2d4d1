//! Goal: many processes write one database at once, and exactly what they were told is
//! committed is there.
//! Method: worker processes that try again after a conflict, and tell each commit; readers
//! in processes that watch an invariant meanwhile.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rusqlite::Connection;
use verso_tests::random::Random;
use verso_tests::scale::scaled;
use verso_tests::sessions::execute;
use verso_tests::workers::{Orders, Worker, report};
use verso_tests::{TestStore, integer, open, text, uri};

const DATABASE: &str = "app.db";
const PROCESSES: u64 = 8;
const ACCOUNTS: u64 = 20;
const BALANCE: u64 = 100;

/// Not a test of its own: worker processes begin here.
#[test]
fn worker() {
    let Some(orders) = Orders::received() else {
        return;
    };
    let db = open(&uri(&orders.store, DATABASE, "")).expect("the database opens");
    // What is tested is what processes see of each other, not what a power loss leaves.
    execute(&db, "PRAGMA synchronous = OFF").expect("SQL");
    match orders.role.as_str() {
        "own" => insert(&db, &orders, &format!("own_{}", orders.number)),
        "shared" => insert(&db, &orders, "shared"),
        "count" => count(&db, &orders),
        "transfer" => transfer(&db, &orders),
        "audit" => audit(&db),
        other => panic!("unknown role {other}"),
    }
}

/// Runs SQL again until no other transaction is in its way. Returns how often it lost.
fn persist(db: &Connection, random: &mut Random, attempt: impl Fn() -> Result<(), i32>) -> u64 {
    let mut lost = 0;
    loop {
        match attempt() {
            Ok(()) => return lost,
            Err(code) if code & 0xff == 5 => {
                lost += 1;
                if !db.is_autocommit() {
                    execute(db, "ROLLBACK").expect("a transaction is open");
                }
                thread::sleep(Duration::from_micros(random.below(5000)));
            }
            Err(code) => panic!("result code {code}"),
        }
    }
}

/// Inserts rows, alone or in transactions of several, and reports each number that it wrote.
fn insert(db: &Connection, orders: &Orders, table: &str) {
    let mut random = Random::new(orders.number);
    let create = format!(
        "CREATE TABLE IF NOT EXISTS {table} (worker INTEGER, number INTEGER, pad BLOB);
         CREATE INDEX IF NOT EXISTS {table}_number ON {table} (number, worker);"
    );
    persist(db, &mut random, || execute(db, &create).map(drop));
    let mut number = 0;
    while number < orders.rounds {
        let rows = if random.one_in(2) {
            1
        } else {
            1 + random.below(5)
        };
        let insert: Vec<String> = (number..number + rows)
            .map(|row| {
                let (worker, length) = (orders.number, row % 300);
                format!("INSERT INTO {table} VALUES ({worker}, {row}, zeroblob({length}))")
            })
            .collect();
        let sql = match insert.as_slice() {
            [alone] => alone.clone(),
            several => format!("BEGIN; {}; COMMIT", several.join("; ")),
        };
        persist(db, &mut random, || execute(db, &sql).map(drop));
        for row in number..number + rows {
            report(row);
        }
        number += rows;
    }
}

/// Adds one to a number: in a statement, or in a transaction that reads it first.
fn count(db: &Connection, orders: &Orders) {
    let mut random = Random::new(orders.number);
    for round in 0..orders.rounds {
        persist(db, &mut random, || {
            if round % 2 == 0 {
                return execute(db, "UPDATE counter SET n = n + 1").map(drop);
            }
            let found = execute(db, "BEGIN; SELECT n FROM counter")?;
            let next = found.first().expect("one row") + 1;
            execute(db, &format!("UPDATE counter SET n = {next}; COMMIT")).map(drop)
        });
        report(round);
    }
}

/// Moves money between two accounts, if there is enough.
fn transfer(db: &Connection, orders: &Orders) {
    let mut random = Random::new(orders.number);
    for round in 0..orders.rounds {
        let (from, to) = (random.below(ACCOUNTS), random.below(ACCOUNTS));
        let amount = 1 + random.below(30).cast_signed();
        persist(db, &mut random, || {
            let balance = format!("BEGIN; SELECT n FROM accounts WHERE id = {from}");
            if *execute(db, &balance)?.first().expect("one row") < amount {
                return execute(db, "ROLLBACK").map(drop);
            }
            let take = format!("UPDATE accounts SET n = n - {amount} WHERE id = {from}");
            let give = format!("UPDATE accounts SET n = n + {amount} WHERE id = {to}");
            execute(db, &format!("{take}; {give}; COMMIT")).map(drop)
        });
        report(round);
    }
}

/// Watches the sum of all accounts in several ways until the input is closed, and reports
/// how often it looked.
fn audit(db: &Connection) {
    let closed = Arc::new(AtomicBool::new(false));
    let close = Arc::clone(&closed);
    thread::spawn(move || {
        // Ends at the end of the input.
        let _ = std::io::read_to_string(std::io::stdin());
        close.store(true, Ordering::Release);
    });
    let expected = vec![(ACCOUNTS * BALANCE).cast_signed()];
    let mut looks = 0;
    while looks == 0 || !closed.load(Ordering::Acquire) {
        let sum = execute(db, "SELECT sum(n) FROM accounts").expect("readers never wait");
        assert_eq!(sum, expected, "in one statement");
        let halves = "BEGIN; SELECT sum(n) FROM accounts WHERE id < 10;
                      SELECT sum(n) FROM accounts WHERE id >= 10;
                      SELECT min(n) FROM accounts; COMMIT";
        let found = execute(db, halves).expect("readers never wait");
        let [low, high, least] = found.as_slice() else {
            panic!("three numbers: {found:?}");
        };
        assert_eq!(vec![low + high], expected, "in one transaction");
        assert!(*least >= 0, "an account is overdrawn by {least}");
        looks += 1;
        // Leaves the processors to those that it watches.
        thread::sleep(Duration::from_millis(1));
    }
    report(looks);
}

fn start(role: &str, rounds: u64, path: &Path) -> Vec<Worker> {
    (0..PROCESSES)
        .map(|number| Worker::start(role, number, scaled(rounds), path))
        .collect()
}

/// Every row that a worker told is there once, in the table and in its index, and no other.
fn check_rows(db: &Connection, table: &str, worker: u64, told: &[String]) {
    for source in [
        "NOT INDEXED".to_owned(),
        format!("INDEXED BY {table}_number"),
    ] {
        let sql = format!(
            "SELECT number FROM {table} {source} WHERE worker = {worker} AND number >= 0
             ORDER BY number"
        );
        let found = execute(db, &sql).expect("SQL");
        let told: Vec<i64> = told
            .iter()
            .map(|row| row.parse().expect("a number"))
            .collect();
        assert_eq!(found, told, "rows of worker {worker} in {table} {source}");
    }
    let wrong = format!("SELECT count(*) FROM {table} WHERE length(pad) <> number % 300");
    assert_eq!(integer(db, &wrong), 0);
}

#[test]
fn processes_insert_into_tables_of_their_own() {
    let store = TestStore::new();
    // They create the store, the database and the tables as well.
    let workers = start("own", 100, &store.path());
    let told: Vec<_> = workers.into_iter().map(Worker::finish).collect();
    let db = store.connect(DATABASE);
    for (number, told) in (0..).zip(&told) {
        let table = format!("own_{number}");
        check_rows(&db, &table, number, told);
        let all = integer(&db, &format!("SELECT count(*) FROM {table}"));
        assert_eq!(usize::try_from(all), Ok(told.len()));
    }
    assert_eq!(text(&db, "PRAGMA integrity_check"), "ok");
}

#[test]
fn processes_insert_into_one_table() {
    let store = TestStore::new();
    let workers = start("shared", 100, &store.path());
    let told: Vec<_> = workers.into_iter().map(Worker::finish).collect();
    let db = store.connect(DATABASE);
    for (number, told) in (0..).zip(&told) {
        check_rows(&db, "shared", number, told);
    }
    let all = integer(&db, "SELECT count(*) FROM shared");
    assert_eq!(usize::try_from(all), Ok(told.iter().map(Vec::len).sum()));
    assert_eq!(text(&db, "PRAGMA integrity_check"), "ok");
}

#[test]
fn processes_count_together() {
    let store = TestStore::new();
    let db = store.connect(DATABASE);
    db.execute_batch("CREATE TABLE counter (n INTEGER); INSERT INTO counter VALUES (0)")
        .unwrap();
    let workers = start("count", 100, &store.path());
    let told: usize = workers
        .into_iter()
        .map(|worker| worker.finish().len())
        .sum();
    assert_eq!(told as u64, PROCESSES * scaled(100));
    let counted = integer(&db, "SELECT n FROM counter");
    assert_eq!(usize::try_from(counted), Ok(told));
}

#[test]
fn money_is_neither_made_nor_lost_at_any_moment() {
    let store = TestStore::new();
    let db = store.connect(DATABASE);
    // A few accounts a page, so that transfers sometimes meet.
    db.execute_batch(
        "PRAGMA page_size = 1024;
         CREATE TABLE accounts (id INTEGER PRIMARY KEY, n INTEGER, pad BLOB);",
    )
    .unwrap();
    for id in 0..ACCOUNTS {
        let row = format!("INSERT INTO accounts VALUES ({id}, {BALANCE}, zeroblob(300))");
        db.execute_batch(&row).unwrap();
    }
    let auditors: Vec<_> = (0..2)
        .map(|number| Worker::start("audit", number, 0, &store.path()))
        .collect();
    let workers = start("transfer", 100, &store.path());
    for worker in workers {
        assert_eq!(worker.finish().len() as u64, scaled(100));
    }
    for auditor in auditors {
        let looks: u64 = auditor.finish()[0].parse().unwrap();
        assert!(looks > 0, "nobody looked");
    }
    let total = (ACCOUNTS * BALANCE).cast_signed();
    assert_eq!(integer(&db, "SELECT sum(n) FROM accounts"), total);
    assert_eq!(text(&db, "PRAGMA integrity_check"), "ok");
}
