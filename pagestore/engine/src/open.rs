//! Opening a store by its URL, and the check of its format.

use std::sync::Arc;

use verso_pagestore::{Durability, FoundationDbUrl, PageStore, StoreError, StoreUrl, UnixMillis};

use crate::Engine;
use crate::kv::memory::MemoryKv;
use crate::kv::sqlite::SqliteKv;
use crate::kv::{Isolation, Kv, KvError, KvTransaction, RangeQuery, RunError, run};
use crate::{keys, log};

/// Opens the embedded store that a URL names, and creates one that does not exist yet. Other
/// stores are not this crate's.
///
/// # Errors
/// If it cannot be opened, is not a store, or was made by a newer version.
pub fn open(url: &StoreUrl) -> Result<Arc<dyn PageStore>, StoreError> {
    match url {
        StoreUrl::Sqlite(path) => {
            let kv = SqliteKv::open(path).map_err(|error| unopened(url, error))?;
            Ok(Arc::new(Engine::new(
                kv,
                url.to_string(),
                Arc::new(UnixMillis::now),
            )?))
        }
        StoreUrl::FoundationDb(cluster) => open_foundationdb(url, cluster),
        StoreUrl::Nodes(_) => Err(StoreError::Unavailable {
            store: url.to_string(),
            reason: "this program has no client for page-store nodes: use sqlite:PATH".to_owned(),
        }),
        StoreUrl::Memory(name) => {
            let kv = MemoryKv::named(name);
            Ok(Arc::new(Engine::new(
                kv,
                url.to_string(),
                Arc::new(UnixMillis::now),
            )?))
        }
    }
}

#[cfg(feature = "foundationdb")]
fn open_foundationdb(
    url: &StoreUrl,
    cluster: &FoundationDbUrl,
) -> Result<Arc<dyn PageStore>, StoreError> {
    let kv = crate::kv::fdb::FdbKv::open(cluster).map_err(|error| unopened(url, error))?;
    let clock = Arc::new(UnixMillis::now);
    Ok(Arc::new(Engine::new(kv, url.to_string(), clock)?))
}

#[cfg(not(feature = "foundationdb"))]
fn open_foundationdb(
    url: &StoreUrl,
    _: &FoundationDbUrl,
) -> Result<Arc<dyn PageStore>, StoreError> {
    Err(StoreError::Unavailable {
        store: url.to_string(),
        reason: "this program was built without FoundationDB's client: build it with `--features \
                 foundationdb`, or use page-store nodes (http://HOST:PORT)"
            .to_owned(),
    })
}

fn unopened(url: &StoreUrl, error: KvError) -> StoreError {
    let store = url.to_string();
    match error {
        KvError::NotAStore(reason) => StoreError::NotAStore { store, reason },
        KvError::Damaged(reason) => StoreError::Damaged { store, reason },
        KvError::Full => StoreError::Full { store },
        KvError::Busy(reason) | KvError::Again(reason) => StoreError::Busy { store, reason },
        KvError::Conflict
        | KvError::TooOld
        | KvError::TooLarge { .. }
        | KvError::CommitUnknown(_)
        | KvError::Unavailable(_)
        | KvError::Io(_) => StoreError::Unavailable {
            store,
            reason: error.to_string(),
        },
    }
}

impl<K: Kv> Engine<K> {
    /// Refuses a store of an unknown format; gives an empty one this build's.
    pub(crate) fn check_format(&self) -> Result<(), StoreError> {
        let result = run(&self.kv, Durability::Full, |transaction| {
            if let Some(meta) = transaction.get(&keys::meta(), Isolation::Serializable)? {
                return self.known_format(&meta).map_err(RunError::Abort);
            }
            let anything = RangeQuery::first(1, crate::kv::KeyRange::prefix(b""));
            if !transaction
                .range(&anything, Isolation::Serializable)?
                .is_empty()
            {
                return Err(RunError::Abort(StoreError::NotAStore {
                    store: self.url.clone(),
                    reason: "it holds keys of something else; choose another store".into(),
                }));
            }
            transaction.set(&keys::meta(), &log::encode_meta(log::FORMAT));
            Ok(())
        });
        self.finish(result.map(|((), _)| ()))
    }

    fn known_format(&self, meta: &[u8]) -> Result<(), StoreError> {
        let found = log::decode_meta(meta).map_err(|error| StoreError::NotAStore {
            store: self.url.clone(),
            reason: error.to_string(),
        })?;
        if found != log::FORMAT {
            let store = self.url.clone();
            return Err(StoreError::OtherFormat {
                store,
                found,
                known: log::FORMAT,
            });
        }
        Ok(())
    }
}
