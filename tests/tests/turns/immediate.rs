//! `BEGIN IMMEDIATE`: whoever has begun commits, and whoever waits costs little.

use std::time::{Duration, Instant};

use rusqlite::Connection;
use verso_tests::nodes::on_a_cluster;
use verso_tests::scale::scaled;
use verso_tests::sessions::{Answer, execute};
use verso_tests::workers::{Orders, Worker, report};
use verso_tests::{integer, uri};

use super::{DATABASE, PATIENCE, assert_intact, connect, counted, counter, in_threads};

const WRITERS: u64 = 16;
/// Writers of one process; more processes than this only test the machine.
const THREADS: u64 = 2;

/// Adds one to what it read, in the table of this schema.
fn transact(db: &Connection, schema: &str) -> Answer {
    let found = execute(
        db,
        &format!("BEGIN IMMEDIATE; SELECT n FROM {schema}.counter"),
    )?;
    let next = found.first().expect("one row") + 1;
    execute(
        db,
        &format!("UPDATE {schema}.counter SET n = {next}; COMMIT"),
    )
}

fn transact_often(db: &Connection, schema: &str, rounds: u64) {
    for round in 0..rounds {
        assert_eq!(transact(db, schema), Ok(vec![]), "round {round}");
    }
}

pub(crate) fn work(orders: &Orders) {
    in_threads(THREADS, |_| {
        let db = connect(&orders.store);
        db.busy_timeout(Duration::from_secs(10)).expect("a timeout");
        transact_often(&db, "main", orders.rounds);
    });
    report("done");
}

/// The processor time that this process has used.
#[cfg(unix)]
fn processor_time() -> Duration {
    #[expect(unsafe_code, reason = "the standard library does not tell")]
    // SAFETY: the call fills the structure, which is valid as zeros.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        assert_eq!(libc::getrusage(libc::RUSAGE_SELF, &raw mut usage), 0);
        usage
    };
    let time = |time: libc::timeval| {
        let seconds = u64::try_from(time.tv_sec).expect("no negative time");
        let micros = u64::try_from(time.tv_usec).expect("no negative time");
        Duration::from_secs(seconds) + Duration::from_micros(micros)
    };
    time(usage.ru_utime) + time(usage.ru_stime)
}

/// A process whose threads wait for a lease that the parent holds: tells what they cost from
/// the parent's first word to its second.
#[cfg(unix)]
pub(crate) fn work_waiting(orders: &Orders) {
    let ready = std::sync::Barrier::new(usize::try_from(orders.rounds).expect("few") + 1);
    std::thread::scope(|scope| {
        for _ in 0..orders.rounds {
            let (ready, store) = (&ready, &orders.store);
            scope.spawn(move || {
                let db = connect(store);
                ready.wait();
                transact_often(&db, "main", 1);
            });
        }
        ready.wait();
        report("ready");
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).expect("a word");
        let before = processor_time();
        std::io::stdin().read_line(&mut line).expect("a word");
        report(processor_time().saturating_sub(before).as_millis());
    });
}

#[cfg(not(unix))]
pub(crate) fn work_waiting(_: &Orders) {}

#[test]
fn threads_begin_and_commit_without_an_error() {
    let (store, db) = counter();
    let rounds = scaled(100);
    in_threads(WRITERS, |_| {
        let db = connect(&store.path());
        db.busy_timeout(Duration::from_secs(10)).expect("a timeout");
        transact_often(&db, "main", rounds);
    });
    assert_eq!(counted(&db).unsigned_abs(), WRITERS * rounds);
    assert_intact(&db);
}

#[test]
fn processes_begin_and_commit_without_an_error() {
    let (store, db) = counter();
    let rounds = scaled(50);
    let workers: Vec<_> = (0..WRITERS / THREADS)
        .map(|number| Worker::start("immediate", number, rounds, &store.path()))
        .collect();
    for worker in workers {
        assert_eq!(worker.finish(), ["done"]);
    }
    assert_eq!(counted(&db).unsigned_abs(), WRITERS * rounds);
}

/// Then SQLite sleeps by another VFS, and nobody can wake it.
#[test]
fn a_main_database_elsewhere_changes_nothing() {
    let (store, db) = counter();
    let rounds = scaled(10);
    in_threads(WRITERS, |_| {
        let db = Connection::open_in_memory().expect("memory");
        db.busy_timeout(PATIENCE).expect("a timeout");
        let attach = format!("ATTACH '{}' AS verso", uri(&store.path(), DATABASE, ""));
        execute(&db, &attach).expect("SQL");
        transact_often(&db, "verso", rounds);
        for _ in 0..rounds {
            let update = "UPDATE verso.counter SET n = n + 1";
            assert_eq!(execute(&db, update), Ok(vec![]));
        }
    });
    assert_eq!(counted(&db).unsigned_abs(), 2 * WRITERS * rounds);
}

#[test]
fn a_busy_handler_of_the_application_changes_nothing() {
    let (store, db) = counter();
    let rounds = scaled(20);
    in_threads(WRITERS, |_| {
        let mut db = connect(&store.path());
        db.busy_handler(Some(|attempt| {
            std::thread::sleep(Duration::from_millis(1));
            attempt < 60_000
        }))
        .expect("a handler");
        transact_often(&db, "main", rounds);
    });
    assert_eq!(counted(&db).unsigned_abs(), WRITERS * rounds);
}

#[test]
fn a_busy_handler_that_gives_up_is_obeyed() {
    let (store, holder) = counter();
    let mut db = connect(&store.path());
    execute(&holder, "BEGIN IMMEDIATE").unwrap();
    db.busy_handler(Some(|attempt| attempt < 3)).unwrap();
    assert_eq!(transact(&db, "main"), Err(5));
    assert!(db.is_autocommit());
    execute(&holder, "ROLLBACK").unwrap();
    assert_eq!(transact(&db, "main"), Ok(vec![]));
    assert_eq!(counted(&holder), 1);
}

/// An open cursor reads a snapshot that others may overtake, as in WAL mode.
#[test]
fn beside_an_open_cursor_it_begins_only_in_the_newest_snapshot() {
    let (store, other) = counter();
    let db = connect(&store.path());
    let mut select = db.prepare("SELECT n FROM counter").unwrap();
    let mut cursor = select.query([]).unwrap();
    assert!(cursor.next().unwrap().is_some());
    assert_eq!(transact(&db, "main"), Ok(vec![]), "nobody was faster");
    drop(cursor);
    let mut cursor = select.query([]).unwrap();
    assert!(cursor.next().unwrap().is_some());
    assert_eq!(transact(&other, "main"), Ok(vec![]));
    assert_eq!(transact(&db, "main"), Err(517));
    assert!(db.is_autocommit());
    other.busy_timeout(Duration::ZERO).unwrap();
    assert_eq!(transact(&other, "main"), Ok(vec![]), "the lease is free");
    drop(cursor);
    assert_eq!(transact(&db, "main"), Ok(vec![]));
    assert_eq!(counted(&db), 4);
}

/// Holds the lease for two seconds while processes wait, and returns what those cost.
fn cost_of_waiting(processes: u64, threads: u64) -> Duration {
    let (store, holder) = counter();
    execute(&holder, "BEGIN IMMEDIATE").expect("SQL");
    let mut workers: Vec<_> = (0..processes)
        .map(|number| Worker::start("wait", number, threads, &store.path()))
        .collect();
    for worker in &workers {
        assert_eq!(worker.line().as_deref(), Some("ready"));
    }
    for worker in &mut workers {
        worker.tell("begin");
    }
    let begin = Instant::now();
    std::thread::sleep(Duration::from_secs(2));
    for worker in &mut workers {
        worker.tell("end");
    }
    let held = begin.elapsed();
    let costs = workers.iter().map(|worker| {
        worker
            .line()
            .expect("a number")
            .parse::<u64>()
            .expect("a number")
    });
    let cost = Duration::from_millis(costs.sum::<u64>());
    execute(&holder, "COMMIT").expect("SQL");
    for worker in workers {
        assert!(worker.finish().is_empty());
    }
    let expected = (processes * threads).cast_signed();
    assert_eq!(integer(&holder, "SELECT n FROM counter"), expected);
    println!("{processes} x {threads} waited {held:?} with {cost:?} of processor time");
    cost
}

#[cfg(unix)]
#[test]
fn threads_that_wait_cost_little() {
    let cost = cost_of_waiting(1, WRITERS);
    assert!(cost < Duration::from_millis(600), "{cost:?} in 2 s");
}

#[cfg(unix)]
#[test]
fn processes_that_wait_cost_little() {
    let cost = cost_of_waiting(WRITERS, 1);
    // A client of a cluster costs something by itself: the thread of FoundationDB's library, which
    // used 24 ms of a second in each process that did nothing.
    let limit = Duration::from_millis(if on_a_cluster() { 3000 } else { 1500 });
    assert!(cost < limit, "{cost:?} in 2 s");
}
