//! The embedded store: one SQLite file in WAL mode, shared by any number of processes.
//!
//! Transactions are optimistic: they read one snapshot, keep their writes in memory, and
//! check at the commit, under SQLite's write lock, that nothing they depend on was written
//! since. For that the file keeps the write conflict sets of the newest commits:
//!
//! ```text
//! kv(key, value)                  the pairs
//! commits(version, writes, pairs) the newest commits; max(version) is the version of the store
//! ```
//!
//! The pairs of the newest commits are in `commits` only (see `tail.rs`).

mod commit;
mod conflicts;
mod connection;
mod error;
mod file;
mod head;
mod pool;
mod recent;
mod tail;
mod transaction;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::{Kv, KvError, Limits};
use commit::Committer;
use head::Head;
use pool::Pool;
use tail::{Position, Tails};
use verso_pagestore::{Gate, Mark};

pub use transaction::SqliteTransaction;

/// What fits comfortably in SQLite's own limit of 1 GB a row, and in memory.
const LIMITS: Limits = Limits {
    transaction_bytes: 1 << 30,
    value_bytes: 512 << 20,
    key_bytes: 10_000,
    transaction_age: None,
};

/// How a [`SqliteKv`] uses its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqliteOptions {
    /// How many commits back conflicts can be checked. An older transaction that depends on
    /// anything is too old.
    pub conflict_window: u64,
    /// How long to wait for other processes before [`KvError::Busy`].
    pub busy_timeout: Duration,
    /// Size of each connection's page cache in bytes.
    pub cache_bytes: u32,
    /// SQLite's page size in a file that does not exist yet.
    pub page_size: u32,
    /// After so many small commits, or a quarter of the conflict window, their pairs are put in the
    /// order of their keys.
    pub longest_tail: u64,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self {
            conflict_window: 2048,
            busy_timeout: Duration::from_secs(30),
            cache_bytes: 4 << 20,
            page_size: 4096,
            longest_tail: 512,
        }
    }
}

/// A store in one file. Its clones are the same store.
#[derive(Debug, Clone)]
pub struct SqliteKv(Arc<Store>);

struct Store {
    path: PathBuf,
    pool: Pool,
    committer: Committer,
    head: Head,
    tails: Tails,
    gate: Arc<Gate>,
}

impl Store {
    /// Begins to look at what is committed. It is only a short cut, so that a failure is left for
    /// transactions to meet.
    fn watch(&self) {
        if let Ok(session) = self.pool.open()
            && Position::read(&session, &self.path).is_ok()
        {
            self.head.watch(session);
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.committer.close(self);
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Store")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl SqliteKv {
    /// Opens the store in this file, and creates it if there is no file or an empty one.
    ///
    /// # Errors
    /// If the file cannot be opened, or is something else; then it is left as it is.
    pub fn open(path: &Path) -> Result<Self, KvError> {
        Self::open_with(path, SqliteOptions::default())
    }

    /// As [`open`](Self::open), with options.
    ///
    /// # Errors
    /// If the file cannot be opened, or is something else; then it is left as it is.
    pub fn open_with(path: &Path, options: SqliteOptions) -> Result<Self, KvError> {
        // An absolute path stays right when the process changes its directory, and SQLite
        // never takes it for a URI.
        let path = std::path::absolute(path)
            .map_err(|error| KvError::Unavailable(format!("{}: {error}", path.display())))?;
        let first = file::open_or_create(&path, &options)?;
        let committer = Committer::new(&options);
        let pool = Pool::new(path.clone(), options, first);
        let store = Store {
            path,
            pool,
            committer,
            head: Head::default(),
            tails: Tails::default(),
            gate: Arc::default(),
        };
        store.watch();
        Ok(Self(Arc::new(store)))
    }

    /// The file, as an absolute path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.path
    }
}

impl Kv for SqliteKv {
    type Transaction = SqliteTransaction;

    fn limits(&self) -> Limits {
        LIMITS
    }

    fn begin(&self) -> Result<SqliteTransaction, KvError> {
        Ok(SqliteTransaction::new(Arc::clone(&self.0), None))
    }

    fn begin_recent(&self, at_least: u64) -> Result<SqliteTransaction, KvError> {
        Ok(SqliteTransaction::recent(Arc::clone(&self.0), at_least))
    }

    fn begin_at(&self, read_version: u64) -> Result<SqliteTransaction, KvError> {
        Ok(SqliteTransaction::new(
            Arc::clone(&self.0),
            Some(read_version),
        ))
    }

    fn mark(&self) -> Option<Mark> {
        self.0.head.mark()
    }

    fn suspend(&self) {
        self.0.gate.suspend();
        self.0.head.close();
        self.0.pool.close();
    }

    fn resume(&self) {
        self.0.watch();
        self.0.gate.resume();
    }
}
