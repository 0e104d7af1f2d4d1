//! The key-value contract: what the engine needs of a store, and no more.
//!
//! Strictly serializable transactions over ordered byte keys, as FoundationDB offers them
//! (<https://apple.github.io/foundationdb/developer-guide.html>): a transaction reads one
//! snapshot, keeps its writes to itself, and commits only if no key range in its read
//! conflict set was written after its read version.

mod buffer;
mod overlay;
mod range;
mod range_set;
mod retry;
mod seeded;

pub mod faulty;
#[cfg(feature = "foundationdb")]
pub mod fdb;
pub mod memory;
pub mod sim;
pub mod sqlite;

use std::time::Duration;

use verso_pagestore::{Durability, Mark, Version};

pub use range::{Direction, KeyRange, LateRanges, RangeQuery, Until};
pub(crate) use retry::attempts;
pub use retry::{RunError, look, run};

/// A key and its value.
pub type KeyValue = (Vec<u8>, Vec<u8>);

/// Whether a read adds to the transaction's read conflict set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// It does: the commit fails if what was read has changed.
    Serializable,
    /// It does not.
    Snapshot,
}

/// What a store takes in one transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of a transaction: keys and values written, and conflict ranges.
    pub transaction_bytes: usize,
    /// Most bytes of a value.
    pub value_bytes: usize,
    /// Most bytes of a key.
    pub key_bytes: usize,
    /// How long after its read version a transaction may still commit; `None` if the store
    /// counts commits instead of time.
    pub transaction_age: Option<Duration>,
}

/// A read-write transaction was committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// Its versionstamp; `None` if it wrote nothing.
    pub versionstamp: Option<Version>,
    /// A read version at which its writes are visible.
    pub read_version: u64,
    /// The mark of the store right after it, where that is known.
    pub mark: Option<Mark>,
}

/// A key-value operation failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KvError {
    /// Another transaction wrote what this one read. Nothing was written.
    #[error("conflict with another transaction")]
    Conflict,
    /// The read version is too old to read at, or to check conflicts from. Nothing was
    /// written.
    #[error("the transaction is too old")]
    TooOld,
    /// The transaction, a key or a value is over the limits. Nothing was written.
    #[error("{bytes} bytes in one transaction, key or value, and the store takes {limit}")]
    TooLarge {
        /// Its size in bytes.
        bytes: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The commit may or may not have taken effect.
    #[error("the result of the commit is unknown: {0}")]
    CommitUnknown(String),
    /// The store asks to try again later. Nothing was written.
    #[error("the store asks to try again: {0}")]
    Again(String),
    /// The store is busy or out of reach for now. Nothing was written.
    #[error("busy: {0}")]
    Busy(String),
    /// The store cannot be opened.
    #[error("{0}")]
    Unavailable(String),
    /// No room is left on the store's disk. Nothing was written.
    #[error("the disk is full")]
    Full,
    /// What is there is not a store of this kind.
    #[error("{0}")]
    NotAStore(String),
    /// The store's own structure is damaged.
    #[error("damaged: {0}")]
    Damaged(String),
    /// Reading or writing failed. Nothing was written.
    #[error("{0}")]
    Io(String),
}

impl KvError {
    /// Whether the same work may succeed in a new transaction.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::Conflict | Self::TooOld | Self::CommitUnknown(_) | Self::Again(_)
        )
    }
}

/// A transactional key-value store.
pub trait Kv: Send + Sync + 'static {
    /// A transaction of this store.
    type Transaction: KvTransaction;

    /// What the store takes in one transaction.
    fn limits(&self) -> Limits;

    /// Begins a transaction at a read version that contains every acknowledged commit.
    ///
    /// # Errors
    /// If the store cannot be reached.
    fn begin(&self) -> Result<Self::Transaction, KvError>;

    /// Begins a transaction for reads of what never changes once it is written. Each of them reads
    /// at `at_least`, a read version of the same store, or at any later one.
    ///
    /// # Errors
    /// If the store cannot be reached.
    fn begin_recent(&self, at_least: u64) -> Result<Self::Transaction, KvError> {
        let _ = at_least;
        self.begin()
    }

    /// Begins a transaction at an earlier read version of the same store, for conflict
    /// checks from there on. Reads in it may fail with [`KvError::TooOld`] where a store
    /// does not keep old states.
    ///
    /// # Errors
    /// If the store cannot be reached.
    fn begin_at(&self, read_version: u64) -> Result<Self::Transaction, KvError>;

    /// Whether conflict checks from this read version on are likely to be possible still. A store
    /// that never says so gets transactions that have read what they depend on.
    fn is_young(&self, read_version: u64) -> bool {
        let _ = read_version;
        false
    }

    /// What is committed now, where that can be told without a request.
    fn mark(&self) -> Option<Mark> {
        None
    }

    /// Waits before something is tried again. A store whose time is not the clock's waits by its
    /// own.
    fn pause(&self, time: Duration) {
        std::thread::sleep(time);
    }

    /// Called before a fork: waits for transactions under way, closes all files, and holds
    /// new transactions back until [`resume`](Kv::resume).
    fn suspend(&self);

    /// Lets transactions begin again.
    fn resume(&self);
}

/// A transaction: reads of one snapshot that include its own writes, and writes that
/// nobody else sees until it commits. Dropping it gives it up.
pub trait KvTransaction {
    /// The version that the transaction reads.
    ///
    /// # Errors
    /// If the store cannot be reached.
    fn read_version(&mut self) -> Result<u64, KvError>;

    /// The value of a key.
    ///
    /// # Errors
    /// If the store cannot be reached, or the transaction is too old.
    fn get(&mut self, key: &[u8], isolation: Isolation) -> Result<Option<Vec<u8>>, KvError>;

    /// Keys and values of a range in the order asked for, up to the end that the query names.
    ///
    /// # Errors
    /// If the store cannot be reached, or the transaction is too old.
    fn range(&mut self, query: &RangeQuery, isolation: Isolation)
    -> Result<Vec<KeyValue>, KvError>;

    /// Several ranges at once, answered in the same order. A distributed store asks for all
    /// of them before it waits.
    ///
    /// # Errors
    /// If the store cannot be reached, or the transaction is too old.
    fn ranges(
        &mut self,
        queries: &[RangeQuery],
        isolation: Isolation,
    ) -> Result<Vec<Vec<KeyValue>>, KvError> {
        queries
            .iter()
            .map(|query| self.range(query, isolation))
            .collect()
    }

    /// Sets a key, and adds it to the write conflict set.
    fn set(&mut self, key: &[u8], value: &[u8]);

    /// Sets a key that ends with the commit's 10-byte versionstamp: `prefix`, then the
    /// stamp. It cannot be read in this transaction.
    ///
    /// The write conflict set gets all keys that begin with `prefix`, since the key is not
    /// known before the commit.
    fn set_versionstamped(&mut self, prefix: &[u8], value: &[u8]);

    /// Clears a key, and adds it to the write conflict set.
    fn clear(&mut self, key: &[u8]);

    /// Clears all keys of a range, and adds it to the write conflict set.
    fn clear_range(&mut self, range: &KeyRange);

    /// Adds a range to the read conflict set, as if it had been read.
    fn add_read_conflict(&mut self, range: KeyRange);

    /// Adds ranges to the read conflict set, which the store need not compute if nothing was
    /// committed since the transaction began.
    fn add_read_conflicts(&mut self, ranges: LateRanges) {
        for range in ranges.compute() {
            self.add_read_conflict(range);
        }
    }

    /// Adds a range to the write conflict set, as if it had been written.
    fn add_write_conflict(&mut self, range: KeyRange);

    /// Commits. A transaction that wrote nothing and has no write conflicts always
    /// succeeds: it read one snapshot.
    ///
    /// # Errors
    /// [`KvError::Conflict`] if the read conflict set was written after the read version;
    /// others if limits are exceeded or the store fails. After any error but
    /// [`KvError::CommitUnknown`] nothing was written.
    fn commit(self, durability: Durability) -> Result<Committed, KvError>;
}
