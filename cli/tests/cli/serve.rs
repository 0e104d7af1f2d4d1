//! Page-store nodes as processes: their operations side, their log, the systemd unit, and three of
//! them at once.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use assert_cmd::cargo::cargo_bin;
use serde_json::Value;
use tonic::Request;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic_prost::ProstCodec;
use verso_pagestore::grpc::proto;
use verso_pagestore::{Bound, DatabaseName, StoreUrl, Version};

use crate::common::Verso;
use crate::node::{Node, Running, until};

const UNIT: &str = include_str!("../../../packaging/systemd/verso.service");

fn behind<'a>(line: &'a str, words: &str) -> &'a str {
    line.split_once(words).unwrap_or_else(|| panic!("{line}")).1
}

/// An answer by HTTP, from a line such as "metrics at http://…/metrics".
pub(crate) fn get(line: &str, path: &str) -> String {
    let address = behind(line, "http://").trim_end_matches("/metrics");
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn json(log: &str) -> Vec<Value> {
    let lines = log.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

#[test]
fn requests_are_logged_as_json_without_tokens_and_content() {
    let verso = Verso::new();
    // All that there is to log, also of the crates below.
    let arguments = ["--log-format", "json", "--log-level", "trace"];
    let node = Node::start(&verso, &arguments);
    let sql = "CREATE TABLE t (a); INSERT INTO t VALUES ('secret-page')";
    let client = verso
        .command()
        .env("VERSO_TOKEN", "secret-token")
        .args(["--store", node.url(), "sql", "app.db", sql])
        .output()
        .unwrap();
    assert!(client.status.success(), "{client:?}");

    let (code, said) = node.0.end();
    assert_eq!(code, Some(0), "{said}");
    let lines = json(&said);
    let requests: Vec<_> = lines
        .iter()
        .filter(|line| line["message"] == "request done")
        .collect();
    let commits = requests
        .iter()
        .filter(|line| line["span"]["method"] == "Commit");
    assert_eq!(commits.count(), 2, "{said}");
    for request in &requests {
        assert_eq!(request["level"], "DEBUG");
        assert!(request["seconds"].as_f64().unwrap() > 0.0);
        assert!(request["result"].is_string(), "{request}");
        let span = &request["span"];
        assert!(span["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
        let same = |other: &&&Value| other["span"]["id"] == span["id"];
        assert_eq!(requests.iter().filter(same).count(), 1, "{request}");
    }
    assert!(!said.contains("secret"), "{said}");
}

/// Asks with a request that does not come to its end.
async fn never_ends(url: String) {
    let channel = Channel::from_shared(url).unwrap().connect().await.unwrap();
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.unwrap();
    let path = PathAndQuery::from_static("/verso.v1.PageStore/Begin");
    let codec = ProstCodec::<proto::BeginRequest, proto::BeginReply>::default();
    let messages = tokio_stream::pending();
    let answer = grpc.client_streaming(Request::new(messages), path, codec);
    panic!("{:?}", answer.await);
}

#[test]
fn a_node_that_is_asked_to_end_is_not_ready_while_it_finishes() {
    let verso = Verso::new();
    let node = Node::start(&verso, &["--metrics", "127.0.0.1:0"]);
    assert!(node.get("/readyz").starts_with("HTTP/1.1 200 "));
    // It finishes a request that has begun.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let request = runtime.spawn(never_ends(node.url().to_owned()));
    while node
        .get("/metrics")
        .contains("verso_connection_open_connections 0")
    {}

    node.0.signal("TERM");
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let answer = node.get("/readyz");
        if answer.starts_with("HTTP/1.1 503 ") {
            assert!(answer.ends_with("the node is shutting down\n"), "{answer}");
            break;
        }
        assert!(Instant::now() < deadline, "{answer}");
    }
    assert!(!request.is_finished());
    request.abort();
    let (code, said) = node.0.end();
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn watches_do_not_hold_an_end_up() {
    let verso = Verso::new();
    let node = Node::start(&verso, &["--metrics", "127.0.0.1:0"]);
    verso.ok(&["sql", "app.db", "CREATE TABLE t (a)"]);
    let url = StoreUrl::parse(node.url()).unwrap();
    let client = verso_open::open(&url).unwrap();
    let bound = Bound {
        age: Duration::from_hours(1),
        at_least: Version::MIN,
    };
    let name = DatabaseName::new("app.db").unwrap();
    client.begin_within(&name, None, bound).unwrap();
    until("the watch is open", || {
        node.metric("verso_watch_open_watches") > 0
    });
    let (code, said) = node.0.end();
    assert_eq!(code, Some(0), "{said}");
    // What is given up after half a minute is logged.
    assert!(!said.contains("given up"), "{said}");
}

/// The unit's settings of a name.
fn settings(name: &str) -> Vec<&'static str> {
    let lines = UNIT.lines().filter_map(|line| line.strip_prefix(name));
    lines
        .filter_map(|rest| Some(rest.strip_prefix('=')?.trim_matches('"')))
        .collect()
}

#[test]
fn the_command_of_the_systemd_unit_runs() {
    let verso = Verso::new();
    let [start] = settings("ExecStart")[..] else {
        panic!("one command: {UNIT}");
    };
    let mut words = start.split(' ');
    assert_eq!(words.next(), Some("/usr/local/bin/verso"));
    let mut command = Command::new(cargo_bin("verso"));
    command.current_dir(verso.folder());
    let mut options = "";
    for setting in settings("Environment") {
        let (name, value) = setting.split_once('=').unwrap();
        if name == "VERSO_SERVE_OPTIONS" {
            options = value;
        } else {
            // The state folder is this one.
            command.env(name, value.replace("/var/lib/verso/", ""));
        }
    }
    for word in words {
        if word == "$VERSO_SERVE_OPTIONS" {
            // Those ports may be taken.
            let words = options.split(' ');
            command.args(words.map(|word| word.replace(":4801", ":0").replace(":4811", ":0")));
        } else {
            command.arg(word);
        }
    }
    let node = Node(Running::start(&mut command, 2));
    let said = &node.0.said;
    assert!(
        said[0].starts_with("serving sqlite:verso.db at "),
        "{said:?}"
    );
    assert!(node.get("/readyz").starts_with("HTTP/1.1 200 "));
    let id = node.0.id().to_string();
    let [reload] = settings("ExecReload")[..] else {
        panic!("one way to reload: {UNIT}");
    };
    let reload = reload.replace("$MAINPID", &id);
    let (kill, arguments) = reload.split_once(' ').unwrap();
    let reload = Command::new(kill).args(arguments.split(' ')).status();
    assert!(reload.unwrap().success());
    assert!(node.get("/healthz").starts_with("HTTP/1.1 200 "));
    let (code, said) = node.0.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(!json(&said).is_empty());
}

#[test]
fn a_node_is_quiet_about_requests_that_succeed() {
    let verso = Verso::new();
    let node = Node::start(&verso, &[]);
    verso.ok(&["--store", node.url(), "sql", "app.db", "CREATE TABLE t (a)"]);
    let (code, said) = node.0.end();
    assert_eq!(code, Some(0), "{said}");
    // Where a process may open few files, it says so.
    let lines: Vec<_> = said
        .lines()
        .filter(|line| !line.contains("ulimit"))
        .collect();
    assert_eq!(lines.len(), 1, "{said}");
    assert!(lines[0].contains("shutting down"), "{said}");
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
    let nodes = Running::start(&mut command, 3);
    let lines = &nodes.said;
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
