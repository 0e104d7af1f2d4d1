//! The store's side of a commit: commits on their way, and the batches that they end in.

use std::collections::BTreeMap;

use verso_pagestore::Version;

use super::scheduler::{Event, State};
use crate::kv::buffer::Operation;
use crate::kv::memory::{MemoryKv, PendingCommit};
use crate::kv::{Committed, KeyRange, KeyValue, KvError};

/// A transaction that took effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Its versionstamp.
    pub version: Version,
    /// The keys that it set, with their stamps, and their values.
    pub sets: Vec<KeyValue>,
    /// What it cleared.
    pub clears: Vec<KeyRange>,
}

#[derive(Debug)]
struct InFlight {
    commit: PendingCommit,
    /// The task that waits for the result, unless nobody will hear of it.
    sender: Option<usize>,
}

/// The simulated store, and the commits on their way to it.
#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) store: MemoryKv,
    sent: u64,
    in_flight: BTreeMap<u64, InFlight>,
    /// What has arrived, to be committed as one batch.
    arrived: Vec<InFlight>,
    /// By task.
    answers: BTreeMap<usize, Result<Committed, KvError>>,
    pub(super) applied: Vec<Applied>,
}

impl Cluster {
    pub(super) fn new(store: MemoryKv) -> Self {
        Self {
            store,
            sent: 0,
            in_flight: BTreeMap::new(),
            arrived: Vec::new(),
            answers: BTreeMap::new(),
            applied: Vec::new(),
        }
    }

    /// What the store answered to a task's commit.
    pub(super) fn take_answer(&mut self, task: usize) -> Result<Committed, KvError> {
        self.answers
            .remove(&task)
            .expect("a sender is woken when its answer is there")
    }
}

impl State {
    /// Puts a commit on its way.
    pub(super) fn send(&mut self, commit: PendingCommit, sender: Option<usize>, delay: u64) {
        self.cluster.sent += 1;
        let number = self.cluster.sent;
        self.cluster
            .in_flight
            .insert(number, InFlight { commit, sender });
        self.schedule(delay, Event::Arrive(number));
    }

    pub(super) fn arrive(&mut self, number: u64) {
        let arrived = self.cluster.in_flight.remove(&number);
        if self.cluster.arrived.is_empty() {
            let delay = self.random.below(self.faults.batch);
            self.schedule(delay, Event::Batch);
        }
        // Within a batch, any order is possible.
        let most = self.cluster.arrived.len() as u64 + 1;
        let place = usize::try_from(self.random.below(most)).unwrap_or(0);
        if let Some(arrived) = arrived {
            self.cluster.arrived.insert(place, arrived);
        }
    }

    pub(super) fn commit_batch(&mut self) {
        let (commits, senders): (Vec<_>, Vec<_>) = self
            .cluster
            .arrived
            .drain(..)
            .map(|arrived| (arrived.commit, arrived.sender))
            .unzip();
        let results = self.cluster.store.commit_batch(&commits);
        for ((commit, sender), result) in commits.iter().zip(senders).zip(results) {
            self.trace(
                result
                    .as_ref()
                    .map_or(0, |committed| committed.read_version),
            );
            let version = result.as_ref().ok().and_then(|it| it.versionstamp);
            if let Some(version) = version {
                let applied = applied(commit.operations(), version);
                self.cluster.applied.push(applied);
            }
            if let Some(task) = sender {
                self.cluster.answers.insert(task, result);
                let delay = self.faults.delay(&mut self.random);
                self.schedule(delay, Event::Wake(task));
            }
        }
    }
}

fn applied(operations: &[Operation], version: Version) -> Applied {
    let (mut sets, mut clears) = (Vec::new(), Vec::new());
    for operation in operations {
        match operation {
            Operation::Set { key, value } => sets.push((key.clone(), value.clone())),
            Operation::SetVersionstamped { prefix, value } => {
                let key = [prefix.as_slice(), version.as_bytes()].concat();
                sets.push((key, value.clone()));
            }
            Operation::Clear { key } => clears.push(KeyRange::single(key)),
            Operation::ClearRange(range) => clears.push(range.clone()),
        }
    }
    Applied {
        version,
        sets,
        clears,
    }
}
