//! A store that fails on purpose, around any other: for tests.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use verso_pagestore::{Durability, Mark};

use super::seeded::Seeded;
use super::{
    Committed, Isolation, KeyRange, KeyValue, Kv, KvError, KvTransaction, Limits, RangeQuery,
};

/// What happens to a commit instead of what should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is not applied: [`KvError::Conflict`].
    Conflict,
    /// It is not applied: [`KvError::TooOld`].
    TooOld,
    /// It is not applied: [`KvError::Busy`].
    Busy,
    /// It is applied, and its answer is lost: [`KvError::CommitUnknown`].
    UnknownApplied,
    /// It is lost on the way: [`KvError::CommitUnknown`].
    UnknownNotApplied,
}

/// All faults after which the same work may be tried again.
const RETRYABLE: [Fault; 4] = [
    Fault::Conflict,
    Fault::TooOld,
    Fault::UnknownApplied,
    Fault::UnknownNotApplied,
];

/// A store whose commits fail by a script or by a seed. Only transactions that write
/// something are hit. Its clones share script and seed.
#[derive(Debug, Clone)]
pub struct Faulty<K> {
    inner: K,
    plan: Arc<Mutex<Plan>>,
    others: Arc<Mutex<Others>>,
}

/// What happens between the reads of a transaction and its commit.
#[derive(Default)]
struct Others {
    act: Option<Box<dyn FnMut(usize) + Send>>,
    commits: usize,
}

impl fmt::Debug for Others {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Others")
            .field("commits", &self.commits)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Plan {
    /// For the next commits, in order: a fault, or none.
    script: VecDeque<Option<Fault>>,
    random: Seeded,
    /// How many of 1000 commits fail once the script is at its end.
    per_mille: u64,
    injected: u64,
}

impl<K: Kv> Faulty<K> {
    /// Fails only as [`script`](Self::script) says.
    pub fn new(inner: K) -> Self {
        Self::seeded(inner, 0, 0)
    }

    /// Of 1000 commits, about `per_mille` meet a fault, of those after which the same work
    /// may be tried again.
    pub fn seeded(inner: K, seed: u64, per_mille: u64) -> Self {
        let plan = Plan {
            script: VecDeque::new(),
            random: Seeded::new(seed),
            per_mille,
            injected: 0,
        };
        Self {
            inner,
            plan: Arc::new(Mutex::new(plan)),
            others: Arc::default(),
        }
    }

    /// Decides the fate of the next commits, after those that are decided already. `None`
    /// lets one pass.
    pub fn script(&self, faults: impl IntoIterator<Item = Option<Fault>>) {
        self.plan.lock().script.extend(faults);
    }

    /// Has others act before each commit from now on, told its number from 0 on.
    pub fn before_commits(&self, act: impl FnMut(usize) + Send + 'static) {
        *self.others.lock() = Others {
            act: Some(Box::new(act)),
            commits: 0,
        };
    }

    /// How many faults were injected.
    #[must_use]
    pub fn injected(&self) -> u64 {
        self.plan.lock().injected
    }

    /// The store inside.
    pub const fn inner(&self) -> &K {
        &self.inner
    }

    fn wrap(&self, inner: K::Transaction) -> FaultyTransaction<K::Transaction> {
        FaultyTransaction {
            inner,
            plan: Arc::clone(&self.plan),
            others: Arc::clone(&self.others),
            writes: false,
        }
    }
}

impl Plan {
    fn next(&mut self) -> Option<Fault> {
        let fault = self.script.pop_front().unwrap_or_else(|| {
            let hit = self.random.below(1000) < self.per_mille;
            let choice = self.random.below(RETRYABLE.len() as u64);
            let fault = usize::try_from(choice)
                .ok()
                .and_then(|index| RETRYABLE.get(index));
            fault.copied().filter(|_| hit)
        });
        self.injected += u64::from(fault.is_some());
        fault
    }
}

impl<K: Kv> Kv for Faulty<K> {
    type Transaction = FaultyTransaction<K::Transaction>;

    fn limits(&self) -> Limits {
        self.inner.limits()
    }

    fn begin(&self) -> Result<Self::Transaction, KvError> {
        Ok(self.wrap(self.inner.begin()?))
    }

    fn begin_at(&self, read_version: u64) -> Result<Self::Transaction, KvError> {
        Ok(self.wrap(self.inner.begin_at(read_version)?))
    }

    fn begin_recent(&self, at_least: u64) -> Result<Self::Transaction, KvError> {
        Ok(self.wrap(self.inner.begin_recent(at_least)?))
    }

    fn is_young(&self, read_version: u64) -> bool {
        self.inner.is_young(read_version)
    }

    fn mark(&self) -> Option<Mark> {
        self.inner.mark()
    }

    fn pause(&self, time: Duration) {
        self.inner.pause(time);
    }

    fn suspend(&self) {
        self.inner.suspend();
    }

    fn resume(&self) {
        self.inner.resume();
    }
}

/// A transaction of a [`Faulty`] store.
#[derive(Debug)]
pub struct FaultyTransaction<T> {
    inner: T,
    plan: Arc<Mutex<Plan>>,
    others: Arc<Mutex<Others>>,
    writes: bool,
}

impl<T> FaultyTransaction<T> {
    fn others_act(&self) {
        let (act, number) = {
            let mut others = self.others.lock();
            others.commits += 1;
            (others.act.take(), others.commits - 1)
        };
        if let Some(mut act) = act {
            act(number);
            self.others.lock().act.get_or_insert(act);
        }
    }
}

impl<T: KvTransaction> KvTransaction for FaultyTransaction<T> {
    fn read_version(&mut self) -> Result<u64, KvError> {
        self.inner.read_version()
    }

    fn get(&mut self, key: &[u8], isolation: Isolation) -> Result<Option<Vec<u8>>, KvError> {
        self.inner.get(key, isolation)
    }

    fn range(
        &mut self,
        query: &RangeQuery,
        isolation: Isolation,
    ) -> Result<Vec<KeyValue>, KvError> {
        self.inner.range(query, isolation)
    }

    fn ranges(
        &mut self,
        queries: &[RangeQuery],
        isolation: Isolation,
    ) -> Result<Vec<Vec<KeyValue>>, KvError> {
        self.inner.ranges(queries, isolation)
    }

    fn set(&mut self, key: &[u8], value: &[u8]) {
        self.writes = true;
        self.inner.set(key, value);
    }

    fn set_versionstamped(&mut self, prefix: &[u8], value: &[u8]) {
        self.writes = true;
        self.inner.set_versionstamped(prefix, value);
    }

    fn clear(&mut self, key: &[u8]) {
        self.writes = true;
        self.inner.clear(key);
    }

    fn clear_range(&mut self, range: &KeyRange) {
        self.writes |= !range.is_empty();
        self.inner.clear_range(range);
    }

    fn add_read_conflict(&mut self, range: KeyRange) {
        self.inner.add_read_conflict(range);
    }

    fn add_write_conflict(&mut self, range: KeyRange) {
        self.writes |= !range.is_empty();
        self.inner.add_write_conflict(range);
    }

    fn commit(self, durability: Durability) -> Result<Committed, KvError> {
        if !self.writes {
            return self.inner.commit(durability);
        }
        self.others_act();
        let fault = self.plan.lock().next();
        match fault {
            None => self.inner.commit(durability),
            Some(Fault::Conflict) => Err(KvError::Conflict),
            Some(Fault::TooOld) => Err(KvError::TooOld),
            Some(Fault::Busy) => Err(KvError::Busy("injected".into())),
            Some(Fault::UnknownApplied) => {
                self.inner.commit(durability)?;
                Err(KvError::CommitUnknown("injected after the commit".into()))
            }
            Some(Fault::UnknownNotApplied) => {
                Err(KvError::CommitUnknown("injected before the commit".into()))
            }
        }
    }
}
