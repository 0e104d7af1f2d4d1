//! Stores that this build cannot read, and files that only look like the database meant: one
//! line that says what to do, and nothing is changed.

use std::fs;

use crate::common::Verso;
use rusqlite::Connection;

#[test]
fn a_store_of_a_newer_format() {
    let verso = Verso::new();
    verso.ok(&["sql", "app", "CREATE TABLE t(a)"]);
    let store = Connection::open(verso.path("store.db")).unwrap();
    // The key "m" holds the format: "verso" and a number.
    let newer = b"verso\0\0\x01\0".as_slice();
    let changed = store.execute("UPDATE kv SET value = ? WHERE key = x'6d'", [newer]);
    assert_eq!(changed, Ok(1));
    drop(store);
    for arguments in [
        ["ls"].as_slice(),
        &["info", "app"],
        &["rm", "app", "--yes"],
        &["sql", "app", "SELECT 1"],
        &["check", "app"],
    ] {
        let message = verso.fails(1, arguments);
        assert!(message.contains("format 256"), "{message}");
        assert!(message.contains("use a newer verso"), "{message}");
    }
}

#[test]
fn files_that_are_no_stores() {
    let verso = Verso::new();
    Connection::open(verso.path("plain.db"))
        .unwrap()
        .execute_batch("CREATE TABLE t(a)")
        .unwrap();
    fs::write(verso.path("text.txt"), "hello\n".repeat(1000)).unwrap();
    for file in ["plain.db", "text.txt"] {
        let before = fs::read(verso.path(file)).unwrap();
        let store = format!("sqlite:{file}");
        for arguments in [["ls"].as_slice(), &["sql", "app", "SELECT 1"]] {
            let message = verso.fails(1, &[&["--store", &store], arguments].concat());
            assert!(message.contains("is not a Verso store"), "{message}");
            assert!(message.contains("choose another file"), "{message}");
        }
        assert_eq!(fs::read(verso.path(file)).unwrap(), before, "{file}");
    }
}

#[test]
fn a_store_that_would_be_gone_at_once() {
    let verso = Verso::new();
    let message = verso.fails(2, &["--store", "memory:x", "sql", "app", "SELECT 1"]);
    assert!(message.contains("use sqlite:PATH"), "{message}");
}

#[test]
fn a_file_where_a_database_is_meant() {
    let verso = Verso::new();
    Connection::open(verso.path("old.sqlite"))
        .unwrap()
        .execute_batch("CREATE TABLE t(a); INSERT INTO t VALUES(1)")
        .unwrap();
    let message = verso.fails(1, &["sql", "old.sqlite", "SELECT * FROM t"]);
    assert!(message.contains("verso import old.sqlite"), "{message}");
    assert!(!verso.path("store.db").exists(), "a store was made");
    verso.ok(&["import", "old.sqlite", "old.sqlite"]);
    assert_eq!(verso.rows("old.sqlite", "SELECT * FROM t"), ["1"]);
}

#[test]
fn a_damaged_changelog_does_not_hide_the_other_databases() {
    let verso = Verso::new();
    verso.ok(&["sql", "good", "CREATE TABLE t(a)"]);
    verso.ok(&["sql", "bad", "CREATE TABLE t(a)"]);
    let id = verso.json(&["info", "bad"])["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let store = Connection::open(verso.path("store.db")).unwrap();
    // Commit records stand under 'd', the id, 'l'.
    let damage = format!("UPDATE kv SET value = x'ff' WHERE substr(key, 1, 10) = x'64{id}6c'");
    assert!(store.execute(&damage, []).unwrap() > 0);
    drop(store);
    let output = verso.command().arg("ls").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stdout).unwrap().contains("good"));
    assert!(String::from_utf8(output.stderr).unwrap().contains("bad"));
    let message = verso.fails(1, &["info", "bad"]);
    assert!(message.contains(&id), "{message}");
    verso.ok(&["rm", "bad", "--yes"]);
    verso.ok(&["ls"]);
}
