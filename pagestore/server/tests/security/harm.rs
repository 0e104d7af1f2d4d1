//! Clients that mean harm: the node lives, its memory is bounded, and it serves others.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;
use verso_pagestore::grpc::proto;
use verso_pagestore::{DatabaseId, DatabaseName, PageCount, PageNumber, PageSize, PageWrite};
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
        page: vec![0; 2 << 20].into(),
    };
    let stage = proto::StageRequest {
        database: 1,
        commit: vec![1; 16].into(),
        writes: vec![page],
    };
    assert_eq!(
        asker.store.stage(stage).await.unwrap_err().code(),
        Code::OutOfRange
    );
    let mut snapshot = proto::Snapshot {
        version: vec![0; 10].into(),
        commit: vec![0; 16].into(),
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
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_message_is_refused_and_others_are_served() {
    let address = start(store(), Limits::default(), Security::default()).await;
    let mut asker = Asker::new(channel(address).await);
    // A message of another kind, and bytes that are no message at all.
    let path = || PathAndQuery::from_static("/verso.v1.Admin/Info");
    let mut grpc = tonic::client::Grpc::new(channel(address).await);
    grpc.ready().await.unwrap();
    let codec = ProstCodec::<proto::StageRequest, proto::InfoReply>::default();
    let nonsense = proto::StageRequest {
        database: u64::MAX,
        commit: vec![255; 9].into(),
        writes: vec![],
    };
    let status = grpc
        .unary(Request::new(nonsense), path(), codec)
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
        handshake: Duration::from_secs(2),
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

/// A request of about this many KiB that stages nothing.
fn stage(kibibytes: usize) -> proto::StageRequest {
    proto::StageRequest {
        database: 1,
        commit: vec![0; kibibytes << 10].into(),
        writes: Vec::new(),
    }
}

/// Asks to stage with a request that has come, and never ends. Its answer.
fn never_ends(channel: Channel, kibibytes: usize) -> JoinHandle<Result<(), Status>> {
    tokio::spawn(async move {
        let path = PathAndQuery::from_static("/verso.v1.PageStore/Stage");
        let codec = ProstCodec::<proto::StageRequest, proto::StageReply>::default();
        let mut grpc = tonic::client::Grpc::new(channel);
        grpc.ready().await.unwrap();
        let messages = tokio_stream::once(stage(kibibytes)).chain(tokio_stream::pending());
        let answer = grpc.client_streaming(Request::new(messages), path, codec);
        answer.await.map(drop)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_do_not_end_fill_their_own_connection_only() {
    let limits = Limits {
        request_bytes_per_connection: 300 << 10,
        stall: Duration::from_millis(300),
        ..Limits::default()
    };
    let address = start(store(), limits, Security::default()).await;
    let full = channel(address).await;
    let asking = never_ends(full.clone(), 200);
    // What is refused for what it says has come whole.
    let said =
        |mut asker: Asker| async move { asker.store.stage(stage(200)).await.unwrap_err().code() };
    let mut waited = 0;
    while said(Asker::new(full.clone())).await != Code::ResourceExhausted {
        waited += 1;
        assert!(waited < 1000, "the other request never came");
    }
    let other = Asker::new(channel(address).await);
    assert_eq!(said(other).await, Code::InvalidArgument);
    asking.abort();
    while said(Asker::new(full.clone())).await != Code::InvalidArgument {
        waited += 1;
        assert!(waited < 1000, "its room is never given back");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_does_not_end_is_given_up() {
    let limits = Limits {
        request: Duration::from_millis(300),
        ..Limits::default()
    };
    let address = start(store(), limits, Security::default()).await;
    let answer = never_ends(channel(address).await, 1).await.unwrap();
    assert_eq!(answer.unwrap_err().code(), Code::DeadlineExceeded);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_watches_must_be_small() {
    let address = start(store(), Limits::default(), Security::default()).await;
    let mut asker = Asker::new(channel(address).await);
    for (kibibytes, expected) in [(1, Code::InvalidArgument), (100, Code::OutOfRange)] {
        let message = proto::WatchRequest {
            name: "x".repeat(kibibytes << 10),
            ..Default::default()
        };
        let messages = tokio_stream::once(message).chain(tokio_stream::pending());
        let status = asker.store.watch(messages).await.unwrap_err();
        assert_eq!(status.code(), expected, "{status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_takes_nothing_keeps_no_places() {
    const PLACES: usize = 4;
    let limits = Limits {
        replies_per_connection: PLACES,
        replies: PLACES,
        stall: Duration::from_secs(1),
        ..Limits::default()
    };
    let store = store();
    let (name, id) = (DatabaseName::new("a").unwrap(), DatabaseId::new(7));
    let (size, one) = (PageSize::new(4096).unwrap(), PageNumber::FIRST);
    let page = vec![7; size.length()].into();
    store.load_begin(&name, id).unwrap();
    let write = PageWrite { number: one, page };
    store.load_pages(id, &[write]).unwrap();
    store
        .load_finish(id, &name, size, PageCount::new(1))
        .unwrap();
    let address = start(store, limits, Security::default()).await;
    let mut other = Asker::new(channel(address).await);
    let snapshot = other.begin("", "a").await.unwrap();
    let greedy = Channel::from_shared(format!("http://{address}")).unwrap();
    // It allows one byte of an answer, and takes none.
    let greedy = greedy
        .initial_stream_window_size(1)
        .connect()
        .await
        .unwrap();
    let asking: Vec<_> = (0..PLACES)
        .map(|_| {
            let mut asker = Asker::new(greedy.clone());
            let read = proto::ReadRequest {
                snapshot: Some(snapshot.clone()),
                pages: vec![1],
            };
            async move { asker.store.read(read).await.unwrap().into_inner() }
        })
        .collect();
    let mut answers = Vec::new();
    for asked in asking {
        answers.push(asked.await);
    }
    let served = tokio::time::timeout(Duration::from_secs(30), async {
        while other.begin("", "a").await.is_err() {}
    });
    served.await.expect("the places come back");
    for mut answer in answers {
        assert!(answer.message().await.is_err(), "its connection was closed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_of_one_connection_are_few() {
    let limits = Limits {
        watches_per_connection: 2,
        ..Limits::default()
    };
    let store = store();
    store
        .create(&DatabaseName::new("a").unwrap(), DatabaseId::new(7))
        .unwrap();
    let address = start(store, limits, Security::default()).await;
    let mut asker = Asker::new(channel(address).await);
    let watch = || {
        let (messages, receiver) = mpsc::channel(1);
        let message = proto::WatchRequest {
            name: "a".to_owned(),
            ..Default::default()
        };
        messages.try_send(message).unwrap();
        (messages, ReceiverStream::new(receiver))
    };
    let ((one, first), (two, second)) = (watch(), watch());
    asker.store.watch(first).await.unwrap();
    asker.store.watch(second).await.unwrap();
    let (_goes_on, third) = watch();
    let status = asker.store.watch(third).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    drop((one, two));
    loop {
        let (_goes_on, again) = watch();
        if asker.store.watch(again).await.is_ok() {
            break;
        }
    }
}
