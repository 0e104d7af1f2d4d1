//! Clients that mean harm: the node lives, its memory is bounded, and it serves others.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tonic::Code;
use verso_pagestore::grpc::proto;
use verso_pagestore::{
    DatabaseId, DatabaseName, PageCount, PageNumber, PageSize, PageStore as _, PageWrite, StoreUrl,
};
use verso_server::{Limits, Security};

use crate::nodes::{Asker, channel, start, store};

/// What every HTTP/2 client begins with, and empty settings.
const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_or_makes_no_sense_is_refused() {
    let limits = Limits {
        message_bytes: 1 << 20,
        ..Limits::default()
    };
    let address = start(store(), limits, Security::default()).await;
    let mut asker = Asker::new(channel(address).await);
    let page = proto::PageWrite {
        number: 1,
        page: vec![0; 2 << 20],
    };
    let stage = proto::StageRequest {
        database: 1,
        commit: vec![1; 16],
        writes: vec![page],
    };
    assert_eq!(
        asker.store.stage(stage).await.unwrap_err().code(),
        Code::OutOfRange
    );
    let mut snapshot = proto::Snapshot {
        version: vec![0; 10],
        commit: vec![0; 16],
        page_size: 512,
        page_count: 9000,
        ..Default::default()
    };
    let read = |snapshot, count| proto::ReadRequest {
        snapshot: Some(snapshot),
        pages: vec![1; count],
    };
    let status = asker
        .store
        .read(read(snapshot.clone(), 5000))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    snapshot.version.clear();
    let status = asker.store.read(read(snapshot, 1)).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    // A message of another kind, and bytes that are no message at all.
    let path = || tonic::codegen::http::uri::PathAndQuery::from_static("/verso.v1.Admin/Info");
    let mut grpc = tonic::client::Grpc::new(channel(address).await);
    grpc.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<proto::StageRequest, proto::InfoReply>::default();
    let nonsense = proto::StageRequest {
        database: u64::MAX,
        commit: vec![255; 9],
        writes: vec![],
    };
    let status = grpc
        .unary(tonic::Request::new(nonsense), path(), codec)
        .await
        .unwrap_err();
    assert!(
        [Code::Internal, Code::InvalidArgument].contains(&status.code()),
        "{status}"
    );
    for garbage in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0xff; 4096],
        &[HELLO, &[0xff; 4096]].concat(),
    ] {
        let mut stream = TcpStream::connect(address).unwrap();
        let _ = stream.write_all(garbage);
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    }
    assert_eq!(
        asker.begin("", "none").await.unwrap_err().code(),
        Code::NotFound
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_connections_and_slow_ones_are_closed() {
    let limits = Limits {
        connections: 2,
        handshake: Duration::from_millis(300),
        ..Limits::default()
    };
    let address = start(store(), limits, Security::default()).await;
    let open = || {
        let stream = TcpStream::connect(address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        stream
    };
    let mut silent = [open(), open()];
    std::thread::sleep(Duration::from_millis(100));
    let mut buffer = [0];
    let refused = open().read(&mut buffer);
    assert!(!matches!(refused, Ok(1..)), "{refused:?}");
    for stream in &mut silent {
        // The node's own first bytes may come before the end.
        while matches!(stream.read(&mut buffer), Ok(1..)) {}
    }
    let mut asker = Asker::new(channel(address).await);
    assert_eq!(
        asker.begin("", "none").await.unwrap_err().code(),
        Code::NotFound
    );
}

/// A node of its own process.
struct Node {
    process: Child,
    address: SocketAddr,
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Node {
    fn start(store: &std::path::Path) -> Self {
        let program = std::env::current_exe().unwrap();
        let command = program.ancestors().nth(2).unwrap().join("verso");
        assert!(
            command.exists(),
            "{} is missing: cargo build -p verso-cli",
            command.display()
        );
        let mut process = Command::new(command)
            .arg(format!("--store=sqlite:{}", store.display()))
            .args(["serve", "--listen=127.0.0.1:0"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let address = line.trim().rsplit_once('/').unwrap().1.parse().unwrap();
        Self { process, address }
    }

    /// Resident memory in MiB.
    fn memory(&self) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .unwrap();
        line.split_whitespace()
            .nth(1)
            .unwrap()
            .parse::<u64>()
            .unwrap()
            >> 10
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_idle_connections() {
    // The node inherits the limit.
    rlimit::increase_nofile_limit(30_000).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start(&folder.path().join("verso.db"));
    let before = node.memory();
    let mut idle = Vec::new();
    for _ in 0..10_000 {
        let mut stream = TcpStream::connect(node.address).unwrap();
        stream.write_all(HELLO).unwrap();
        idle.push(stream);
    }
    let mut asker = Asker::new(channel(node.address).await);
    assert_eq!(
        asker.begin("", "none").await.unwrap_err().code(),
        Code::NotFound
    );
    let grown = node.memory() - before;
    println!("{grown} MiB for 10 000 idle connections");
    assert!(grown < 512, "{grown} MiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_asks_for_much_and_reads_nothing() {
    const PAGES: u32 = 1024;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("verso.db");
    let (name, id) = (DatabaseName::new("big").unwrap(), DatabaseId::new(5));
    {
        let store = verso_engine::open(&StoreUrl::Sqlite(path.clone())).unwrap();
        store.load_begin(&name, id).unwrap();
        let mut number = 0_u32;
        let noise = || {
            number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            number.to_be_bytes()[0]
        };
        let page: Vec<u8> = std::iter::repeat_with(noise).take(4096).collect();
        let write = |number| PageWrite {
            number: PageNumber::new(number).unwrap(),
            page: page.clone().into(),
        };
        let pages: Vec<_> = (1..=PAGES).map(write).collect();
        store.load_pages(id, &pages).unwrap();
        store
            .load_finish(
                id,
                &name,
                PageSize::new(4096).unwrap(),
                PageCount::new(PAGES),
            )
            .unwrap();
    }
    let node = Node::start(&path);
    let before = node.memory();
    let snapshot = Asker::new(channel(node.address).await)
        .begin("", "big")
        .await
        .unwrap();
    // Windows as wide as they get, so that only the node bounds what is on the way.
    let endpoint =
        tonic::transport::Channel::from_shared(format!("http://{}", node.address)).unwrap();
    let wide = endpoint
        .initial_stream_window_size(65_536)
        .initial_connection_window_size((1_u32 << 31) - 1);
    let greedy = Asker::new(wide.connect().await.unwrap());
    // 1000 requests for 16 MiB each, which nobody reads.
    let asking = (0..1000).map(|_| {
        let (mut asker, snapshot) = (greedy.clone(), snapshot.clone());
        tokio::spawn(async move {
            let pages = (0..4096).map(|page| page % PAGES + 1).collect();
            let read = proto::ReadRequest {
                snapshot: Some(snapshot),
                pages,
            };
            let answer = asker.store.read(read).await;
            tokio::time::sleep(Duration::from_secs(20)).await;
            drop(answer);
        })
    });
    let asking: Vec<_> = asking.collect();
    let mut most = 0;
    for _ in 0..50 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        most = most.max(node.memory().saturating_sub(before));
    }
    println!("{most} MiB for a client that reads nothing");
    assert!(most < 300, "{most} MiB");
    let mut other = Asker::new(channel(node.address).await);
    let answer = tokio::time::timeout(Duration::from_secs(5), other.begin("", "big")).await;
    assert!(answer.unwrap().is_ok());
    asking.into_iter().for_each(|task| task.abort());
}
