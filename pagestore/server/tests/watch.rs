//! Goal: a watched database begins without a request, on a state that is as new as it must be.
//! Method: a node in this process over a store in memory, and clients of it; the bound is an hour,
//! so that nothing but a push can bring news.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use verso_pagestore::grpc::{ClientOptions, connect};
use verso_pagestore::{
    Bound, Change, Changes, CommitId, CommitOutcome, CommitRequest, DatabaseId, DatabaseName,
    Durability, PageCount, PageNumber, PageSize, PageStore, PageWrite, Participant, Recent,
    RoaringBitmap, Since, Snapshot, StoreUrl, Version,
};
use verso_server::{Limits, Security, Server};

const HOUR: Duration = Duration::from_hours(1);

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
        let url = StoreUrl::parse(&format!("memory:watch-{number}")).expect("a URL");
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

/// Writes page 1.
fn commit(store: &dyn PageStore, byte: u8) -> CommitOutcome {
    let snapshot = store.begin(&name(), None).expect("it exists").snapshot;
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
            lease: None,
            change: Some(change),
        }],
    };
    store.commit(&request).expect("no conflict")
}

fn within(store: &dyn PageStore, since: Option<Since>, at_least: Version) -> Recent {
    let bound = Bound {
        age: HOUR,
        at_least,
    };
    store
        .begin_within(&name(), since, bound)
        .expect("it exists")
}

/// Asks until the answer is as wanted.
fn until(ask: impl Fn() -> Recent, is_wanted: impl Fn(&Recent) -> bool) -> Recent {
    let deadline = Instant::now() + Duration::from_mins(1);
    loop {
        let answer = ask();
        if is_wanted(&answer) {
            return answer;
        }
        assert!(Instant::now() < deadline, "it never came: {answer:?}");
        thread::sleep(Duration::from_millis(1));
    }
}

fn since(snapshot: &Snapshot) -> Since {
    Since {
        database: snapshot.database,
        version: snapshot.version,
        commit: snapshot.commit,
    }
}

#[test]
fn news_are_pushed() {
    let node = Node::start();
    let (store, other) = (node.client(), node.client());
    let first = create(&*other);
    let asked = within(&*store, None, Version::MIN);
    assert_eq!(asked.age, Duration::ZERO, "nothing was known yet");
    let known = until(
        || within(&*store, None, Version::MIN),
        |recent| !recent.age.is_zero(),
    );
    assert_eq!(known.begun.snapshot.version, first.version);
    let mut since = since(&known.begun.snapshot);
    for byte in 1..20 {
        let committed = commit(&*other, byte);
        // The bound would allow the old state for an hour.
        let pushed = until(
            || within(&*store, Some(since), Version::MIN),
            |recent| recent.begun.snapshot.version == committed.version,
        );
        let Changes::Commits(commits) = &pushed.begun.changes else {
            panic!("the commits are known: {pushed:?}");
        };
        let [only] = &commits[..] else {
            panic!("one commit: {commits:?}");
        };
        assert_eq!(only.version, committed.version);
        assert_eq!(only.commit, pushed.begun.snapshot.commit);
        assert_eq!(only.pages, RoaringBitmap::from([1]));
        since = self::since(&pushed.begun.snapshot);
    }
}

#[test]
fn all_who_watch_are_told() {
    let node = Node::start();
    let (other, clients) = (node.client(), [node.client(), node.client(), node.client()]);
    create(&*other);
    for byte in 1..5 {
        let committed = commit(&*other, byte);
        for client in &clients {
            until(
                || within(&**client, None, Version::MIN),
                |recent| recent.begun.snapshot.version == committed.version,
            );
        }
    }
}

#[test]
fn what_the_client_has_seen_is_never_missing() {
    let node = Node::start();
    let (store, other) = (node.client(), node.client());
    create(&*other);
    within(&*store, None, Version::MIN);
    for byte in 1..100 {
        let committed = commit(&*other, byte);
        let recent = within(&*store, None, committed.version);
        assert_eq!(recent.begun.snapshot.version, committed.version);
    }
}

#[test]
fn without_its_node_a_watch_knows_nothing() {
    let mut node = Node::start();
    let store = node.client();
    create(&*store);
    within(&*store, None, Version::MIN);
    until(
        || within(&*store, None, Version::MIN),
        |recent| !recent.age.is_zero(),
    );
    node.stop();
    let bound = Bound {
        age: HOUR,
        at_least: Version::MIN,
    };
    let deadline = Instant::now() + Duration::from_mins(1);
    while store.begin_within(&name(), None, bound).is_ok() {
        assert!(Instant::now() < deadline, "it goes on without a node");
        thread::sleep(Duration::from_millis(10));
    }
}
