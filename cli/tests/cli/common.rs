//! What the tests of the command share: a folder with a store, and ways to run `verso`.

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use rusqlite::Connection;
use tempfile::TempDir;

/// A folder of its own, with a store in it.
pub(crate) struct Verso {
    folder: TempDir,
}

impl Verso {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A path in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The command, in the folder and with its store.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::cargo_bin("verso").unwrap();
        command
            .current_dir(self.folder.path())
            .env("VERSO_STORE", "sqlite:store.db");
        command
            .env("HOME", self.folder.path())
            .env_remove("XDG_STATE_HOME");
        command
    }

    /// Standard output of a run that must succeed.
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let output = self.command().args(arguments).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "verso {arguments:?}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The message of a run that must fail with this exit code, in one line.
    pub(crate) fn fails(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.command().args(arguments).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(
            output.status.code(),
            Some(code),
            "verso {arguments:?}: {error}"
        );
        assert!(error.starts_with("verso: "), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
        error.trim_start_matches("verso: ").trim_end().to_owned()
    }

    /// Rows of a query, values joined by `|`.
    pub(crate) fn rows(&self, database: &str, sql: &str) -> Vec<String> {
        let output = self.ok(&["sql", database, "--mode", "list", sql]);
        output.lines().map(str::to_owned).collect()
    }

    /// A dump by the shell.
    pub(crate) fn dump(&self, database: &str) -> String {
        let output = self
            .command()
            .args(["shell", database])
            .write_stdin(".dump\n")
            .output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    }

    /// A listing with `--json`.
    pub(crate) fn json(&self, arguments: &[&str]) -> serde_json::Value {
        serde_json::from_str(&self.ok(&[arguments, &["--json"]].concat())).unwrap()
    }

    /// Makes a SQLite file.
    pub(crate) fn file(&self, name: &str, sql: &str) -> PathBuf {
        let path = self.path(name);
        Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        path
    }

    /// Names in the folder, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(self.folder())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

/// The answer of a file to `PRAGMA integrity_check`.
pub(crate) fn integrity(path: &Path) -> String {
    let connection = Connection::open(path).unwrap();
    connection
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap()
}
