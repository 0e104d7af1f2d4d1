//! Goal: a process that is killed or stopped at any moment neither loses a commit that it
//! acknowledged, nor leaves half a transaction behind, nor stops the others.
//! Method: worker processes that tell each commit, SIGKILL and SIGSTOP from outside.
#![cfg(unix)]

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use verso_tests::random::Random;
use verso_tests::scale::scaled;
use verso_tests::sessions::{self, Place, Session, execute};
use verso_tests::signals::signal;
use verso_tests::workers::{Orders, Worker, report};
use verso_tests::{TestStore, integer, open, text, uri};

const DATABASE: &str = "app.db";
/// A transaction removes the one that came so many before it.
const KEPT: i64 = 6;
/// Whoever waits longer waits for something that is gone.
const BRIEFLY: Duration = Duration::from_secs(10);

const CREATE: &str = "CREATE TABLE IF NOT EXISTS heads (txn INTEGER PRIMARY KEY, k INTEGER);
    CREATE TABLE IF NOT EXISTS rows (txn INTEGER, i INTEGER, pad BLOB, PRIMARY KEY (txn, i));
    CREATE TABLE IF NOT EXISTS others (who INTEGER PRIMARY KEY, n INTEGER);";

/// Not a test of its own: worker processes begin here.
#[test]
fn worker() {
    if let Some(orders) = Orders::received() {
        match orders.role.as_str() {
            sessions::ROLE => sessions::serve(&orders),
            "write" => write(&orders),
            "count" => count(&orders),
            other => panic!("unknown role {other}"),
        }
    }
}

/// Runs SQL again until no other transaction is in its way.
fn persist(db: &Connection, sql: &str) {
    loop {
        match execute(db, sql) {
            Ok(_) => return,
            Err(code) if code & 0xff == 5 => {
                if !db.is_autocommit() {
                    execute(db, "ROLLBACK").expect("a transaction is open");
                }
            }
            Err(code) => panic!("{sql}: result code {code}"),
        }
    }
}

/// Writes transactions of `k` rows and a head that says so, until it is killed. Before each
/// it tells its number, and after each that it is committed.
fn write(orders: &Orders) {
    let db = open(&uri(&orders.store, DATABASE, "")).expect("the database opens");
    let mut random = Random::new(orders.number);
    let synchronous = if orders.number.is_multiple_of(10) {
        "FULL"
    } else {
        "OFF"
    };
    let settings = format!("PRAGMA synchronous = {synchronous}; PRAGMA cache_size = 10");
    execute(&db, &settings).expect("SQL");
    persist(&db, CREATE);
    let newest = execute(&db, "SELECT coalesce(max(txn), 0) FROM heads").expect("SQL");
    for txn in 1 + newest.first().expect("one row").. {
        // A third of them spill, and some of those are rolled back first.
        let k = if random.one_in(3) {
            100 + random.below(300)
        } else {
            1 + random.below(5)
        };
        let body = format!(
            "BEGIN; INSERT INTO heads VALUES ({txn}, {k});
             WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < {k})
                 INSERT INTO rows SELECT {txn}, i, zeroblob(300 + i % 7) FROM n;
             DELETE FROM rows WHERE txn = {txn} - {KEPT};
             DELETE FROM heads WHERE txn = {txn} - {KEPT};"
        );
        if random.one_in(4) {
            persist(&db, &format!("{body} ROLLBACK"));
        }
        persist(&db, &format!("{body} COMMIT"));
        report(txn);
    }
}

/// Adds one to a number, in a transaction that reads it first, and tells each commit.
fn count(orders: &Orders) {
    let db = open(&uri(&orders.store, DATABASE, "")).expect("the database opens");
    execute(&db, "PRAGMA synchronous = OFF").expect("SQL");
    let statement = "BEGIN; SELECT n FROM counter; UPDATE counter SET n = n + 1; COMMIT";
    for round in 0..orders.rounds {
        persist(&db, statement);
        report(round);
    }
}

/// The transactions that are in the database, after a check that all of them are whole.
fn transactions(db: &Connection) -> Vec<i64> {
    let broken = "SELECT count(*) FROM heads
                  WHERE k <> (SELECT count(*) FROM rows WHERE rows.txn = heads.txn
                              AND length(pad) = 300 + i % 7)";
    assert_eq!(integer(db, broken), 0, "half a transaction");
    let stray = "SELECT count(*) FROM rows WHERE txn NOT IN (SELECT txn FROM heads)";
    assert_eq!(integer(db, stray), 0, "rows without a head");
    execute(db, "SELECT txn FROM heads ORDER BY txn").expect("SQL")
}

/// What is there once transaction `newest` is committed.
fn kept(newest: i64) -> Vec<i64> {
    (newest.max(KEPT) - KEPT + 1..=newest).collect()
}

/// From when on a writer's time runs.
#[derive(Clone, Copy)]
enum Beginning {
    Start,
    FirstCommit,
}

/// Lets a worker write for some time, kills it, and checks what it left. Returns the newest
/// transaction.
fn kill_one(path: &Path, number: u64, from: Beginning, after: Duration, mut newest: i64) -> i64 {
    let worker = Worker::start("write", number, 0, path);
    let first = match from {
        Beginning::Start => None,
        Beginning::FirstCommit => Some(worker.line().expect("it commits")),
    };
    std::thread::sleep(after);
    if let Some(told) = worker.kill().last().or(first.as_ref()) {
        newest = told.parse().expect("a number");
    }
    let db = open(&uri(path, DATABASE, "")).expect("the database opens");
    execute(&db, CREATE).expect("nobody is in the way");
    let found = transactions(&db);
    assert!(
        found == kept(newest) || found == kept(newest + 1),
        "round {number}: acknowledged up to {newest}, found {found:?}"
    );
    if number.is_multiple_of(10) {
        assert_eq!(text(&db, "PRAGMA integrity_check"), "ok");
    }
    found.last().copied().unwrap_or(0)
}

/// Two connections, one of them old, still write.
fn others_go_on(old: &Connection, path: &Path, round: i64) {
    let fresh = open(&uri(path, DATABASE, "")).expect("the database opens");
    for (who, db) in [(1, old), (2, &fresh)] {
        let began = Instant::now();
        let sql = format!(
            "PRAGMA synchronous = OFF;
             INSERT INTO others VALUES ({who}, 1) ON CONFLICT DO UPDATE SET n = n + 1"
        );
        persist(db, &sql);
        assert!(began.elapsed() < BRIEFLY, "{:?}", began.elapsed());
        let n = integer(db, &format!("SELECT n FROM others WHERE who = {who}"));
        assert_eq!(n, round + 1);
    }
}

#[test]
fn a_killed_writer_leaves_what_it_acknowledged_and_nothing_by_halves() {
    let store = TestStore::new();
    let path = store.path();
    let old = store.connect(DATABASE);
    execute(&old, CREATE).unwrap();
    let (mut random, mut newest) = (Random::new(1), 0);
    for round in 0..scaled(90) {
        let (from, longest) = if random.one_in(2) {
            (Beginning::Start, 60_000)
        } else {
            (Beginning::FirstCommit, 30_000)
        };
        let after = Duration::from_micros(random.below(longest));
        newest = kill_one(&path, round, from, after, newest);
        others_go_on(&old, &path, round.cast_signed());
        assert_eq!(
            transactions(&old),
            kept(newest),
            "a warm connection sees the same"
        );
    }
    assert_eq!(text(&old, "PRAGMA integrity_check"), "ok");
}

#[test]
fn a_writer_killed_while_it_creates_the_store_is_no_obstacle() {
    let mut random = Random::new(2);
    for round in 0..scaled(10) {
        let store = TestStore::new();
        let after = Duration::from_micros(random.below(40_000));
        kill_one(&store.path(), round * 10, Beginning::Start, after, 0);
        let db = store.connect(DATABASE);
        others_go_on(&db, &store.path(), 0);
    }
}

#[test]
fn a_writer_stopped_inside_a_transaction_is_in_nobodys_way() {
    let store = TestStore::new();
    let here = store.connect(DATABASE);
    let fill = "WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 200)";
    let schema = format!(
        "CREATE TABLE a (id INTEGER PRIMARY KEY, n INTEGER, pad BLOB);
         CREATE TABLE b (id INTEGER PRIMARY KEY, n INTEGER, pad BLOB);
         {fill} INSERT INTO a SELECT i, 0, zeroblob(500) FROM n; INSERT INTO b SELECT * FROM a"
    );
    execute(&here, &schema).unwrap();
    let mut stopped = Session::open(Place::Process, &store.path(), DATABASE);
    let mut other = Session::open(Place::Process, &store.path(), DATABASE);
    let process = stopped.process().expect("it is one");
    for (round, (table, cache)) in (1..).zip([("a", 2000), ("b", 2000), ("a", 5), ("b", 5)]) {
        // All pages of table a are read, and with a small cache most are written already.
        stopped.ok(&format!(
            "PRAGMA cache_size = {cache}; SELECT sum(n) FROM a"
        ));
        stopped.ok("BEGIN; SELECT sum(n) FROM a; UPDATE a SET n = n + 1");
        signal(process, libc::SIGSTOP);
        let began = Instant::now();
        other.ok(&format!("UPDATE {table} SET n = n + 1 WHERE id = 7"));
        for _ in 0..20 {
            persist(&here, &format!("UPDATE {table} SET n = n + 1 WHERE id = 8"));
        }
        let waited = began.elapsed();
        signal(process, libc::SIGCONT);
        assert!(waited < BRIEFLY, "others waited for {waited:?}");
        let expected = if table == "a" {
            Err(517)
        } else {
            Ok(Vec::new())
        };
        assert_eq!(stopped.run("COMMIT"), expected, "round {round}");
        let of_a = 21 * ((round + 1) / 2) + 200 * (round / 2);
        assert_eq!(stopped.ok("SELECT sum(n) FROM a"), [of_a]);
        assert_eq!(integer(&here, "SELECT sum(n) FROM a"), of_a);
        assert_eq!(integer(&here, "SELECT sum(n) FROM b"), 21 * (round / 2));
    }
    assert_eq!(text(&here, "PRAGMA integrity_check"), "ok");
}

#[test]
fn a_writer_stopped_again_and_again_loses_no_update() {
    let store = TestStore::new();
    let db = store.connect(DATABASE);
    db.execute_batch("CREATE TABLE counter (n INTEGER); INSERT INTO counter VALUES (0)")
        .unwrap();
    let rounds = scaled(60);
    let start = |number| Worker::start("count", number, rounds, &store.path());
    let (stopped, other) = (start(0), start(1));
    let mut random = Random::new(3);
    // Until the first has nothing more to do.
    for _ in 0..rounds {
        if stopped.line().is_none() {
            break;
        }
        std::thread::sleep(Duration::from_micros(random.below(2000)));
        signal(stopped.id(), libc::SIGSTOP);
        std::thread::sleep(Duration::from_micros(random.below(10_000)));
        signal(stopped.id(), libc::SIGCONT);
    }
    drop(stopped.finish());
    drop(other.finish());
    let counted = integer(&db, "SELECT n FROM counter").unsigned_abs();
    assert_eq!(counted, 2 * rounds);
}
