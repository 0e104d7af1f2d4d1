//! The `sqlite3` shells: that of the system, and those that `hosts/setup-sqlite.sh` builds.

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
            $(#[test] fn $scenario() { super::$scenario(crate::shells::SYSTEM); })*
        }
        mod current {
            $(#[test] fn $scenario() {
                if let Some(shell) = crate::shells::built(crate::shells::CURRENT) {
                    super::$scenario(&shell);
                }
            })*
        }
        mod debug {
            $(#[test] fn $scenario() {
                if let Some(shell) = crate::shells::built(crate::shells::DEBUG) {
                    super::$scenario(&shell);
                }
            })*
        }
    };
}
pub(crate) use in_every_shell;
