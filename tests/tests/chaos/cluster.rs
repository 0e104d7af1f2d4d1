//! A store behind three nodes, with a proxy before each of them.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use verso_tests::nodes::{Node, direct_url};
use verso_tests::signals::{signal, stop};
use verso_tests::{TestStore, uri};

use crate::proxy::{Cut, Proxy};

/// How many nodes serve a store.
pub(crate) const NODES: usize = 3;

/// The store and all that is before it.
pub(crate) struct Cluster {
    pub(crate) sites: Vec<Site>,
    store: TestStore,
}

/// A node and its proxy.
pub(crate) struct Site {
    pub(crate) proxy: Proxy,
    pub(crate) node: Node,
    store: PathBuf,
}

impl Site {
    fn start(store: PathBuf) -> Self {
        let node = Node::start(&store);
        Self {
            proxy: Proxy::start(node.address()),
            node,
            store,
        }
    }

    /// Starts the node again, at its address.
    pub(crate) fn restart(&mut self) {
        let address = self.node.address().to_owned();
        self.node.kill();
        self.node = Node::start_at(&self.store, &address, &[]);
    }

    /// Stops the node, as a debugger or an overloaded machine does.
    pub(crate) fn stop(&self) {
        stop(self.node.id());
    }

    /// Lets a stopped node go on.
    pub(crate) fn go_on(&self) {
        signal(self.node.id(), libc::SIGCONT);
    }
}

impl Cluster {
    /// A new store.
    pub(crate) fn start() -> Self {
        let store = TestStore::new();
        let sites: Vec<_> = (0..NODES).map(|_| Site::start(store.path())).collect();
        let addresses = sites.iter().map(|site| site.proxy.address().to_string());
        let url = format!("http://{}", addresses.collect::<Vec<_>>().join(","));
        // This is where `verso_tests::uri` looks, here and in other processes.
        std::fs::write(store.path().with_extension("nodes"), url).expect("a file");
        Self { sites, store }
    }

    /// The store's file.
    pub(crate) fn path(&self) -> PathBuf {
        self.store.path()
    }

    /// The URL that clients use.
    pub(crate) fn url(&self) -> String {
        self.store.url()
    }

    /// Opens a database through the proxies.
    pub(crate) fn connect(&self, name: &str) -> Connection {
        verso_tests::open(&uri(&self.path(), name, "")).expect("the database opens")
    }

    /// Opens a database of the store itself, past all nodes.
    pub(crate) fn look(&self, name: &str) -> Connection {
        let store = direct_url(&self.path());
        let uri = format!("file:{name}?vfs=verso&store={store}");
        verso_tests::open(&uri).expect("the database opens")
    }

    /// Opens a database through the nodes, past the proxies.
    pub(crate) fn connect_past_proxies(&self, name: &str) -> Connection {
        let addresses: Vec<_> = self.sites.iter().map(|site| site.node.address()).collect();
        let store = format!("http://{}", addresses.join(","));
        let uri = format!("file:{name}?vfs=verso&store={store}");
        verso_tests::open(&uri).expect("the database opens")
    }

    /// Stops a node.
    pub(crate) fn stop(&self, node: usize) {
        self.sites.get(node).expect("a node").stop();
    }

    /// Requests at each proxy.
    pub(crate) fn requests(&self) -> Vec<u64> {
        self.sites
            .iter()
            .map(|site| site.proxy.requests())
            .collect()
    }

    /// The node that does the work at present.
    pub(crate) fn busiest(&self, work: impl FnOnce()) -> usize {
        let before = self.requests();
        work();
        let grown = self.requests().into_iter().zip(before);
        let grown = grown.map(|(after, before)| after - before).enumerate();
        grown.max_by_key(|(_, grown)| *grown).expect("nodes").0
    }

    /// No client reaches any node.
    pub(crate) fn close(&self) {
        self.sites.iter().for_each(|site| site.proxy.refuse());
    }

    /// All proxies work again.
    pub(crate) fn heal(&self) {
        self.sites.iter().for_each(|site| site.proxy.heal());
    }

    /// Ends all connections of clients.
    pub(crate) fn cut(&self, how: Cut) {
        self.sites.iter().for_each(|site| site.proxy.cut(how));
    }
}

/// Waits for something that happens by itself.
pub(crate) fn until(what: &str, mut happened: impl FnMut() -> bool) {
    let began = Instant::now();
    while !happened() {
        assert!(began.elapsed() < Duration::from_mins(1), "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
