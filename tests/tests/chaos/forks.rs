//! A client process that forks, with a store behind nodes.
#![expect(unsafe_code, reason = "fork and waitpid have no safe wrapper here")]

use rusqlite::Connection;
use verso_tests::workers::{Orders, Worker};
use verso_tests::{integer, open, text, uri};

use crate::cluster::{Cluster, until};
use crate::commits::{COUNT, DATABASE, cluster, touch};

/// The role of the process that forks, since a fork of the test harness itself would copy its
/// threads' locks.
pub(crate) const ROLE: &str = "fork";

/// Runs `child` in a forked process, and `parent` beside it.
fn fork(child: impl FnOnce(), parent: impl FnOnce()) {
    // SAFETY: the child runs only `child` and leaves by _exit.
    match unsafe { libc::fork() } {
        -1 => panic!("fork failed"),
        0 => {
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child));
            // SAFETY: ends the child without running the parent's exit handlers.
            unsafe { libc::_exit(i32::from(result.is_err())) }
        }
        pid => {
            parent();
            let mut status = 0;
            // SAFETY: waits for a child of this process.
            assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
            assert_eq!(status, 0, "the child failed");
        }
    }
}

fn insert(db: &Connection, count: usize) {
    for _ in 0..count {
        db.execute("INSERT INTO t VALUES (1)", [])
            .expect("a node lives");
    }
}

/// What the process does: three times it forks with a connection open, and both sides write,
/// through the inherited connection and through new ones.
pub(crate) fn work(orders: &Orders) {
    let connect = || open(&uri(&orders.store, DATABASE, "")).expect("the database opens");
    let db = connect();
    insert(&db, 10);
    fork(|| insert(&db, 30), || insert(&db, 30));
    fork(|| insert(&connect(), 30), || insert(&db, 30));
    let mut inherited = Some(connect());
    let child = || {
        drop(inherited.take());
        insert(&connect(), 30);
    };
    fork(child, || insert(&connect(), 30));
}

fn check(cluster: &Cluster) {
    let db = cluster.look(DATABASE);
    assert_eq!(integer(&db, COUNT), 1 + 10 + 3 * 60);
    assert_eq!(text(&db, "PRAGMA integrity_check"), "ok");
}

#[test]
fn parent_and_child_of_a_fork_both_use_nodes() {
    let (cluster, _) = cluster();
    drop(Worker::start(ROLE, 0, 0, &cluster.path()).finish());
    check(&cluster);
}

#[test]
fn forks_and_failures_go_together() {
    let (cluster, db) = cluster();
    let mut cluster = std::sync::Arc::into_inner(cluster).expect("nobody else has it");
    let preferred = cluster.busiest(|| touch(&db));
    let worker = Worker::start(ROLE, 0, 0, &cluster.path());
    until("the first rows are there", || integer(&db, COUNT) > 15);
    cluster.sites[preferred].node.kill();
    until("more rows are there", || integer(&db, COUNT) > 75);
    cluster.sites[preferred].restart();
    drop(worker.finish());
    check(&cluster);
}
