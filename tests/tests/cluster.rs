//! Goal: a FoundationDB cluster that goes away and comes back costs clients time, and nothing else.
//! Method: `VERSO_TEST_FDB_RESTART` is a command that kills the server of the cluster that
//! `VERSO_TEST_FDB_CLUSTER` names, starts it again after some seconds, and ends then.

use std::process::Command;
use std::time::Duration;

use verso_tests::sessions::execute;
use verso_tests::workers::{Orders, Worker, report};
use verso_tests::{TestStore, integer, open, text, uri};

const DATABASE: &str = "app.db";
const WORKERS: u64 = 6;
const ROUNDS: u64 = 150;

/// Not a test of its own: worker processes begin here.
#[test]
fn worker() {
    let Some(orders) = Orders::received() else {
        return;
    };
    let db = open(&uri(&orders.store, DATABASE, "")).expect("the database opens");
    db.busy_timeout(Duration::from_mins(2)).expect("a setting");
    for round in 0..orders.rounds {
        let number = orders.number;
        let own = format!("INSERT INTO t VALUES ({number}, {round})");
        for sql in [own.as_str(), "UPDATE counter SET n = n + 1"] {
            let done = execute(&db, sql);
            let message = || verso_vfs::last_error().unwrap_or_default();
            assert_eq!(done, Ok(Vec::new()), "{sql}: {}", message());
        }
        report(round);
    }
}

#[test]
fn a_cluster_that_goes_away_and_comes_back_loses_and_doubles_nothing() {
    let Ok(restart) = std::env::var("VERSO_TEST_FDB_RESTART") else {
        println!("skipped: no command that restarts FoundationDB");
        return;
    };
    let store = TestStore::new();
    let db = store.connect(DATABASE);
    let schema = "CREATE TABLE t (who INTEGER, n INTEGER, PRIMARY KEY (who, n));
                  CREATE TABLE counter (n INTEGER); INSERT INTO counter VALUES (0)";
    execute(&db, schema).expect("SQL");
    let workers: Vec<_> = (0..WORKERS)
        .map(|number| Worker::start("write", number, ROUNDS, &store.path()))
        .collect();
    for worker in &workers {
        worker.line().expect("it has begun");
    }
    let status = Command::new("sh").args(["-c", &restart]).status();
    assert!(status.expect("a shell").success(), "{restart}");
    for worker in workers {
        drop(worker.finish());
    }
    let all = (WORKERS * ROUNDS).cast_signed();
    assert_eq!(integer(&db, "SELECT count(*) FROM t"), all);
    assert_eq!(integer(&db, "SELECT n FROM counter"), all);
    assert_eq!(text(&db, "PRAGMA integrity_check"), "ok");
}
