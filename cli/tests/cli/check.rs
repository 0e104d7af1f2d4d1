//! `verso check`: finds nothing in a sound database, and a damaged record in one that is not.

use crate::common::Verso;
use rusqlite::{Connection, params};

const SCHEMA: &str = "CREATE TABLE t(a INTEGER PRIMARY KEY, b BLOB);
    WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < 50)
    INSERT INTO t SELECT i, randomblob(900) FROM n;";

#[test]
fn a_sound_database() {
    let verso = Verso::new();
    verso.ok(&[
        "sql",
        "app",
        SCHEMA,
        "UPDATE t SET b = randomblob(900) WHERE a < 5",
    ]);
    let text = verso.ok(&["check", "app"]);
    assert!(text.contains("integrity_check: ok"), "{text}");
    let report = verso.json(&["check", "app"]);
    assert_eq!(report["ok"], true);
    assert_eq!(report["damaged"], serde_json::json!([]));
    let pages = report["pages_read"].as_u64().unwrap();
    assert_eq!(
        pages,
        verso.json(&["info", "app"])["page_count"].as_u64().unwrap()
    );
    // Some pages have more than one version.
    assert!(report["records"].as_u64().unwrap() > pages);
}

#[test]
fn an_empty_database() {
    let verso = Verso::new();
    verso.ok(&["sql", "app", "SELECT 1"]);
    assert_eq!(verso.json(&["check", "app"])["ok"], true);
}

#[test]
fn a_damaged_record_is_named() {
    let verso = Verso::new();
    verso.ok(&["sql", "app", SCHEMA]);
    damage_longest_record(&verso);
    let output = verso.command().args(["check", "app"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        error.starts_with("verso: the database app is damaged"),
        "{error}"
    );
    assert!(text.contains("what is wrong"), "{text}");
    assert!(!text.contains("integrity_check: ok"), "{text}");

    let output = verso
        .command()
        .args(["check", "app", "--json"])
        .output()
        .unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["ok"], false);
    let damaged = report["damaged"].as_array().unwrap();
    assert_eq!(damaged.len(), 1, "{report}");
    assert!(damaged[0]["page"].as_u64().unwrap() >= 1);
    assert_eq!(damaged[0]["version"].as_str().unwrap().len(), 20);
    assert!(!damaged[0]["reason"].as_str().unwrap().is_empty());
}

/// Flips a bit in the middle of the longest value of the store, which is a page's.
fn damage_longest_record(verso: &Verso) {
    let store = Connection::open(verso.path("store.db")).unwrap();
    let (key, mut value): (Vec<u8>, Vec<u8>) = store
        .query_row(
            "SELECT key, value FROM kv ORDER BY length(value) DESC LIMIT 1",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .unwrap();
    let middle = value.len() / 2;
    value[middle] ^= 1;
    store
        .execute(
            "UPDATE kv SET value = ?2 WHERE key = ?1",
            params![key, value],
        )
        .unwrap();
}
