//! Goal: what a client learns of a node beside the answers to single requests: news of a database that
//! it watches, and the newest state with a writer lease.
//! Method: a node in this process over a store in memory, and clients of it.

mod turn;
mod watch;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use verso_pagestore::grpc::{ClientOptions, connect};
use verso_pagestore::{
    Change, CommitId, CommitOutcome, CommitRequest, DatabaseId, DatabaseName, Durability, Lease,
    PageCount, PageNumber, PageSize, PageStore, PageWrite, Participant, RoaringBitmap, Since,
    Snapshot, StoreUrl,
};
use verso_server::{Limits, Security, Server};

/// A running node.
struct Node {
    runtime: Option<Runtime>,
    shutdown: Option<oneshot::Sender<()>>,
    url: String,
}

impl Node {
    fn start() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let url = StoreUrl::parse(&format!("memory:clients-{number}")).expect("a URL");
        let store = verso_engine::open(&url).expect("a store in memory");
        let runtime = Runtime::new().expect("threads");
        let address = "127.0.0.1:0".parse().expect("an address");
        let server = runtime
            .block_on(Server::bind(
                address,
                store,
                Limits::default(),
                Security::default(),
            ))
            .expect("a free port");
        let url = format!("http://{}", server.address());
        let (shutdown, end) = oneshot::channel();
        runtime.spawn(server.run(async {
            let _ = end.await;
        }));
        Self {
            runtime: Some(runtime),
            shutdown: Some(shutdown),
            url,
        }
    }

    fn client(&self) -> Arc<dyn PageStore> {
        let Ok(StoreUrl::Nodes(nodes)) = StoreUrl::parse(&self.url) else {
            panic!("{} is the URL of a node", self.url);
        };
        let mut options = ClientOptions::default();
        options.patience = Duration::from_millis(500);
        connect(&nodes, options).expect("a client")
    }

    fn stop(&mut self) {
        drop(self.shutdown.take());
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(1));
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop();
    }
}

fn name() -> DatabaseName {
    DatabaseName::new("app.db").expect("a name")
}

fn create(store: &dyn PageStore) -> Snapshot {
    let id = DatabaseId::random().expect("random numbers");
    store.create(&name(), id).expect("the name is free");
    store.begin(&name(), None).expect("it exists").snapshot
}

/// Writes page 1 of the newest state.
fn commit(store: &dyn PageStore, byte: u8) -> CommitOutcome {
    let snapshot = store.begin(&name(), None).expect("it exists").snapshot;
    commit_on(store, snapshot, None, byte)
}

/// Writes page 1.
fn commit_on(
    store: &dyn PageStore,
    snapshot: Snapshot,
    lease: Option<Lease>,
    byte: u8,
) -> CommitOutcome {
    let change = Change {
        deltas: Vec::new(),
        writes: vec![PageWrite {
            number: PageNumber::FIRST,
            page: vec![byte; 512].into(),
        }],
        staged: RoaringBitmap::new(),
        page_size: PageSize::new(512).expect("a page size"),
        page_count: PageCount::new(1),
    };
    let request = CommitRequest {
        id: CommitId::random().expect("random numbers"),
        durability: Durability::Off,
        participants: vec![Participant {
            snapshot,
            reads: RoaringBitmap::new(),
            lease,
            change: Some(change),
        }],
    };
    store.commit(&request).expect("no conflict")
}

fn since(snapshot: &Snapshot) -> Since {
    Since {
        database: snapshot.database,
        version: snapshot.version,
        commit: snapshot.commit,
    }
}
