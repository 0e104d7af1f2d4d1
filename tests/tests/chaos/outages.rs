//! Nodes that go and come back: what clients see meanwhile.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use verso_tests::integer;
use verso_tests::sessions::execute;

use crate::cluster::until;
use crate::commits::{COUNT, DATABASE, cluster, touch};
use crate::proxy::Way;

#[test]
fn without_any_node_a_begin_waits_says_so_and_works_again_later() {
    let (cluster, db) = cluster();
    db.busy_timeout(Duration::ZERO).expect("a setting");
    cluster.close();
    let began = Instant::now();
    let failed = execute(&db, COUNT).expect_err("no node answers");
    let waited = began.elapsed();
    assert_eq!(failed, 5, "SQLITE_BUSY");
    assert!(waited >= Duration::from_secs(10), "{waited:?}");
    assert!(waited < Duration::from_secs(20), "{waited:?}");
    let message = verso_vfs::last_error().expect("a message");
    for part in [cluster.url().as_str(), "see that a node runs there"] {
        assert!(message.contains(part), "{part} in {message}");
    }
    cluster.heal();
    assert_eq!(integer(&db, COUNT), 1);
    execute(&db, "INSERT INTO t VALUES (1)").expect("a node answers");
    assert_eq!(integer(&db, COUNT), 2);
}

#[test]
fn killed_nodes_that_come_back_within_the_busy_timeout_are_not_noticed() {
    let (cluster, db) = cluster();
    let mut cluster = Arc::into_inner(cluster).expect("nobody else has it");
    db.busy_timeout(Duration::from_mins(1)).expect("a setting");
    for site in &mut cluster.sites {
        site.node.kill();
    }
    let client = thread::spawn(move || {
        execute(&db, "INSERT INTO t VALUES (1)").expect("they come back");
        integer(&db, COUNT)
    });
    thread::sleep(Duration::from_secs(13));
    for site in &mut cluster.sites {
        site.restart();
    }
    assert_eq!(client.join().expect("no error"), 2);
}

#[test]
fn a_read_through_a_half_open_connection_goes_to_another_node() {
    for way in [Way::Requests, Way::Replies] {
        let (cluster, db) = cluster();
        let preferred = cluster.busiest(|| touch(&db));
        cluster.sites[preferred].proxy.swallow(way);
        let began = Instant::now();
        assert_eq!(integer(&db, COUNT), 1);
        let waited = began.elapsed();
        assert!(waited < Duration::from_secs(6), "{waited:?}");
    }
}

#[test]
fn a_node_that_stays_silent_keeps_clients_waiting_once() {
    let (cluster, db) = cluster();
    let preferred = cluster.busiest(|| touch(&db));
    cluster.sites[preferred].stop();
    assert_eq!(integer(&db, COUNT), 1);
    let (began, mut longest) = (Instant::now(), Duration::ZERO);
    while began.elapsed() < Duration::from_secs(8) {
        let before = Instant::now();
        assert_eq!(integer(&db, COUNT), 1);
        longest = longest.max(before.elapsed());
        thread::sleep(Duration::from_millis(2));
    }
    cluster.sites[preferred].go_on();
    // One that waits for the silent node waits for 3 s.
    assert!(longest < Duration::from_millis(2500), "{longest:?}");
}

#[test]
fn a_lease_outlives_the_node_that_it_was_taken_through() {
    let (cluster, db) = cluster();
    let mut cluster = Arc::into_inner(cluster).expect("nobody else has it");
    let other = cluster.connect(DATABASE);
    other
        .busy_timeout(Duration::from_mins(1))
        .expect("a setting");
    let preferred = cluster.busiest(|| touch(&db));
    execute(&db, "BEGIN IMMEDIATE; INSERT INTO t VALUES (1)").expect("SQL");
    cluster.sites[preferred].node.kill();
    let waiting = thread::spawn(move || {
        let began = Instant::now();
        execute(&other, "BEGIN IMMEDIATE; INSERT INTO t VALUES (2); COMMIT").expect("its turn");
        (began.elapsed(), integer(&other, COUNT))
    });
    // Much longer than a lease lives without a sign of its holder.
    thread::sleep(Duration::from_secs(9));
    execute(&db, "INSERT INTO t VALUES (1); COMMIT").expect("the lease was kept");
    let (waited, rows) = waiting.join().expect("no error");
    assert!(waited > Duration::from_secs(8), "{waited:?}");
    assert_eq!(rows, 4);
}

#[test]
fn the_node_that_a_database_prefers_is_used_again_when_it_is_back() {
    let (cluster, db) = cluster();
    let mut cluster = Arc::into_inner(cluster).expect("nobody else has it");
    let work = || touch(&db);
    let preferred = cluster.busiest(work);
    cluster.sites[preferred].node.kill();
    let second = cluster.busiest(|| (0..20).for_each(|_| work()));
    assert_ne!(second, preferred);
    cluster.sites[preferred].restart();
    until("the preferred node is used again", || {
        cluster.busiest(|| (0..5).for_each(|_| work())) == preferred
    });
    let before = cluster.requests();
    (0..20).for_each(|_| work());
    let after = cluster.requests();
    for node in 0..after.len() {
        let grown = after[node] - before[node];
        assert_eq!(
            grown >= 20,
            node == preferred,
            "node {node}: {grown} requests"
        );
    }
}
