//! Goal: who scans waits for few requests, who looks up one row reads nothing else, and the page cache
//! keeps what is worth it.
//! Method: connections whose process has no page of the database count their requests, and workers
//! with a small page cache what they read again.

use rusqlite::Connection;
use verso_tests::nodes::Node;
use verso_tests::workers::{Orders, Worker, report};
use verso_tests::{CACHE_VARIABLE, TestStore, integer, open, uri};

const DATABASE: &str = "app.db";

/// Rows of the table, some 27 of them in a page.
const ROWS: i64 = 60_000;

/// The design's bound for a scan: at most one request for so many pages.
const PAGES_OF_A_REQUEST: i64 = 32;

fn filled() -> TestStore {
    let store = TestStore::new();
    let db = store.connect(DATABASE);
    db.execute_batch(&format!(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER, s TEXT);
         WITH RECURSIVE i(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM i LIMIT {ROWS})
             INSERT INTO t SELECT n, n * 7919 % {ROWS}, printf('%0130d', n) FROM i;
         CREATE INDEX i ON t (n, s);
         CREATE INDEX hop ON t (n);
         CREATE TABLE r (n INTEGER PRIMARY KEY, s TEXT) WITHOUT ROWID;
         INSERT INTO r SELECT id, s FROM t;
         CREATE TABLE blobs (id INTEGER PRIMARY KEY, b BLOB);
         INSERT INTO blobs VALUES (1, zeroblob(8000000)), (2, zeroblob(9000))"
    ))
    .expect("SQL");
    store
}

fn count(db: &Connection, what: &str) -> i64 {
    integer(
        db,
        &format!("SELECT json_extract(verso_stats(), '$.{what}')"),
    )
}

/// What a statement costs where the process has nothing of the database in its cache: requests
/// and pages, without those of the connection's begin.
fn cost(store: &TestStore, sql: &str, expected: i64) -> (i64, i64) {
    cost_on(&store.connect(DATABASE), sql, expected)
}

fn cost_on(db: &Connection, sql: &str, expected: i64) -> (i64, i64) {
    assert_eq!(integer(db, "SELECT count(*) FROM sqlite_schema"), 5);
    let before = (count(db, "requests"), count(db, "pages_read"));
    assert_eq!(integer(db, sql), expected, "{sql}");
    let after = (count(db, "requests"), count(db, "pages_read"));
    (after.0 - before.0, after.1 - before.1)
}

fn assert_few(store: &TestStore, sql: &str, expected: i64) {
    let (requests, pages) = cost(store, sql, expected);
    assert!(pages > 1000, "{sql}: only {pages} pages");
    assert!(
        requests * PAGES_OF_A_REQUEST <= pages,
        "{sql}: {requests} requests for {pages} pages"
    );
}

#[test]
fn scans_take_few_requests() {
    let store = filled();
    let sum = ROWS * (ROWS + 1) / 2;
    for sql in [
        "SELECT sum(s + 0) FROM t NOT INDEXED",
        "SELECT sum(x) FROM (SELECT s + 0 AS x FROM t NOT INDEXED ORDER BY id DESC LIMIT -1)",
        "SELECT sum(s + 0) FROM t INDEXED BY i WHERE n >= 0",
        "SELECT sum(s + 0) FROM r",
        // The rows of neighbours in the index are all over the table.
        "SELECT sum(s + 0) FROM t INDEXED BY hop WHERE n >= 0",
        "SELECT sum(x) FROM (SELECT s + 0 AS x FROM t INDEXED BY hop ORDER BY n DESC LIMIT -1)",
    ] {
        assert_few(&store, sql, sum);
    }
}

#[test]
fn a_scan_through_a_node_takes_few_requests() {
    let store = filled();
    let node = Node::start(&store.path());
    let url = format!("file:{DATABASE}?vfs=verso&store=http://{}", node.address());
    let db = open(&url).expect("the database opens");
    let sql = "SELECT sum(s + 0) FROM t NOT INDEXED";
    let (requests, pages) = cost_on(&db, sql, ROWS * (ROWS + 1) / 2);
    assert!(
        pages > 1000 && requests * PAGES_OF_A_REQUEST <= pages,
        "{requests} requests for {pages} pages"
    );
}

/// A range of an index whose rows are in as many pages.
#[test]
fn a_range_of_an_index_takes_few_requests_and_few_pages_more() {
    let store = filled();
    let rows = 200;
    let of_range = |from: i64| format!("n >= {from} AND n < {}", from + rows);
    for from in [0, 1000, ROWS / 2, ROWS - rows] {
        let sql = format!(
            "SELECT count(s) FROM t INDEXED BY hop WHERE {}",
            of_range(from)
        );
        let (requests, pages) = cost(&store, &sql, rows);
        assert!(requests <= rows / 8, "{requests} requests from {from}");
        assert!(pages <= 2 * rows + 10, "{pages} pages from {from}");
    }
}

#[test]
fn lookups_through_an_index_read_what_the_trees_are_deep() {
    let store = filled();
    for n in [0, 7, ROWS / 3, ROWS - 1] {
        let sql = format!("SELECT count(s) FROM t INDEXED BY hop WHERE n = {n}");
        let (requests, pages) = cost(&store, &sql, 1);
        assert!(pages <= 3 + 3, "{pages} pages for {n}");
        assert!(requests <= pages + 1, "{requests} requests, {pages} pages");
    }
    // One after the other in one connection, in no order.
    let db = store.connect(DATABASE);
    let lookups = 200;
    let before = count(&db, "pages_read");
    for lookup in 0..lookups {
        let n = lookup * 7919 % ROWS;
        let sql = format!("SELECT count(s) FROM t INDEXED BY hop WHERE n = {n}");
        assert_eq!(integer(&db, &sql), 1);
    }
    let pages = count(&db, "pages_read") - before;
    assert!(pages <= 2 * lookups + 30, "{pages} pages");
}

#[test]
fn a_large_value_takes_few_requests() {
    let store = filled();
    assert_few(&store, "SELECT instr(b, x'01') FROM blobs WHERE id = 1", 0);
}

/// A connection that is opened begins, and reads page 1. Its first query begins, and reads the rest of
/// the schema at once; it begins again, and reads the table.
#[test]
fn the_first_query_of_a_connection_takes_few_requests() {
    let store = TestStore::new();
    let tables = (0..200).map(|n| format!("CREATE TABLE t{n} (id INTEGER PRIMARY KEY, s TEXT);"));
    let tables: String = tables.collect();
    store
        .connect(DATABASE)
        .execute_batch(&format!(
            "BEGIN; {tables} INSERT INTO t77 VALUES (7, 'x'); COMMIT"
        ))
        .expect("SQL");
    let pages = integer(&store.connect(DATABASE), "PRAGMA page_count");
    let node = Node::start(&store.path());
    let url = format!("file:{DATABASE}?vfs=verso&store=http://{}", node.address());
    let db = open(&url).expect("the database opens");
    assert_eq!(integer(&db, "SELECT id FROM t77"), 7);
    assert_eq!(count(&db, "requests"), 6);
    // As many as the database has, but for those of the other tables.
    assert_eq!(count(&db, "pages_read"), pages - 199);
}

/// The root, the interior page below it, and a leaf.
#[test]
fn a_lookup_reads_what_the_tree_is_deep() {
    let store = filled();
    for row in [1, ROWS / 3, ROWS / 2, ROWS] {
        let sql = format!("SELECT s + 0 FROM t WHERE id = {row}");
        let (requests, pages) = cost(&store, &sql, row);
        assert!(pages <= 3, "{pages} pages for row {row}");
        // A request for each, and that of the begin.
        assert!(requests <= pages + 1, "{requests} requests, {pages} pages");
    }
    let sql = "SELECT instr(b, x'01') FROM blobs WHERE id = 2";
    let (_, pages) = cost(&store, sql, 0);
    assert!(pages <= 4, "{pages} pages of a small value");
}

#[test]
fn lookups_all_over_read_nothing_twice_and_nothing_else() {
    let store = filled();
    let rows = (0..200).map(|n| (n * 7919 % ROWS + 1).to_string());
    let list = rows.collect::<Vec<_>>().join(",");
    let sql = format!("SELECT count(s) FROM t NOT INDEXED WHERE id IN ({list})");
    let (_, pages) = cost(&store, &sql, 200);
    // SQLite looks them up in their order, so some neighbours look like a scan for a moment.
    assert!(pages <= 2 * 200 + 10, "{pages} pages");
}

/// Less than a quarter of the database of the tests with a small page cache.
const SMALL_CACHE: &str = "2000000";

/// Two thirds of it.
const LARGER_CACHE: &str = "6000000";

/// A database of small pages, so that its tree has many interior pages: about a hundred.
fn deep() -> TestStore {
    let store = TestStore::new();
    let db = store.connect(DATABASE);
    db.execute_batch(&format!(
        "PRAGMA page_size = 1024;
         CREATE TABLE t (id INTEGER PRIMARY KEY, s TEXT);
         WITH RECURSIVE i(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM i LIMIT {ROWS})
             INSERT INTO t SELECT n, printf('%0130d', n) FROM i"
    ))
    .expect("SQL");
    assert!(integer(&db, "PRAGMA page_count") > 8000);
    store
}

fn told(role: &str, store: &TestStore, cache: &str) -> Vec<i64> {
    let environment = [(CACHE_VARIABLE, cache)];
    let worker = Worker::start_in(role, 1, 1, &store.path(), &environment);
    let lines = worker.finish();
    let numbers = lines.iter().map(|line| line.parse().expect("a number"));
    numbers.collect()
}

#[test]
fn interior_pages_outlast_leaves() {
    let most = told("lookups", &deep(), SMALL_CACHE);
    assert_eq!(most, [1], "pages of a lookup");
}

#[test]
fn a_part_of_a_repeated_scan_stays_when_all_of_it_does_not() {
    let pages = told("scans", &deep(), LARGER_CACHE);
    let [first, again @ ..] = &*pages else {
        panic!("no scans");
    };
    for again in again {
        assert!(*again < first * 3 / 4, "{again} pages after {first}");
    }
}

/// Looks up rows all over; the most pages that one lookup reads, once others have been made.
fn look_up(db: &Connection) -> i64 {
    let mut most = 0;
    for lookup in 0..8000 {
        let before = count(db, "pages_read");
        let row = lookup * 7919 % ROWS + 1;
        assert_eq!(
            integer(db, &format!("SELECT s + 0 FROM t WHERE id = {row}")),
            row
        );
        if lookup >= 4000 {
            most = most.max(count(db, "pages_read") - before);
        }
    }
    most
}

/// What a worker process does.
#[test]
fn worker() {
    let Some(orders) = Orders::received() else {
        return;
    };
    let db = open(&uri(&orders.store, DATABASE, "")).expect("the database opens");
    // SQLite itself shall remember next to nothing.
    db.execute_batch("PRAGMA cache_size = 10").expect("SQL");
    if orders.role == "lookups" {
        report(look_up(&db));
        return;
    }
    for _ in 0..6 {
        let before = count(&db, "pages_read");
        let sum = integer(&db, "SELECT sum(s + 0) FROM t");
        assert_eq!(sum, ROWS * (ROWS + 1) / 2);
        report(count(&db, "pages_read") - before);
    }
}
