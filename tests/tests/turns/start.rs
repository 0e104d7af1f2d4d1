//! A turn through a node: what its transaction starts with comes with the lease.

use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use rusqlite::Connection;
use verso_pagestore::{DatabaseName, StoreUrl};
use verso_tests::nodes::Node;
use verso_tests::sessions::execute;
use verso_tests::{integer, open};

use super::{ADD, DATABASE, PATIENCE, assert_intact, connect, counted, counter, in_threads};

const TURN: &str = "BEGIN IMMEDIATE; UPDATE counter SET n = n + 1; COMMIT";

fn through(node: &Node) -> Connection {
    let url = format!("file:{DATABASE}?vfs=verso&store=http://{}", node.address());
    let db = open(&url).expect("the database opens");
    db.busy_timeout(PATIENCE).expect("a timeout");
    db
}

fn requests(db: &Connection) -> i64 {
    integer(db, "SELECT json_extract(verso_stats(), '$.requests')")
}

/// What a turn takes after somebody with another page cache has changed the page that it changes.
fn requests_of_a_turn(db: &Connection, elsewhere: &Connection) -> i64 {
    execute(elsewhere, ADD).expect("SQL");
    let before = requests(db);
    execute(db, TURN).expect("SQL");
    requests(db) - before
}

#[test]
fn a_turn_is_two_requests() {
    let (store, elsewhere) = counter();
    let node = Node::start(&store.path());
    let db = through(&node);
    execute(&db, TURN).expect("SQL");
    for _ in 0..3 {
        // The lease, with the newest state and the page of the row; and the commit.
        assert_eq!(requests_of_a_turn(&db, &elsewhere), 2);
    }
    assert_eq!((counted(&db), counted(&elsewhere)), (7, 7));
    assert_intact(&db);
}

#[test]
fn many_changed_pages_are_asked_for_when_they_are_wanted() {
    let (store, elsewhere) = counter();
    let node = Node::start(&store.path());
    let db = through(&node);
    execute(&elsewhere, "CREATE TABLE filler (b BLOB)").expect("SQL");
    execute(&db, TURN).expect("SQL");
    let fill = "INSERT INTO filler VALUES (zeroblob(100000))";
    for round in 1..=3 {
        execute(&elsewhere, fill).expect("SQL");
        assert_eq!(requests_of_a_turn(&db, &elsewhere), 3);
        assert_eq!(counted(&elsewhere), 2 * round + 1);
    }
    assert_eq!(integer(&db, "SELECT sum(length(b)) FROM filler"), 300_000);
    assert_intact(&db);
}

#[test]
fn another_database_of_the_name_is_found_out() {
    let (store, _) = counter();
    let node = Node::start(&store.path());
    let db = through(&node);
    execute(&db, TURN).expect("SQL");
    let pages = verso_open::open(&StoreUrl::parse(&store.url()).expect("a URL"));
    let name = |text| DatabaseName::new(text).expect("a name");
    pages
        .expect("the store opens")
        .rename(&name(DATABASE), &name("old.db"))
        .expect("it is renamed");
    let new = connect(&store.path());
    execute(
        &new,
        "CREATE TABLE counter (n INTEGER); INSERT INTO counter VALUES (100)",
    )
    .expect("SQL");
    execute(&db, TURN).expect("SQL");
    assert_eq!((counted(&db), counted(&new)), (101, 101));
}

/// How long somebody does not look whether its turn has come: too long to be sure of it without a
/// question to the store.
const ABSENCE: Duration = Duration::from_millis(600);

/// Where the absence begins.
static AWAY: OnceLock<()> = OnceLock::new();

/// The turn comes while its connection is in a busy handler of the application.
#[test]
fn a_turn_that_is_found_late_begins_with_what_came() {
    let (store, elsewhere) = counter();
    let node = Node::start(&store.path());
    let mut db = through(&node);
    db.busy_handler(Some(|_| {
        AWAY.get_or_init(|| ());
        thread::sleep(ABSENCE);
        true
    }))
    .expect("a handler");
    execute(&db, TURN).expect("SQL");
    execute(&elsewhere, &format!("{ADD}; BEGIN IMMEDIATE")).expect("SQL");
    let before = requests(&db);
    let late = thread::spawn(move || {
        execute(&db, TURN).expect("SQL");
        db
    });
    AWAY.wait();
    // A commit might not see who joined the queue after its begin.
    execute(&elsewhere, "ROLLBACK").expect("SQL");
    let db = late.join().expect("its own message says why");
    // A place in the queue; the lease, with the newest state and the page; whether it has the
    // lease still; and the commit.
    assert_eq!(requests(&db) - before, 4);
    assert_eq!((counted(&db), counted(&elsewhere)), (3, 3));
    assert_intact(&db);
}

#[test]
fn turns_of_many_threads_are_one_after_the_other() {
    let (store, elsewhere) = counter();
    let node = Node::start(&store.path());
    in_threads(8, |thread| {
        let db = through(&node);
        for round in 0..20 {
            let sql = if (thread + round) % 2 == 0 { TURN } else { ADD };
            execute(&db, sql).expect("SQL");
        }
    });
    assert_eq!(counted(&elsewhere), 160);
    assert_intact(&elsewhere);
}
