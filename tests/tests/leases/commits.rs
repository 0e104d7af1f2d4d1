//! Processes that are stopped or killed at random moments, also in the middle of a commit.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use verso_tests::random::Random;
use verso_tests::scale::scaled;
use verso_tests::sessions::execute;
use verso_tests::signals::signal;
use verso_tests::workers::{Orders, Worker, report};

use super::{ADD, TIME_TO_LIVE, assert_intact, connect, counter};

const WRITERS: u64 = 3;
/// More writers than there are ever in one test.
const STRIDE: u64 = 1000;

/// Adds one and writes a row, each in a turn of its own kind, and tells each commit. Writes
/// on until its input is closed.
pub(crate) fn work(orders: &Orders) {
    let db = connect(&orders.store);
    let closed = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let close = std::sync::Arc::clone(&closed);
    std::thread::spawn(move || {
        // Ends at the end of the input.
        let _ = std::io::read_to_string(std::io::stdin());
        close.store(true, std::sync::atomic::Ordering::Release);
    });
    for round in 0.. {
        if closed.load(std::sync::atomic::Ordering::Acquire) {
            break;
        }
        let id = round * STRIDE + orders.number;
        let insert = format!("INSERT INTO rows VALUES ({id}, {})", orders.number);
        let begin = if round % 3 == 0 {
            "BEGIN"
        } else {
            "BEGIN IMMEDIATE"
        };
        // Stopped for too long it loses its turn, and then nothing of it is stored.
        while let Err(code) = execute(&db, &format!("{begin}; {ADD}; {insert}; COMMIT")) {
            assert_eq!(code, 517, "round {round}");
            assert!(db.is_autocommit(), "round {round}");
        }
        report(id);
    }
}

#[test]
fn a_process_stopped_at_any_moment_neither_loses_nor_doubles_a_commit() {
    let (store, db) = counter();
    let writers: Vec<_> = (0..WRITERS)
        .map(|number| Worker::start("commit", number, 0, &store.path()))
        .collect();
    let mut random = Random::new(7);
    for round in 0..scaled(12) {
        std::thread::sleep(Duration::from_micros(random.below(100_000)));
        let writer = &writers[usize::try_from(round % WRITERS).unwrap()];
        signal(writer.id(), libc::SIGSTOP);
        // Some are stopped for longer than their lease lives.
        let most = TIME_TO_LIVE * if round % 3 == 0 { 2 } else { 1 } / 2;
        let micros = u64::try_from(most.as_micros()).unwrap();
        std::thread::sleep(Duration::from_micros(micros / 2 + random.below(micros)));
        signal(writer.id(), libc::SIGCONT);
    }
    let told = writers.into_iter().map(Worker::finish);
    let told: Vec<Vec<i64>> = told.map(|lines| numbers(&lines)).collect();
    assert!(
        told.iter().all(|told| told.len() > 20),
        "all of them got on"
    );
    println!(
        "{:?} commits",
        told.iter().map(Vec::len).collect::<Vec<_>>()
    );
    let mut all = told.concat();
    all.sort_unstable();
    assert_eq!(
        execute(&db, "SELECT id FROM rows ORDER BY id"),
        Ok(all.clone())
    );
    assert_eq!(
        execute(&db, "SELECT n FROM counter"),
        Ok(vec![i64::try_from(all.len()).unwrap()])
    );
    assert_intact(&db);
}

fn numbers(lines: &[String]) -> Vec<i64> {
    lines
        .iter()
        .map(|line| line.parse().expect("a number"))
        .collect()
}

/// Whoever is killed leaves a lease, a place in the queue, or nothing behind, and at most one
/// commit that it did not live to tell.
#[test]
fn a_process_killed_at_any_moment_leaves_whole_commits() {
    let (store, db) = counter();
    let start = |number| Worker::start("commit", number, 0, &store.path());
    let others: Vec<_> = (0..2).map(start).collect();
    let mut random = Random::new(11);
    let (mut told, mut killed) = (Vec::new(), Vec::new());
    for number in 2..2 + scaled(10) {
        let victim = start(number);
        assert!(
            victim.line().is_some_and(|line| line == number.to_string()),
            "its first commit"
        );
        told.push(number.cast_signed());
        std::thread::sleep(Duration::from_micros(random.below(30_000)));
        told.extend(numbers(&victim.kill()));
        killed.push(number.cast_signed());
        // Somebody takes over, if there is anything to take.
        let begin = Instant::now();
        assert_eq!(execute(&db, "BEGIN IMMEDIATE; COMMIT"), Ok(vec![]));
        assert!(begin.elapsed() < TIME_TO_LIVE * 2, "{:?}", begin.elapsed());
    }
    for other in others {
        told.extend(numbers(&other.finish()));
    }
    let stored = execute(&db, "SELECT id FROM rows").unwrap();
    let (stored, told) = (BTreeSet::from_iter(stored), BTreeSet::from_iter(told));
    assert!(told.is_subset(&stored), "a commit is lost");
    let untold: Vec<i64> = stored
        .difference(&told)
        .map(|id| id % STRIDE.cast_signed())
        .collect();
    let owners: BTreeSet<i64> = untold.iter().copied().collect();
    assert_eq!(
        owners.len(),
        untold.len(),
        "two commits of one that told neither"
    );
    assert!(
        owners.iter().all(|owner| killed.contains(owner)),
        "only the dead do not tell"
    );
    let whole = i64::try_from(stored.len()).unwrap();
    assert_eq!(execute(&db, "SELECT n FROM counter"), Ok(vec![whole]));
    println!("{whole} commits, {} of them untold", untold.len());
    assert_intact(&db);
}
