//! Goal: a forked child and its parent both use a store, through new connections and
//! inherited ones, and neither harms the other.
//! Method: real forks inside child processes of the test, since a fork of the test
//! harness itself would copy its threads' locks.
#![cfg(unix)]
#![expect(unsafe_code, reason = "fork and waitpid have no safe wrapper here")]

use std::path::Path;
use std::process::Command;
use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rusqlite::Connection;
use verso_tests::nodes::Node;
use verso_tests::{TestStore, integer, open, text, uri};

const SCENARIO: &str = "VERSO_TEST_FORK_SCENARIO";
const STORE: &str = "VERSO_TEST_FORK_STORE";
/// More than any turn may take to come.
const PATIENCE: Duration = Duration::from_mins(1);

/// Runs `child` in a forked process and returns its process id.
fn fork(child: impl FnOnce()) -> libc::pid_t {
    // SAFETY: the child runs only `child` and leaves by _exit.
    match unsafe { libc::fork() } {
        -1 => panic!("fork failed"),
        0 => {
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child));
            // SAFETY: ends the child without running the parent's exit handlers.
            unsafe { libc::_exit(i32::from(result.is_err())) }
        }
        pid => pid,
    }
}

fn join(pid: libc::pid_t) {
    let mut status = 0;
    // SAFETY: waits for a child of this process.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    assert_eq!(status, 0, "the child failed");
}

fn insert(db: &Connection, who: &str, count: usize) {
    let mut done = 0;
    while done < count {
        match db.execute("INSERT INTO t VALUES (?)", [who]) {
            Ok(_) => done += 1,
            Err(error) => assert_eq!(verso_tests::code(&error), 517, "{error}"),
        }
    }
}

fn connect(store: &Path) -> Connection {
    open(&uri(store, "app.db", "")).expect("the database opens")
}

/// The parent has the store open; child and parent write at the same time.
fn new_connection(store: &Path) {
    let parent = connect(store);
    insert(&parent, "parent", 5);
    let child = fork(|| insert(&connect(store), "child", 40));
    insert(&parent, "parent", 35);
    join(child);
}

/// The child goes on with the connection that the parent opened.
fn inherited_connection(store: &Path) {
    let db = connect(store);
    insert(&db, "parent", 5);
    let child = fork(|| insert(&db, "child", 40));
    insert(&db, "parent", 35);
    join(child);
}

/// Other threads of the parent are inside transactions at each fork, though not inside a
/// call of SQLite: a child of a program with several threads inherits SQLite's own locks as
/// they are, and no VFS can change that.
fn busy_parent(store: &Path) {
    let (stop, calls) = (AtomicBool::new(false), RwLock::new(()));
    let statement = |db: &Connection, sql: &str| {
        let _inside = calls.read().expect("no thread panics inside");
        db.execute_batch(sql)
    };
    std::thread::scope(|scope| {
        for _ in 0..3 {
            let db = connect(store);
            let statement = &statement;
            let stop = &stop;
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    statement(&db, "BEGIN").expect("no transaction is open");
                    statement(&db, "SELECT count(*) FROM t").expect("readable");
                    let insert = statement(&db, "INSERT INTO t VALUES ('thread')");
                    if insert.and_then(|()| statement(&db, "COMMIT")).is_err()
                        && !db.is_autocommit()
                    {
                        statement(&db, "ROLLBACK").expect("a transaction is open");
                    }
                }
            });
        }
        for _ in 0..20 {
            let quiet = calls.write().expect("no thread panics inside");
            let child = fork(|| insert(&connect(store), "child", 2));
            drop(quiet);
            join(child);
        }
        let db = connect(store);
        insert(&db, "parent", 40);
        stop.store(true, Ordering::Relaxed);
    });
}

/// The child closes everything that it inherited, while the parent goes on.
fn child_closes(store: &Path) {
    let db = connect(store);
    insert(&db, "parent", 20);
    let mut inherited = Some(connect(store));
    let child = fork(|| {
        drop(inherited.take());
        insert(&connect(store), "child", 40);
    });
    join(child);
    insert(&db, "parent", 20);
}

/// Both take turns through a page-store node, with what the parent learned of the last one.
fn turns(node: &Path) {
    let db = through(&node.display().to_string());
    let turn = |who: &str| {
        let sql = format!("BEGIN IMMEDIATE; INSERT INTO t VALUES ('{who}'); COMMIT");
        db.execute_batch(&sql).expect("its turn comes");
    };
    let turns = |who: &str, count| (0..count).for_each(|_| turn(who));
    turns("parent", 10);
    let child = fork(|| turns("child", 20));
    turns("parent", 15);
    join(child);
    let child = fork(|| turns("child", 20));
    join(child);
    turns("parent", 15);
}

fn through(node: &str) -> Connection {
    let db = open(&format!("file:app.db?vfs=verso&store={node}")).expect("the database opens");
    db.busy_timeout(PATIENCE).expect("a timeout");
    db
}

/// The child can use no cluster that its parent has used, and is told; the parent goes on.
fn cluster(store: &Path) {
    let db = connect(store);
    insert(&db, "parent", 20);
    let mut inherited = Some(connect(store));
    insert(inherited.as_ref().expect("it is open"), "parent", 5);
    let child = fork(|| {
        let told = || {
            let message = verso_vfs::last_error().expect("a message");
            assert!(message.contains("was forked from process"), "{message}");
        };
        let inherited = inherited.take().expect("it is open");
        inherited
            .execute("INSERT INTO t VALUES ('child')", [])
            .expect_err("its client is the parent's");
        told();
        let refused = open(&uri(store, "app.db", "")).expect_err("there is one client a process");
        assert_eq!(verso_tests::code(&refused), 14, "{refused}");
        told();
    });
    join(child);
    insert(inherited.as_ref().expect("it is open"), "parent", 5);
    insert(&db, "parent", 10);
}

/// Does nothing unless a test below started this process for a scenario.
#[test]
fn scenario() {
    let (Ok(scenario), Ok(store)) = (std::env::var(SCENARIO), std::env::var(STORE)) else {
        return;
    };
    let store = Path::new(&store);
    match scenario.as_str() {
        "new_connection" => new_connection(store),
        "inherited_connection" => inherited_connection(store),
        "busy_parent" => busy_parent(store),
        "child_closes" => child_closes(store),
        "turns" => turns(store),
        "cluster" => cluster(store),
        unknown => panic!("unknown scenario {unknown}"),
    }
}

/// Plays a scenario on a store. How many rows of parent and child there are then.
fn play(store: &TestStore, scenario: &str) -> (i64, i64) {
    play_through(store, &store.path(), scenario)
}

/// The same with a store that the scenario gets to by another way.
fn play_through(store: &TestStore, way: &Path, scenario: &str) -> (i64, i64) {
    store
        .connect("app.db")
        .execute_batch("CREATE TABLE t (who TEXT)")
        .expect("a new table");
    let output = Command::new(std::env::current_exe().expect("the test's own path"))
        .args(["--exact", "scenario", "--nocapture"])
        .env(SCENARIO, scenario)
        .env(STORE, way)
        .output()
        .expect("the test starts itself");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{scenario}: {errors}");
    let db = store.connect("app.db");
    let count = |who: &str| integer(&db, &format!("SELECT count(*) FROM t WHERE who = '{who}'"));
    assert_eq!(text(&db, "PRAGMA integrity_check"), "ok");
    (count("parent"), count("child"))
}

fn run(scenario: &str) {
    let store = TestStore::in_a_file();
    assert_eq!(play(&store, scenario), (40, 40), "{scenario}");
    let file = Connection::open(store.path()).expect("the store is an SQLite file");
    assert_eq!(text(&file, "PRAGMA integrity_check"), "ok");
}

#[test]
fn parent_and_child_write_through_their_own_connections() {
    run("new_connection");
}

#[test]
fn a_child_goes_on_with_an_inherited_connection() {
    run("inherited_connection");
}

#[test]
fn a_fork_in_the_middle_of_other_threads_transactions_is_safe() {
    run("busy_parent");
}

#[test]
fn a_child_may_close_what_it_inherited() {
    run("child_closes");
}

#[test]
fn parent_and_child_take_turns_through_a_node() {
    let store = TestStore::in_a_file();
    let node = Node::start(&store.path());
    let way = format!("http://{}", node.address());
    assert_eq!(play_through(&store, Path::new(&way), "turns"), (40, 40));
}

#[test]
fn a_child_is_told_that_a_clusters_client_does_not_survive_a_fork() {
    if std::env::var_os("VERSO_TEST_FDB_CLUSTER").is_none() || verso_tests::nodes::are_wanted() {
        println!("skipped: no FoundationDB");
        return;
    }
    assert_eq!(play(&TestStore::new(), "cluster"), (40, 0));
}
