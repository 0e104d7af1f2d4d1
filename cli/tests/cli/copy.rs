//! Copies from store to store, and what becomes of those that are interrupted.
//!
//! A copy is stopped in the middle by a way to its source that lets only so much through. How much
//! of it a second run loads is counted by the page records that the destination ends with: a page
//! that was loaded twice would have two.

use std::process::{Child, Command, Output, Stdio};

use assert_cmd::cargo::cargo_bin;

use crate::common::Verso;
use crate::narrow::Narrow;
use crate::node::Node;

/// Some 16 MiB of pages that do not compress.
const LARGE: &str = "
    CREATE TABLE t (a INTEGER PRIMARY KEY, b BLOB);
    CREATE INDEX i ON t (length(b));
    WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 4200)
    INSERT INTO t SELECT i, randomblob(3000 + i % 900) FROM n;";

/// So many bytes of it come through, which are five of its eight parts. When the fifth is read, at
/// least two have been loaded.
const ENOUGH: usize = 9 << 20;

const SOURCE: &str = "sqlite:store.db";

/// Runs the command. It is not given a store by the environment.
fn verso(verso: &Verso, arguments: &[&str]) -> Command {
    let mut command = Command::new(cargo_bin("verso"));
    command.current_dir(verso.folder()).args(arguments);
    command.env_remove("VERSO_STORE").stdin(Stdio::null());
    command
}

fn run(folder: &Verso, arguments: &[&str]) -> (Output, String, String) {
    let output = verso(folder, arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let (out, error) = (text(&output.stdout), text(&output.stderr));
    (output, out, error)
}

/// What a run that succeeds says.
fn ok(folder: &Verso, arguments: &[&str]) -> String {
    let (output, out, error) = run(folder, arguments);
    assert!(output.status.success(), "{arguments:?}: {error}");
    out
}

/// What a run says that fails with this code.
fn fails(folder: &Verso, code: i32, arguments: &[&str]) -> String {
    let (output, _, error) = run(folder, arguments);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    error
}

/// Everything that SQL sees of a database.
fn dump(folder: &Verso, store: &str, database: &str) -> String {
    let export = format!("{database}.{}", store.replace(['/', ':'], "-"));
    ok(
        folder,
        &["--store", store, "export", "--force", database, &export],
    );
    let dump = Command::new("sqlite3")
        .args([folder.path(&export).to_str().unwrap(), ".dump"])
        .output()
        .unwrap();
    assert!(dump.status.success());
    String::from_utf8(dump.stdout).unwrap()
}

/// The copy is what the original is, and each of its pages was loaded once.
fn assert_copied(folder: &Verso, store: &str, database: &str) {
    assert!(dump(folder, store, database) == dump(folder, SOURCE, database));
    let check = ok(folder, &["--store", store, "check", "--json", database]);
    let check: serde_json::Value = serde_json::from_str(&check).unwrap();
    assert_eq!(check["ok"], true);
    assert_eq!(check["records"], check["pages_read"], "{check}");
}

/// A store with a large database, and a node that serves it.
fn large() -> (Verso, Node) {
    let folder = Verso::new();
    folder.file("in.db", LARGE);
    folder.ok(&["import", "in.db", "app"]);
    let node = Node::start(&folder, &[]);
    (folder, node)
}

/// A copy that is stuck in the middle.
struct Stuck {
    process: Child,
    narrow: Narrow,
}

impl Stuck {
    fn copy(folder: &Verso, node: &Node, to: &str) -> Self {
        let narrow = Narrow::to(node.address(), ENOUGH);
        let process = verso(folder, &["copy", &narrow.url(), "app", to])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        narrow.until_stuck();
        Self { process, narrow }
    }

    fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// As by Ctrl-C. What it says.
    fn interrupt(self) -> (Option<i32>, String) {
        let id = self.process.id().to_string();
        let kill = Command::new("kill").args(["-s", "INT", &id]).status();
        assert!(kill.unwrap().success());
        let output = self.process.wait_with_output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        (output.status.code(), error)
    }

    /// Lets it go on, and waits for its end. What it says.
    fn widen(self) -> (Option<i32>, String) {
        self.narrow.widen();
        let output = self.process.wait_with_output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        (output.status.code(), error)
    }
}

/// The page that a run says it went on at.
fn resumed_at(said: &str) -> Option<u32> {
    let (_, rest) = said.split_once("resumed at page ")?;
    rest.split(',').next()?.parse().ok()
}

#[test]
fn between_stores_of_every_kind() {
    let folder = Verso::new();
    folder.file(
        "in.db",
        "PRAGMA page_size = 512; CREATE TABLE t (a); INSERT INTO t VALUES (1)",
    );
    folder.ok(&["import", "in.db", "app"]);
    let said = ok(&folder, &["copy", SOURCE, "app", "sqlite:second.db"]);
    assert!(said.starts_with("copied app at version "), "{said}");
    assert!(
        said.contains("2 pages of 512 bytes, 1.00 KiB in "),
        "{said}"
    );
    assert_copied(&folder, "sqlite:second.db", "app");
    // Through nodes on both sides, one of them of another store.
    let (first, other) = (Node::start(&folder, &[]), Verso::new());
    let last = Node::start(&other, &[]);
    ok(&folder, &["copy", first.url(), "app", last.url()]);
    assert_copied(&folder, last.url(), "app");
    ok(&folder, &["copy", last.url(), "app", "sqlite:third.db"]);
    assert_copied(&folder, "sqlite:third.db", "app");
    // Within a store, and the copy can be written to.
    ok(&folder, &["copy", SOURCE, "app", SOURCE, "--as", "app/2"]);
    let sql = "INSERT INTO t VALUES (2); SELECT sum(a) FROM t";
    assert_eq!(folder.rows("app/2", sql), ["3"]);
    assert_eq!(folder.rows("app", "SELECT sum(a) FROM t"), ["1"]);
    assert_eq!(folder.json(&["log", "app/2"]).as_array().unwrap().len(), 2);
}

#[test]
fn to_a_cluster_and_back() {
    let Ok(cluster) = std::env::var("VERSO_TEST_FDB_CLUSTER") else {
        println!("skipped: no FoundationDB");
        return;
    };
    let (folder, _node) = large();
    let prefix = format!("cli/{}", std::process::id());
    let there = format!("fdb:{cluster}?prefix={prefix}");
    ok(&folder, &["copy", SOURCE, "app", &there]);
    assert_copied(&folder, &there, "app");
    let node = Node::start_on(&folder, &there, &[]);
    ok(&folder, &["copy", node.url(), "app", "sqlite:back.db"]);
    assert_copied(&folder, "sqlite:back.db", "app");
    ok(&folder, &["--store", &there, "rm", "--yes", "app"]);
}

#[test]
fn a_moment_of_the_past_and_an_empty_database() {
    let folder = Verso::new();
    folder.ok(&["sql", "empty", "SELECT 1"]);
    folder.ok(&["sql", "app", "CREATE TABLE t (a)"]);
    let version = folder.json(&["info", "app"])["version"].to_string();
    folder.ok(&["sql", "app", "DROP TABLE t"]);
    let to = "sqlite:second.db";
    let at = version.trim_matches('"');
    let said = ok(&folder, &["copy", SOURCE, "app", to, "--at", at]);
    assert!(said.contains(at), "{said}");
    let tables = "SELECT name FROM sqlite_schema";
    let sql = ["--store", to, "sql", "--mode", "list", "app", tables];
    assert_eq!(ok(&folder, &sql), "t\n");
    ok(&folder, &["copy", SOURCE, "empty", to]);
    let sql = [
        "--store",
        to,
        "sql",
        "--mode",
        "list",
        "empty",
        "PRAGMA page_count",
    ];
    assert_eq!(ok(&folder, &sql), "0\n");
}

#[test]
fn what_cannot_be_copied_is_refused() {
    let folder = Verso::new();
    folder.ok(&["sql", "app", "CREATE TABLE t (a)"]);
    folder.ok(&["sql", "taken", "CREATE TABLE t (a)"]);
    let to = "sqlite:second.db";
    let said = fails(&folder, 1, &["copy", SOURCE, "nothing", to]);
    assert!(said.contains("no such database: nothing"), "{said}");
    let said = fails(&folder, 1, &["copy", "sqlite:missing.db", "app", to]);
    assert!(said.contains("sqlite:missing.db does not exist"), "{said}");
    // Nobody made a store by looking.
    assert!(!folder.path("second.db").exists() && !folder.path("missing.db").exists());
    let past = "-1000d";
    let said = fails(&folder, 1, &["copy", SOURCE, "app", to, "--at", past]);
    assert!(said.contains("its oldest version is of"), "{said}");
    for same in [SOURCE, "sqlite:./store.db"] {
        let said = fails(&folder, 2, &["copy", SOURCE, "app", same]);
        assert!(
            said.contains("give the copy another name with --as"),
            "{said}"
        );
    }
    let said = fails(
        &folder,
        1,
        &["copy", SOURCE, "app", SOURCE, "--as", "taken"],
    );
    assert!(said.contains("taken exists already"), "{said}");
    ok(&folder, &["copy", SOURCE, "app", to]);
    let said = fails(&folder, 1, &["copy", SOURCE, "app", to]);
    assert!(said.contains("app exists already"), "{said}");
    fails(&folder, 2, &["copy", SOURCE, "app", "memory:x"]);
    fails(&folder, 2, &["copy", SOURCE, "app", to, "--as", "file:x"]);
    fails(&folder, 2, &["--store", SOURCE, "copy", SOURCE, "app", to]);
}

#[test]
fn a_killed_copy_goes_on_where_it_was() {
    let (folder, node) = large();
    let to = "sqlite:second.db";
    Stuck::copy(&folder, &node, to).kill();
    let said = fails(&folder, 1, &["--store", to, "info", "app"]);
    assert!(said.contains("no such database: app"), "{said}");
    // By another name of the same source, as from another machine.
    let said = ok(&folder, &["copy", SOURCE, "app", to]);
    let page = resumed_at(&said).expect("it says where it went on");
    // Behind a whole part of 2 MiB.
    assert!(page > 2 * 512 && page % 512 == 1, "{said}");
    assert_copied(&folder, to, "app");
}

#[test]
fn a_killed_copy_to_a_node_goes_on_where_it_was() {
    let (folder, node) = large();
    let other = Verso::new();
    let target = Node::start(&other, &[]);
    Stuck::copy(&folder, &node, target.url()).kill();
    let said = ok(&folder, &["copy", node.url(), "app", target.url()]);
    assert!(
        resumed_at(&said).expect("it says where it went on") > 2 * 512,
        "{said}"
    );
    assert_copied(&folder, target.url(), "app");
}

#[test]
fn ctrl_c_leaves_what_can_go_on_and_says_so() {
    let (folder, node) = large();
    let to = "sqlite:second.db";
    let (code, said) = Stuck::copy(&folder, &node, to).interrupt();
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.starts_with("verso: interrupted: sqlite:second.db keeps "),
        "{said}"
    );
    assert!(said.contains("run the same command again"), "{said}");
    // The advice for a source that is written to: the same version again.
    let (_, at) = said.split_once("--at ").unwrap();
    let at = at.split(' ').next().unwrap();
    let before = dump(&folder, SOURCE, "app");
    folder.ok(&["sql", "app", "DELETE FROM t WHERE a % 2"]);
    let said = ok(&folder, &["copy", SOURCE, "app", to, "--at", at]);
    assert!(resumed_at(&said).is_some(), "{said}");
    assert!(dump(&folder, to, "app") == before);
}

#[test]
fn a_source_that_has_changed_is_copied_afresh() {
    let (folder, node) = large();
    let to = "sqlite:second.db";
    Stuck::copy(&folder, &node, to).kill();
    folder.ok(&[
        "sql",
        "app",
        "UPDATE t SET b = randomblob(3000) WHERE a % 100 = 0",
    ]);
    let (output, said, noted) = run(&folder, &["copy", SOURCE, "app", to]);
    assert!(output.status.success(), "{noted}");
    assert!(noted.contains("was of another state"), "{noted}");
    assert_eq!(resumed_at(&said), None, "{said}");
    // Not one page of the earlier state is left.
    assert_copied(&folder, to, "app");
}

#[test]
fn another_database_of_the_same_name_is_another_source() {
    let (folder, node) = large();
    let to = "sqlite:second.db";
    Stuck::copy(&folder, &node, to).kill();
    folder.ok(&["rm", "app", "--yes"]);
    folder.ok(&["import", "in.db", "app"]);
    let (output, said, noted) = run(&folder, &["copy", SOURCE, "app", to]);
    assert!(output.status.success(), "{noted}");
    assert!(noted.contains("was of another state"), "{noted}");
    assert_eq!(resumed_at(&said), None, "{said}");
    assert_copied(&folder, to, "app");
}

#[test]
fn a_source_that_is_removed_meanwhile_ends_the_copy() {
    let (folder, node) = large();
    let to = "sqlite:second.db";
    let stuck = Stuck::copy(&folder, &node, to);
    folder.ok(&["rm", "app", "--yes"]);
    let (code, said) = stuck.widen();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("of app can no longer be read from"), "{said}");
    assert!(said.contains("nothing was copied"), "{said}");
    // Nothing of it is left for another copy to remove.
    folder.ok(&["import", "in.db", "app"]);
    let (output, _, noted) = run(&folder, &["copy", SOURCE, "app", to]);
    assert!(output.status.success() && noted.is_empty(), "{noted}");
    assert_copied(&folder, to, "app");
}

#[test]
fn a_name_that_is_taken_meanwhile_is_left_alone() {
    let (folder, node) = large();
    let to = "sqlite:second.db";
    let stuck = Stuck::copy(&folder, &node, to);
    let sql = [
        "--store",
        to,
        "sql",
        "--mode",
        "list",
        "app",
        "PRAGMA page_count",
    ];
    assert_eq!(ok(&folder, &sql), "0\n");
    let (code, said) = stuck.widen();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("app exists already"), "{said}");
    assert_eq!(ok(&folder, &sql), "0\n");
    ok(&folder, &["--store", to, "rm", "app", "--yes"]);
    let said = ok(&folder, &["copy", SOURCE, "app", to]);
    assert_eq!(resumed_at(&said), None, "{said}");
}
