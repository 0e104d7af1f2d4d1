//! Page-store nodes as processes: their operations side, their log, the systemd unit, and three of
//! them at once.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;

use assert_cmd::cargo::cargo_bin;
use serde_json::Value;
use verso_pagestore::{DatabaseName, PageNumber, StoreUrl};

use crate::common::Verso;
use crate::ending::never_ends;
use crate::node::{Node, Running, until};

/// What an HTTP/2 client begins with, and the headers of a request: a POST, over HTTP, to this path.
const HALF_A_REQUEST: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\
    \0\0\x1d\x01\x04\0\0\0\x01\x83\x86\x04\x19/verso.v1.PageStore/Begin";

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

#[test]
fn a_node_keeps_pages_unless_it_is_told_not_to() {
    let verso = Verso::new();
    verso.ok(&["sql", "app.db", "CREATE TABLE t (a)"]);
    let name = DatabaseName::new("app.db").unwrap();
    let first = PageNumber::new(1).unwrap();
    for (options, hits, asked) in [(&[][..], 2, 1), (&["--cache", "0"], 0, 3)] {
        let node = Node::start(&verso, &[&["--metrics", "127.0.0.1:0"], options].concat());
        let client = verso_open::open(&StoreUrl::parse(node.url()).unwrap()).unwrap();
        let newest = client.begin(&name, None).unwrap().snapshot;
        let pages = [(); 3].map(|()| client.read(&newest, &[first]).unwrap());
        assert_eq!(pages[0].len(), 1);
        assert!(pages.iter().all(|read| *read == pages[0]));
        let counted = (
            node.metric("verso_cache_hit_pages_total"),
            node.metric("verso_page_read_pages_total"),
        );
        assert_eq!(counted, (hits, asked), "{options:?}");
    }
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
fn a_client_that_goes_away_is_no_failure_of_the_node() {
    let verso = Verso::new();
    let node = Node::start(&verso, &["--log-level", "verso=debug,h2=debug"]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.spawn(never_ends(node.url().to_owned()));
    let came = |count| {
        let log = node.0.log();
        log.matches("received frame=Headers").count() == count
    };
    until("the request has come", || came(1));
    // It is given up.
    drop(runtime);
    // And one breaks off in the middle.
    let mut stream = TcpStream::connect(node.address()).unwrap();
    stream.write_all(HALF_A_REQUEST).unwrap();
    until("the other has come", || came(2));
    drop(stream);
    until("they are over", || {
        node.0.log().matches("request done").count() == 2
    });
    let (code, said) = node.0.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains("WARN"), "{said}");
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
