//! The storage engine: versioned pages over a transactional key-value store.
//!
//! [`Engine`] implements the page store over any [`kv::Kv`]. A page read goes
//! `PageStore::read` → `read` → `keys` and `chain` → `record` and `kv`; a commit goes
//! `PageStore::commit` → `commit` → `check` → `conflict` (pure) → `keys` → `kv` commit.

pub mod kv;

mod catalogue;
mod chain;
mod check;
mod clean;
mod commit;
mod conflict;
mod counts;
mod history;
mod keys;
mod lease;
mod load;
mod log;
mod open;
mod publish;
mod read;
mod record;
mod room;
mod runs;
mod stage;
mod store;
mod validate;
mod varint;
mod verify;

use std::sync::Arc;

use verso_pagestore::{StoreError, UnixMillis};

use kv::{Isolation, KeyValue, Kv, KvError, KvTransaction, RangeQuery, RunError, look};
use log::DecodeError;
use runs::Runs;

pub use open::open;

/// Tells the time of commits.
pub type Clock = Arc<dyn Fn() -> UnixMillis + Send + Sync>;

/// A page store over a key-value store.
pub struct Engine<K> {
    kv: K,
    /// The store's URL, for messages.
    url: String,
    clock: Clock,
    runs: Runs,
}

impl<K: Kv> Engine<K> {
    /// The page store in `kv`, which is written to if it is empty. `url` names it in
    /// messages.
    ///
    /// # Errors
    /// If `kv` holds something else, or a format newer than this build's.
    pub fn new(kv: K, url: impl Into<String>, clock: Clock) -> Result<Self, StoreError> {
        let engine = Self {
            kv,
            url: url.into(),
            clock,
            runs: Runs::default(),
        };
        engine.check_format()?;
        Ok(engine)
    }

    /// The one place that turns failures of the key-value store into those of the store.
    fn store_error(&self, error: KvError) -> StoreError {
        let store = self.url.clone();
        match error {
            KvError::Conflict | KvError::TooOld => StoreError::Busy {
                store,
                reason: "other transactions were faster every time".into(),
            },
            KvError::Busy(reason) | KvError::Again(reason) => StoreError::Busy { store, reason },
            KvError::Unavailable(reason) => StoreError::Unavailable { store, reason },
            KvError::Full => StoreError::Full { store },
            KvError::NotAStore(reason) => StoreError::NotAStore { store, reason },
            KvError::Damaged(reason) => StoreError::Damaged { store, reason },
            KvError::TooLarge { .. } | KvError::CommitUnknown(_) | KvError::Io(_) => {
                StoreError::Io {
                    store,
                    reason: error.to_string(),
                }
            }
        }
    }

    fn damaged(&self, error: &DecodeError) -> StoreError {
        StoreError::Damaged {
            store: self.url.clone(),
            reason: error.to_string(),
        }
    }

    /// What is stored in a range.
    fn pairs(&self, query: &RangeQuery) -> Result<Vec<KeyValue>, StoreError> {
        self.finish(look(&self.kv, |transaction| {
            Ok(transaction.range(query, Isolation::Snapshot)?)
        }))
    }

    /// Unwraps the result of a retried closure whose own errors convert from the store's.
    fn finish<T, E: From<StoreError>>(&self, result: Result<T, RunError<E>>) -> Result<T, E> {
        result.map_err(|error| match error {
            RunError::Kv(error) => self.store_error(error).into(),
            RunError::Abort(error) => error,
        })
    }
}
