//! Processes that serve, for the tests: page-store nodes, and whatever starts them.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use assert_cmd::cargo::cargo_bin;
use tempfile::{NamedTempFile, TempPath};

use crate::common::Verso;

/// A process that is ended with the test. Its standard error goes to a file: a pipe that nobody
/// reads would fill up, and stop it.
pub(crate) struct Running {
    process: Child,
    log: TempPath,
    /// The first lines of its standard output.
    pub(crate) said: Vec<String>,
}

impl Running {
    /// Starts a process that says so many lines by the time it serves.
    pub(crate) fn start(command: &mut Command, lines: usize) -> Self {
        let (log, path) = NamedTempFile::new().unwrap().into_parts();
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut process = command.stderr(log).spawn().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let said = output.lines().take(lines).map(Result::unwrap).collect();
        let running = Self {
            process,
            log: path,
            said,
        };
        assert_eq!(running.said.len(), lines, "{}", running.log());
        running
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
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

/// Waits for something that happens by itself.
pub(crate) fn until(what: &str, mut happened: impl FnMut() -> bool) {
    let began = Instant::now();
    while !happened() {
        assert!(began.elapsed().as_secs() < 60, "never: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A page-store node: a process of `verso serve`.
pub(crate) struct Node(pub(crate) Running);

impl Node {
    /// Starts a node.
    pub(crate) fn start(verso: &Verso, arguments: &[&str]) -> Self {
        Self::start_on(verso, "sqlite:store.db", arguments)
    }

    /// Starts a node on the store of a URL.
    pub(crate) fn start_on(verso: &Verso, store: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(cargo_bin("verso"));
        command
            .current_dir(verso.folder())
            .args(["--store", store, "serve"])
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

    /// A metric without labels.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let scrape = self.get("/metrics");
        let mut lines = scrape.lines();
        let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value
            .unwrap_or_else(|| panic!("no {name}"))
            .parse()
            .unwrap()
    }

    /// What its operations side answers at a path.
    pub(crate) fn get(&self, path: &str) -> String {
        crate::serve::get(&self.0.said[1], path)
    }
}
