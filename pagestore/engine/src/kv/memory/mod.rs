//! A store in memory that behaves like FoundationDB: for tests and simulation.
//!
//! It has the same limits, keeps versions for the same time, and its versions follow a
//! clock, by microseconds, with jumps that a seed repeats.

mod clock;
mod transaction;
mod versions;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use parking_lot::Mutex;

use super::{Committed, Kv, KvError, Limits};
use versions::Versions;
use verso_pagestore::Gate;

pub use clock::{Clock, ManualClock, MonotonicClock};
pub use transaction::MemoryTransaction;
pub(in crate::kv) use transaction::PendingCommit;

/// The limits of FoundationDB (<https://apple.github.io/foundationdb/known-limitations.html>).
const FOUNDATIONDB: Limits = Limits {
    transaction_bytes: 10_000_000,
    value_bytes: 100_000,
    key_bytes: 10_000,
    transaction_age: Some(Duration::from_secs(5)),
};

static NAMED: LazyLock<Mutex<HashMap<String, MemoryKv>>> = LazyLock::new(Mutex::default);

/// How a [`MemoryKv`] behaves.
#[derive(Clone)]
pub struct MemoryOptions {
    /// What it takes in one transaction. Without an age, old versions are kept forever.
    pub limits: Limits,
    /// The clock that ages are measured by.
    pub clock: Arc<dyn Clock>,
    /// Decides how far versions jump.
    pub seed: u64,
}

impl Default for MemoryOptions {
    fn default() -> Self {
        Self {
            limits: FOUNDATIONDB,
            clock: Arc::new(MonotonicClock::default()),
            seed: 0,
        }
    }
}

impl fmt::Debug for MemoryOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("MemoryOptions")
            .field("limits", &self.limits)
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}

/// A store in the memory of this process. Its clones are the same store.
#[derive(Clone, Debug)]
pub struct MemoryKv(Arc<Store>);

struct Store {
    options: MemoryOptions,
    versions: Mutex<Versions>,
    gate: Arc<Gate>,
}

impl fmt::Debug for Store {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Store")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl MemoryKv {
    /// A new, empty store.
    #[must_use]
    pub fn new(options: MemoryOptions) -> Self {
        let window = options
            .limits
            .transaction_age
            .map_or(u64::MAX, microseconds);
        let versions = Mutex::new(Versions::new(window, options.seed));
        Self(Arc::new(Store {
            options,
            versions,
            gate: Arc::default(),
        }))
    }

    /// The store of this name in this process. It stays until the process ends.
    #[must_use]
    pub fn named(name: &str) -> Self {
        NAMED.lock().entry(name.to_owned()).or_default().clone()
    }

    /// Commits transactions as one batch, in this order: at one commit version.
    pub(in crate::kv) fn commit_batch(
        &self,
        commits: &[PendingCommit],
    ) -> Vec<Result<Committed, KvError>> {
        let now = self.0.now();
        let mut versions = self.0.versions.lock();
        let mut batch = versions.begin_batch(now);
        commits
            .iter()
            .map(|commit| commit.commit(&mut versions, &mut batch, now))
            .collect()
    }
}

impl Default for MemoryKv {
    fn default() -> Self {
        Self::new(MemoryOptions::default())
    }
}

impl Store {
    fn now(&self) -> u64 {
        microseconds(self.options.clock.now())
    }
}

fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

impl Kv for MemoryKv {
    type Transaction = MemoryTransaction;

    fn limits(&self) -> Limits {
        self.0.options.limits
    }

    fn begin(&self) -> Result<MemoryTransaction, KvError> {
        let pass = self.0.gate.enter();
        let read_version = self.0.versions.lock().read_version(self.0.now());
        Ok(MemoryTransaction::new(
            Arc::clone(&self.0),
            read_version,
            pass,
        ))
    }

    fn begin_at(&self, read_version: u64) -> Result<MemoryTransaction, KvError> {
        let pass = self.0.gate.enter();
        Ok(MemoryTransaction::new(
            Arc::clone(&self.0),
            read_version,
            pass,
        ))
    }

    fn is_young(&self, read_version: u64) -> bool {
        self.0.versions.lock().is_young(read_version, self.0.now())
    }

    fn pause(&self, time: Duration) {
        self.0.options.clock.pause(time);
    }

    fn suspend(&self) {
        self.0.gate.suspend();
    }

    fn resume(&self) {
        self.0.gate.resume();
    }
}
