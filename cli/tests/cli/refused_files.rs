//! Files that cannot be imported, and places that cannot be exported to: one line each, and
//! nothing is left behind.

use std::fs;

use crate::common::Verso;
use rusqlite::Connection;

const CONTENT: &str = "CREATE TABLE t(a INTEGER PRIMARY KEY, b);
    WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < 500)
    INSERT INTO t SELECT i, hex(randomblob(100)) FROM n;";

fn import_fails(verso: &Verso, file: &str) -> String {
    let message = verso.fails(1, &["import", file, "app"]);
    assert!(!verso.path("store.db").exists(), "a store was made");
    message
}

#[test]
fn files_that_are_no_databases() {
    let verso = Verso::new();
    fs::write(verso.path("text.db"), "hello\n".repeat(1000)).unwrap();
    assert!(import_fails(&verso, "text.db").contains("file is not a database"));
    fs::write(verso.path("short.db"), "SQLite format 3\0").unwrap();
    assert!(import_fails(&verso, "short.db").contains("file is not a database"));
    // An encrypted database looks like this.
    let mut state = 1_u64;
    let random: Vec<u8> = std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        state.to_be_bytes()[0]
    })
    .take(8192)
    .collect();
    fs::write(verso.path("encrypted.db"), random).unwrap();
    let message = import_fails(&verso, "encrypted.db");
    assert!(message.contains("file is not a database"), "{message}");
    assert!(message.contains("encrypted"), "{message}");
    // The right first bytes, and nothing right behind them.
    let mut header = b"SQLite format 3\0".to_vec();
    header.resize(8192, 0x5a);
    fs::write(verso.path("header.db"), header).unwrap();
    assert!(import_fails(&verso, "header.db").contains("file is not a database"));
}

#[test]
fn files_that_are_not_whole() {
    let verso = Verso::new();
    let path = verso.file("in.db", CONTENT);
    let whole = fs::read(&path).unwrap();
    for length in [whole.len() - 1, whole.len() - 4096, 5000] {
        fs::write(verso.path("cut.db"), &whole[..length]).unwrap();
        let message = import_fails(&verso, "cut.db");
        // SQLite may find out first.
        let found = message.contains("truncated") || message.contains("damaged");
        assert!(found, "{length}: {message}");
    }
    fs::write(verso.path("empty.db"), "").unwrap();
    assert!(import_fails(&verso, "empty.db").contains("is empty"));
    let mut broken = whole;
    broken[100..2000].fill(0xff);
    fs::write(verso.path("broken.db"), broken).unwrap();
    let message = import_fails(&verso, "broken.db");
    assert!(message.contains("is damaged"), "{message}");
}

#[test]
fn paths_that_cannot_be_read() {
    let verso = Verso::new();
    let missing = import_fails(&verso, "missing.db");
    assert!(
        missing.starts_with("missing.db cannot be read: No such file"),
        "{missing}"
    );
    fs::create_dir(verso.path("folder")).unwrap();
    assert!(import_fails(&verso, "folder").contains("is not a file"));
    assert!(import_fails(&verso, "folder/x.db").contains("cannot be read"));
}

#[test]
fn a_hot_journal() {
    let verso = Verso::new();
    let path = verso.file("in.db", CONTENT);
    let writer = Connection::open(&path).unwrap();
    writer
        .execute_batch("PRAGMA cache_size=1; BEGIN; UPDATE t SET b = 'half'")
        .unwrap();
    writer.cache_flush().unwrap();
    // As if the writer's machine had stopped here.
    fs::copy(&path, verso.path("crashed.db")).unwrap();
    fs::copy(
        verso.path("in.db-journal"),
        verso.path("crashed.db-journal"),
    )
    .unwrap();
    let message = import_fails(&verso, "crashed.db");
    assert!(
        message.contains("hot journal") && message.contains("sqlite3"),
        "{message}"
    );
}

#[test]
fn a_name_that_is_taken() {
    let verso = Verso::new();
    verso.file("in.db", CONTENT);
    verso.ok(&["import", "in.db", "app"]);
    let before = verso.ok(&["ls"]);
    let message = verso.fails(1, &["import", "in.db", "app"]);
    assert!(
        message.contains("the database app exists already"),
        "{message}"
    );
    assert_eq!(verso.ok(&["ls"]), before);
    let store = verso.fails(1, &["import", "store.db", "other"]);
    assert!(store.contains("is the store itself"), "{store}");
}

#[test]
fn targets_of_an_export() {
    let verso = Verso::new();
    verso.ok(&["sql", "app", CONTENT]);
    fs::write(verso.path("there.db"), "mine").unwrap();
    let message = verso.fails(1, &["export", "app", "there.db"]);
    assert!(
        message.contains("there.db exists") && message.contains("--force"),
        "{message}"
    );
    assert_eq!(fs::read(verso.path("there.db")).unwrap(), b"mine");
    verso.ok(&["export", "app", "there.db", "--force"]);
    assert_eq!(crate::common::integrity(&verso.path("there.db")), "ok");

    let away = verso.fails(1, &["export", "app", "missing/out.db"]);
    assert!(away.contains("no file can be made in missing"), "{away}");
    assert!(
        verso
            .fails(1, &["export", "app", ".", "--force"])
            .contains("is a directory")
    );
    let store = verso.fails(1, &["export", "app", "store.db", "--force"]);
    assert!(store.contains("store"), "{store}");
    // SQLite would play this WAL into the new file.
    fs::write(verso.path("out.db-wal"), "frames").unwrap();
    let wal = verso.fails(1, &["export", "app", "out.db"]);
    assert!(wal.contains("out.db-wal"), "{wal}");

    assert!(
        verso
            .fails(1, &["export", "nope", "x.db"])
            .contains("no such database: nope")
    );
    let future = ["export", "app", "x.db", "--at", "2999-01-01T00:00:00Z"];
    assert!(verso.fails(2, &future).contains("in the future"));
    let hidden = |name: &String| name.starts_with(".verso") || name == "x.db";
    assert!(!verso.names().iter().any(hidden), "{:?}", verso.names());
}
