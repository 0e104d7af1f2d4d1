//! The nodes of a store: which one to ask first, and which ones rest because they failed.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// An outage is remembered for at least so long: longer than the pauses of who asks.
const SHORTEST_MEMORY: Duration = Duration::from_secs(1);

/// After a failure a node rests, longer after each further one.
const SHORTEST_REST: Duration = Duration::from_millis(100);
const LONGEST_REST: Duration = Duration::from_secs(5);

/// A node, in the order of the store's URL.
pub(super) type NodeIndex = usize;

/// The nodes of a store.
pub(super) struct Nodes {
    nodes: Vec<Node>,
    outage: Mutex<Option<Outage>>,
}

/// A time in which no node answers.
#[derive(Clone, Copy)]
struct Outage {
    since: Instant,
    /// When a node was asked last.
    asked: Instant,
}

struct Node {
    /// Of its host and port.
    seed: u64,
    health: Mutex<Health>,
}

#[derive(Default)]
struct Health {
    failures: u32,
    rests_until: Option<Instant>,
}

impl Nodes {
    pub(super) fn new(names: &[String]) -> Self {
        let node = |name: &String| Node {
            seed: xxh3_64_with_seed(name.as_bytes(), 0),
            health: Mutex::default(),
        };
        Self {
            nodes: names.iter().map(node).collect(),
            outage: Mutex::default(),
        }
    }

    /// The nodes in the order in which to ask them about a database, by rendezvous hashing
    /// (Thaler and Ravishankar, 1998): all clients prefer the same node for it, and when that
    /// one is gone, only its databases move. Those that failed come last until they answer.
    pub(super) fn ranked(&self, key: u64) -> Vec<NodeIndex> {
        let rank = |node: &Node| {
            let has_failed = node.health.lock().failures > 0;
            let weight = xxh3_64_with_seed(&key.to_le_bytes(), node.seed);
            (has_failed, std::cmp::Reverse(weight))
        };
        let mut ranked: Vec<_> = self.nodes.iter().map(rank).enumerate().collect();
        ranked.sort_by_key(|(_, rank)| *rank);
        ranked.into_iter().map(|(index, _)| index).collect()
    }

    /// The nodes that have rested after a failure, and may answer again. Whoever gets one tries
    /// it: nobody else gets it for a while.
    pub(super) fn rested(&self) -> Vec<NodeIndex> {
        let now = Instant::now();
        let has_rested = |node: &Node| {
            let mut health = node.health.lock();
            let has_rested = health.rests_until.is_some_and(|end| end <= now);
            if has_rested {
                health.rests_until = Some(now + LONGEST_REST);
            }
            has_rested
        };
        let nodes = self.nodes.iter().enumerate();
        let rested = nodes.filter(|(_, node)| has_rested(node));
        rested.map(|(index, _)| index).collect()
    }

    /// No node answered a request that asked all of them. The answer is for how long none has. A
    /// time in which nobody asked does not count.
    pub(super) fn none_answered(&self, forgotten_after: Duration) -> Duration {
        let now = Instant::now();
        let mut outage = self.outage.lock();
        let forgotten_after = forgotten_after.max(SHORTEST_MEMORY);
        let known = outage.filter(|outage| now - outage.asked <= forgotten_after);
        let since = known.map_or(now, |outage| outage.since);
        *outage = Some(Outage { since, asked: now });
        now - since
    }

    /// A node answered.
    pub(super) fn answered(&self, index: NodeIndex) {
        self.outage.lock().take();
        if let Some(node) = self.nodes.get(index) {
            *node.health.lock() = Health::default();
        }
    }

    /// A node did not answer.
    pub(super) fn failed(&self, index: NodeIndex) {
        if let Some(node) = self.nodes.get(index) {
            let mut health = node.health.lock();
            let rest = SHORTEST_REST * 2_u32.saturating_pow(health.failures.min(10));
            health.failures += 1;
            health.rests_until = Some(Instant::now() + rest.min(LONGEST_REST));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes() -> Nodes {
        Nodes::new(&["a:1".to_owned(), "b:1".to_owned(), "c:1".to_owned()])
    }

    #[test]
    fn databases_are_spread_and_stay_where_they_are() {
        let nodes = nodes();
        let mut counts = [0; 3];
        for key in 0..3000 {
            let first = nodes.ranked(key)[0];
            counts[first] += 1;
            assert_eq!(nodes.ranked(key)[0], first);
        }
        assert!(
            counts.iter().all(|count| (800..1200).contains(count)),
            "{counts:?}"
        );
        // Without the last node, only its databases move.
        let fewer = Nodes::new(&["a:1".to_owned(), "b:1".to_owned()]);
        for key in 0..3000 {
            let ranked = nodes.ranked(key);
            let stays = *ranked.iter().find(|index| **index != 2).unwrap();
            assert_eq!(fewer.ranked(key)[0], stays);
        }
    }

    #[test]
    fn a_node_that_failed_comes_last_until_it_answers() {
        let nodes = nodes();
        let first = nodes.ranked(7)[0];
        nodes.failed(first);
        assert_eq!(nodes.ranked(7)[2], first);
        nodes.answered(first);
        assert_eq!(nodes.ranked(7)[0], first);
    }

    #[test]
    fn a_node_that_has_rested_is_tried_by_one_at_a_time() {
        let nodes = nodes();
        nodes.failed(1);
        assert!(nodes.rested().is_empty(), "it rests");
        std::thread::sleep(SHORTEST_REST);
        assert_eq!(nodes.rested(), [1]);
        assert!(nodes.rested().is_empty(), "it is being tried");
        assert_eq!(nodes.ranked(7)[2], 1, "and comes last meanwhile");
        nodes.answered(1);
        assert!(nodes.rested().is_empty(), "it needs no rest");
    }
}
