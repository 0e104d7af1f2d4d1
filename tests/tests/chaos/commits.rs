//! Commits whose answer is lost at a chosen moment: applied exactly once.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rusqlite::functions::FunctionFlags;
use verso_tests::integer;
use verso_tests::sessions::execute;

use crate::cluster::{Cluster, until};
use crate::proxy::{Cut, Way};

pub(crate) const DATABASE: &str = "app.db";

/// A node that is stopped, or whose answers do not arrive, is given up within a few seconds.
const A_FEW_SECONDS: Duration = Duration::from_secs(8);

pub(crate) const COUNT: &str = "SELECT count(*) FROM t";

/// A store with an empty table, and a connection that has used it.
pub(crate) fn cluster() -> (Arc<Cluster>, Connection) {
    let cluster = Arc::new(Cluster::start());
    let db = cluster.connect(DATABASE);
    execute(
        &db,
        "CREATE TABLE t (n INTEGER); INSERT INTO t VALUES (0); SELECT * FROM t",
    )
    .expect("SQL");
    (cluster, db)
}

/// From the middle of the next statement with `now()` on, what it needs being in the cache, no
/// answer of a node arrives.
fn lose_answers_in_a_statement(cluster: &Arc<Cluster>, db: &Connection) {
    let cluster = Arc::clone(cluster);
    db.create_scalar_function("now", 0, FunctionFlags::SQLITE_UTF8, move |_| {
        for site in &cluster.sites {
            site.proxy.swallow(Way::Replies);
        }
        Ok(1)
    })
    .expect("a function");
}

/// Reads.
pub(crate) fn touch(db: &Connection) {
    assert!(integer(db, COUNT) > 0);
}

/// Whether so many rows are in the store's file.
pub(crate) fn has_rows(cluster: &Cluster, rows: i64) -> bool {
    integer(&cluster.look(DATABASE), COUNT) == rows
}

/// Runs SQL whose commit loses its answer at all nodes, until `then` is done.
fn commit_without_an_answer(cluster: &Arc<Cluster>, db: &Connection, sql: &str, cut: Cut) {
    lose_answers_in_a_statement(cluster, db);
    let adversary = Arc::clone(cluster);
    let adversary = thread::spawn(move || {
        until("the commit is applied", || has_rows(&adversary, 2));
        // Nobody has told the client.
        adversary.cut(cut);
        adversary.heal();
    });
    assert_eq!(execute(db, sql), Ok(Vec::new()), "{sql}");
    adversary.join().expect("it was applied");
    assert!(has_rows(cluster, 2), "{sql}: applied once");
    assert_eq!(integer(db, COUNT), 2);
}

#[test]
fn a_statement_whose_answer_is_lost_has_happened_once() {
    for cut in [Cut::Fin, Cut::Rst] {
        let (cluster, db) = cluster();
        commit_without_an_answer(&cluster, &db, "INSERT INTO t VALUES (now())", cut);
    }
}

#[test]
fn a_transaction_whose_answer_is_lost_has_happened_once() {
    for begin in ["BEGIN", "BEGIN IMMEDIATE"] {
        let (cluster, db) = cluster();
        let sql = format!("{begin}; SELECT n FROM t LIMIT 0; INSERT INTO t VALUES (now()); COMMIT");
        commit_without_an_answer(&cluster, &db, &sql, Cut::Rst);
    }
}

#[test]
fn a_transaction_over_two_databases_whose_answer_is_lost_has_happened_once() {
    let (cluster, db) = cluster();
    let other = verso_tests::sessions::attach(&cluster.path(), "other.db");
    execute(&db, &other).expect("SQL");
    execute(&db, "CREATE TABLE other.o (n INTEGER); SELECT * FROM o").expect("SQL");
    let sql = "BEGIN; INSERT INTO o VALUES (1); INSERT INTO t VALUES (now()); COMMIT";
    commit_without_an_answer(&cluster, &db, sql, Cut::Rst);
    assert_eq!(
        integer(&cluster.look("other.db"), "SELECT count(*) FROM o"),
        1
    );
}

#[test]
fn a_node_killed_in_the_middle_of_commits_loses_none_and_repeats_none() {
    let (mut cluster, db) = {
        let (cluster, db) = cluster();
        (Arc::into_inner(cluster).expect("nobody else has it"), db)
    };
    let path = cluster.path();
    let writer = thread::spawn(move || {
        let began = Instant::now();
        let (mut n, mut longest) = (0, Duration::ZERO);
        while began.elapsed() < Duration::from_secs(5) {
            n += 1;
            let before = Instant::now();
            execute(&db, &format!("INSERT INTO t VALUES ({n})")).expect("a node lives");
            longest = longest.max(before.elapsed());
        }
        (n, longest)
    });
    for round in 0..15 {
        let site = &mut cluster.sites[round % 3];
        thread::sleep(Duration::from_millis(150));
        site.node.kill();
        thread::sleep(Duration::from_millis(50));
        site.restart();
    }
    let (n, longest) = writer.join().expect("no error");
    let store = verso_tests::nodes::direct_url(&path);
    let db = verso_tests::open(&format!("file:{DATABASE}?vfs=verso&store={store}"));
    let rows = execute(&db.expect("it opens"), "SELECT n FROM t ORDER BY n").expect("SQL");
    assert_eq!(rows, (0..=n).collect::<Vec<i64>>());
    assert!(longest < A_FEW_SECONDS, "{longest:?}");
}

#[test]
fn a_stopped_node_that_goes_on_applies_nothing_twice() {
    let (cluster, db) = cluster();
    let preferred = cluster.busiest(|| {
        execute(&db, "UPDATE t SET n = 0").expect("SQL");
    });
    let stopping = Arc::clone(&cluster);
    // The commit goes to the node after it was stopped, and stays in its buffers.
    db.create_scalar_function("now", 0, FunctionFlags::SQLITE_UTF8, move |_| {
        stopping.sites[preferred].stop();
        Ok(1)
    })
    .expect("a function");
    for round in 2..5 {
        let began = Instant::now();
        execute(&db, "INSERT INTO t VALUES (now())").expect("another node lives");
        let waited = began.elapsed();
        assert!(waited < A_FEW_SECONDS, "failover took {waited:?}");
        assert!(has_rows(&cluster, round));
        let before = cluster.requests()[preferred];
        cluster.sites[preferred].go_on();
        // It has worked off what it had once the client uses it again.
        until("the node is used again", || {
            assert_eq!(integer(&db, COUNT), round, "late work of the stopped node");
            // One may have been a trial.
            cluster.requests()[preferred] > before + 1
        });
        assert!(has_rows(&cluster, round));
    }
}

#[test]
fn a_client_asks_on_as_long_as_its_busy_timeout_says() {
    let (cluster, db) = cluster();
    db.busy_timeout(Duration::from_mins(1)).expect("a setting");
    for (rows, sql) in [
        (2, "INSERT INTO t VALUES (now())"),
        (3, "BEGIN; INSERT INTO t VALUES (now()); COMMIT"),
    ] {
        lose_answers_in_a_statement(&cluster, &db);
        let adversary = Arc::clone(&cluster);
        let adversary = thread::spawn(move || {
            until("the commit is applied", || has_rows(&adversary, rows));
            adversary.close();
            // Longer than a client asks by itself.
            thread::sleep(Duration::from_secs(14));
            adversary.heal();
        });
        let began = Instant::now();
        assert_eq!(execute(&db, sql), Ok(Vec::new()), "{sql}");
        assert!(began.elapsed() > Duration::from_secs(13));
        adversary.join().expect("it was applied");
        assert!(has_rows(&cluster, rows), "{sql}: applied once");
    }
}

#[test]
fn without_an_answer_for_long_the_result_is_unknown_and_says_so() {
    let (cluster, db) = cluster();
    for (rows, timeout) in [(2, 0), (3, 2000)] {
        db.busy_timeout(Duration::from_millis(timeout))
            .expect("a setting");
        lose_answers_in_a_statement(&cluster, &db);
        let adversary = Arc::clone(&cluster);
        let adversary = thread::spawn(move || {
            until("the commit is applied", || has_rows(&adversary, rows));
            adversary.close();
        });
        let began = Instant::now();
        let failed = execute(&db, "INSERT INTO t VALUES (now())").expect_err("nobody answers");
        let waited = began.elapsed();
        assert_eq!(failed & 0xff, 10, "SQLITE_IOERR");
        assert!(waited >= Duration::from_secs(10), "{waited:?}");
        let message = verso_vfs::last_error().expect("a message");
        assert!(
            message.contains("look before you run it again"),
            "{message}"
        );
        adversary.join().expect("it was applied");
        cluster.heal();
        assert!(has_rows(&cluster, rows));
        assert_eq!(integer(&db, COUNT), rows, "the connection works again");
    }
}
