//! Page-store nodes as processes: their operations side, their log, and three of them at once.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use assert_cmd::cargo::cargo_bin;

use crate::common::Verso;

/// A process that is ended with the test. Its standard error is read at its end.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped());
        Self(command.stderr(Stdio::piped()).spawn().unwrap())
    }

    /// The first lines of its standard output.
    fn lines(&mut self, count: usize) -> Vec<String> {
        let output = BufReader::new(self.0.stdout.as_mut().unwrap());
        output.lines().take(count).map(Result::unwrap).collect()
    }

    /// Asks it to end. Its exit code and standard error.
    fn end(mut self) -> (Option<i32>, String) {
        let id = self.0.id().to_string();
        let kill = Command::new("kill").args(["-TERM", &id]).status().unwrap();
        assert!(kill.success());
        let mut said = String::new();
        let error = self.0.stderr.take();
        error.unwrap().read_to_string(&mut said).unwrap();
        (self.0.wait().unwrap().code(), said)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn node(verso: &Verso, arguments: &[&str]) -> Running {
    let mut command = Command::new(cargo_bin("verso"));
    command
        .current_dir(verso.folder())
        .args([
            "--store",
            "sqlite:store.db",
            "serve",
            "--listen",
            "127.0.0.1:0",
        ])
        .args(arguments);
    Running::start(&mut command)
}

fn behind<'a>(line: &'a str, words: &str) -> &'a str {
    line.split_once(words).unwrap_or_else(|| panic!("{line}")).1
}

#[test]
fn a_node_tells_of_its_health_and_logs_requests_as_json() {
    let verso = Verso::new();
    let arguments = [
        "--metrics",
        "127.0.0.1:0",
        "--log-format",
        "json",
        "--log-level",
        "debug",
    ];
    let mut node = node(&verso, &arguments);
    let lines = node.lines(2);
    let store = behind(&lines[0], " at ").to_owned();
    let metrics = behind(&lines[1], "http://").trim_end_matches("/metrics");

    verso.ok(&[
        "--store",
        &store,
        "sql",
        "secret.db",
        "CREATE TABLE t (a); INSERT INTO t VALUES ('secret-page')",
    ]);
    let mut stream = TcpStream::connect(metrics).unwrap();
    write!(
        stream,
        "GET /readyz HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");

    let (code, said) = node.end();
    assert_eq!(code, Some(0), "{said}");
    let lines: Vec<serde_json::Value> = said
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let commit = lines
        .iter()
        .find(|line| line["span"]["method"] == "Commit" && line["result"] == "ok");
    let commit = commit.unwrap_or_else(|| panic!("no commit in {said}"));
    assert_eq!(commit["level"], "DEBUG");
    assert!(commit["seconds"].as_f64().unwrap() > 0.0);
    assert!(
        commit["span"]["peer"]
            .as_str()
            .unwrap()
            .starts_with("127.0.0.1:")
    );
    assert!(!said.contains("secret-page"), "{said}");
}

#[test]
fn a_node_is_quiet_about_requests_that_succeed() {
    let verso = Verso::new();
    let mut node = node(&verso, &[]);
    let store = behind(&node.lines(1)[0], " at ").to_owned();
    verso.ok(&["--store", &store, "sql", "app.db", "CREATE TABLE t (a)"]);
    let (code, said) = node.end();
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("shutting down"), "{said}");
}

#[test]
fn a_log_level_that_is_none_is_refused() {
    let verso = Verso::new();
    let error = verso.fails(
        2,
        &["serve", "--listen", "127.0.0.1:0", "--log-level", "=="],
    );
    assert!(error.contains("is no log level"), "{error}");
}

#[test]
fn three_nodes_serve_one_store_until_they_are_ended() {
    let verso = Verso::new();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/three-nodes");
    let mut command = Command::new(script);
    command
        .current_dir(verso.folder())
        .env("VERSO", cargo_bin("verso"))
        .args(["--store", "store.db", "--ports", "0,0,0"]);
    let mut nodes = Running::start(&mut command);
    let lines = nodes.lines(3);
    let store = behind(&lines[0], "store: ").to_owned();
    assert_eq!(store.split(',').count(), 3, "{store}");

    let sql = |sql: &str| verso.ok(&["--store", &store, "sql", "app.db", "--mode", "list", sql]);
    sql("CREATE TABLE t (a); INSERT INTO t VALUES (7)");
    let first = behind(&lines[2], "nodes: ").split(' ').next().unwrap();
    let kill = Command::new("kill")
        .args(["-KILL", first])
        .status()
        .unwrap();
    assert!(kill.success());
    assert_eq!(sql("SELECT a FROM t").trim_end().lines().last(), Some("7"));

    let (code, said) = nodes.end();
    assert_eq!(code, Some(0), "{said}");
    for address in behind(&store, "http://").split(',') {
        assert!(
            TcpStream::connect(address).is_err(),
            "{address} is served still"
        );
    }
    // A node that cannot start ends the others, and its reason is shown.
    let failed = Command::new(script)
        .current_dir(verso.folder())
        .env("VERSO", cargo_bin("verso"))
        .args(["--ports", "0,0,99999"])
        .output()
        .unwrap();
    assert_eq!(failed.status.code(), Some(1));
    assert!(!failed.stderr.is_empty());
}
