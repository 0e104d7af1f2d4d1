//! Worker processes, seen by the benchmark: this program once more.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, bail};

use crate::protocol::{Reply, Request, Setup};
use crate::servers::Ended;

/// A process that works. It ends with this value.
pub(crate) struct Worker {
    process: Ended,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Worker {
    /// Starts one.
    pub(crate) fn start(
        setup: &Setup,
        environment: &[(&'static str, String)],
    ) -> anyhow::Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .arg("worker")
            .envs(environment.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map(Ended)?;
        let mut input = process.0.stdin.take().context("it is piped")?;
        let output = process.0.stdout.take().context("it is piped")?;
        writeln!(input, "{}", serde_json::to_string(setup)?)?;
        Ok(Self {
            process,
            input,
            output: BufReader::new(output),
        })
    }

    /// Asks, and waits for the answer.
    pub(crate) fn ask(&mut self, request: &Request) -> anyhow::Result<Reply> {
        writeln!(self.input, "{}", serde_json::to_string(request)?)?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        if line.is_empty() {
            let status = self.process.0.wait()?;
            bail!("a worker ended: {status}");
        }
        let reply = serde_json::from_str(&line)?;
        if let Reply::Failed(reason) = reply {
            bail!("{reason}");
        }
        Ok(reply)
    }
}
