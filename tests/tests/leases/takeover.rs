//! Holders that died, were stopped, or only idle.

use std::thread;
use std::time::{Duration, Instant};

use verso_tests::sessions::{Answer, Place, Session, execute};
use verso_tests::signals::signal;

use super::{ADD, DATABASE, TIME_TO_LIVE, assert_intact, connect, counted, counter, impatient};

/// A process of its own that does what it is told.
fn session(store: &verso_tests::TestStore) -> (Session, u32) {
    let session = Session::open(Place::Process, &store.path(), DATABASE);
    let process = session.process().expect("it is one");
    (session, process)
}

/// Runs SQL on a connection of another thread, and tells how long it took.
fn timed(store: &std::path::Path, sql: &'static str) -> thread::JoinHandle<(Answer, Duration)> {
    let db = connect(store);
    thread::spawn(move || {
        let begin = Instant::now();
        (execute(&db, sql), begin.elapsed())
    })
}

/// All that waits for a lease.
const WAITING: [&str; 4] = [
    "BEGIN IMMEDIATE; UPDATE counter SET n = n + 1; COMMIT",
    ADD,
    "BEGIN; UPDATE counter SET n = n + 1; COMMIT",
    "UPDATE counter SET n = n + 1 RETURNING n",
];

#[test]
fn the_lease_of_a_killed_holder_is_taken_over_in_time() {
    let (store, db) = counter();
    for (round, sql) in (1..).zip(WAITING) {
        let (mut holder, process) = session(&store);
        holder.ok("BEGIN IMMEDIATE; UPDATE counter SET n = 1000");
        let began = Instant::now();
        let other = timed(&store.path(), sql);
        thread::sleep(TIME_TO_LIVE / 4);
        signal(process, libc::SIGKILL);
        let before = began.elapsed();
        let (answer, waited) = other.join().unwrap();
        assert!(answer.is_ok(), "{sql}: {answer:?}");
        let waited = waited.saturating_sub(before);
        // The last sign of life was up to a quarter of its time, and a little, before.
        assert!(waited > TIME_TO_LIVE / 2, "{sql}: {waited:?}");
        assert!(waited < TIME_TO_LIVE * 2, "{sql}: {waited:?}");
        assert_eq!(counted(&db), round, "nothing of the killed one");
    }
    assert_intact(&db);
}

/// Each attempt gives up before the time to live is over. What they saw counts together.
#[test]
fn short_patience_again_and_again_takes_over_in_time() {
    for statement in ["BEGIN IMMEDIATE; COMMIT", ADD] {
        let (store, db) = counter();
        let (mut holder, process) = session(&store);
        holder.ok("BEGIN IMMEDIATE");
        db.busy_timeout(TIME_TO_LIVE / 20).unwrap();
        assert_eq!(execute(&db, statement), Err(5));
        signal(process, libc::SIGKILL);
        let begin = Instant::now();
        let mut attempts = 0;
        while let Err(code) = execute(&db, statement) {
            assert_eq!(code, 5);
            attempts += 1;
        }
        let waited = begin.elapsed();
        assert!(waited > TIME_TO_LIVE / 2, "{waited:?}");
        assert!(waited < TIME_TO_LIVE * 2, "{waited:?}");
        assert!(attempts > 5, "{attempts}");
    }
}

/// A program that opens a connection for each request, and has no other one.
#[test]
fn a_new_connection_for_each_attempt_takes_over_in_time() {
    let (store, db) = counter();
    drop(db);
    let (mut holder, process) = session(&store);
    holder.ok("BEGIN IMMEDIATE");
    signal(process, libc::SIGKILL);
    let begin = Instant::now();
    let attempt = || {
        let db = connect(&store.path());
        db.busy_timeout(TIME_TO_LIVE / 20).expect("a timeout");
        execute(&db, ADD)
    };
    while let Err(code) = attempt() {
        assert_eq!(code, 5);
        let waited = begin.elapsed();
        assert!(waited < TIME_TO_LIVE * 2, "{waited:?}");
    }
    assert!(begin.elapsed() > TIME_TO_LIVE / 2, "{:?}", begin.elapsed());
}

#[test]
fn a_holder_that_was_stopped_too_long_commits_nothing() {
    for write in [ADD, "INSERT INTO rows VALUES (1, 1)"] {
        let (store, other) = counter();
        let (mut holder, process) = session(&store);
        holder.ok(&format!("BEGIN IMMEDIATE; {write}"));
        signal(process, libc::SIGSTOP);
        assert_eq!(
            execute(&other, "BEGIN IMMEDIATE; UPDATE counter SET n = 50; COMMIT"),
            Ok(vec![])
        );
        signal(process, libc::SIGCONT);
        assert_eq!(holder.run("COMMIT"), Err(517), "{write}");
        assert_eq!(
            holder.ok("SELECT n FROM counter; SELECT count(*) FROM rows"),
            [50, 0]
        );
        assert_eq!(counted(&other), 50);
        // It goes on like anybody else.
        holder.ok("BEGIN IMMEDIATE; UPDATE counter SET n = n + 1; COMMIT");
        holder.ok(write);
        assert_intact(&other);
    }
}

/// What the late holder does must not end the lease of its successor.
#[test]
fn a_late_holder_does_not_take_its_successors_lease() {
    for end in ["COMMIT", "ROLLBACK"] {
        let (store, successor) = counter();
        let (mut holder, process) = session(&store);
        holder.ok("BEGIN IMMEDIATE; UPDATE counter SET n = 1000");
        signal(process, libc::SIGSTOP);
        execute(&successor, "BEGIN IMMEDIATE; UPDATE counter SET n = 50").unwrap();
        signal(process, libc::SIGCONT);
        let expected = if end == "COMMIT" {
            Err(517)
        } else {
            Ok(vec![])
        };
        assert_eq!(holder.run(end), expected);
        drop(holder);
        let third = impatient(&store.path());
        assert_eq!(execute(&third, ADD), Err(5), "the successor has its turn");
        assert_eq!(execute(&successor, "COMMIT"), Ok(vec![]));
        assert_eq!(counted(&third), 50);
    }
}

/// An optimistic writer takes the lease over only to commit, and the holder's late commit is
/// refused even though its own pages are as they were.
#[test]
fn a_stopped_holder_does_not_block_optimistic_commits_for_long() {
    let (store, other) = counter();
    let (mut holder, process) = session(&store);
    holder.ok("BEGIN IMMEDIATE; INSERT INTO rows VALUES (1, 1)");
    signal(process, libc::SIGSTOP);
    let begin = Instant::now();
    for _ in 0..5 {
        assert_eq!(
            execute(&other, "BEGIN; UPDATE counter SET n = n + 1; COMMIT"),
            Ok(vec![])
        );
    }
    let waited = begin.elapsed();
    assert!(
        waited < TIME_TO_LIVE * 2,
        "it is waited for once: {waited:?}"
    );
    signal(process, libc::SIGCONT);
    assert_eq!(holder.run("COMMIT"), Err(517));
    assert_eq!(
        holder.ok("SELECT count(*) FROM rows; SELECT n FROM counter"),
        [0, 5]
    );
}

#[test]
fn a_holder_that_was_stopped_briefly_commits() {
    let (store, db) = counter();
    let (mut holder, process) = session(&store);
    for round in 0..5 {
        holder.ok("BEGIN IMMEDIATE; UPDATE counter SET n = n + 10");
        let waiter = timed(&store.path(), ADD);
        signal(process, libc::SIGSTOP);
        thread::sleep(TIME_TO_LIVE / 4);
        signal(process, libc::SIGCONT);
        assert_eq!(holder.run("COMMIT"), Ok(vec![]), "round {round}");
        let (answer, _) = waiter.join().unwrap();
        assert_eq!(answer, Ok(vec![]));
        assert_eq!(counted(&db), 11 * (round + 1));
    }
}

#[test]
fn nobody_wants_the_lease_of_a_stopped_holder_so_it_keeps_it() {
    let (store, db) = counter();
    let (mut holder, process) = session(&store);
    holder.ok("BEGIN IMMEDIATE; UPDATE counter SET n = n + 10");
    signal(process, libc::SIGSTOP);
    thread::sleep(TIME_TO_LIVE * 3 / 2);
    signal(process, libc::SIGCONT);
    holder.ok("COMMIT");
    assert_eq!(counted(&db), 10);
}

#[test]
fn a_holder_that_idles_keeps_the_lease() {
    let (store, db) = counter();
    let (mut elsewhere, _) = session(&store);
    let here = connect(&store.path());
    for place in ["here", "elsewhere"] {
        let mut run = |sql: &str| match place {
            "here" => execute(&here, sql),
            _ => elsewhere.run(sql),
        };
        run("BEGIN IMMEDIATE; UPDATE counter SET n = n + 10").unwrap();
        let (begin, other) = (Instant::now(), timed(&store.path(), ADD));
        db.busy_timeout(Duration::ZERO).unwrap();
        while begin.elapsed() < TIME_TO_LIVE * 3 {
            assert_eq!(execute(&db, "BEGIN IMMEDIATE"), Err(5), "{place}");
            thread::sleep(TIME_TO_LIVE / 20);
        }
        assert_eq!(run("COMMIT"), Ok(vec![]), "{place}");
        let (answer, waited) = other.join().unwrap();
        assert_eq!(answer, Ok(vec![]));
        assert!(waited >= TIME_TO_LIVE * 5 / 2, "{place}: {waited:?}");
    }
    assert_eq!(counted(&db), 22);
}
