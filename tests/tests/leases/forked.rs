//! A process that forks while it holds a lease: the lease stays its own.
#![expect(unsafe_code, reason = "fork and waitpid have no safe wrapper here")]

use rusqlite::Connection;
use verso_tests::sessions::execute;
use verso_tests::workers::{Orders, Worker, report};

use verso_tests::TestStore;

use super::{ADD, TIME_TO_LIVE, connect, counted, counter_in, impatient};

/// Runs `child` in a forked process, and waits for it.
fn fork(child: impl FnOnce()) {
    // SAFETY: the child runs only `child` and leaves by _exit.
    let process = match unsafe { libc::fork() } {
        -1 => panic!("fork failed"),
        0 => {
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child));
            // SAFETY: ends the child without running the parent's exit handlers.
            unsafe { libc::_exit(i32::from(result.is_err())) }
        }
        process => process,
    };
    let mut status = 0;
    // SAFETY: waits for a child of this process.
    let waited = unsafe { libc::waitpid(process, &raw mut status, 0) };
    assert_eq!((waited, status), (process, 0), "the child failed");
}

/// What a child does with a connection whose transaction holds the lease in its parent.
const CHILDREN: [fn(Connection, &Orders); 4] = [
    |db, _| drop(db),
    |db, _| std::mem::forget(db),
    |db, _| {
        assert!(execute(&db, "COMMIT").is_err());
        if !db.is_autocommit() {
            execute(&db, "ROLLBACK").expect("a transaction is open");
        }
    },
    |db, orders| {
        execute(&db, "ROLLBACK").expect("a transaction is open");
        let own = impatient(&orders.store);
        for db in [&db, &own] {
            db.busy_timeout(std::time::Duration::ZERO)
                .expect("a timeout");
            assert_eq!(execute(db, ADD), Err(5), "the parent holds the lease");
        }
    },
];

pub(crate) fn work(orders: &Orders) {
    let db = connect(&orders.store);
    execute(&db, "BEGIN IMMEDIATE; UPDATE counter SET n = n + 1").expect("SQL");
    let child = CHILDREN
        .get(usize::try_from(orders.number).expect("a small number"))
        .expect("one of the children");
    let mut db = Some(db);
    fork(|| child(db.take().expect("the child's copy"), orders));
    let db = db.expect("the parent's own");
    report("forked");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).expect("a word");
    execute(&db, "COMMIT").expect("its turn");
    // And it can take another one.
    execute(&db, "BEGIN IMMEDIATE; UPDATE counter SET n = n + 1; COMMIT").expect("its turn");
    report("committed");
}

#[test]
fn a_child_does_not_end_its_parents_lease() {
    for number in 0..CHILDREN.len() {
        // The client of a cluster does not survive a fork.
        let (store, _) = counter_in(TestStore::in_a_file_with_leases_of(TIME_TO_LIVE));
        let mut parent = Worker::start("fork", number as u64, 0, &store.path());
        assert_eq!(parent.line().as_deref(), Some("forked"), "child {number}");
        let next = impatient(&store.path());
        assert_eq!(execute(&next, ADD), Err(5), "child {number}");
        // It is renewed as before.
        std::thread::sleep(TIME_TO_LIVE * 3 / 2);
        assert_eq!(execute(&next, "BEGIN IMMEDIATE"), Err(5), "child {number}");
        parent.tell("commit");
        assert_eq!(parent.line().as_deref(), Some("committed"));
        assert!(parent.finish().is_empty());
        assert_eq!(execute(&next, ADD), Ok(vec![]));
        assert_eq!(counted(&next), 3);
    }
}
