//! `verso shell` with its input from a pipe.

use std::fs;

use crate::common::Verso;

/// Standard output, standard error and exit code.
fn shell(verso: &Verso, arguments: &[&str], input: &str) -> (String, String, i32) {
    let output = verso
        .command()
        .args([&["shell"], arguments].concat())
        .write_stdin(input)
        .output()
        .unwrap();
    (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
        output.status.code().unwrap(),
    )
}

fn printed(verso: &Verso, input: &str) -> String {
    let (out, error, code) = shell(verso, &["app"], input);
    assert_eq!((error.as_str(), code), ("", 0));
    out
}

#[test]
fn statements_may_take_several_lines() {
    let verso = Verso::new();
    let input = "CREATE TABLE t(a);\nINSERT INTO t\n  VALUES(';'),\n ('two');\n\
                 CREATE TRIGGER r AFTER DELETE ON t BEGIN\n  INSERT INTO t VALUES('x');\nEND;\n\
                 -- a comment;\nSELECT * FROM t; SELECT 1,\n 2;\nSELECT 'no semicolon'";
    assert_eq!(printed(&verso, input), ";\ntwo\n1|2\nno semicolon\n");
}

#[test]
fn errors_do_not_end_it_but_its_exit_code_tells() {
    let verso = Verso::new();
    let input = "CREATE TABLE t(a);\nSELEC 1;\nINSERT INTO t VALUES(7);\n.nonsense\n\
                 SELECT a FROM t;\n";
    let (out, error, code) = shell(&verso, &["app"], input);
    assert_eq!(out, "7\n");
    assert_eq!(code, 1);
    let lines: Vec<&str> = error.lines().collect();
    assert_eq!(
        lines,
        [
            "verso: line 2: near \"SELEC\": syntax error",
            "verso: line 4: unknown command .nonsense: .help shows the commands",
            "verso: 2 statements failed"
        ]
    );
}

#[test]
fn names_of_tables_and_indexes() {
    let verso = Verso::new();
    let schema = "CREATE TABLE zoo(a UNIQUE);\nCREATE TABLE ant(b);\nCREATE VIEW bee AS SELECT 1;\n\
                  CREATE INDEX by_b ON ant(b);\n";
    assert_eq!(
        printed(&verso, &format!("{schema}.tables\n")),
        "ant  bee  zoo\n"
    );
    assert_eq!(printed(&verso, ".tables b%\n"), "bee\n");
    assert_eq!(
        printed(&verso, ".indexes\n"),
        "by_b                    sqlite_autoindex_zoo_1\n"
    );
    assert_eq!(printed(&verso, ".indexes ant\n"), "by_b\n");
    assert_eq!(
        printed(&verso, ".schema ANT\n"),
        "CREATE TABLE ant(b);\nCREATE INDEX by_b ON ant(b);\n"
    );
    assert_eq!(printed(&verso, ".schema\n").lines().count(), 4);
}

#[test]
fn modes_and_headers() {
    let verso = Verso::new();
    let input = "SELECT 1 AS a;\n.headers on\nSELECT 1 AS a;\n.mode csv\nSELECT 1 AS a;\n\
                 .headers off\nSELECT 1 AS a;\n.mode json\nSELECT 1 AS a;\n.mode line\n\
                 SELECT 1 AS a;\n.mode\n.mode table\nSELECT 1 AS a;\n";
    assert_eq!(
        printed(&verso, input),
        "1\na\n1\na\r\n1\r\n1\r\n[{\"a\":1}]\na = 1\nline\n┌───┐\n│ 1 │\n└───┘\n"
    );
    let (out, _, _) = shell(&verso, &["app", "--mode", "json"], "SELECT 1 AS a;");
    assert_eq!(out, "[{\"a\":1}]\n");
    let (_, error, code) = shell(&verso, &["app"], ".mode fancy\n");
    assert_eq!(code, 1);
    assert!(error.contains("unknown mode fancy"), "{error}");
}

#[test]
fn files_are_read() {
    let verso = Verso::new();
    fs::write(
        verso.path("in ner.sql"),
        "SELECT 'inner';\n.quit\nSELECT 'never';\n",
    )
    .unwrap();
    fs::write(
        verso.path("outer.sql"),
        "SELECT 'outer';\n.read 'in ner.sql'\n",
    )
    .unwrap();
    assert_eq!(
        printed(&verso, ".read outer.sql\nSELECT 'never';\n"),
        "outer\ninner\n"
    );
    fs::write(verso.path("loop.sql"), ".read loop.sql\n").unwrap();
    let (_, error, code) = shell(&verso, &["app"], ".read loop.sql\n.read missing.sql\n");
    assert_eq!(code, 1);
    assert!(error.contains("files deep"), "{error}");
    assert!(error.contains("missing.sql cannot be read"), "{error}");
}

#[test]
fn quit_timer_and_help() {
    let verso = Verso::new();
    assert_eq!(printed(&verso, "SELECT 1;\n.quit\nSELECT 2;\n"), "1\n");
    assert_eq!(printed(&verso, ".exit\nSELECT 2;\n"), "");
    let timed = printed(&verso, ".timer on\nSELECT 1;\n.timer off\nSELECT 2;\n");
    assert!(timed.starts_with("1\nRun Time: real 0."), "{timed}");
    assert!(timed.ends_with("\n2\n"), "{timed}");
    let help = printed(&verso, ".help\n");
    for command in [
        ".dump", ".schema", ".tables", ".mode", ".read", ".timer", ".indexes",
    ] {
        assert!(help.contains(command), "{command}");
    }
}

#[test]
fn dumps_make_the_same_database_again() {
    let verso = Verso::new();
    let schema = "
        CREATE TABLE kinds(i INTEGER PRIMARY KEY AUTOINCREMENT, t TEXT, r REAL, b BLOB);
        INSERT INTO kinds VALUES(1, 'it''s' || char(10, 0) || 'two', 0.1, X'00ff'),
          (8, NULL, -9e999, x'');
        CREATE TABLE \"select\"(\"a b\" TEXT PRIMARY KEY, twice AS (\"a b\" || \"a b\")) WITHOUT ROWID;
        INSERT INTO \"select\" VALUES('k');
        CREATE VIRTUAL TABLE docs USING fts5(body);
        INSERT INTO docs VALUES('hello world');
        CREATE VIEW v AS SELECT * FROM kinds;
        CREATE TRIGGER tr INSTEAD OF INSERT ON v BEGIN SELECT 1; END;
        CREATE INDEX by_t ON kinds(t);";
    verso.ok(&["sql", "app", schema]);
    let dump = verso.dump("app");
    assert!(dump.contains("INSERT INTO kinds VALUES(1,('it''s\n'||char(0)||'two'),0.1,X'00FF');"));
    let (out, error, code) = shell(&verso, &["copy"], &dump);
    assert_eq!((out.as_str(), error.as_str(), code), ("", "", 0));
    assert_eq!(verso.dump("copy"), dump);
    assert_eq!(verso.rows("copy", "PRAGMA integrity_check"), ["ok"]);
    assert_eq!(
        verso.rows("copy", "SELECT rowid FROM docs WHERE docs MATCH 'world'"),
        ["1"]
    );
}

#[test]
fn the_past_and_readonly() {
    let verso = Verso::new();
    verso.ok(&["sql", "app", "CREATE TABLE t(a)"]);
    let version = verso.json(&["log", "app"])[0]["version"]
        .as_str()
        .unwrap()
        .to_owned();
    verso.ok(&["sql", "app", "INSERT INTO t VALUES(1)"]);
    let (out, _, code) = shell(
        &verso,
        &["app", "--at", &version],
        "SELECT count(*) FROM t;",
    );
    assert_eq!((out.as_str(), code), ("0\n", 0));
    let (_, error, code) = shell(&verso, &["app", "--readonly"], "DELETE FROM t;");
    assert_eq!(code, 1);
    assert!(error.contains("readonly"), "{error}");
    let message = verso.fails(1, &["shell", "nope", "--readonly"]);
    assert!(message.contains("no such database: nope"), "{message}");
}

#[test]
fn input_that_is_not_utf8_is_an_error_of_its_line() {
    let verso = Verso::new();
    let output = verso
        .command()
        .args(["shell", "app"])
        .write_stdin(&b"SELECT '\xff';\nSELECT 2;\n"[..])
        .output()
        .unwrap();
    assert_eq!(output.stdout, b"2\n");
    assert_eq!(output.status.code(), Some(1));
}
