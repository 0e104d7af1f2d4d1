//! Goal: the extension in Node's better-sqlite3, as docs/hosts/node.md has it.
//! Method: the scenarios of hosts/better-sqlite3.mjs, which check what they read; several
//! processes of it at once; the `sqlite3` shell for what better-sqlite3 cannot do.
//! hosts/setup-node.sh installs it.
#![cfg(unix)]

mod common;
mod hosts;

use std::path::Path;
use std::process::{Command, Output};

use common::{folder, library};
use tempfile::TempDir;

const PROGRAM: &str = include_str!("hosts/better-sqlite3.mjs");

/// A folder in which `node` finds the program and better-sqlite3.
struct Project(TempDir);

impl Project {
    /// `None` if better-sqlite3 is missing and may be.
    fn new() -> Option<Self> {
        let modules = hosts::folder().join("node").join("node_modules");
        if !modules.join("better-sqlite3").exists() {
            let told = "better-sqlite3 is not installed (run loadable/tests/hosts/setup-node.sh)";
            hosts::missing("node", told);
            return None;
        }
        let folder = folder();
        std::fs::write(folder.path().join("program.mjs"), PROGRAM).expect("it is written");
        std::os::unix::fs::symlink(modules, folder.path().join("node_modules")).expect("a link");
        Some(Self(folder))
    }

    fn folder(&self) -> &Path {
        self.0.path()
    }

    /// What a scenario prints.
    fn run(&self, scenario: &str) -> String {
        let output = Command::new("node")
            .args(["program.mjs", scenario])
            .current_dir(self.folder())
            .env("VERSO_LIBRARY", library())
            .output()
            .expect("node is there");
        printed(scenario, output)
    }

    /// What the shell of the system prints, which opens URIs.
    fn shell(&self, commands: &[&str]) -> String {
        let output = Command::new("sqlite3")
            .arg("-bail")
            .arg(":memory:")
            .arg(format!(".load {}", library().display()))
            .args(commands)
            .current_dir(self.folder())
            .env("VERSO_STORE", "sqlite:store.db")
            .output()
            .expect("the sqlite3 shell is there: apt-get install sqlite3");
        printed("sqlite3", output)
    }
}

fn printed(program: &str, output: Output) -> String {
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && told.is_empty(),
        "{program}: {told}"
    );
    String::from_utf8(output.stdout).expect("text")
}

fn check(scenario: &str) {
    if let Some(project) = Project::new() {
        project.run(scenario);
        assert!(project.folder().join("store.db").exists());
        assert!(!project.folder().join("app.db").exists());
    }
}

#[test]
fn it_makes_a_database() {
    check("create");
}

#[test]
fn transactions_are_all_or_nothing() {
    check("transaction");
}

#[test]
fn a_statement_that_conflicts_runs_again() {
    check("conflictOfAStatement");
}

#[test]
fn a_transaction_that_conflicts_is_told_so() {
    check("conflictOfATransaction");
}

#[test]
fn threads_write_at_once() {
    check("threads");
}

#[test]
fn copies_go_to_the_store() {
    check("copies");
}

/// If this fails, better-sqlite3 has learnt URIs, and node.md can be much shorter.
#[test]
fn a_uri_is_refused() {
    check("uri");
}

#[test]
fn the_past_is_read_by_way_of_a_file() {
    let Some(project) = Project::new() else {
        return;
    };
    let version = project.run("history");
    let open = format!(".open file:app.db?vfs=verso&at={}", version.trim());
    project.shell(&[&open, "VACUUM INTO 'file:past.sqlite?vfs=unix'"]);
    project.run("past");
}

#[test]
fn processes_write_at_once() {
    let Some(project) = Project::new() else {
        return;
    };
    project.run("create");
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| project.run("increment"));
        }
    });
    assert_eq!(project.run("sum"), "400\n");
}
