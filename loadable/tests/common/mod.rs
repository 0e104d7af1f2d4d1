//! What the tests of the extension share: the library, the shell, and a folder.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// The library without its suffix, as hosts load it. Cargo puts it beside the test programs.
pub(crate) fn library() -> PathBuf {
    let program = std::env::current_exe().expect("the test program has a path");
    let library = program.with_file_name(format!("libverso{}", std::env::consts::DLL_SUFFIX));
    assert!(library.exists(), "{} is missing", library.display());
    library.with_extension("")
}

/// Runs a script in the `sqlite3` shell of the system, by this command line.
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
    assert!(
        found,
        "the sqlite3 shell is missing: apt-get install sqlite3"
    );
    output
}

/// A folder that is removed with the value.
pub(crate) fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}
