//! What waited in vain: the code, what is still open, and what goes on afterwards.

use std::time::{Duration, Instant};

use rusqlite::Connection;
use verso_tests::sessions::execute;
use verso_tests::{TestStore, integer};

use super::{ADD, assert_intact, connect, counted, counter, impatient};

/// Nobody has waited who took no longer than this.
const AT_ONCE: Duration = Duration::from_secs(1);

fn held() -> (TestStore, Connection) {
    let (store, db) = counter();
    execute(&db, "BEGIN IMMEDIATE").expect("SQL");
    (store, db)
}

/// The code of a failure that came at once.
fn fails(db: &Connection, sql: &str) -> i32 {
    let begin = Instant::now();
    let answer = execute(db, sql);
    assert!(begin.elapsed() < AT_ONCE, "{sql}: {:?}", begin.elapsed());
    answer.expect_err(sql)
}

#[test]
fn without_patience_nothing_waits() {
    let (store, holder) = held();
    let db = impatient(&store.path());
    for _ in 0..3 {
        assert_eq!(fails(&db, "BEGIN IMMEDIATE"), 5);
        assert!(db.is_autocommit());
        assert_eq!(fails(&db, "BEGIN EXCLUSIVE"), 5);
        assert_eq!(fails(&db, ADD), 5);
        assert_eq!(fails(&db, "UPDATE counter SET n = n + 1 RETURNING n"), 5);
        assert!(db.is_autocommit());
        assert_eq!(counted(&db), 0, "reading never waits");
    }
    execute(&holder, ADD).unwrap();
    execute(&holder, "COMMIT").unwrap();
    for statement in [
        "BEGIN IMMEDIATE; COMMIT",
        ADD,
        "BEGIN EXCLUSIVE; ROLLBACK",
        ADD,
    ] {
        assert_eq!(execute(&db, statement), Ok(vec![]), "{statement}");
    }
    assert_eq!(counted(&holder), 3);
}

#[test]
fn a_commit_that_waited_in_vain_can_be_sent_again() {
    let (store, holder) = held();
    let db = impatient(&store.path());
    execute(
        &db,
        "BEGIN; SELECT n FROM counter; UPDATE counter SET n = 7",
    )
    .unwrap();
    for _ in 0..3 {
        assert_eq!(fails(&db, "COMMIT"), 5);
        assert!(!db.is_autocommit(), "it is still open");
        assert_eq!(counted(&db), 7, "with what it wrote");
    }
    execute(&db, "UPDATE counter SET n = n + 1").unwrap();
    assert_eq!(counted(&holder), 0);
    execute(&holder, "ROLLBACK").unwrap();
    assert_eq!(execute(&db, "COMMIT"), Ok(vec![]));
    assert_eq!(counted(&holder), 8);
    assert_intact(&holder);
}

#[test]
fn a_commit_that_waited_in_vain_can_be_rolled_back() {
    let (store, holder) = held();
    let db = impatient(&store.path());
    execute(&db, "BEGIN; UPDATE counter SET n = 7").unwrap();
    assert_eq!(fails(&db, "COMMIT"), 5);
    assert_eq!(execute(&db, "ROLLBACK"), Ok(vec![]));
    assert_eq!(counted(&db), 0);
    execute(&holder, ADD).unwrap();
    execute(&holder, "COMMIT").unwrap();
    assert_eq!(counted(&db), 1);
    assert_eq!(execute(&db, ADD), Ok(vec![]));
    assert_eq!(counted(&holder), 2);
}

#[test]
fn a_commit_that_waited_in_vain_and_then_conflicts_is_gone() {
    let (store, holder) = held();
    let db = impatient(&store.path());
    execute(
        &db,
        "BEGIN; SELECT n FROM counter; UPDATE counter SET n = 7",
    )
    .unwrap();
    assert_eq!(fails(&db, "COMMIT"), 5);
    execute(&holder, ADD).unwrap();
    execute(&holder, "COMMIT").unwrap();
    assert_eq!(fails(&db, "COMMIT"), 517);
    assert!(db.is_autocommit());
    assert_eq!(counted(&db), 1);
}

#[test]
fn a_release_that_waited_in_vain_loses_nothing() {
    let (store, holder) = held();
    let db = impatient(&store.path());
    execute(&db, "SAVEPOINT a; UPDATE counter SET n = 7").unwrap();
    assert_eq!(fails(&db, "RELEASE a"), 5);
    assert_eq!(fails(&db, "RELEASE a"), 5);
    assert!(!db.is_autocommit());
    execute(&holder, "ROLLBACK").unwrap();
    assert_eq!(execute(&db, "RELEASE a"), Ok(vec![]));
    assert!(db.is_autocommit());
    assert_eq!(counted(&holder), 7);
}

#[test]
fn a_release_that_lost_can_only_be_rolled_back() {
    let (store, other) = counter();
    let db = impatient(&store.path());
    for round in 0..3 {
        execute(&db, "SAVEPOINT a; UPDATE counter SET n = n + 100").unwrap();
        execute(&other, ADD).unwrap();
        for _ in 0..3 {
            assert_eq!(fails(&db, "RELEASE a"), 5, "never success without a commit");
            assert!(!db.is_autocommit());
        }
        let end = ["ROLLBACK", "ROLLBACK TO a; ROLLBACK", "ROLLBACK"];
        execute(&db, end.get(round).expect("three rounds")).unwrap();
        assert!(db.is_autocommit());
        assert_eq!(counted(&db), 1 + i64::try_from(round).unwrap());
    }
    assert_eq!(execute(&db, ADD), Ok(vec![]));
}

#[test]
fn patience_lasts_as_long_as_it_was_set() {
    let (store, holder) = held();
    let db = connect(&store.path());
    for statement in [
        "BEGIN IMMEDIATE",
        ADD,
        "UPDATE counter SET n = 1 RETURNING n",
    ] {
        db.busy_timeout(Duration::from_millis(300)).unwrap();
        let begin = Instant::now();
        assert_eq!(execute(&db, statement), Err(5), "{statement}");
        let waited = begin.elapsed();
        assert!(
            waited >= Duration::from_millis(290),
            "{statement}: {waited:?}"
        );
        assert!(waited < Duration::from_secs(2), "{statement}: {waited:?}");
    }
    execute(&db, "BEGIN; UPDATE counter SET n = 7").unwrap();
    let begin = Instant::now();
    assert_eq!(execute(&db, "COMMIT"), Err(5));
    assert!(begin.elapsed() >= Duration::from_millis(290));
    execute(&holder, "COMMIT").unwrap();
    assert_eq!(execute(&db, "COMMIT"), Ok(vec![]));
    assert_eq!(counted(&holder), 7);
}

/// Which of three databases a transaction writes, and how. It reads all of them.
const WRITES: [(&[usize], &str); 4] = [
    (&[0], "UPDATE main.t SET n = n + 1"),
    (&[1], "UPDATE b.t SET n = n + 1"),
    (&[2], "UPDATE c.t SET n = n + 1"),
    (
        &[0, 2],
        "UPDATE main.t SET n = n + 1; UPDATE c.t SET n = n + 1",
    ),
];
const NAMES: [&str; 3] = ["one.db", "two.db", "three.db"];

fn three_databases() -> (TestStore, Vec<Connection>) {
    let store = TestStore::new();
    let each: Vec<Connection> = NAMES.iter().map(|name| store.connect(name)).collect();
    for db in &each {
        let schema = "CREATE TABLE t (n INTEGER); INSERT INTO t VALUES (0)";
        execute(db, schema).expect("SQL");
    }
    (store, each)
}

/// A connection without patience to all three, the attached ones with more parameters.
fn to_all(store: &TestStore, parameters: &str) -> Connection {
    let db = store.connect("one.db");
    db.busy_timeout(Duration::ZERO).expect("a timeout");
    for (name, schema) in [("two.db", "b"), ("three.db", "c")] {
        let attach = format!("ATTACH '{}' AS {schema}", store.uri(name, parameters));
        execute(&db, &attach).expect("SQL");
    }
    db
}

/// An optimistic commit that waits for the lease of one database must not keep that of
/// another when it gives up; and it waits for those only that it writes.
#[test]
fn who_gave_up_waiting_for_several_leases_holds_none() {
    let (store, each) = three_databases();
    for (held, holder) in each.iter().enumerate() {
        for (written, write) in WRITES {
            let db = to_all(&store, "");
            execute(holder, "BEGIN IMMEDIATE").unwrap();
            let read = "BEGIN; SELECT n FROM main.t; SELECT n FROM b.t; SELECT n FROM c.t";
            execute(&db, &format!("{read}; {write}")).unwrap();
            let expected = match (written.contains(&held), written.len()) {
                (false, _) => Ok(vec![]),
                (true, 1) => Err(5),
                // SQLite cannot keep a transaction of several files open.
                (true, _) => Err(517),
            };
            let committed = execute(&db, "COMMIT");
            assert_eq!(committed, expected, "{write} while {held} is held");
            assert_eq!(committed == Err(5), !db.is_autocommit(), "{write}");
            // Everybody else goes on, without waiting.
            for (other, name) in NAMES.iter().enumerate().filter(|(other, _)| *other != held) {
                let next = store.connect(name);
                next.busy_timeout(Duration::ZERO).unwrap();
                let turn = execute(&next, "BEGIN IMMEDIATE; COMMIT");
                assert_eq!(turn, Ok(vec![]), "{write} while {held} is held: {other}");
            }
            execute(holder, "COMMIT").unwrap();
            if committed == Err(5) {
                assert_eq!(execute(&db, "COMMIT"), Ok(vec![]), "{write}");
            }
        }
    }
}

/// Reading waits for nobody, also where it is a part of a transaction that writes elsewhere.
#[test]
fn a_database_that_is_only_read_may_be_held() {
    let (store, each) = three_databases();
    let db = to_all(&store, "&mode=ro");
    let holder = each.get(1).expect("three of them");
    for round in 1..4 {
        execute(holder, "BEGIN IMMEDIATE; UPDATE t SET n = n + 1").unwrap();
        let read = "BEGIN; SELECT n FROM b.t; UPDATE main.t SET n = n + 1; COMMIT";
        assert_eq!(execute(&db, read), Ok(vec![round - 1]));
        assert_eq!(
            execute(holder, "COMMIT"),
            Ok(vec![]),
            "it does not lose by that"
        );
    }
    assert_eq!(integer(&db, "SELECT n FROM main.t"), 3);
    // Nor does a commit that waits for the database that it writes.
    let main = each.first().expect("three of them");
    execute(holder, "BEGIN IMMEDIATE").unwrap();
    execute(main, "BEGIN IMMEDIATE").unwrap();
    let waiting = to_all(&store, "");
    let read = "BEGIN; SELECT n FROM b.t; UPDATE main.t SET n = n + 1";
    execute(&waiting, read).unwrap();
    assert_eq!(execute(&waiting, "COMMIT"), Err(5));
    waiting.busy_timeout(Duration::from_mins(1)).unwrap();
    std::thread::scope(|scope| {
        let committing = scope.spawn(move || execute(&waiting, "COMMIT"));
        std::thread::sleep(Duration::from_millis(100));
        execute(main, "COMMIT").unwrap();
        assert_eq!(committing.join().unwrap(), Ok(vec![]));
    });
    assert_eq!(execute(holder, "COMMIT"), Ok(vec![]));
    assert_eq!(integer(&db, "SELECT n FROM main.t"), 4);
    // What was read must still be true at the COMMIT.
    execute(&db, "BEGIN; SELECT n FROM b.t; UPDATE main.t SET n = n + 1").unwrap();
    execute(holder, "UPDATE t SET n = n + 1").unwrap();
    assert_eq!(execute(&db, "COMMIT"), Err(517));
}

#[test]
fn an_interrupt_while_waiting_leaves_nothing_behind() {
    let (store, holder) = held();
    let db = connect(&store.path());
    db.busy_timeout(Duration::from_secs(2)).unwrap();
    let handle = db.get_interrupt_handle();
    let waiting = std::thread::spawn(move || (execute(&db, ADD), db));
    std::thread::sleep(Duration::from_millis(300));
    handle.interrupt();
    let (answer, db) = waiting.join().unwrap();
    assert!(matches!(answer, Err(5 | 9)), "{answer:?}");
    // Nobody stands in the queue.
    execute(&holder, "COMMIT").unwrap();
    let next = impatient(&store.path());
    assert_eq!(
        execute(&next, "BEGIN IMMEDIATE; UPDATE counter SET n = 5; COMMIT"),
        Ok(vec![])
    );
    assert_eq!(execute(&db, ADD), Ok(vec![]));
    assert_eq!(integer(&next, "SELECT n FROM counter"), 6);
}
