//! `verso sql`: what it prints, what it refuses, and how it looks into the past.

use std::process::{Command, Stdio};

use crate::common::Verso;

#[test]
fn rows_are_printed_as_a_table() {
    let verso = Verso::new();
    let sql = "CREATE TABLE t(a, b); INSERT INTO t VALUES(1, 'x'), (NULL, 2.5);";
    assert_eq!(verso.ok(&["sql", "app", sql]), "");
    let expected = "\
┌──────┬─────┐
│ a    ┆ b   │
╞══════╪═════╡
│    1 ┆ x   │
│ NULL ┆ 2.5 │
└──────┴─────┘
";
    assert_eq!(verso.ok(&["sql", "app", "SELECT * FROM t"]), expected);
}

#[test]
fn every_mode_and_several_texts() {
    let verso = Verso::new();
    let sql = "SELECT 1 AS a, 'x,y' AS b; SELECT 2 AS a";
    let run = |mode: &str| verso.ok(&["sql", "app", "--mode", mode, sql, "SELECT 3 AS c"]);
    assert_eq!(run("list"), "1|x,y\n2\n3\n");
    assert_eq!(run("csv"), "a,b\r\n1,\"x,y\"\r\na\r\n2\r\nc\r\n3\r\n");
    assert_eq!(
        run("json"),
        "[{\"a\":1,\"b\":\"x,y\"}]\n[{\"a\":2}]\n[{\"c\":3}]\n"
    );
    assert_eq!(run("line"), "a = 1\nb = x,y\na = 2\nc = 3\n");
    let json = verso.json(&["sql", "app", "SELECT 1 AS a, NULL AS n, X'ff' AS b"]);
    assert_eq!(
        json,
        serde_json::json!([{ "a": 1, "n": null, "b": "X'FF'" }])
    );
}

#[test]
fn a_missing_database_is_made_only_to_be_written() {
    let verso = Verso::new();
    for option in ["--readonly", "--at=-1s"] {
        // First without a store, which must not appear; then with one.
        let message = verso.fails(1, &["sql", "app", option, "SELECT 1"]);
        assert!(message.starts_with("no such database: app"), "{message}");
        assert!(verso.names().is_empty());
    }
    verso.ok(&["sql", "other", "SELECT 1"]);
    for option in ["--readonly", "--at=-1s"] {
        let message = verso.fails(1, &["sql", "app", option, "SELECT 1"]);
        assert!(
            message.contains("no such database: app; `verso ls`"),
            "{message}"
        );
    }
    assert_eq!(
        verso.ok(&["sql", "app", "SELECT 1 AS a", "--mode", "list"]),
        "1\n"
    );
    assert!(verso.ok(&["ls"]).contains("app"));
}

#[test]
fn errors_are_one_line_and_end_the_run() {
    let verso = Verso::new();
    let message = verso.fails(1, &["sql", "app", "SELECT 1;\nSELEC 2;"]);
    assert_eq!(message, "near \"SELEC\": syntax error");
    let message = verso.fails(
        1,
        &[
            "sql",
            "app",
            "SELECT * FROM nowhere",
            "CREATE TABLE late(a)",
        ],
    );
    assert_eq!(message, "no such table: nowhere");
    assert!(
        verso
            .rows("app", "SELECT name FROM sqlite_schema")
            .is_empty()
    );
    let readonly = ["sql", "app", "--readonly", "CREATE TABLE t(a)"];
    assert!(verso.fails(1, &readonly).contains("readonly"));
}

#[test]
fn foreign_keys_are_off_as_in_the_sqlite3_shell() {
    let verso = Verso::new();
    assert_eq!(verso.rows("app", "PRAGMA foreign_keys"), ["0"]);
    assert_eq!(
        verso.rows("app", "PRAGMA foreign_keys=ON; PRAGMA foreign_keys"),
        ["1"]
    );
}

#[test]
fn the_past_is_read_by_version_and_by_time() {
    let verso = Verso::new();
    verso.ok(&["sql", "app", "CREATE TABLE t(a); INSERT INTO t VALUES(1)"]);
    let log = verso.json(&["log", "app", "--limit", "1"]);
    let (version, time) = (
        log[0]["version"].as_str().unwrap(),
        log[0]["time"].as_str().unwrap(),
    );
    std::thread::sleep(std::time::Duration::from_millis(20));
    verso.ok(&["sql", "app", "UPDATE t SET a = 2"]);
    for moment in [version, time] {
        let past = [
            "sql",
            "app",
            "--at",
            moment,
            "--mode",
            "list",
            "SELECT a FROM t",
        ];
        assert_eq!(verso.ok(&past), "1\n");
    }
    assert_eq!(
        verso.ok(&[
            "sql",
            "app",
            "--at",
            "-0s",
            "--mode",
            "list",
            "SELECT a FROM t"
        ]),
        "2\n"
    );
    let write = verso.fails(1, &["sql", "app", "--at", version, "UPDATE t SET a = 3"]);
    assert!(write.contains("readonly"), "{write}");
}

#[test]
fn moments_that_are_none_are_refused() {
    let verso = Verso::new();
    verso.ok(&["sql", "app", "CREATE TABLE t(a)"]);
    let future = verso.fails(
        2,
        &["sql", "app", "--at", "2999-01-01T00:00:00Z", "SELECT 1"],
    );
    assert!(future.contains("in the future"), "{future}");
    let nonsense = verso.fails(2, &["sql", "app", "--at", "yesterday", "SELECT 1"]);
    assert!(nonsense.contains("is not a moment"), "{nonsense}");
    let unknown = verso.fails(
        1,
        &["sql", "app", "--at", "0fffffffffffffff0000", "SELECT 1"],
    );
    assert!(unknown.contains("no version"), "{unknown}");
    let early = verso.fails(
        1,
        &["sql", "app", "--at", "1999-01-01T00:00:00Z", "SELECT 1"],
    );
    assert!(early.contains("oldest version"), "{early}");
}

#[test]
fn names_need_no_escaping() {
    let verso = Verso::new();
    for name in [
        "a b?c#d%20",
        "//tenant/42",
        "größe 🦀",
        "x file:",
        "-",
        "a&b=c",
    ] {
        verso.ok(&["sql", name, &format!("CREATE TABLE \"{name}\"(a)")]);
        assert_eq!(verso.rows(name, "SELECT name FROM sqlite_schema"), [name]);
        assert_eq!(verso.json(&["info", name])["name"], name);
    }
}

/// Such a name is a URI that nobody has read, to the VFS.
#[test]
fn names_that_look_like_uris_are_refused() {
    let verso = Verso::new();
    verso.ok(&["sql", "app", "CREATE TABLE t(a)"]);
    let plain = verso.file("plain.sqlite", "CREATE TABLE t(a)");
    let plain = plain.to_str().expect("text");
    let message = verso.fails(1, &["sql", "file:x", "CREATE TABLE t(a)"]);
    assert!(message.contains("begins with file:"), "{message}");
    for arguments in [["rename", "app", "file:x"], ["import", plain, "file:x"]] {
        let message = verso.fails(2, &arguments);
        assert!(message.contains("begins with file:"), "{message}");
    }
    assert_eq!(
        verso
            .ok(&["ls"])
            .lines()
            .filter(|line| line.contains("file:"))
            .count(),
        0
    );
}

#[test]
fn the_store_can_be_named_in_three_ways() {
    let verso = Verso::new();
    verso.ok(&["sql", "one", "CREATE TABLE t(a)"]);
    verso.ok(&[
        "--store",
        "sqlite:two.db",
        "sql",
        "two",
        "CREATE TABLE t(a)",
    ]);
    verso.ok(&[
        "sql",
        "--store",
        "sqlite:two.db",
        "also",
        "CREATE TABLE t(a)",
    ]);
    let mut command = verso.command();
    command
        .env_remove("VERSO_STORE")
        .args(["sql", "three", "CREATE TABLE t(a)"]);
    command.assert().success();
    assert!(verso.path("store.db").exists());
    assert!(verso.path("two.db").exists());
    assert!(verso.path("verso.db").exists());
    assert_eq!(
        verso
            .json(&["--store", "sqlite:two.db", "ls"])
            .as_array()
            .unwrap()
            .len(),
        2
    );
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let verso = Verso::new();
    let sql = "WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < 200000) \
               SELECT i FROM n";
    let mut child = Command::new(assert_cmd::cargo::cargo_bin("verso"))
        .current_dir(verso.folder())
        .args(["sql", "app", "--mode", "list", sql])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}
