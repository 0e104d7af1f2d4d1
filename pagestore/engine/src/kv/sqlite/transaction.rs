//! A transaction of the store in a file.

use std::sync::Arc;

use verso_pagestore::Durability;

use super::connection::Session;
use super::error::translate;
use super::tail::Tail;
use super::{LIMITS, Store};
use crate::kv::buffer::WriteBuffer;
use crate::kv::{
    Committed, Direction, Isolation, KeyRange, KeyValue, KvError, KvTransaction, LateRanges,
    RangeQuery,
};
use verso_pagestore::Pass;

const GET: &str = "SELECT value FROM kv WHERE key = ?1";
const RANGE_FORWARD: &str = "SELECT key, value FROM kv WHERE key >= ?1 AND key < ?2 ORDER BY key";
const RANGE_REVERSE: &str =
    "SELECT key, value FROM kv WHERE key >= ?1 AND key < ?2 ORDER BY key DESC";

/// A transaction of a [`SqliteKv`](super::SqliteKv). Its snapshot is the one of its first
/// read, or of its first call of [`read_version`](KvTransaction::read_version).
#[derive(Debug)]
pub struct SqliteTransaction {
    buffer: WriteBuffer,
    reader: Reader,
    // Last, so that the connection is back before a fork goes on.
    _pass: Pass,
}

/// The snapshot of a transaction.
#[derive(Debug)]
struct Reader {
    store: Arc<Store>,
    /// Known once a read transaction is open, or from the begin if that named it.
    read_version: Option<u64>,
    /// Any state from this version on serves, and another one for each read.
    at_least: Option<u64>,
    snapshot: Option<Snapshot>,
}

/// A connection, mostly in a read transaction, and what is not in its table yet.
#[derive(Debug)]
struct Snapshot {
    session: Session,
    tail: Tail,
}

impl SqliteTransaction {
    pub(super) fn new(store: Arc<Store>, read_version: Option<u64>) -> Self {
        let pass = store.gate.enter();
        Self {
            buffer: WriteBuffer::default(),
            reader: Reader {
                store,
                read_version,
                at_least: None,
                snapshot: None,
            },
            _pass: pass,
        }
    }

    /// A transaction for reads of what never changes, at this version or any later one.
    pub(super) fn recent(store: Arc<Store>, at_least: u64) -> Self {
        let mut transaction = Self::new(store, None);
        transaction.reader.at_least = Some(at_least);
        transaction
    }
}

impl Reader {
    /// The snapshot, taken at the first call.
    fn snapshot(&mut self) -> Result<&Snapshot, KvError> {
        if self.snapshot.is_none() {
            let session = self.store.pool.take()?;
            let known = self.at_least.and_then(|version| self.known(version));
            let tail = match known {
                Some(tail) => Ok(tail),
                None => begin(&session, &self.store, self.read_version),
            };
            match tail {
                Ok(tail) => {
                    self.read_version = Some(tail.position().version);
                    self.snapshot = Some(Snapshot { session, tail });
                }
                Err(error) => {
                    self.store.pool.put(session);
                    return Err(error);
                }
            }
        }
        self.snapshot
            .as_ref()
            .ok_or_else(|| KvError::Io("no connection".into()))
    }

    /// The tail that this process knows, if it reaches so far. Whatever leaves it meanwhile is in the
    /// table by the time that this is read, so no transaction must keep them together.
    fn known(&self, at_least: u64) -> Option<Tail> {
        let tail = self.store.tails.newest();
        (tail.position().version >= at_least).then_some(tail)
    }

    fn read_version(&mut self) -> Result<u64, KvError> {
        if self.read_version.is_none() {
            self.snapshot()?;
        }
        self.read_version
            .ok_or_else(|| KvError::Io("no read version".into()))
    }

    fn error(&self, error: &rusqlite::Error) -> KvError {
        translate(&self.store.path, error)
    }
}

/// Opens a read transaction, at `version` if that is given.
fn begin(session: &Session, store: &Store, version: Option<u64>) -> Result<Tail, KvError> {
    session
        .execute("BEGIN", ())
        .map_err(|error| translate(&store.path, &error))?;
    let tail = store.tails.of(session, &store.path)?;
    // SQLite reads only the newest state; an older one may have become another by now.
    if version.is_some_and(|version| version != tail.position().version) {
        return Err(KvError::TooOld);
    }
    Ok(tail)
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let Some(Snapshot { session, .. }) = self.snapshot.take() {
            self.store.pool.put(session);
        }
    }
}

fn get(session: &Session, key: &[u8]) -> Result<Option<Vec<u8>>, rusqlite::Error> {
    let mut statement = session.connection().prepare_cached(GET)?;
    let mut rows = statement.query([key])?;
    rows.next()?.map(|row| row.get(0)).transpose()
}

impl KvTransaction for SqliteTransaction {
    fn read_version(&mut self) -> Result<u64, KvError> {
        self.reader.read_version()
    }

    fn get(&mut self, key: &[u8], isolation: Isolation) -> Result<Option<Vec<u8>>, KvError> {
        let reader = &mut self.reader;
        self.buffer.read(key, isolation, || {
            let Snapshot { session, tail } = reader.snapshot()?;
            let value = tail.get(key, || get(session, key));
            value.map_err(|error| reader.error(&error))
        })
    }

    fn range(
        &mut self,
        query: &RangeQuery,
        isolation: Isolation,
    ) -> Result<Vec<KeyValue>, KvError> {
        if query.range.is_empty() {
            return Ok(Vec::new());
        }
        let store = Arc::clone(&self.reader.store);
        let failed = |error: rusqlite::Error| translate(&store.path, &error);
        let sql = match query.direction {
            Direction::Forward => RANGE_FORWARD,
            Direction::Reverse => RANGE_REVERSE,
        };
        let Snapshot { session, tail } = self.reader.snapshot()?;
        let mut statement = session.connection().prepare_cached(sql).map_err(failed)?;
        // Rows come one by one, so there is no need to tell SQLite the limit.
        let mut rows = statement
            .query([&query.range.begin, &query.range.end])
            .map_err(failed)?;
        let pairs = tail.over(query, || {
            let row = rows.next().map_err(failed)?;
            row.map(|row| Ok((row.get(0)?, row.get(1)?)))
                .transpose()
                .map_err(failed)
        });
        self.buffer.read_range(query, isolation, pairs)
    }

    fn set(&mut self, key: &[u8], value: &[u8]) {
        self.buffer.set(key, value);
    }

    fn set_versionstamped(&mut self, prefix: &[u8], value: &[u8]) {
        self.buffer.set_versionstamped(prefix, value);
    }

    fn clear(&mut self, key: &[u8]) {
        self.buffer.clear(key);
    }

    fn clear_range(&mut self, range: &KeyRange) {
        self.buffer.clear_range(range);
    }

    fn add_read_conflict(&mut self, range: KeyRange) {
        self.buffer.add_read_conflict(range);
    }

    fn add_read_conflicts(&mut self, ranges: LateRanges) {
        self.buffer.add_read_conflicts(ranges);
    }

    fn add_write_conflict(&mut self, range: KeyRange) {
        self.buffer.add_write_conflict(range);
    }

    fn commit(mut self, durability: Durability) -> Result<Committed, KvError> {
        if self.buffer.is_read_only() {
            let read_version = self.reader.read_version()?;
            return Ok(Committed {
                versionstamp: None,
                read_version,
                mark: None,
            });
        }
        self.buffer.check_limits(&LIMITS)?;
        let read_version = if self.buffer.has_read() {
            Some(self.reader.read_version()?)
        } else {
            None
        };
        // Give the connection back first: the next writer's turn uses the one with the
        // freshest page cache, and an open snapshot would only hold checkpoints up.
        let store = Arc::clone(&self.reader.store);
        drop(self.reader);
        store
            .committer
            .commit(&store, self.buffer, read_version, durability)
    }
}
