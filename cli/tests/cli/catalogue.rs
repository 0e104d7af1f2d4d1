//! `verso ls`, `info`, `log`, `rename` and `rm`, and names and stores that are refused.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use crate::common::Verso;

#[test]
fn a_store_that_does_not_exist_is_empty_and_stays_away() {
    let verso = Verso::new();
    assert_eq!(verso.ok(&["ls"]), "no databases\n");
    assert_eq!(verso.json(&["ls"]), serde_json::json!([]));
    for arguments in [
        &["info", "app"][..],
        &["log", "app"],
        &["check", "app"],
        &["rm", "app", "--yes"],
        &["rename", "app", "other"],
        &["export", "app", "out.db"],
    ] {
        let message = verso.fails(1, arguments);
        assert!(message.starts_with("no such database: app"), "{message}");
    }
    assert!(verso.names().is_empty());
}

#[test]
fn databases_are_listed_with_what_is_known_of_them() {
    let verso = Verso::new();
    verso.ok(&["sql", "b", "CREATE TABLE t(a)"]);
    verso.ok(&["sql", "a", "PRAGMA page_size=512; CREATE TABLE t(a)"]);
    verso.ok(&["sql", "empty", "SELECT 1"]);
    let list = verso.json(&["ls"]);
    let names: Vec<&str> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["a", "b", "empty"]);
    assert_eq!(list[0]["page_size"], 512);
    assert_eq!(list[1]["bytes"], 8192);
    assert_eq!(list[2]["page_size"], serde_json::Value::Null);
    assert_eq!(list[2]["page_count"], 0);
    let table = verso.ok(&["ls"]);
    assert!(table.contains("8.00 KiB"), "{table}");
    let info = verso.json(&["info", "a"]);
    assert_eq!(info, list[0]);
    let text = verso.ok(&["info", "a"]);
    assert!(text.contains("page size       512 bytes"), "{text}");
    assert!(text.contains("store           sqlite:store.db"), "{text}");
    assert!(verso.ok(&["info", "empty"]).contains("not chosen yet"));
}

#[test]
fn the_log_is_newest_first() {
    let verso = Verso::new();
    verso.ok(&["sql", "app", "CREATE TABLE t(a)"]);
    for number in 0..5 {
        verso.ok(&["sql", "app", &format!("INSERT INTO t VALUES({number})")]);
    }
    let all = verso.json(&["log", "app", "--limit", "0"]);
    let all = all.as_array().unwrap();
    // The creation, the table, and five inserts.
    assert_eq!(all.len(), 7);
    let versions: Vec<&str> = all
        .iter()
        .map(|commit| commit["version"].as_str().unwrap())
        .collect();
    assert!(versions.is_sorted_by(|newer, older| newer > older));
    assert_eq!(all[0]["pages_changed"], 1);
    assert_eq!(all[0]["page_count"], 2);
    assert_eq!(all[0]["commit_id"].as_str().unwrap().len(), 32);
    assert_eq!(
        verso
            .json(&["log", "app", "--limit", "2"])
            .as_array()
            .unwrap()[..],
        all[..2]
    );
    let table = verso.ok(&["log", "app", "--limit", "1"]);
    assert!(
        table.contains(versions[0]) && !table.contains(versions[1]),
        "{table}"
    );
}

#[test]
fn databases_are_renamed_and_removed() {
    let verso = Verso::new();
    verso.ok(&["sql", "app", "CREATE TABLE t(a)"]);
    verso.ok(&["sql", "other", "CREATE TABLE t(a)"]);
    let before = verso.json(&["info", "app"]);
    let taken = verso.fails(1, &["rename", "app", "other"]);
    assert!(
        taken.contains("the database other exists already"),
        "{taken}"
    );
    assert_eq!(
        verso.ok(&["rename", "app", "new name"]),
        "renamed app to new name\n"
    );
    let after = verso.json(&["info", "new name"]);
    assert_eq!(
        (&before["id"], &before["version"]),
        (&after["id"], &after["version"])
    );
    let gone = verso.fails(1, &["info", "app"]);
    assert_eq!(
        gone,
        "no such database: app; `verso ls` shows what the store has"
    );
    let refused = verso.fails(2, &["rm", "other"]);
    assert!(refused.contains("--yes"), "{refused}");
    assert_eq!(verso.ok(&["rm", "other", "--yes"]), "removed other\n");
    assert!(
        verso
            .fails(1, &["rm", "other", "-y"])
            .contains("no such database")
    );
    assert_eq!(verso.json(&["ls"]).as_array().unwrap().len(), 1);
}

#[test]
fn names_that_cannot_be_are_refused() {
    let verso = Verso::new();
    let long = "x".repeat(513);
    for (name, reason) in [
        ("", "cannot be empty"),
        (long.as_str(), "513 bytes"),
        ("a\nb", "control character"),
        ("a\u{7f}", "control character"),
        (":memory:", "in memory"),
    ] {
        for arguments in [
            &["sql", name, "SELECT 1"][..],
            &["info", name],
            &["rm", name, "--yes"],
        ] {
            let message = verso.fails(2, arguments);
            assert!(message.contains(reason), "{message}");
        }
    }
    let output = verso
        .command()
        .arg("info")
        .arg(OsStr::from_bytes(b"\xff"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("not UTF-8")
    );
    verso.ok(&["sql", &"x".repeat(512), "CREATE TABLE t(a)"]);
}

#[test]
fn stores_that_cannot_be_are_refused() {
    let verso = Verso::new();
    let unknown = verso.fails(2, &["--store", "redis:x", "ls"]);
    assert!(unknown.contains("unknown scheme 'redis:'"), "{unknown}");
    let none = verso.fails(2, &["--store", "store.db", "ls"]);
    assert!(none.contains("not a store URL"), "{none}");
    let output = verso
        .command()
        .env("VERSO_STORE", "redis:x")
        .arg("ls")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let away = verso.fails(1, &["--store", "sqlite:/nowhere/store.db", "ls"]);
    assert!(away.contains("/nowhere/store.db"), "{away}");
    verso.file("plain.db", "CREATE TABLE t(a)");
    let plain = verso.fails(1, &["--store", "sqlite:plain.db", "ls"]);
    assert!(plain.contains("not a Verso store"), "{plain}");
}

#[test]
fn help_and_version() {
    let verso = Verso::new();
    assert!(verso.ok(&["--version"]).starts_with("verso "));
    let help = verso.ok(&["--help"]);
    for command in [
        "sql", "shell", "import", "export", "ls", "info", "log", "rename", "rm", "check", "demo",
    ] {
        assert!(help.contains(&format!("  {command} ")), "{command}");
        assert!(
            verso.ok(&[command, "--help"]).contains("Usage: verso"),
            "{command}"
        );
    }
    assert!(!help.contains("demo-worker"));
    let output = verso.command().arg("nonsense").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}
