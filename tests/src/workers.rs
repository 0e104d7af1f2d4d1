//! Worker processes: the running test program once more, told by its environment what to
//! do. They report in lines on their standard output.
//!
//! A test program with workers has a test named `worker` that asks [`Orders::received`].

use std::fmt::Display;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

const ORDERS: &str = "VERSO_TEST_WORKER";
/// Tells the lines of a worker from those of the test harness.
const MARK: &str = "> ";
/// A worker that says nothing for so long hangs.
const PATIENCE: Duration = Duration::from_mins(6);

/// What a worker is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orders {
    /// What kind of work.
    pub role: String,
    /// Which of the workers it is.
    pub number: u64,
    /// How often.
    pub rounds: u64,
    /// The store's file.
    pub store: PathBuf,
}

impl Orders {
    /// The orders of this process, if it is a worker.
    #[must_use]
    pub fn received() -> Option<Self> {
        let text = std::env::var(ORDERS).ok()?;
        let mut parts = text.splitn(4, ' ');
        let mut next = || parts.next().expect("four parts");
        let (role, number, rounds, store) = (next(), next(), next(), next());
        // The harness has begun a line.
        println!();
        Some(Self {
            role: role.to_owned(),
            number: number.parse().expect("a number"),
            rounds: rounds.parse().expect("a number"),
            store: store.into(),
        })
    }
}

/// Tells the parent a line.
pub fn report(line: impl Display) {
    println!("{MARK}{line}");
}

/// A running worker. Dropping it kills it.
#[derive(Debug)]
pub struct Worker {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Worker {
    /// Starts a worker.
    #[must_use]
    pub fn start(role: &str, number: u64, rounds: u64, store: &std::path::Path) -> Self {
        Self::start_in(role, number, rounds, store, &[])
    }

    /// Starts a worker with more environment variables.
    #[must_use]
    pub fn start_in(
        role: &str,
        number: u64,
        rounds: u64,
        store: &std::path::Path,
        environment: &[(&str, &str)],
    ) -> Self {
        let program = std::env::current_exe().expect("the test program has a path");
        let mut command = Command::new(program);
        if let Some(time_to_live) = crate::lease_time_to_live() {
            let milliseconds = time_to_live.as_millis().to_string();
            command.env(crate::LEASE_VARIABLE, milliseconds);
        }
        let mut child = command
            .envs(environment.iter().copied())
            .args(["worker", "--exact", "--nocapture", "--test-threads=1"])
            .env(
                ORDERS,
                format!("{role} {number} {rounds} {}", store.display()),
            )
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the test program runs again");
        let (sender, lines) = channel();
        let output = child.stdout.take().expect("it is piped");
        thread::spawn(move || forward(output, &sender));
        Self {
            input: child.stdin.take(),
            child,
            lines,
        }
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Writes a line to its standard input.
    pub fn tell(&mut self, line: &str) {
        let input = self.input.as_mut().expect("its input is open");
        writeln!(input, "{line}").expect("the worker listens");
    }

    /// Its next line; `None` once it has ended.
    #[must_use]
    pub fn line(&self) -> Option<String> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("worker {} hangs", self.id()),
        }
    }

    /// Kills it with SIGKILL, and returns the lines that it told and nobody read.
    #[must_use]
    pub fn kill(mut self) -> Vec<String> {
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a child can be waited for");
        self.lines.iter().collect()
    }

    /// Closes its input, waits until it has ended well, and returns the lines that it told
    /// and nobody read.
    #[must_use]
    pub fn finish(mut self) -> Vec<String> {
        drop(self.input.take());
        let lines = std::iter::from_fn(|| self.line()).collect();
        let status = self.child.wait().expect("a child can be waited for");
        assert!(status.success(), "worker {}: {status}", self.id());
        lines
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn forward(output: ChildStdout, sender: &Sender<String>) {
    // A last line without an end was cut off by a kill: the worker did not say it.
    let mut output = BufReader::new(output);
    let mut line = String::new();
    while output.read_line(&mut line).is_ok_and(|length| length > 0) {
        if let Some(told) = line
            .strip_suffix('\n')
            .and_then(|line| line.strip_prefix(MARK))
            && sender.send(told.to_owned()).is_err()
        {
            return;
        }
        line.clear();
    }
}
