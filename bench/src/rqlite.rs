//! rqlite as a peer: one node on loopback, asked over HTTP
//! (<https://rqlite.io/docs/api/api/>).

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use ureq::Agent;

use crate::servers::Ended;
use crate::sql::{Failure, Sql, SqlError};

/// How long it may take to become its own leader.
const PATIENCE: Duration = Duration::from_secs(20);

/// Starts a node; returns its URL.
pub(crate) fn start(program: &Path, folder: &Path) -> anyhow::Result<(Ended, String)> {
    let free = || -> anyhow::Result<_> { Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?) };
    let (http, raft) = (free()?, free()?);
    let node = Command::new(program)
        .args(["-node-id", "1"])
        .args(["-http-addr", &http.to_string()])
        .args(["-raft-addr", &raft.to_string()])
        .arg(folder.join("rqlite"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map(Ended)
        .with_context(|| format!("{} cannot be started", program.display()))?;
    let url = format!("http://{http}");
    let began = Instant::now();
    while let Err(error) = ureq::get(format!("{url}/readyz")).call() {
        ensure!(
            began.elapsed() < PATIENCE,
            "rqlited does not get ready: {error}"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok((node, url))
}

/// A client.
pub(crate) struct Rqlite {
    agent: Agent,
    url: String,
}

impl Rqlite {
    /// A client that keeps its connection.
    pub(crate) fn new(url: &str) -> Self {
        Self {
            agent: Agent::new_with_defaults(),
            url: format!("{url}/db/request"),
        }
    }

    fn ask(&self, sql: &str, values: &[i64]) -> Result<Value, ureq::Error> {
        let mut statement = vec![json!(sql)];
        statement.extend(values.iter().map(|value| json!(value)));
        let mut response = self.agent.post(&self.url).send_json(json!([statement]))?;
        response.body_mut().read_json()
    }
}

impl Sql for Rqlite {
    fn run(&mut self, sql: &str, values: &[i64]) -> Result<Option<i64>, SqlError> {
        let failed = |message| SqlError {
            failure: Failure::Other,
            message,
        };
        let answer = self.ask(sql, values);
        let answer = answer.map_err(|error| failed(error.to_string()))?;
        let error = answer.pointer("/results/0/error").or(answer.get("error"));
        if let Some(error) = error {
            return Err(failed(error.to_string()));
        }
        let first = answer.pointer("/results/0/values/0/0");
        Ok(first.and_then(Value::as_i64))
    }
}
