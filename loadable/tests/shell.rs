//! Goal: the extension in a stock `sqlite3` shell, as somebody types it.
//! Method: the shell of the system (Debian's package `sqlite3`), the newest one, and that one with
//! SQLite's own asserts run scripts, alone and several at once; what they print is compared.
#![cfg(unix)]

mod common;
mod hosts;
mod shells;
mod sqlite_shell;

use std::path::Path;
use std::process::Command;

use common::{folder, library};
use shells::{DEBUG, built, in_every_shell};
use sqlite_shell::shell;

/// A shell that stops at the first error.
fn strict(sqlite3: &str) -> String {
    format!("{sqlite3} -batch -bail")
}

/// What a script prints that must run without an error.
fn run(sqlite3: &str, folder: &Path, script: &str) -> String {
    let script = format!(".load {}\n{script}", library().display());
    let output = shell(folder, &strict(sqlite3), &[], &script);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success() && told.is_empty(),
        "{script}: {told}"
    );
    String::from_utf8(output.stdout).expect("text")
}

in_every_shell! {
    four_lines_make_a_database,
    no_file_is_made_before_a_database_is_opened,
    shells_write_at_once,
    loading_twice_and_from_two_connections_is_harmless,
    functions_tell_of_a_database,
    failures_say_what_to_do,
    the_log_goes_where_it_is_asked_for,
    it_can_be_the_default,
    two_copies_of_the_library_are_harmless,
    valgrind_finds_no_error,
}

/// Or the asserts of the debug shell would say nothing.
#[test]
fn the_debug_shell_has_asserts() {
    let Some(sqlite3) = built(DEBUG) else {
        return;
    };
    let folder = folder();
    let script = "SELECT sqlite_compileoption_used('DEBUG');";
    assert_eq!(run(&sqlite3, folder.path(), script), "1\n");
}

fn four_lines_make_a_database(sqlite3: &str) {
    let folder = folder();
    let printed = run(
        sqlite3,
        folder.path(),
        ".open file:app.db?vfs=verso
         CREATE TABLE t(x); INSERT INTO t VALUES (1); SELECT verso_version();",
    );
    let version = printed.trim();
    assert!(
        version.len() == 20 && version.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{printed}"
    );
    let again = run(
        sqlite3,
        folder.path(),
        &format!(
            ".open file:app.db?vfs=verso\nINSERT INTO t VALUES (2); SELECT sum(x) FROM t;\n\
             .open file:app.db?vfs=verso&at={version}\nSELECT sum(x) FROM t;"
        ),
    );
    assert_eq!(again, "3\n1\n");
    assert!(folder.path().join("verso.db").exists(), "the default store");
}

fn no_file_is_made_before_a_database_is_opened(sqlite3: &str) {
    let folder = folder();
    assert_eq!(run(sqlite3, folder.path(), "SELECT 1;"), "1\n");
    let files: Vec<_> = std::fs::read_dir(folder.path())
        .expect("a folder")
        .collect();
    assert!(files.is_empty(), "{files:?}");
}

fn shells_write_at_once(sqlite3: &str) {
    let folder = folder();
    run(
        sqlite3,
        folder.path(),
        ".open file:app.db?vfs=verso\nCREATE TABLE t (n); INSERT INTO t VALUES (0);",
    );
    let updates = "UPDATE t SET n = n + 1;\n".repeat(100);
    let script = format!(
        ".open file:app.db?vfs=verso\n.timeout 60000\nPRAGMA synchronous = OFF;\n{updates}"
    );
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| run(sqlite3, folder.path(), &script));
        }
    });
    let found = run(
        sqlite3,
        folder.path(),
        ".open file:app.db?vfs=verso\nSELECT n FROM t;",
    );
    assert_eq!(found, "400\n");
}

fn loading_twice_and_from_two_connections_is_harmless(sqlite3: &str) {
    let folder = folder();
    let library = library();
    let printed = run(
        sqlite3,
        folder.path(),
        &format!(
            ".load {0}\n.connection 1\n.load {0}\n.open file:app.db?vfs=verso\n\
             SELECT verso_version() <> '';\n.connection 0\nSELECT 2;",
            library.display()
        ),
    );
    assert_eq!(printed, "1\n2\n");
}

fn functions_tell_of_a_database(sqlite3: &str) {
    let folder = folder();
    let printed = run(
        sqlite3,
        folder.path(),
        ".open file:app.db?vfs=verso
         CREATE TABLE t (n);
         SELECT json_extract(verso_info(), '$.name', '$.pages', '$.writers', '$.read_only');
         ATTACH ':memory:' AS memory;
         ATTACH 'file:past.db?vfs=verso' AS other;
         SELECT json_extract(verso_info('other'), '$.name', '$.pages');
         SELECT verso_last_error() IS NULL;",
    );
    assert_eq!(
        printed,
        "[\"app.db\",2,\"concurrent\",false]\n[\"past.db\",0]\n1\n"
    );
}

fn failures_say_what_to_do(sqlite3: &str) {
    let folder = folder();
    let failing = |script: &str| {
        let script = format!(".load {}\n{script}", library().display());
        let output = shell(folder.path(), &strict(sqlite3), &[], &script);
        assert!(!output.status.success(), "{script}");
        String::from_utf8(output.stderr).expect("text")
    };
    let told = failing("SELECT verso_version();");
    assert!(told.contains("main is no Verso database"), "{told}");
    let told = failing(".open file:app.db?vfs=verso\nSELECT verso_info('nothing');");
    assert!(told.contains("nothing is no Verso database"), "{told}");
    let told = failing(".open file:app.db?vfs=verso\nSELECT * FROM verso_log('nothing');");
    assert!(told.contains("nothing is no Verso database"), "{told}");
    let told = failing("SELECT * FROM verso_databases;");
    assert!(told.contains("main is no Verso database"), "{told}");
    let told = failing(".open file:app.db?vfs=verso\nSELECT verso_info(1, 2);");
    assert!(told.contains("wrong number of arguments"), "{told}");
    let output = shell(
        folder.path(),
        &strict(sqlite3),
        &[("VERSO_LOG", "/no/such/folder/log")],
        &format!(".load {}\n", library().display()),
    );
    let told = String::from_utf8(output.stderr).expect("text");
    assert!(told.contains("VERSO_LOG=/no/such/folder/log"), "{told}");
}

fn the_log_goes_where_it_is_asked_for(sqlite3: &str) {
    let folder = folder();
    let log = folder.path().join("log");
    let script = format!(
        ".load {}\n.open file:missing.db?vfs=verso&mode=rw\nSELECT 1;\n",
        library().display()
    );
    let path = log.to_str().expect("UTF-8");
    shell(
        folder.path(),
        &strict(sqlite3),
        &[("VERSO_LOG", path)],
        &script,
    );
    let text = std::fs::read_to_string(&log).expect("a log");
    assert!(text.contains("missing.db"), "{text}");
    let silent = shell(folder.path(), &strict(sqlite3), &[], &script);
    let told = String::from_utf8_lossy(&silent.stderr).into_owned();
    assert!(!told.contains("DEBUG"), "{told}");
}

fn it_can_be_the_default(sqlite3: &str) {
    let folder = folder();
    let script = format!(
        ".load {}\n.open app.db\nCREATE TABLE t (n);\nSELECT verso_version() <> '';\n",
        library().display()
    );
    let output = shell(
        folder.path(),
        &strict(sqlite3),
        &[("VERSO_DEFAULT_VFS", "1")],
        &script,
    );
    assert_eq!(String::from_utf8_lossy(&output.stdout), "1\n");
    assert!(folder.path().join("verso.db").exists());
    assert!(!folder.path().join("app.db").exists());
}

/// The embedded store's own SQLite stays inside: nothing of it may meet the host's.
#[test]
fn no_symbol_of_sqlite_is_exported() {
    let file = library().with_extension("so");
    let output = Command::new("nm")
        .args(["-D", "--defined-only"])
        .arg(&file)
        .output()
        .expect("nm is there: apt-get install binutils");
    let symbols = String::from_utf8(output.stdout).expect("text");
    let names: Vec<_> = symbols
        .lines()
        .filter_map(|line| line.split_whitespace().next_back())
        .collect();
    assert_eq!(names, ["sqlite3_verso_init"]);
}

fn two_copies_of_the_library_are_harmless(sqlite3: &str) {
    let folder = folder();
    let copy = folder.path().join("copy");
    std::fs::create_dir(&copy).expect("a folder");
    std::fs::copy(library().with_extension("so"), copy.join("libverso.so")).expect("a copy");
    let printed = run(
        sqlite3,
        folder.path(),
        ".load ./copy/libverso\n.open file:app.db?vfs=verso\n\
         CREATE TABLE t (n); INSERT INTO t VALUES (1);\nSELECT sum(n), verso_version() <> '' FROM t;",
    );
    assert_eq!(printed, "1|1\n");
}

/// Memory errors in the library, and in what it makes SQLite do, end the shell with 9.
fn valgrind_finds_no_error(sqlite3: &str) {
    let folder = folder();
    let script = format!(
        ".load {}\n.open file:app.db?vfs=verso\n.timeout 10000\n\
         CREATE TABLE t (x); INSERT INTO t VALUES (1); SELECT verso_version(), verso_info();\n\
         SELECT * FROM verso_log; SELECT * FROM verso_databases; SELECT * FROM verso_conflicts;\n\
         BEGIN IMMEDIATE; UPDATE t SET x = 2; COMMIT; INSERT INTO t VALUES (3) RETURNING x;\n\
         PRAGMA verso_at = '-0s'; SELECT * FROM t; PRAGMA verso_at = newest; DELETE FROM t;\n\
         ATTACH 'file:b.db?vfs=verso' AS b; CREATE TABLE b.u (n);\n\
         BEGIN; INSERT INTO t VALUES (1); INSERT INTO u VALUES (2); COMMIT;\n\
         BEGIN; INSERT INTO t VALUES (zeroblob(500000)); SAVEPOINT s; DELETE FROM u;\n\
         ROLLBACK TO s; ROLLBACK; VACUUM; DETACH b; SELECT sum(x) FROM t;\n",
        library().display()
    );
    let valgrind = format!(
        "valgrind -q --error-exitcode=9 --leak-check=no {}",
        strict(sqlite3)
    );
    let output = shell(folder.path(), &valgrind, &[], &script);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{told}");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(printed.ends_with("\n1\n"), "{printed}");
}
