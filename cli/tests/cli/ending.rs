//! How a node ends: it finishes what is under way, for so long.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rusqlite::Connection;
use tonic::Request;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic_prost::ProstCodec;
use verso_pagestore::grpc::proto;
use verso_pagestore::{
    Bound, Change, CommitId, CommitRequest, DatabaseName, Durability, Page, PageCount, PageNumber,
    PageSize, PageStore, PageWrite, Participant, RoaringBitmap, Snapshot, StoreUrl, Version,
};

use crate::common::Verso;
use crate::node::{Node, until};

/// A node on a store with one database, and a client.
fn node(verso: &Verso) -> (Node, Arc<dyn PageStore>) {
    verso.ok(&["sql", "app.db", "CREATE TABLE t (a)"]);
    let node = Node::start(verso, &["--metrics", "127.0.0.1:0"]);
    let client = verso_open::open(&StoreUrl::parse(node.url()).unwrap()).unwrap();
    (node, client)
}

fn name() -> DatabaseName {
    DatabaseName::new("app.db").unwrap()
}

/// A commit of a second page.
fn write(snapshot: Snapshot) -> CommitRequest {
    let page_size = PageSize::new(4096).unwrap();
    let write = PageWrite {
        number: PageNumber::new(2).unwrap(),
        page: Page::from(vec![7; page_size.length()]),
    };
    let change = Change {
        deltas: Vec::new(),
        writes: vec![write],
        staged: RoaringBitmap::default(),
        page_size,
        page_count: PageCount::new(2),
    };
    CommitRequest {
        id: CommitId::random().unwrap(),
        durability: Durability::Off,
        participants: vec![Participant {
            snapshot,
            reads: RoaringBitmap::default(),
            lease: None,
            change: Some(change),
        }],
    }
}

/// Asks with a request that does not come to its end.
pub(crate) async fn never_ends(url: String) {
    let channel = Channel::from_shared(url).unwrap().connect().await.unwrap();
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.unwrap();
    let path = PathAndQuery::from_static("/verso.v1.PageStore/Begin");
    let codec = ProstCodec::<proto::BeginRequest, proto::BeginReply>::default();
    let messages = tokio_stream::pending();
    let answer = grpc.client_streaming(Request::new(messages), path, codec);
    // Of a node that gives it up.
    answer.await.unwrap_err();
}

/// Asks a node to end. Returns once it says that it does.
fn ask_to_end(node: &Node) {
    node.0.signal("TERM");
    until("the node says that it ends", || {
        let answer = node.get("/readyz");
        assert!(
            answer.starts_with("HTTP/1.1 200 ") || answer.ends_with("the node is shutting down\n"),
            "{answer}"
        );
        answer.starts_with("HTTP/1.1 503 ")
    });
}

#[test]
fn a_node_that_is_asked_to_end_finishes_a_commit_and_is_not_ready_meanwhile() {
    let verso = Verso::new();
    let (node, client) = node(&verso);
    let before = client.begin(&name(), None).unwrap().snapshot;
    // Somebody else writes to the store: the commit must wait.
    let other = Connection::open(verso.path("store.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let commit = thread::spawn(move || client.commit(&write(before)));
    until("the commit is worked on", || {
        node.metric("verso_work_running_requests") == 1
    });
    ask_to_end(&node);
    assert!(!commit.is_finished());
    other.execute_batch("ROLLBACK").unwrap();
    let committed = commit.join().unwrap().unwrap();
    let (code, said) = node.0.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains("given up"), "{said}");
    let path = verso.path("store.db");
    let url = StoreUrl::parse(&format!("sqlite:{}", path.display())).unwrap();
    let store = verso_open::open(&url).unwrap();
    let newest = store.begin(&name(), None).unwrap().snapshot;
    assert_eq!(newest.version, committed.version);
    assert!(newest.version > before.version);
}

#[test]
fn a_request_that_does_not_end_is_given_up() {
    let verso = Verso::new();
    let node = Node::start(
        &verso,
        &["--metrics", "127.0.0.1:0", "--log-level", "info,h2=debug"],
    );
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let request = runtime.spawn(never_ends(node.url().to_owned()));
    until("the request has come", || {
        node.0.log().contains("received frame=Headers")
    });
    ask_to_end(&node);
    assert!(!request.is_finished());
    let (code, said) = node.0.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("given up at the shutdown"), "{said}");
    runtime.block_on(request).unwrap();
}

#[test]
fn watches_do_not_hold_an_end_up() {
    let verso = Verso::new();
    let (node, client) = node(&verso);
    let bound = Bound {
        age: Duration::from_hours(1),
        at_least: Version::MIN,
    };
    client.begin_within(&name(), None, bound).unwrap();
    until("the watch is open", || {
        node.metric("verso_watch_open_watches") > 0
    });
    let (code, said) = node.0.end();
    assert_eq!(code, Some(0), "{said}");
    // What is given up after half a minute is logged.
    assert!(!said.contains("given up"), "{said}");
}
