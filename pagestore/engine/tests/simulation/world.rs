//! A simulated cluster of page-store nodes, as its clients see it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use verso_engine::Engine;
use verso_engine::kv::sim::{Faults, NodeDied, Seeded, Simulation};
use verso_pagestore::{CommitRequest, DatabaseName, UnixMillis, Version};

use crate::history::{History, Window};

type Node = Arc<Engine<Simulation>>;

/// Nodes over one store, and what their clients saw.
pub(crate) struct World {
    pub(crate) simulation: Simulation,
    pub(crate) history: Mutex<History>,
    /// Requests that a network delivers once more, at any time.
    pub(crate) echoes: Mutex<VecDeque<CommitRequest>>,
    /// How many clients are not done, and one for the network.
    busy: AtomicUsize,
    /// The engine of each node, and how often the node had died when it was opened.
    nodes: Mutex<Vec<Option<(u64, Node)>>>,
    node_count: u64,
}

/// Everything of a seed's run but the tasks.
impl World {
    pub(crate) fn new(seed: u64, random: &mut Seeded) -> Self {
        let node_count = 1 + random.below(3);
        Self {
            simulation: Simulation::new(seed, Faults::NONE, transaction_bytes(random)),
            history: Mutex::default(),
            echoes: Mutex::default(),
            busy: AtomicUsize::new(0),
            nodes: Mutex::new(Vec::new()),
            node_count,
        }
    }

    /// Asks any node. What it had begun when it died may still take effect.
    pub(crate) fn ask<T>(
        &self,
        random: &mut Seeded,
        request: impl FnOnce(&Engine<Simulation>) -> T,
    ) -> Result<T, NodeDied> {
        let node = usize::try_from(random.below(self.node_count)).expect("it is small");
        self.simulation.at_node(node, || {
            let engine = self.open(node)?;
            Ok(request(&engine))
        })?
    }

    /// The same, and when: in versions of the store.
    pub(crate) fn ask_when<T>(
        &self,
        random: &mut Seeded,
        request: impl FnOnce(&Engine<Simulation>) -> T,
    ) -> (Result<T, NodeDied>, Window) {
        let called = self.simulation.newest();
        let answer = self.ask(random, request);
        (answer, self.since(called))
    }

    pub(crate) fn since(&self, called: Version) -> Window {
        let returned = self.simulation.newest();
        Window { called, returned }
    }

    /// The engine of a node; a new one if the node has died since.
    fn open(&self, node: usize) -> Result<Node, NodeDied> {
        let incarnation = self.simulation.incarnation(node);
        let opened = self.nodes.lock().get(node).cloned().flatten();
        if let Some((_, engine)) = opened.filter(|(of, _)| *of == incarnation) {
            return Ok(engine);
        }
        let simulation = self.simulation.clone();
        let clock = move || {
            let now = simulation.now().as_millis();
            UnixMillis::new(u64::try_from(now).expect("it begins at zero"))
        };
        let engine = Engine::new(self.simulation.clone(), "simulated:", Arc::new(clock));
        // One that cannot open its store ends.
        let engine = Arc::new(engine.map_err(|_| NodeDied)?);
        let mut nodes = self.nodes.lock();
        if nodes.len() <= node {
            nodes.resize(node + 1, None);
        }
        nodes[node] = Some((incarnation, Arc::clone(&engine)));
        Ok(engine)
    }

    /// Waits for up to so many milliseconds of virtual time.
    pub(crate) fn wait(&self, random: &mut Seeded, milliseconds: u64) {
        let time = random.below(milliseconds * 1000 + 1);
        self.simulation.sleep(Duration::from_micros(time));
    }

    /// So many clients begin, and the network.
    pub(crate) fn set_clients(&self, clients: usize) {
        self.busy.store(clients + 1, Ordering::SeqCst);
    }

    /// A client, or the network, is done.
    pub(crate) fn one_is_done(&self) {
        self.busy.fetch_sub(1, Ordering::SeqCst);
    }

    pub(crate) fn has_clients(&self) -> bool {
        self.busy.load(Ordering::SeqCst) > 1
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::SeqCst) > 0
    }
}

/// What the store takes in one transaction: all that clients do, or so little that transactions of
/// a few pages are published in steps.
fn transaction_bytes(random: &mut Seeded) -> usize {
    match random.below(4) {
        0 => 10_000_000,
        some => 4_000 + 2_000 * usize::try_from(some).expect("it is small"),
    }
}

pub(crate) fn name(text: &str) -> DatabaseName {
    DatabaseName::new(text).expect("a valid name")
}
