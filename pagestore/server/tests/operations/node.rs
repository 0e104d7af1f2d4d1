//! A node in this process, with work that makes every count move.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::runtime::Runtime;
use verso_pagestore::{
    Change, CommitError, CommitId, CommitRequest, DatabaseId, DatabaseName, Durability,
    LeaseAnswer, LeaseId, LeaseRequest, Page, PageCount, PageNumber, PageSize, PageStore,
    PageWrite, Participant, RoaringBitmap, Snapshot, StoreUrl,
};
use verso_server::{Life, Limits, Operations, Security, Server};

pub(crate) struct Node {
    pub(crate) client: Arc<dyn PageStore>,
    /// Where it serves.
    pub(crate) address: SocketAddr,
    pub(crate) metrics: SocketAddr,
    pub(crate) life: Life,
    pub(crate) runtime: Runtime,
    _folder: TempDir,
}

impl Node {
    /// On an embedded store of its own.
    pub(crate) fn start() -> Self {
        Self::start_with(Limits::default())
    }

    /// With limits of its own.
    pub(crate) fn start_with(limits: Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("store.db");
        let url = StoreUrl::parse(&format!("sqlite:{}", file.display())).unwrap();
        Self::start_on(verso_open::open(&url).unwrap(), folder, limits)
    }

    /// On this store. The folder is removed with the node.
    pub(crate) fn start_on(store: Arc<dyn PageStore>, folder: TempDir, limits: Limits) -> Self {
        let runtime = Runtime::new().unwrap();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let (operations, server) = runtime.block_on(async {
            let operations = Operations::bind(any, Arc::clone(&store)).await.unwrap();
            let server = Server::bind(any, store, limits, Security::default())
                .await
                .unwrap();
            (operations, server)
        });
        let address = server.address();
        let url = StoreUrl::parse(&format!("http://{address}")).unwrap();
        let (metrics, life) = (operations.address(), operations.life());
        runtime.spawn(operations.run());
        runtime.spawn(server.run(std::future::pending()));
        Self {
            client: verso_open::open(&url).unwrap(),
            address,
            metrics,
            life,
            runtime,
            _folder: folder,
        }
    }

    /// Drops the client, with all that it has open at the node.
    pub(crate) fn leave(&mut self) {
        let url = StoreUrl::parse("memory:nobody").unwrap();
        self.client = verso_open::open(&url).unwrap();
    }

    /// Status and body of an answer by HTTP.
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.metrics).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, body.to_owned())
    }

    /// Work of every kind: a commit, one that loses, a read, a lease and one that waits for it, a
    /// request that fails.
    pub(crate) fn work(&self) {
        let store = &*self.client;
        let name = DatabaseName::new("secret-name").unwrap();
        let database = DatabaseId::random().unwrap();
        store.create(&name, database).unwrap();
        let empty = store.begin(&name, None).unwrap().snapshot;
        store.commit(&write(empty)).unwrap();
        let lost = store.commit(&write(empty)).unwrap_err();
        assert!(matches!(lost, CommitError::Conflict(_)), "{lost}");
        let newest = store.begin(&name, None).unwrap().snapshot;
        let first = PageNumber::new(1).unwrap();
        store.read(&newest, &[first]).unwrap();
        let granted = store.lease(&lease(database)).unwrap();
        assert!(matches!(granted, LeaseAnswer::Granted(_)));
        let waiting = store.lease(&lease(database)).unwrap();
        assert!(matches!(waiting, LeaseAnswer::Waiting { .. }));
        let missing = DatabaseName::new("missing").unwrap();
        store.begin(&missing, None).unwrap_err();
    }
}

fn lease(database: DatabaseId) -> LeaseRequest {
    LeaseRequest {
        database,
        id: LeaseId::random().unwrap(),
        time_to_live: Duration::from_secs(10),
        ticket: None,
        stuck: None,
    }
}

/// A commit of page 1, which depends on it.
fn write(snapshot: Snapshot) -> CommitRequest {
    let page_size = PageSize::new(4096).unwrap();
    let write = PageWrite {
        number: PageNumber::new(1).unwrap(),
        page: Page::from(vec![7; page_size.length()]),
    };
    let change = Change {
        deltas: Vec::new(),
        writes: vec![write],
        staged: RoaringBitmap::default(),
        page_size,
        page_count: PageCount::new(1),
    };
    CommitRequest {
        id: CommitId::random().unwrap(),
        durability: Durability::Off,
        participants: vec![Participant {
            snapshot,
            reads: std::iter::once(1).collect(),
            lease: None,
            change: Some(change),
        }],
    }
}
