//! Goal: what cannot work in a stock host is an SQL error that says what to do, and never ends
//! the host.
//! Method: each bad input once, in the `sqlite3` shell of the system, and where that cannot do
//! it, in Debian's Python: `hosts/misuse.py`. What is printed is compared.
#![cfg(unix)]

mod common;
mod sqlite_shell;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use common::{folder, library};
use sqlite_shell::shell;

/// Goes on after an error.
const SHELL: &str = "sqlite3 -batch 2>&1";

/// What stands between answers in the output.
const MARK: &str = "== end of a statement";

/// What a script prints, failures included.
fn printed(folder: &Path, command: &str, environment: &[(&str, &str)], script: &str) -> String {
    let script = format!(".load {}\n{script}", library().display());
    let output = shell(folder, command, environment, &script);
    assert!(output.status.code().is_some(), "it was killed: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What the shell prints when it opens a database, and the reason behind it.
fn opening(folder: &Path, command: &str, environment: &[(&str, &str)], query: &str) -> String {
    let script = format!(
        ".open file:app.db?vfs=verso{query}\nSELECT 'is open', verso_version();\n.open :memory:\nSELECT verso_last_error();\n"
    );
    printed(folder, command, environment, &script)
}

/// Opens a database, which must fail with these words, and leave the folder as it is.
fn refused(folder: &Path, query: &str, words: &[&str]) {
    let before = files(folder);
    let told = opening(folder, SHELL, &[], query);
    assert!(!told.contains("is open|"), "{query}: {told}");
    assert!(told.contains("unable to open database"), "{query}: {told}");
    for word in words {
        assert!(told.contains(word), "{query}: {word:?} is not in {told}");
    }
    assert_eq!(files(folder), before, "{query}");
}

fn files(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let mut names: Vec<_> = entries
        .map(|entry| entry.expect("an entry").file_name())
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// What each statement answers on a new database, failures included.
fn answers(folder: &Path, statements: &[&str]) -> Vec<String> {
    let mut script = ".open file:app.db?vfs=verso\n".to_owned();
    for statement in statements {
        script.push_str(statement);
        script.push_str("\n.print ");
        script.push_str(MARK);
        script.push('\n');
    }
    let printed = printed(folder, SHELL, &[], &script);
    let answers: Vec<_> = printed
        .split(MARK)
        .map(|text| text.trim().to_owned())
        .collect();
    assert_eq!(answers.len(), statements.len() + 1, "{printed}");
    answers
}

/// Runs each statement, whose answer must contain these words, or be empty if there are none.
fn check(statements: &[(&str, &str)]) {
    let folder = folder();
    let texts: Vec<_> = statements.iter().map(|(statement, _)| *statement).collect();
    for ((statement, words), answer) in statements.iter().zip(answers(folder.path(), &texts)) {
        let fits = answer.contains(words) && answer.is_empty() == words.is_empty();
        assert!(
            fits,
            "{statement}\nanswers {answer:?}\ninstead of {words:?}"
        );
    }
}

/// A step of `hosts/misuse.py`.
struct Misuse<'a> {
    folder: &'a Path,
    environment: Vec<(&'a str, String)>,
    input: String,
}

impl<'a> Misuse<'a> {
    fn new(folder: &'a Path) -> Self {
        Self {
            folder,
            environment: Vec::new(),
            input: String::new(),
        }
    }

    /// The lines that it prints. It must end well.
    fn run(&self, step: &str) -> Vec<String> {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hosts/misuse.py");
        let mut child = Command::new("/usr/bin/python3")
            .arg(program)
            .arg(library())
            .arg(step)
            .current_dir(self.folder)
            .env_remove("VERSO_STORE")
            .env_remove("VERSO_WRITERS")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("Debian's python3 is there");
        let mut input = child.stdin.take().expect("it is piped");
        input.write_all(self.input.as_bytes()).expect("it reads");
        drop(input);
        let output = child.wait_with_output().expect("it ends");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && told.is_empty(), "{step}: {told}");
        let printed = String::from_utf8(output.stdout).expect("text");
        printed.lines().map(str::to_owned).collect()
    }
}

fn misuse(step: &str) -> Vec<String> {
    let folder = folder();
    Misuse::new(folder.path()).run(step)
}

#[test]
fn parameters_that_nobody_knows() {
    let folder = folder();
    let known = "store=, at=, writers=";
    refused(
        folder.path(),
        "&sotre=sqlite:x.db",
        &["'sotre'", known, "mode="],
    );
    refused(folder.path(), "&STORE=sqlite:x.db", &["'STORE'", known]);
    refused(folder.path(), "&key=secret", &["'key'", known]);
    refused(folder.path(), "&%ff=1", &["'\u{fffd}'", known]);
}

#[test]
fn parameters_that_say_nothing_or_too_much() {
    let folder = folder();
    let twice = "&store=sqlite:a.db&store=sqlite:b.db";
    refused(folder.path(), twice, &["store= twice", "leave one"]);
    for store in ["&store=", "&store"] {
        refused(
            folder.path(),
            store,
            &["write sqlite:PATH", "store= of the URI"],
        );
    }
    for at in ["&at=", "&at", "&at=now"] {
        refused(
            folder.path(),
            at,
            &["is not a moment", "-15m", "at= of the URI"],
        );
    }
    for writers in ["&writers=", "&writers=some"] {
        let words = ["use concurrent or queued", "writers= of the URI"];
        refused(folder.path(), writers, &words);
    }
    // With other characters in their place it would be another file.
    for name in ["store=sqlite:a", "at=", "writers="] {
        refused(folder.path(), &format!("&{name}%ff"), &["is not UTF-8"]);
    }
}

#[test]
fn parameters_of_others_pass() {
    let folder = folder();
    for query in [
        "&mode=rwc&cache=private&psow=1&nolock=0&immutable=0&modeof=x&8_3_names=0",
        "&_fk=1&_busy_timeout=5000&_txlock=immediate",
        "&vfs=verso",
    ] {
        let told = opening(folder.path(), SHELL, &[], query);
        assert!(told.contains("is open|"), "{query}: {told}");
    }
}

#[test]
fn variables_that_make_no_sense_are_named() {
    let not_utf8 = "\"$(printf 'x\\377')\"";
    for (variable, value, words) in [
        ("VERSO_WRITERS", "some", "use concurrent or queued"),
        ("VERSO_WRITERS", not_utf8, "use concurrent or queued"),
        ("VERSO_STORE", "some", "write sqlite:PATH"),
        (
            "VERSO_STORE",
            "redis:x",
            "write sqlite:PATH, fdb:CLUSTER_FILE",
        ),
        ("VERSO_STORE", not_utf8, "is not UTF-8"),
        ("VERSO_DEFAULT_VFS", "some", "set it to 1, or to 0"),
        ("VERSO_DEFAULT_VFS", not_utf8, "set it to 1, or to 0"),
        ("VERSO_LOG", "nothing/there", "use stderr or a path"),
    ] {
        let folder = folder();
        let command = format!("env {variable}={value} {SHELL}");
        let told = opening(folder.path(), &command, &[], "");
        assert!(!told.contains("is open|"), "{variable}={value}: {told}");
        assert!(told.contains(words), "{variable}={value}: {told}");
        assert!(told.contains(variable), "{variable}={value}: {told}");
        assert!(!told.contains("of the URI"), "{variable}={value}: {told}");
        assert!(files(folder.path()).is_empty());
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_log_that_cannot_be_written_ends_nothing() {
    for log in ["stderr", "/dev/full"] {
        let folder = folder();
        let command = "sqlite3 -batch 2>/dev/full";
        let told = opening(
            folder.path(),
            command,
            &[("VERSO_LOG", log)],
            "&store=redis:x",
        );
        assert!(told.contains("unknown scheme 'redis:'"), "{log}: {told}");
    }
}

#[test]
fn empty_variables_say_nothing() {
    let folder = folder();
    let variables = [
        "VERSO_WRITERS",
        "VERSO_STORE",
        "VERSO_DEFAULT_VFS",
        "VERSO_LOG",
    ];
    let told = opening(folder.path(), SHELL, &variables.map(|name| (name, "")), "");
    assert!(told.contains("is open|"), "{told}");
    assert!(folder.path().join("verso.db").exists(), "the default store");
}

#[test]
fn the_default_vfs_is_switched_off_by_any_word_for_no() {
    for (value, is_default) in [("1", true), ("on", true), ("0", false), ("False", false)] {
        let folder = folder();
        let script = ".open plain.db\nCREATE TABLE t (n);\n";
        printed(
            folder.path(),
            SHELL,
            &[("VERSO_DEFAULT_VFS", value)],
            script,
        );
        let made = folder.path().join("verso.db").exists();
        assert_eq!(made, is_default, "{value}");
    }
}

/// Stores that cannot be opened, and what is said of them.
const UNREACHABLE: [(&str, &str); 16] = [
    (
        "sqlite:no/such/store.db",
        "create it, or choose another path",
    ),
    ("sqlite:text/store.db", "its parent is not a directory"),
    ("sqlite:folder", "name a file in it"),
    ("sqlite:pipe", "no regular file: choose another path"),
    ("sqlite:/dev/null", "no regular file: choose another path"),
    ("sqlite:/proc/verso.db", "choose another path"),
    (
        "sqlite:text",
        "it is not an SQLite file; choose another file",
    ),
    (
        "sqlite:plain.db",
        "database of something else; choose another file",
    ),
    (
        "sqlite:newer.db",
        "has format 9, and this build reads format 2: use a newer verso",
    ),
    ("sqlite:", "names nothing: write a path"),
    ("memory:", "names nothing: write a path or name"),
    ("fdb:/etc/foundationdb/fdb.cluster", "fdb.cluster"),
    ("http://localhost", "each node needs a host and a port"),
    ("http://127.0.0.1:9", "cannot be reached: no node answered"),
    ("postgres://a:b@c/d", "write sqlite:PATH, fdb:CLUSTER_FILE"),
    ("store.db", "write sqlite:PATH"),
];

/// What [`UNREACHABLE`] finds in the folder.
fn prepare(folder: &Path) {
    std::fs::create_dir(folder.join("folder")).expect("a folder");
    std::fs::write(folder.join("text"), "no database ".repeat(100)).expect("a file");
    let plain = "CREATE TABLE t (n);";
    assert!(
        shell(folder, "sqlite3 plain.db", &[], plain)
            .status
            .success()
    );
    let pipe = Command::new("mkfifo").arg(folder.join("pipe")).status();
    assert!(pipe.expect("mkfifo").success());
    let told = opening(folder, SHELL, &[], "&store=sqlite:newer.db");
    assert!(told.contains("is open|"), "{told}");
    let newer = "UPDATE kv SET value = x'766572736f00000009' WHERE key = x'6d';";
    assert!(
        shell(folder, "sqlite3 newer.db", &[], newer)
            .status
            .success()
    );
}

#[test]
fn stores_out_of_reach_in_the_shell() {
    let folder = folder();
    prepare(folder.path());
    for (url, words) in UNREACHABLE {
        let before = files(folder.path());
        let told = opening(folder.path(), SHELL, &[], &format!("&store={url}"));
        assert!(!told.contains("is open|"), "{url}: {told}");
        assert!(
            told.contains("Error: unable to open database"),
            "{url}: {told}"
        );
        assert!(told.contains(words), "{url}: {told}");
        assert_eq!(files(folder.path()), before, "{url}");
    }
}

#[test]
fn stores_out_of_reach_in_python_and_in_the_log() {
    let folder = folder();
    prepare(folder.path());
    let mut host = Misuse::new(folder.path());
    host.environment.push(("VERSO_LOG", "log".to_owned()));
    host.input = UNREACHABLE.map(|(url, _)| format!("{url}\n")).concat();
    let lines = host.run("stores");
    assert_eq!(lines.len(), UNREACHABLE.len(), "{lines:?}");
    let log = std::fs::read_to_string(folder.path().join("log")).expect("a log");
    for ((url, words), line) in UNREACHABLE.iter().zip(lines) {
        let (error, reason) = line.split_once(" | ").expect("the error and its reason");
        let known = ["unable to open database file", "file is not a database"];
        assert!(known.contains(&error), "{url}: {error}");
        assert!(reason.contains(words), "{url}: {reason}");
        assert!(log.contains(reason), "{url}: {reason} is not in {log}");
    }
}

#[test]
fn uris_that_nobody_reads() {
    let lines = misuse("without_uris");
    assert_eq!(lines.len(), 6, "{lines:?}");
    assert_eq!(lines[0], "unable to open database file");
    for words in [
        "'file:app.db?mode=ro'",
        "uri=True",
        "VERSO_STORE",
        "verso_at",
    ] {
        assert!(lines[1].contains(words), "{}", lines[1]);
    }
    assert_eq!(lines[2], "False", "no store was made");
    assert_eq!(lines[3], "unable to open database: file:app.db?mode=ro");
    assert_eq!(lines[4], "[('app.db',)]", "no other database was made");
    assert_eq!(lines[5], "(0,)", "with uri=True it is one");
    let folder = folder();
    let script = ".open file:file:app.db?vfs=verso\n.open :memory:\nSELECT verso_last_error();";
    let told = printed(folder.path(), SHELL, &[], script);
    assert!(told.contains("begins with file:"), "{told}");
    assert!(files(folder.path()).is_empty());
}

#[test]
fn functions_with_wrong_arguments() {
    let no = "is no Verso database of this connection: name the schema of one";
    check(&[
        ("CREATE TABLE t (n); CREATE TEMP TABLE u (n);", ""),
        (
            "ATTACH ':memory:' AS m; ATTACH 'file:plain.db?vfs=unix' AS p; CREATE TABLE p.t (n);",
            "",
        ),
        ("SELECT verso_version(NULL);", &format!("NULL {no}")),
        ("SELECT verso_info(NULL);", &format!("NULL {no}")),
        ("SELECT * FROM verso_log(NULL);", &format!("NULL {no}")),
        ("SELECT verso_version(7);", &format!("7 {no}")),
        ("SELECT verso_version('');", &format!("'' {no}")),
        (
            "SELECT verso_version(zeroblob(2));",
            &format!("\\0\\0 {no}"),
        ),
        (
            "SELECT verso_version('main' || char(0) || 'x');",
            &format!("main\\0x {no}"),
        ),
        (
            "SELECT * FROM verso_log('main' || char(0));",
            &format!("main\\0 {no}"),
        ),
        (
            "SELECT verso_info(CAST(x'ff' AS TEXT));",
            &format!("\u{fffd} {no}"),
        ),
        (
            "SELECT verso_info(replace(hex(zeroblob(500000)), '0', 'm'));",
            &format!("mmm {no}"),
        ),
        ("SELECT verso_version('temp');", &format!("temp {no}")),
        ("SELECT verso_info('m');", &format!("m {no}")),
        ("SELECT * FROM verso_databases('p');", &format!("p {no}")),
        (
            "SELECT * FROM verso_conflicts('nothing');",
            &format!("nothing {no}"),
        ),
        (
            "SELECT * FROM verso_log('main') a, verso_log('x') b;",
            &format!("x {no}"),
        ),
        ("SELECT verso_version(1, 2);", "wrong number of arguments"),
        ("SELECT verso_last_error(1);", "wrong number of arguments"),
        ("SELECT * FROM verso_log('main', 2);", "too many arguments"),
        ("SELECT length(verso_version(CAST('main' AS BLOB)));", "20"),
    ]);
}

#[test]
fn a_message_shows_no_more_than_the_beginning_of_a_long_name() {
    let folder = folder();
    let long = "SELECT verso_info(replace(hex(zeroblob(500000)), '0', 'm'));";
    let answers = answers(folder.path(), &[long]);
    assert!(answers[0].len() < 300, "{} bytes", answers[0].len());
}

#[test]
fn the_hidden_column_is_the_argument() {
    check(&[
        ("CREATE TABLE t (n);", ""),
        ("SELECT DISTINCT schema FROM verso_log;", "main"),
        (
            "SELECT schema FROM verso_databases('main') WHERE schema = 'main';",
            "main",
        ),
        (
            "SELECT count(*) FROM verso_log WHERE schema = 'main' AND schema = 'x';",
            "0",
        ),
        (
            "SELECT DISTINCT schema FROM verso_log WHERE schema IN ('main');",
            "main",
        ),
        (
            "SELECT DISTINCT schema FROM verso_log WHERE schema > 'a';",
            "main",
        ),
        (
            "SELECT n FROM verso_databases d JOIN (SELECT 1 AS n) ON d.schema = 'main';",
            "1",
        ),
        (
            "SELECT count(DISTINCT schema) FROM (VALUES ('main')) v, verso_log(v.column1);",
            "1",
        ),
        (
            "CREATE TABLE c AS SELECT * FROM verso_databases('main');",
            "",
        ),
        ("SELECT * FROM c;", "app.db|"),
        ("INSERT INTO verso_log VALUES (1);", "may not be modified"),
        ("DELETE FROM verso_log;", "may not be modified"),
        ("DROP TABLE verso_log;", "may not be dropped"),
        ("CREATE VIRTUAL TABLE v USING verso_log;", "no such module"),
    ]);
}

#[test]
fn schemas_may_use_what_does_no_harm() {
    check(&[
        ("CREATE TABLE t (n); CREATE TABLE versions (v);", ""),
        (
            "CREATE INDEX i ON t (verso_version());",
            "non-deterministic",
        ),
        (
            "CREATE TABLE g (n, v AS (verso_version()));",
            "non-deterministic",
        ),
        ("CREATE VIEW v AS SELECT length(verso_version()) AS n;", ""),
        ("CREATE VIEW l AS SELECT 'rows' FROM verso_log LIMIT 1;", ""),
        ("CREATE VIEW i AS SELECT verso_info();", ""),
        ("CREATE VIEW e AS SELECT verso_last_error();", ""),
        ("CREATE VIEW d AS SELECT * FROM verso_databases;", ""),
        ("CREATE VIEW c AS SELECT * FROM verso_conflicts;", ""),
        (
            "CREATE TEMP VIEW own AS SELECT name FROM verso_databases;",
            "",
        ),
        (
            "CREATE TRIGGER r AFTER INSERT ON t BEGIN
             INSERT INTO versions VALUES (verso_version('main')); END;",
            "",
        ),
        ("SELECT n FROM v;", "20"),
        ("SELECT * FROM l;", "rows"),
        ("SELECT * FROM i;", "unsafe use of verso_info()"),
        ("SELECT * FROM e;", "unsafe use of verso_last_error()"),
        ("SELECT * FROM d;", "unsafe use of virtual table"),
        ("SELECT * FROM c;", "unsafe use of virtual table"),
        ("SELECT * FROM own;", "app.db"),
        ("PRAGMA trusted_schema = OFF;", ""),
        ("SELECT n FROM v;", "20"),
        ("SELECT * FROM l;", "unsafe use of virtual table"),
        (
            "INSERT INTO t VALUES (1); SELECT length(v) FROM versions;",
            "20",
        ),
        // What reads them in a statement that writes, or in a transaction that has written.
        (
            "INSERT INTO t SELECT verso_info() FROM verso_log; SELECT n LIKE '{%' FROM t LIMIT 1, 1;",
            "1",
        ),
        (
            "BEGIN; INSERT INTO t VALUES (2); SELECT verso_info() ->> 'name'; COMMIT;",
            "app.db",
        ),
    ]);
}

#[test]
fn hosts_that_forbid() {
    assert_eq!(misuse("not_allowed"), ["not authorized"]);
    let lines = misuse("authorizer");
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines[0].contains("verso_info") && lines[1].contains("verso_log"));
    assert_eq!(lines[2], "(20, 1)", "what is allowed works");
}

#[test]
fn a_host_of_one_thread() {
    let lines = misuse("single_thread");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].contains("SQLITE_CONFIG_SINGLETHREAD"),
        "{}",
        lines[0]
    );
}

#[test]
fn loading_in_many_threads_and_again() {
    assert_eq!(misuse("threads"), ["(8,)"]);
}

#[test]
fn loading_around_a_fork() {
    assert_eq!(misuse("load_in_a_child"), ["0", "(1,)"]);
    assert_eq!(misuse("load_before_a_child"), ["0", "(1,)"]);
}

#[test]
fn an_entry_point_that_is_called_by_hand() {
    assert_eq!(misuse("entry_point"), ["1", "1"]);
}

/// `SQLITE_ROW`, `SQLITE_BUSY`, then a connection that lives as long as its statement.
#[test]
fn a_connection_that_is_closed_too_early() {
    assert_eq!(misuse("closed"), ["100", "5", "0", "100", "0"]);
}

/// The functions are those of the first library: with the pointers of one they would be added to
/// a connection of the other, whose memory looks different.
#[test]
fn two_libraries_in_one_process() {
    let lines = misuse("two_libraries");
    assert_eq!(lines.len(), 8, "{lines:?}");
    assert_eq!(lines[..2], ["0", "no such function: verso_last_error"]);
    assert_eq!(lines[2..4], ["not an error", "not an error"]);
    assert_eq!(lines[4..6], ["'nonsense' is not a moment", "0"]);
    assert_eq!(lines[6..], ["[(None,)]", "(0, 'app.db')"]);
}

#[test]
fn pragmas_that_are_not_utf_8() {
    let lines = misuse("not_utf_8");
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(
        lines[0].contains("use concurrent or queued"),
        "{}",
        lines[0]
    );
    assert!(lines[1].contains("is not a moment"), "{}", lines[1]);
}

#[test]
fn pragmas_that_make_no_sense() {
    let folder = folder();
    let told = printed(
        folder.path(),
        SHELL,
        &[],
        ".open file:app.db?vfs=verso
         PRAGMA verso_writer = queued;
         PRAGMA Verso_Nothing;
         PRAGMA verso_writers = some;
         PRAGMA verso_at = nonsense;
         PRAGMA others = 1;
         PRAGMA temp.verso_at = nonsense;
         SELECT 'goes on', verso_info() ->> 'writers';",
    );
    let lines: Vec<_> = told.lines().collect();
    assert_eq!(lines.len(), 5, "{told}");
    for (line, words) in lines.iter().zip([
        "no PRAGMA verso_writer: use",
        "no PRAGMA verso_nothing: use",
        "use concurrent or queued",
        "is not a moment",
        "goes on|concurrent",
    ]) {
        assert!(line.contains(words), "{words:?} is not in {line}");
    }
}

#[test]
fn texts_of_two_bytes() {
    let lines = misuse("utf_16");
    assert_eq!(lines.len(), 4, "{lines:?}");
    assert_eq!(lines[..3], ["UTF-16", "('app.db', 20)", "[('main',)]"]);
    assert!(
        lines[3].starts_with("schön is no Verso database"),
        "{}",
        lines[3]
    );
}
