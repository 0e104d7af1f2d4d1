//! Clients that mean harm: the node lives, its memory is bounded, and it serves others.

use std::io::ErrorKind;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};
use verso_pagestore::grpc::proto;
use verso_pagestore::grpc::proto::page_store_client::PageStoreClient;

use crate::common::Verso;
use crate::node::{Node, until};

/// What every HTTP/2 client begins with, and empty settings.
const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// A type of frames, and a flag of theirs (RFC 9113, section 6.7).
const PING: u8 = 6;
const ACK: u8 = 1;

const DATABASE: &str = "big.db";

/// A store with a database of more than this many pages, none like another.
const PAGES: u32 = 1024;

fn store() -> Verso {
    let verso = Verso::new();
    let rows = "WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < 1100) \
                INSERT INTO t SELECT randomblob(4000) FROM n";
    verso.ok(&["sql", DATABASE, "CREATE TABLE t (a)", rows]);
    verso
}

fn endpoint(node: &Node) -> Endpoint {
    Channel::from_shared(node.url().to_owned()).unwrap()
}

/// Begins, as another client that must be served.
async fn begin(node: &Node) -> proto::Snapshot {
    let served = async {
        let channel = endpoint(node).connect().await.unwrap();
        let message = proto::BeginRequest {
            name: DATABASE.to_owned(),
            since: None,
        };
        let begun = PageStoreClient::new(channel).begin(message).await.unwrap();
        begun.into_inner().snapshot.unwrap()
    };
    let served = tokio::time::timeout(Duration::from_secs(20), served).await;
    served.expect("others are served")
}

/// Says hello, and answers pings: a node closes connections at which nobody is.
async fn stay(stream: TcpStream) {
    send(&stream, HELLO).await;
    let (mut received, mut part) = (Vec::new(), [0; 256]);
    loop {
        stream.readable().await.unwrap();
        match stream.try_read(&mut part) {
            Ok(0) => return,
            Ok(length) => received.extend_from_slice(&part[..length]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
        while let Some(mut frame) = first_frame(&mut received) {
            if frame[3] == PING && frame[4] & ACK == 0 {
                frame[4] |= ACK;
                send(&stream, &frame).await;
            }
        }
    }
}

/// Sends few bytes.
async fn send(stream: &TcpStream, bytes: &[u8]) {
    stream.writable().await.unwrap();
    assert_eq!(stream.try_write(bytes).unwrap(), bytes.len());
}

/// Takes the first frame of HTTP/2, if it has come (RFC 9113, section 4.1).
fn first_frame(received: &mut Vec<u8>) -> Option<Vec<u8>> {
    let length = received.first_chunk::<9>()?;
    let length = u32::from_be_bytes([0, length[0], length[1], length[2]]);
    let length = 9 + usize::try_from(length).unwrap();
    (received.len() >= length).then(|| received.drain(..length).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_idle_connections() {
    // The node inherits the limit.
    let limit = rlimit::increase_nofile_limit(30_000).unwrap();
    assert!(
        limit > 10_100,
        "no more than {limit} open files are allowed here"
    );
    let verso = store();
    let node = Node::start(&verso, &["--metrics", "127.0.0.1:0"]);
    begin(&node).await;
    let before = node.0.memory();
    let mut idle = JoinSet::new();
    for _ in 0..10_000 {
        let stream = TcpStream::connect(node.address()).await.unwrap();
        idle.spawn(stay(stream));
    }
    until("all are open", || {
        node.metric("verso_connection_open_connections") >= 10_000
    });
    begin(&node).await;
    let grown = node.0.memory().saturating_sub(before);
    println!("{grown} MiB for 10 000 idle connections");
    assert!(grown < 512, "{grown} MiB");
    drop(idle);
    begin(&node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_asks_for_much_and_reads_nothing() {
    let verso = store();
    let node = Node::start(&verso, &[]);
    let snapshot = begin(&node).await;
    assert!(snapshot.page_count > PAGES);
    let before = node.0.memory();
    // A connection that takes as much as it may be sent, with answers of which nobody reads more
    // than the beginning.
    let greedy = endpoint(&node)
        .initial_stream_window_size(65_536)
        .initial_connection_window_size((1_u32 << 31) - 1);
    let greedy = PageStoreClient::new(greedy.connect().await.unwrap());
    // 1000 requests for 16 MiB each.
    let asking = (0..1000).map(|_| {
        let (mut greedy, snapshot) = (greedy.clone(), snapshot.clone());
        tokio::spawn(async move {
            let pages = (0..4096).map(|page| page % PAGES + 1).collect();
            let read = proto::ReadRequest {
                snapshot: Some(snapshot),
                pages,
            };
            let answer = greedy.read(read).await;
            std::future::pending::<()>().await;
            drop(answer);
        })
    });
    let asking: Vec<_> = asking.collect();
    let mut most = 0;
    for _ in 0..50 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        most = most.max(node.0.memory().saturating_sub(before));
    }
    println!("{most} MiB for a client that reads nothing");
    assert!(most < 300, "{most} MiB");
    begin(&node).await;
    for task in asking {
        task.abort();
    }
}
