//! The `sqlite3` shells: that of the system, and those that `hosts/setup-sqlite.sh` builds.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::hosts;

/// The shell of the system: Debian's package `sqlite3`.
pub(crate) const SYSTEM: &str = "sqlite3";
/// The newest release.
pub(crate) const CURRENT: &str = "sqlite3";
/// The same with SQLite's own asserts.
pub(crate) const DEBUG: &str = "debug/sqlite3";

/// A shell that was built. Without it the test is skipped, unless that is forbidden.
pub(crate) fn built(shell: &str) -> Option<String> {
    let path = hosts::folder().join("sqlite").join(shell);
    if path.exists() {
        return Some(path.to_str().expect("UTF-8").to_owned());
    }
    let told = "the newest SQLite is not built (run loadable/tests/hosts/setup-sqlite.sh)";
    hosts::missing("sqlite", told);
    None
}

/// One test for each scenario and shell, whose command the scenario is given.
macro_rules! in_every_shell {
    ($($scenario:ident,)*) => {
        mod system {
            $(#[test] fn $scenario() { super::$scenario(crate::sqlite_shell::SYSTEM); })*
        }
        mod current {
            $(#[test] fn $scenario() {
                if let Some(shell) = crate::sqlite_shell::built(crate::sqlite_shell::CURRENT) {
                    super::$scenario(&shell);
                }
            })*
        }
        mod debug {
            $(#[test] fn $scenario() {
                if let Some(shell) = crate::sqlite_shell::built(crate::sqlite_shell::DEBUG) {
                    super::$scenario(&shell);
                }
            })*
        }
    };
}
pub(crate) use in_every_shell;

/// Runs a script in the shell, by this command line.
pub(crate) fn shell(
    folder: &Path,
    command: &str,
    environment: &[(&str, &str)],
    script: &str,
) -> Output {
    let mut child = Command::new("sh")
        .args(["-c", &format!("exec {command}")])
        .current_dir(folder)
        .env_remove("VERSO_STORE")
        .envs(environment.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a shell");
    let mut input = child.stdin.take().expect("it is piped");
    input.write_all(script.as_bytes()).expect("it reads");
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    let found = output.status.code() != Some(127);
    assert!(found, "{command}: apt-get install sqlite3 valgrind");
    output
}
