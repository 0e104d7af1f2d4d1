//! Scripts in a `sqlite3` shell.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

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
