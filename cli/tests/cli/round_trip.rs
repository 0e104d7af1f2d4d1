//! A file that goes into a store and out again is the same file, byte for byte, except for
//! the header fields that every commit of SQLite changes.

use std::fs;
use std::path::Path;

use crate::common::{Verso, integrity};
use rusqlite::{Connection, params};

/// Everything that a schema can have, and pages of all kinds.
const CONTENT: &str = "
    PRAGMA application_id = 1234567;
    PRAGMA user_version = 42;
    CREATE TABLE t(a INTEGER PRIMARY KEY AUTOINCREMENT, b TEXT, c BLOB);
    CREATE INDEX t_b ON t(b);
    CREATE TABLE w(k TEXT PRIMARY KEY, v) WITHOUT ROWID;
    CREATE VIEW v AS SELECT a FROM t;
    CREATE TRIGGER tr AFTER DELETE ON t BEGIN DELETE FROM w WHERE k = old.b; END;
    CREATE VIRTUAL TABLE docs USING fts5(body, tokenize = 'porter');
    CREATE VIRTUAL TABLE boxes USING rtree(id, x0, x1, y0, y1);
    WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < 300)
    INSERT INTO t SELECT i, 'row ' || i, randomblob(i * 13 % 5000) FROM n;
    INSERT INTO w SELECT b, a FROM t;
    INSERT INTO docs SELECT 'running document number ' || a FROM t;
    INSERT INTO boxes SELECT a, a, a + 1, -a, 1 - a FROM t;
    DELETE FROM t WHERE a % 7 = 0;";

/// Pages of a file with the bytes masked that may differ.
fn masked(path: &Path) -> Vec<u8> {
    let mut bytes = fs::read(path).unwrap();
    bytes[18..20].fill(1);
    bytes[24..28].fill(0);
    bytes[92..100].fill(0);
    bytes
}

/// Imports, exports, and compares with what must come out.
fn round_trip(verso: &Verso, file: &str, expected: &Path) {
    let text = verso.ok(&["import", file, "app"]);
    let length = fs::metadata(expected).unwrap().len();
    let page_size: u64 = verso.rows("app", "PRAGMA page_size")[0].parse().unwrap();
    assert!(
        text.contains(&format!(
            "{} pages of {page_size} bytes",
            length / page_size
        )),
        "{text}"
    );
    assert!(text.contains("MB/s"), "{text}");
    verso.ok(&["export", "app", "out.db"]);
    assert_eq!(integrity(&verso.path("out.db")), "ok");
    assert!(
        masked(&verso.path("out.db")) == masked(expected),
        "the pages differ"
    );
    assert_eq!(verso.rows("app", "PRAGMA integrity_check"), ["ok"]);
    assert_eq!(
        verso.rows("app", "PRAGMA application_id; PRAGMA user_version"),
        ["1234567", "42"]
    );
    let found = "SELECT count(*) FROM docs WHERE docs MATCH 'run'";
    assert_eq!(verso.rows("app", found), ["300"]);
    assert_eq!(
        verso.rows("app", "SELECT count(*) FROM boxes WHERE x0 > 290"),
        ["10"]
    );
    assert_eq!(verso.json(&["check", "app"])["ok"], true);
    verso.ok(&["import", "out.db", "again"]);
    assert_eq!(verso.dump("again"), verso.dump("app"));
    let header = fs::read(verso.path("out.db")).unwrap();
    assert_eq!(header[24..28], header[92..96]);
    assert_ne!(header[24..28], [0; 4]);
    let pages = u32::from_be_bytes(header[28..32].try_into().unwrap());
    assert_eq!(u64::from(pages), length / page_size);
    let library = u32::from_be_bytes(header[96..100].try_into().unwrap());
    assert_eq!(i64::from(library), i64::from(rusqlite::version_number()));
}

#[test]
fn every_page_size() {
    for size in [512, 1024, 4096, 8192, 32768, 65536] {
        let verso = Verso::new();
        let path = verso.file("in.db", &format!("PRAGMA page_size={size}; {CONTENT}"));
        round_trip(&verso, "in.db", &path);
        let mut names = verso.names();
        names.retain(|name| !name.starts_with("store.db"));
        assert_eq!(names, ["in.db", "out.db"]);
    }
}

#[test]
fn auto_vacuum_in_both_ways() {
    for mode in ["FULL", "INCREMENTAL"] {
        let verso = Verso::new();
        let path = verso.file("in.db", &format!("PRAGMA auto_vacuum={mode}; {CONTENT}"));
        round_trip(&verso, "in.db", &path);
        let expected = if mode == "FULL" { "1" } else { "2" };
        assert_eq!(verso.rows("app", "PRAGMA auto_vacuum"), [expected]);
    }
}

#[test]
fn utf16_text() {
    let verso = Verso::new();
    let path = verso.file("in.db", &format!("PRAGMA encoding='UTF-16le'; {CONTENT}"));
    round_trip(&verso, "in.db", &path);
    assert_eq!(verso.rows("app", "PRAGMA encoding"), ["UTF-16le"]);
}

#[test]
fn wal_mode_without_a_wal() {
    let verso = Verso::new();
    let path = verso.file("in.db", &format!("PRAGMA journal_mode=WAL; {CONTENT}"));
    assert_eq!(fs::read(&path).unwrap()[18..20], [2, 2]);
    round_trip(&verso, "in.db", &path);
    // Looking at the file must not leave a WAL beside it.
    assert!(!verso.path("in.db-wal").exists() && !verso.path("in.db-shm").exists());
}

#[test]
fn a_wal_with_content_that_is_in_use() {
    let verso = Verso::new();
    let path = verso.path("in.db");
    let writer = Connection::open(&path).unwrap();
    writer
        .execute_batch("PRAGMA journal_mode=WAL; CREATE TABLE first(a)")
        .unwrap();
    writer
        .execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")
        .unwrap();
    writer.execute_batch(CONTENT).unwrap();
    let short = fs::metadata(&path).unwrap().len();
    // The same state as one file, to compare with.
    let whole = verso.path("whole.db");
    fs::copy(&path, &whole).unwrap();
    fs::copy(verso.path("in.db-wal"), verso.path("whole.db-wal")).unwrap();
    Connection::open(&whole)
        .unwrap()
        .execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")
        .unwrap();
    assert!(fs::metadata(&whole).unwrap().len() > short);
    round_trip(&verso, "in.db", &whole);
    writer.execute_batch("INSERT INTO first VALUES(1)").unwrap();
    assert_eq!(integrity(&path), "ok");
}

#[test]
fn a_source_with_an_open_transaction_is_as_before_it() {
    let verso = Verso::new();
    let path = verso.file("in.db", CONTENT);
    let writer = Connection::open(&path).unwrap();
    writer
        .execute_batch("BEGIN IMMEDIATE; DELETE FROM t")
        .unwrap();
    verso.ok(&["import", "in.db", "app"]);
    assert_eq!(verso.rows("app", "SELECT count(*) FROM t"), ["258"]);
    writer.execute_batch("COMMIT").unwrap();
}

#[test]
fn files_of_an_old_sqlite_have_a_stale_size() {
    let verso = Verso::new();
    let path = verso.file("in.db", CONTENT);
    let mut bytes = fs::read(&path).unwrap();
    let pages = u32::try_from(bytes.len() / 4096).unwrap();
    bytes[28..32].copy_from_slice(&1_u32.to_be_bytes());
    bytes[92..96].fill(0);
    fs::write(&path, bytes).unwrap();
    verso.ok(&["import", "in.db", "app"]);
    assert_eq!(verso.rows("app", "PRAGMA page_count"), [pages.to_string()]);
    assert_eq!(verso.rows("app", "PRAGMA integrity_check"), ["ok"]);
    verso.ok(&["sql", "app", "INSERT INTO w VALUES('new', 1)"]);
    verso.ok(&["export", "app", "out.db"]);
    assert_eq!(integrity(&verso.path("out.db")), "ok");
}

#[test]
fn what_follows_the_last_page_is_left_behind() {
    let verso = Verso::new();
    let path = verso.file("in.db", CONTENT);
    let expected = verso.path("expected.db");
    fs::copy(&path, &expected).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes.extend([7; 10_000]);
    fs::write(&path, bytes).unwrap();
    round_trip(&verso, "in.db", &expected);
}

#[test]
fn changes_after_an_import_come_out() {
    let verso = Verso::new();
    verso.file("in.db", CONTENT);
    verso.ok(&["import", "in.db", "app"]);
    let version = verso.json(&["info", "app"])["version"]
        .as_str()
        .unwrap()
        .to_owned();
    verso.ok(&[
        "sql",
        "app",
        "DELETE FROM t; INSERT INTO docs VALUES('news'); VACUUM",
    ]);
    verso.ok(&["export", "app", "now.db"]);
    verso.ok(&["export", "app", "past.db", "--at", &version]);
    let count = |name: &str, sql: &str| -> i64 {
        let connection = Connection::open(verso.path(name)).unwrap();
        connection.query_row(sql, [], |row| row.get(0)).unwrap()
    };
    assert_eq!(integrity(&verso.path("now.db")), "ok");
    assert_eq!(count("now.db", "SELECT count(*) FROM t"), 0);
    assert_eq!(count("now.db", "SELECT count(*) FROM docs"), 301);
    assert_eq!(count("past.db", "SELECT count(*) FROM t"), 258);
    assert!(masked(&verso.path("past.db")) == masked(&verso.path("in.db")));
}

#[test]
fn an_empty_database_is_an_empty_file() {
    let verso = Verso::new();
    verso.ok(&["sql", "app", "SELECT 1"]);
    verso.ok(&["export", "app", "out.db"]);
    assert_eq!(fs::metadata(verso.path("out.db")).unwrap().len(), 0);
    assert_eq!(integrity(&verso.path("out.db")), "ok");
}

#[test]
fn an_export_can_be_written_to_by_sqlite() {
    let verso = Verso::new();
    verso.ok(&["sql", "app", CONTENT]);
    verso.ok(&["export", "app", "out.db"]);
    let connection = Connection::open(verso.path("out.db")).unwrap();
    connection
        .execute_batch("PRAGMA journal_mode=WAL; INSERT INTO docs VALUES('more')")
        .unwrap();
    let blob = vec![1_u8; 100_000];
    connection
        .execute("INSERT INTO t(b, c) VALUES('x', ?1)", params![blob])
        .unwrap();
    assert!(!connection.is_readonly("main").unwrap());
    drop(connection);
    assert_eq!(integrity(&verso.path("out.db")), "ok");
}
