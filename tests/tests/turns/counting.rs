//! Autocommit statements on one row: all succeed, and all writers get on alike.

use std::path::Path;
use std::time::{Duration, Instant};

use verso_tests::nodes::on_a_cluster;
use verso_tests::scale::{self, is_soak};
use verso_tests::workers::{Orders, Worker, report};

use super::{ADD, assert_intact, connect, counted, counter, in_threads};

const PROCESSES: u64 = 8;

/// For how long writers compete.
fn contest() -> Duration {
    Duration::from_secs(if is_soak() { 60 } else { 4 })
}

/// A writer has at least this part of what the most successful one has. Beside each of its
/// turns a writer commits three statements at most that need none, which makes a quarter at
/// worst; the rest is for the machine.
const SMALLEST_SHARE: u64 = 6;

/// One turn of each of 32 writers takes milliseconds, on a cluster some more of them. This is for
/// machines that stall.
fn longest_wait() -> Duration {
    Duration::from_secs(if on_a_cluster() { 12 } else { 3 })
}

fn count(store: &Path, rounds: u64) {
    let db = connect(store);
    for round in 0..rounds {
        assert_eq!(db.execute(ADD, []), Ok(1), "round {round}");
    }
}

pub(crate) fn work(orders: &Orders) {
    count(&orders.store, orders.rounds);
    report(orders.rounds);
}

/// What a writer got done, and for how long it waited at most.
#[derive(Debug, Clone, Copy)]
struct Share {
    done: u64,
    longest: Duration,
}

/// Counts for as long as all do.
fn compete(store: &Path) -> Share {
    let db = connect(store);
    let (begin, mut done, mut longest) = (Instant::now(), 0, Duration::ZERO);
    while begin.elapsed() < contest() {
        let since = Instant::now();
        assert_eq!(db.execute(ADD, []), Ok(1));
        longest = longest.max(since.elapsed());
        done += 1;
    }
    Share { done, longest }
}

/// A process of so many writers.
pub(crate) fn work_for_a_share(orders: &Orders) {
    report("ready");
    std::io::stdin()
        .read_line(&mut String::new())
        .expect("the word to begin");
    for share in in_threads(orders.rounds, |_| compete(&orders.store)) {
        report(format!("{} {}", share.done, share.longest.as_micros()));
    }
}

fn parse(line: &str) -> Share {
    let (done, longest) = line.split_once(' ').expect("two numbers");
    Share {
        done: done.parse().expect("a number"),
        longest: Duration::from_micros(longest.parse().expect("a number")),
    }
}

fn assert_fair(shares: &[Share]) {
    let done = || shares.iter().map(|share| share.done);
    let (least, most) = (done().min(), done().max());
    let longest = shares.iter().map(|share| share.longest).max();
    println!("least {least:?}, most {most:?}, longest wait {longest:?}");
    assert!(
        least > Some(0) && least.map(|least| least * SMALLEST_SHARE) >= most,
        "{shares:?}"
    );
    assert!(longest < Some(longest_wait()), "{shares:?}");
}

#[test]
fn sixteen_threads_count_exactly() {
    let (store, db) = counter();
    let rounds = scale::rounds(1000);
    in_threads(16, |_| count(&store.path(), rounds));
    assert_eq!(counted(&db).unsigned_abs(), 16 * rounds);
    assert_intact(&db);
}

#[test]
fn eight_processes_count_exactly() {
    let (store, db) = counter();
    let rounds = scale::rounds(500);
    let workers: Vec<_> = (0..PROCESSES)
        .map(|number| Worker::start("count", number, rounds, &store.path()))
        .collect();
    for worker in workers {
        assert_eq!(worker.finish(), [rounds.to_string()]);
    }
    assert_eq!(counted(&db).unsigned_abs(), PROCESSES * rounds);
    assert_intact(&db);
}

#[test]
fn threads_on_one_row_get_on_alike() {
    let (store, db) = counter();
    let shares = in_threads(32, |_| compete(&store.path()));
    let done: u64 = shares.iter().map(|share| share.done).sum();
    assert_eq!(counted(&db).unsigned_abs(), done);
    assert_fair(&shares);
}

#[test]
fn threads_of_several_processes_on_one_row_get_on_alike() {
    let (store, db) = counter();
    let mut workers: Vec<_> = (0..4)
        .map(|number| Worker::start("share", number, 8, &store.path()))
        .collect();
    for worker in &workers {
        assert_eq!(worker.line().as_deref(), Some("ready"));
    }
    for worker in &mut workers {
        worker.tell("go");
    }
    let lines: Vec<String> = workers.into_iter().flat_map(Worker::finish).collect();
    let shares: Vec<Share> = lines.iter().map(|line| parse(line)).collect();
    assert_eq!(shares.len(), 32);
    let done: u64 = shares.iter().map(|share| share.done).sum();
    assert_eq!(counted(&db).unsigned_abs(), done);
    assert_fair(&shares);
}
