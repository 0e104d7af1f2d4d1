//! The queue for a lease when those who stand in it are dead.

use std::time::{Duration, Instant};

use verso_tests::sessions::execute;
use verso_tests::workers::{Orders, Worker, report};

use super::{ADD, assert_intact, connect, counted, counter, impatient};

const PROCESSES: u64 = 3;
const THREADS: u64 = 8;
/// How long the queue stands still for each process that is dead.
const MISSED_TURN: Duration = Duration::from_millis(250);

/// Many threads that wait for the lease.
pub(crate) fn work(orders: &Orders) {
    std::thread::scope(|scope| {
        for _ in 0..orders.rounds {
            scope.spawn(|| {
                let db = connect(&orders.store);
                report("waits");
                execute(&db, "BEGIN IMMEDIATE; UPDATE counter SET n = 1000; COMMIT").expect("SQL");
            });
        }
    });
}

#[test]
fn the_queue_recovers_from_dead_waiters() {
    let (store, holder) = counter();
    execute(&holder, "BEGIN IMMEDIATE").unwrap();
    let waiters: Vec<_> = (0..PROCESSES)
        .map(|number| Worker::start("queue", number, THREADS, &store.path()))
        .collect();
    for waiter in &waiters {
        for _ in 0..THREADS {
            assert_eq!(waiter.line().as_deref(), Some("waits"));
        }
    }
    // Time to join the queue: it does not matter if one of them has not yet.
    std::thread::sleep(Duration::from_millis(300));
    for waiter in waiters {
        assert!(waiter.kill().is_empty());
    }
    // Others wait behind the dead, and after them.
    let path = store.path();
    let begin = Instant::now();
    let live: Vec<_> = (0..4)
        .map(|_| {
            let db = connect(&path);
            std::thread::spawn(move || {
                execute(&db, "BEGIN IMMEDIATE; UPDATE counter SET n = n + 1; COMMIT")
            })
        })
        .collect();
    execute(&holder, "COMMIT").unwrap();
    // Whoever needs no turn does not wait for dead ones.
    for waiter in live {
        assert_eq!(waiter.join().unwrap(), Ok(vec![]));
    }
    let db = connect(&path);
    for _ in 0..PROCESSES * THREADS {
        assert_eq!(
            execute(&db, "BEGIN IMMEDIATE; UPDATE counter SET n = n + 1; COMMIT"),
            Ok(vec![])
        );
    }
    let took = begin.elapsed();
    let processes = u32::try_from(PROCESSES).unwrap();
    assert!(
        took < MISSED_TURN * processes + Duration::from_secs(3),
        "{took:?}"
    );
    println!("{processes} dead processes cost {took:?}");
    // Nothing is left of them.
    let next = impatient(&path);
    for _ in 0..10 {
        assert_eq!(
            execute(
                &next,
                "BEGIN IMMEDIATE; UPDATE counter SET n = n + 1; COMMIT"
            ),
            Ok(vec![])
        );
    }
    let turns = i64::try_from(PROCESSES * THREADS).unwrap();
    assert_eq!(counted(&db), 4 + turns + 10);
    assert_intact(&db);
}

/// Statements that need no turn wait for one of the dead, who was handed the lease, and then go on
/// beside the queue of the others.
#[test]
fn who_needs_no_turn_waits_for_one_of_the_dead_at_most() {
    let (store, holder) = counter();
    execute(&holder, "BEGIN IMMEDIATE").unwrap();
    let waiter = Worker::start("queue", 0, THREADS, &store.path());
    for _ in 0..THREADS {
        assert_eq!(waiter.line().as_deref(), Some("waits"));
    }
    std::thread::sleep(Duration::from_millis(300));
    assert!(waiter.kill().is_empty());
    execute(&holder, "COMMIT").unwrap();
    let next = connect(&store.path());
    let begin = Instant::now();
    assert_eq!(execute(&next, ADD), Ok(vec![]));
    assert!(begin.elapsed() < MISSED_TURN * 4, "{:?}", begin.elapsed());
    let next = impatient(&store.path());
    for _ in 0..5 {
        assert_eq!(execute(&next, ADD), Ok(vec![]));
    }
    assert_eq!(counted(&next), 6);
}
