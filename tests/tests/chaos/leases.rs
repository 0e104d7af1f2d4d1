//! Leases of clients that are cut off, and commits that a stopped node still has while a lease keeps
//! other nodes from applying them.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::functions::FunctionFlags;
use verso_tests::integer;
use verso_tests::sessions::execute;

use crate::cluster::{Cluster, until};
use crate::commits::{COUNT, DATABASE, cluster};

const INSERT: &str = "INSERT INTO t VALUES (stop())";

/// Another connection, which takes the lease and gives it back.
type Holder = Arc<Mutex<Connection>>;

fn run(holder: &Holder, sql: &str) {
    let holder = holder.lock().unwrap_or_else(PoisonError::into_inner);
    execute(&holder, sql).expect("SQL");
}

/// From the middle of the next statement with `stop()` on, what it needs being in the cache, its
/// node is stopped, and somebody else has the lease.
fn stop_in_a_statement(cluster: &Arc<Cluster>, db: &Connection) -> (usize, Holder) {
    let preferred = cluster.busiest(|| {
        execute(db, "UPDATE t SET n = 0").expect("SQL");
    });
    let holder: Holder = Arc::new(Mutex::new(cluster.look(DATABASE)));
    run(&holder, COUNT);
    let (stopping, taking) = (Arc::clone(cluster), Arc::clone(&holder));
    db.create_scalar_function("stop", 0, FunctionFlags::SQLITE_UTF8, move |_| {
        run(&taking, "BEGIN IMMEDIATE");
        stopping.stop(preferred);
        Ok(1)
    })
    .expect("a function");
    (preferred, holder)
}

#[test]
fn a_refusal_for_a_lease_does_not_hide_a_commit_that_is_under_way() {
    let (cluster, db) = cluster();
    db.busy_timeout(Duration::from_secs(3)).expect("a setting");
    let (stopped, holder) = stop_in_a_statement(&cluster, &db);
    let failed = execute(&db, INSERT).expect_err("the lease is held");
    // Not SQLITE_BUSY: this says that nothing was committed.
    assert_eq!(failed & 0xff, 10, "SQLITE_IOERR");
    let message = verso_vfs::last_error().expect("a message");
    assert!(
        message.contains("look before you run it again"),
        "{message}"
    );
    run(&holder, "ROLLBACK");
    cluster.sites[stopped].go_on();
    let before = cluster.requests()[stopped];
    until("the node is used again", || {
        let rows = integer(&db, COUNT);
        assert!((1..=2).contains(&rows), "{rows} rows");
        cluster.requests()[stopped] > before + 1
    });
}

#[test]
fn a_commit_waits_for_the_lease_that_kept_it_from_another_node() {
    let (cluster, db) = cluster();
    db.busy_timeout(Duration::from_mins(1)).expect("a setting");
    let (stopped, holder) = stop_in_a_statement(&cluster, &db);
    let before = cluster.requests();
    let (giving, asked) = (Arc::clone(&holder), Arc::clone(&cluster));
    let giving = thread::spawn(move || {
        // The commit is the first that another node is asked for, the lease what follows.
        until("the client waits for the lease", || {
            let grown = asked.requests().into_iter().zip(&before);
            let grown = grown.map(|(after, before)| after - before).enumerate();
            grown
                .filter(|(node, _)| *node != stopped)
                .any(|(_, grown)| grown >= 3)
        });
        run(&giving, "ROLLBACK");
    });
    assert_eq!(execute(&db, INSERT), Ok(Vec::new()));
    giving.join().expect("it gave the lease back");
    assert_eq!(integer(&db, COUNT), 2);
    cluster.sites[stopped].go_on();
    let before = cluster.requests()[stopped];
    until("the node is used again", || {
        assert_eq!(integer(&db, COUNT), 2, "late work of the stopped node");
        cluster.requests()[stopped] > before + 1
    });
}

#[test]
fn a_client_that_is_cut_off_loses_its_lease_and_is_told_at_its_commit() {
    let (cluster, db) = cluster();
    execute(&db, "BEGIN IMMEDIATE; INSERT INTO t VALUES (1)").expect("SQL");
    cluster.close();
    let other = cluster.connect_past_proxies(DATABASE);
    other
        .busy_timeout(Duration::from_mins(1))
        .expect("a setting");
    execute(&other, "BEGIN IMMEDIATE; INSERT INTO t VALUES (2); COMMIT").expect("taken over");
    cluster.heal();
    assert_eq!(execute(&db, "COMMIT"), Err(517), "SQLITE_BUSY_SNAPSHOT");
    let rows = |db| execute(db, "SELECT n FROM t ORDER BY n").expect("SQL");
    assert_eq!(rows(&db), [0, 2]);
    execute(&db, "BEGIN IMMEDIATE; INSERT INTO t VALUES (1); COMMIT").expect("it runs again");
    assert_eq!(rows(&other), [0, 1, 2]);
}
