//! Processes that serve, for the tests: page-store nodes, and whatever starts them.

use std::io::{BufRead as _, BufReader, Read as _, Seek as _};
use std::process::{Child, Command, Stdio};
use std::{fs, fs::File};

use assert_cmd::cargo::cargo_bin;

use crate::common::Verso;

/// A process that is ended with the test. Its standard error goes to a file: a pipe that nobody
/// reads would fill up, and stop it.
pub(crate) struct Running {
    process: Child,
    log: File,
    /// The first lines of its standard output.
    pub(crate) said: Vec<String>,
}

impl Running {
    /// Starts a process that says so many lines by the time it serves.
    pub(crate) fn start(command: &mut Command, lines: usize) -> Self {
        let log = tempfile::tempfile().unwrap();
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut process = command.stderr(log.try_clone().unwrap()).spawn().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let said = output.lines().take(lines).map(Result::unwrap).collect();
        let running = Self { process, log, said };
        assert_eq!(running.said.len(), lines, "{}", running.log());
        running
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        let mut log = &self.log;
        log.rewind().unwrap();
        let mut text = String::new();
        log.read_to_string(&mut text).unwrap();
        text
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Resident memory in MiB.
    pub(crate) fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let kibibytes = line.unwrap().split_whitespace().nth(1).unwrap();
        kibibytes.parse::<u64>().unwrap() >> 10
    }

    /// Sends it a signal, such as `HUP`.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.id().to_string();
        let kill = Command::new("kill").args(["-s", name, &id]).status();
        assert!(kill.unwrap().success());
    }

    /// Asks it to end. Its exit code, and all that it has logged.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        self.signal("TERM");
        let code = self.process.wait().unwrap().code();
        (code, self.log())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A page-store node: a process of `verso serve` on the store of a folder.
pub(crate) struct Node(pub(crate) Running);

impl Node {
    /// Starts a node.
    pub(crate) fn start(verso: &Verso, arguments: &[&str]) -> Self {
        let mut command = Command::new(cargo_bin("verso"));
        command
            .current_dir(verso.folder())
            .args(["--store", "sqlite:store.db", "serve"])
            .args(arguments);
        if !arguments.contains(&"--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        let lines = if arguments.contains(&"--metrics") {
            2
        } else {
            1
        };
        Self(Running::start(&mut command, lines))
    }

    /// The URL of the store that it serves.
    pub(crate) fn url(&self) -> &str {
        self.0.said[0].split_once(" at ").unwrap().1
    }

    /// Its host and port.
    pub(crate) fn address(&self) -> &str {
        self.url().split_once("://").unwrap().1
    }

    /// What its operations side answers at a path.
    pub(crate) fn get(&self, path: &str) -> String {
        crate::serve::get(&self.0.said[1], path)
    }
}
