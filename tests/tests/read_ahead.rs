//! Goal: who scans waits for few requests, and who looks up one row reads nothing else.
//! Method: connections whose process has no page of the database count their requests.

use rusqlite::Connection;
use verso_tests::{TestStore, integer};

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
    let db = store.connect(DATABASE);
    assert_eq!(integer(&db, "SELECT count(*) FROM sqlite_schema"), 3);
    let before = (count(&db, "requests"), count(&db, "pages_read"));
    assert_eq!(integer(&db, sql), expected, "{sql}");
    let after = (count(&db, "requests"), count(&db, "pages_read"));
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
    ] {
        assert_few(&store, sql, sum);
    }
}

#[test]
fn a_large_value_takes_few_requests() {
    let store = filled();
    assert_few(&store, "SELECT instr(b, x'01') FROM blobs WHERE id = 1", 0);
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
