//! Goal: a small change stores little, and every version stays readable, whatever the connection that
//! makes it knows of the pages.
//! Method: the bytes of the page records, as the store's own check counts them; and dumps of all
//! versions, compared with what was written.

use rusqlite::Connection;
use verso_tests::history::{commits, records};
use verso_tests::workers::{Orders, Worker, report};
use verso_tests::{CACHE_VARIABLE, TestStore, dump, integer, open, text, uri};

const NAME: &str = "app.db";
const PAGE: u64 = 4096;

fn run(db: &Connection, sql: &str) {
    db.execute_batch(sql)
        .unwrap_or_else(|error| panic!("{sql}: {error}: {:?}", verso_vfs::last_error()));
}

/// A table of 2000 rows, of 40 bytes that do not compress.
fn fill(db: &Connection) {
    run(
        db,
        "CREATE TABLE t (id INTEGER PRIMARY KEY, v); INSERT INTO t WITH RECURSIVE n(i) AS \
         (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 2000) SELECT i, randomblob(40) FROM n",
    );
}

fn update(db: &Connection, id: u64) {
    run(
        db,
        &format!("UPDATE t SET v = randomblob(40) WHERE id = {id}"),
    );
}

/// Average bytes of the page records that something makes, and how many they are.
fn written(store: &TestStore, something: impl FnOnce()) -> (u64, u64) {
    let before = records(store, NAME);
    something();
    let after = records(store, NAME);
    let count = after.0 - before.0;
    ((after.1 - before.1) / count.max(1), count)
}

#[test]
fn an_update_of_40_bytes_stores_an_eighth_of_a_page() {
    let store = TestStore::new();
    let db = store.connect(NAME);
    fill(&db);
    let (bytes, count) = written(&store, || {
        for step in 0..200 {
            update(&db, 1 + step * 37 % 2000);
        }
    });
    assert_eq!(count, 200, "one page each");
    // The whole page comes first for most of them: there are 25.
    assert!(bytes < PAGE / 8, "{bytes} bytes each");
    let (bytes, _) = written(&store, || update(&db, 5));
    assert!(bytes < 120, "{bytes} bytes");
}

#[test]
fn so_does_an_insert_with_an_index() {
    let store = TestStore::new();
    let db = store.connect(NAME);
    run(
        &db,
        "CREATE TABLE t (k INTEGER, v); CREATE INDEX i ON t (k)",
    );
    let (bytes, count) = written(&store, || {
        for step in 0..300 {
            let k = step * 7919 % 1000;
            run(
                &db,
                &format!("INSERT INTO t VALUES ({k}, 'value of ' || {step})"),
            );
        }
    });
    assert!(count >= 600, "{count} records");
    assert!(bytes < PAGE / 8, "{bytes} bytes each");
}

/// Whoever reads a page knows how it is stored, also if others wrote it.
#[test]
fn connections_in_turn_write_deltas_on_each_other() {
    let store = TestStore::new();
    let connections = [store.connect(NAME), store.connect(NAME)];
    fill(&connections[0]);
    let (bytes, _) = written(&store, || {
        for (step, db) in (0..60).zip(connections.iter().cycle()) {
            update(db, 3 + step % 5);
        }
    });
    assert!(bytes < PAGE / 8, "{bytes} bytes each");
    assert_eq!(text(&connections[1], "PRAGMA integrity_check"), "ok");
}

#[test]
fn processes_write_deltas_on_each_other_and_a_small_cache_loses_nothing() {
    let store = TestStore::new();
    let db = store.connect(NAME);
    fill(&db);
    for cache in ["100000", "1", "67108864"] {
        let environment = [(CACHE_VARIABLE, cache)];
        let workers = [1, 2]
            .map(|number| Worker::start_in("update", number, 40, &store.path(), &environment));
        for worker in workers {
            assert_eq!(worker.finish(), ["40"]);
        }
    }
    assert_eq!(integer(&db, "SELECT sum(n) FROM counters"), 3 * 2 * 40);
    assert_eq!(text(&db, "PRAGMA integrity_check"), "ok");
    let (records, bytes) = records(&store, NAME);
    assert!(
        bytes / records < PAGE / 2,
        "{bytes} bytes of {records} records"
    );
}

/// What a worker process does.
#[test]
fn worker() {
    let Some(orders) = Orders::received() else {
        return;
    };
    let db = open(&uri(&orders.store, NAME, "")).expect("the database opens");
    let number = orders.number;
    run(
        &db,
        "CREATE TABLE IF NOT EXISTS counters (id INTEGER PRIMARY KEY, n, padding)",
    );
    run(
        &db,
        &format!("INSERT OR IGNORE INTO counters VALUES ({number}, 0, randomblob(50))"),
    );
    for round in 0..orders.rounds {
        run(
            &db,
            &format!("UPDATE counters SET n = n + 1 WHERE id = {number}"),
        );
        update(&db, 1 + (round * 97 + number) % 2000);
    }
    report(orders.rounds);
}

/// Changes of all kinds, each one commit or none.
const CHANGES: [&str; 16] = [
    "UPDATE t SET v = 'a' || v WHERE id % 50 = 0",
    "BEGIN; UPDATE t SET v = 1; ROLLBACK",
    "BEGIN; UPDATE t SET v = 'b' WHERE id = 7; SAVEPOINT s; UPDATE t SET v = 'c'; ROLLBACK TO s; \
     UPDATE t SET v = 'd' WHERE id = 8; COMMIT",
    "DELETE FROM t WHERE id > 1500",
    "VACUUM",
    "INSERT INTO t SELECT id + 10000, v FROM t WHERE id < 300",
    "UPDATE t SET v = 'e' WHERE id = 900",
    "PRAGMA page_size = 1024; VACUUM",
    "UPDATE t SET v = 'f' WHERE id IN (1, 700, 1400)",
    "CREATE INDEX i ON t (v)",
    "UPDATE t SET v = randomblob(30) WHERE id = 901",
    "PRAGMA page_size = 8192; VACUUM",
    "UPDATE t SET v = randomblob(31) WHERE id = 902",
    "DELETE FROM t WHERE id BETWEEN 100 AND 1300",
    "PRAGMA incremental_vacuum; PRAGMA user_version = 5",
    "INSERT INTO t SELECT id + 20000, v FROM t",
];

#[test]
fn every_version_stays_what_it_was() {
    let store = TestStore::new();
    let db = store.connect(NAME);
    run(&db, "PRAGMA auto_vacuum = incremental");
    fill(&db);
    let mut past = Vec::new();
    for change in CHANGES {
        for small in 0..12 {
            run(
                &db,
                &format!("UPDATE t SET v = randomblob(20) WHERE id = 20 + {small}"),
            );
            if small % 5 == 0 {
                past.push((commits(&store, NAME)[0].version, dump::main(&db)));
            }
        }
        run(&db, change);
        past.push((commits(&store, NAME)[0].version, dump::main(&db)));
        assert_eq!(text(&db, "PRAGMA integrity_check"), "ok", "{change}");
    }
    for (version, content) in past {
        let old = store
            .try_connect(NAME, &format!("&at={version}"))
            .expect("the version is readable");
        dump::assert_same(&content, &dump::main(&old), &version.to_string());
    }
    let (records, bytes) = records(&store, NAME);
    assert!(records > 400, "{records} records of {bytes} bytes");
}
