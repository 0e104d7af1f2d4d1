//! A page-store node for the tests: a process of `verso serve` on the store of a folder.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use assert_cmd::cargo::cargo_bin;

use crate::common::Verso;

/// A running node. Dropping it kills it.
pub(crate) struct Node {
    process: Child,
    /// What it said on its standard output so far, in lines.
    pub(crate) said: Vec<String>,
    log: std::path::PathBuf,
}

impl Node {
    /// Starts a node that says one line when it serves.
    pub(crate) fn start(verso: &Verso, arguments: &[&str]) -> Self {
        Self::start_saying(1, verso, arguments)
    }

    /// Starts a node that says so many lines by the time it serves.
    pub(crate) fn start_saying(lines: usize, verso: &Verso, arguments: &[&str]) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let log = verso.path(&format!("node-{number}.log"));
        let chosen = arguments.contains(&"--listen");
        let listen = if chosen {
            &[]
        } else {
            &["--listen", "127.0.0.1:0"][..]
        };
        let mut process = Command::new(cargo_bin("verso"))
            .current_dir(verso.folder())
            .args(["--store", "sqlite:store.db", "serve"])
            .args(listen)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let said: Vec<_> = output.lines().take(lines).map(Result::unwrap).collect();
        let node = Self { process, said, log };
        assert_eq!(node.said.len(), lines, "{}", node.log());
        node
    }

    /// The URL of the store that it serves.
    pub(crate) fn url(&self) -> &str {
        self.said[0].split_once(" at ").unwrap().1
    }

    /// Its host and port.
    pub(crate) fn address(&self) -> &str {
        self.url().split_once("://").unwrap().1
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Resident memory in MiB.
    pub(crate) fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let kibibytes = line.unwrap().split_whitespace().nth(1).unwrap();
        kibibytes.parse::<u64>().unwrap() >> 10
    }

    /// Sends it a signal, such as `HUP`.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.process.id().to_string();
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

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
