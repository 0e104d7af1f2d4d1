//! Transactions that really run at the same time.
//!
//! Each account has two sides on pages of their own. A transaction reads both sides, then
//! changes one of them so that their sum becomes 1 if it was 0, and 0 if it was 1. Only
//! serializable transactions keep every sum at 0 or 1.

use std::path::Path;
use std::thread;

use rusqlite::Connection;
use verso_tests::random::Random;
use verso_tests::scale::scaled;
use verso_tests::sessions::execute;
use verso_tests::workers::{Orders, Worker, report};
use verso_tests::{TestStore, integer, open, text, uri};

/// The role of workers that [`work`].
pub(crate) const ROLE: &str = "race";

const ACCOUNTS: u64 = 3;
const WRITERS: u64 = 4;
const ROUNDS: u64 = 60;

fn create(store: &TestStore) -> Connection {
    let db = store.connect("race.db");
    db.execute_batch(
        "PRAGMA page_size = 1024;
         CREATE TABLE sides (account INTEGER, side INTEGER, n INTEGER, pad BLOB,
                             PRIMARY KEY (account, side)) WITHOUT ROWID;",
    )
    .expect("the schema is right");
    for account in 0..ACCOUNTS {
        db.execute(
            "INSERT INTO sides VALUES (?1, 0, 0, zeroblob(500)), (?1, 1, 0, zeroblob(500))",
            [account.cast_signed()],
        )
        .expect("it is new");
    }
    db
}

/// Runs transactions, and returns by how much they changed the sum of everything.
fn run(path: &Path, number: u64, rounds: u64) -> i64 {
    let db = open(&uri(path, "race.db", "")).expect("the database opens");
    let mut random = Random::new(number);
    execute(&db, "PRAGMA synchronous = OFF").expect("SQL");
    execute(&db, "SELECT sum(n), sum(length(pad)) FROM sides").expect("a warm cache");
    (0..rounds)
        .map(|_| {
            let (account, side) = (random.below(ACCOUNTS), random.below(2));
            loop {
                match attempt(&db, account, side) {
                    Ok(change) => return change,
                    Err(5 | 517) => {
                        // It is rolled back already, or else is now.
                        let _ = execute(&db, "ROLLBACK");
                        thread::sleep(std::time::Duration::from_micros(random.below(2000)));
                    }
                    Err(code) => panic!("result code {code}"),
                }
            }
        })
        .sum()
}

fn attempt(db: &Connection, account: u64, side: u64) -> Result<i64, i32> {
    execute(db, "BEGIN")?;
    let sides = execute(
        db,
        &format!("SELECT n FROM sides WHERE account = {account}"),
    )?;
    let change = match sides.iter().sum::<i64>() {
        0 => 1,
        1 => -1,
        sum => panic!("account {account} has the sum {sum}: {sides:?}"),
    };
    let update = "UPDATE sides SET n = n +";
    execute(
        db,
        &format!("{update} {change} WHERE account = {account} AND side = {side}; COMMIT"),
    )?;
    Ok(change)
}

fn check(db: &Connection, changes: i64) {
    assert_eq!(integer(db, "SELECT sum(n) FROM sides"), changes);
    let wrong = "SELECT count(*) FROM (SELECT sum(n) AS n FROM sides GROUP BY account)
                 WHERE n NOT IN (0, 1)";
    assert_eq!(integer(db, wrong), 0);
    assert_eq!(text(db, "PRAGMA integrity_check"), "ok");
}

/// What a worker of the role [`ROLE`] does.
pub(crate) fn work(orders: &Orders) {
    report(run(&orders.store, orders.number, orders.rounds));
}

#[test]
fn threads_never_skew_a_sum() {
    let store = TestStore::new();
    let db = create(&store);
    let path = store.path();
    let changes = thread::scope(|scope| {
        let threads: Vec<_> = (0..WRITERS)
            .map(|number| {
                let path = &path;
                scope.spawn(move || run(path, number, scaled(ROUNDS)))
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum()
    });
    check(&db, changes);
}

#[test]
fn processes_never_skew_a_sum() {
    let store = TestStore::new();
    let db = create(&store);
    let workers: Vec<_> = (0..WRITERS)
        .map(|number| Worker::start(ROLE, number, scaled(ROUNDS), &store.path()))
        .collect();
    let reports = workers.into_iter().flat_map(Worker::finish);
    check(&db, reports.map(|line| line.parse::<i64>().unwrap()).sum());
}
