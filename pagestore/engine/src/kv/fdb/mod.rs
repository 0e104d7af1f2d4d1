//! A FoundationDB cluster as a store: every key below a prefix, transactions as they are.
//!
//! Of a transaction's reads and writes FoundationDB is told no more than the contract says:
//! reads are snapshot reads, own writes stay in the transaction's buffer, and both conflict sets
//! are sent with the commit (<https://apple.github.io/foundationdb/developer-guide.html>).

mod error;
mod network;
mod transaction;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use foundationdb::Database;
use foundationdb::options::TransactionOption;
use parking_lot::Mutex;
use verso_pagestore::{FoundationDbUrl, Gate};

use super::{Kv, KvError, Limits};

pub use transaction::FdbTransaction;

/// For how long a transaction waits for a cluster that has answered before. It outlasts a restart
/// and a change of its servers, which SQL then need not see.
const PATIENCE: Duration = Duration::from_secs(30);

/// For how long it waits for one that has not: its address may be wrong.
const FIRST_PATIENCE: Duration = Duration::from_secs(10);

/// For how long a read version serves reads of what never changes. FoundationDB keeps old
/// versions for 5 s; what is asked for must arrive within the rest.
const RECENT: Duration = Duration::from_secs(2);

/// Up to this age a commit is checked from its read version on.
const YOUNG: Duration = Duration::from_secs(4);

/// By how much read versions grow (`VERSIONS_PER_SECOND`).
const VERSIONS_PER_SECOND: u64 = 1_000_000;

/// Most bytes of a key (<https://apple.github.io/foundationdb/known-limitations.html>).
const KEY_BYTES: usize = 10_000;

/// What operators throttle Verso by (<https://apple.github.io/foundationdb/transaction-tagging.html>).
const TAG: &str = "verso";

/// A store in a FoundationDB cluster. Its clones are the same store.
#[derive(Clone, Debug)]
pub struct FdbKv(Arc<Store>);

struct Store {
    database: Database,
    prefix: Vec<u8>,
    process: u32,
    recent: Mutex<Option<Recent>>,
    gate: Arc<Gate>,
}

impl fmt::Debug for Store {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Store")
            .field("prefix", &self.prefix.escape_ascii().to_string())
            .finish_non_exhaustive()
    }
}

/// A read version, and when it was asked for.
#[derive(Debug, Clone, Copy)]
struct Recent {
    read_version: u64,
    asked: Instant,
}

impl FdbKv {
    /// The store that a URL names. Nothing is asked of the cluster yet.
    ///
    /// # Errors
    /// If the cluster file cannot be read, or FoundationDB's client not be used.
    pub fn open(url: &FoundationDbUrl) -> Result<Self, KvError> {
        let path = url.cluster_file();
        let unavailable = |reason: String| {
            KvError::Unavailable(format!(
                "the cluster file {} cannot be used: {reason}; copy it from a machine of the \
                 cluster",
                path.display()
            ))
        };
        // The client library would wait for a file that is missing.
        std::fs::read(path).map_err(|error| unavailable(error.to_string()))?;
        let text = path
            .to_str()
            .ok_or_else(|| unavailable("its path is not UTF-8".to_owned()))?;
        network::start()?;
        let database = Database::from_path(text)
            .map_err(|error| unavailable(format!("{} ({})", error.message(), error.code())))?;
        Ok(Self(Arc::new(Store {
            database,
            prefix: subspace(url.prefix()),
            process: std::process::id(),
            recent: Mutex::new(None),
            gate: Arc::default(),
        })))
    }

    fn transaction(&self) -> Result<FdbTransaction, KvError> {
        network::usable_in(self.0.process)?;
        let pass = self.0.gate.enter();
        let has_answered = self.0.recent.lock().is_some();
        let patience = if has_answered {
            PATIENCE
        } else {
            FIRST_PATIENCE
        };
        let patience = i32::try_from(patience.as_millis()).unwrap_or(i32::MAX);
        let create = || {
            let transaction = self.0.database.create_trx()?;
            for option in [
                TransactionOption::ReadYourWritesDisable,
                TransactionOption::Timeout(patience),
                TransactionOption::AutoThrottleTag(TAG.to_owned()),
            ] {
                transaction.set_option(option)?;
            }
            Ok(transaction)
        };
        let inner = create().map_err(error::refused)?;
        Ok(FdbTransaction::new(Arc::clone(&self.0), inner, pass))
    }
}

/// The prefix as a tuple of one string, the form of other layers' subspaces: none begins with
/// another (<https://apple.github.io/foundationdb/data-modeling.html#subspaces>).
fn subspace(prefix: &str) -> Vec<u8> {
    [&[2], prefix.as_bytes(), &[0]].concat()
}

impl Store {
    fn limits(&self) -> Limits {
        Limits {
            transaction_bytes: 10_000_000,
            value_bytes: 100_000,
            // A versionstamped key is sent with the place of its stamp, 4 bytes.
            key_bytes: KEY_BYTES - self.prefix.len() - 4,
            transaction_age: Some(Duration::from_secs(5)),
        }
    }

    /// Learns a read version that the cluster gave out, asked for at a time.
    fn learn(&self, read_version: u64, asked: Instant) {
        let mut recent = self.recent.lock();
        if recent.is_none_or(|recent| recent.read_version < read_version) {
            *recent = Some(Recent {
                read_version,
                asked,
            });
        }
    }

    /// Whether a read version is young, by what is known of later ones.
    fn is_young(&self, read_version: u64) -> bool {
        let Some(recent) = *self.recent.lock() else {
            return false;
        };
        let behind = recent.read_version.saturating_sub(read_version) / VERSIONS_PER_SECOND;
        Duration::from_secs(behind) + recent.asked.elapsed() < YOUNG
    }

    /// A read version that is young, and not below this one.
    fn recent(&self, at_least: u64) -> Option<u64> {
        let recent = (*self.recent.lock())?;
        let serves = recent.asked.elapsed() < RECENT && recent.read_version >= at_least;
        serves.then_some(recent.read_version)
    }
}

impl Kv for FdbKv {
    type Transaction = FdbTransaction;

    fn limits(&self) -> Limits {
        self.0.limits()
    }

    fn begin(&self) -> Result<FdbTransaction, KvError> {
        self.transaction()
    }

    fn begin_at(&self, read_version: u64) -> Result<FdbTransaction, KvError> {
        let mut transaction = self.transaction()?;
        transaction.read_at(read_version);
        Ok(transaction)
    }

    fn begin_recent(&self, at_least: u64) -> Result<FdbTransaction, KvError> {
        match self.0.recent(at_least) {
            Some(read_version) => self.begin_at(read_version),
            None => self.begin(),
        }
    }

    fn is_young(&self, read_version: u64) -> bool {
        self.0.is_young(read_version)
    }

    fn suspend(&self) {
        self.0.gate.suspend();
    }

    fn resume(&self) {
        self.0.gate.resume();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_subspace_begins_with_another() {
        assert_eq!(subspace("verso"), b"\x02verso\0");
        for (one, other) in [("a", "ab"), ("a/", "a/b"), ("verso", "verso2")] {
            assert!(!subspace(other).starts_with(&subspace(one)));
        }
    }

    #[test]
    fn a_child_of_a_fork_is_told() {
        assert_eq!(network::usable_in(std::process::id()), Ok(()));
        let refused = network::usable_in(1).unwrap_err();
        assert!(refused.to_string().contains("forked from process 1"));
    }
}
