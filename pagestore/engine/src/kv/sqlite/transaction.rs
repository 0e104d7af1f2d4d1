//! A transaction of the store in a file.

use std::path::Path;
use std::sync::Arc;

use verso_pagestore::Durability;

use super::connection::Session;
use super::error::translate;
use super::{LIMITS, Store};
use crate::kv::buffer::WriteBuffer;
use crate::kv::{
    Committed, Direction, Isolation, KeyRange, KeyValue, KvError, KvTransaction, RangeQuery,
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
    session: Option<Session>,
}

impl SqliteTransaction {
    pub(super) fn new(store: Arc<Store>, read_version: Option<u64>) -> Self {
        let pass = store.gate.enter();
        Self {
            buffer: WriteBuffer::default(),
            reader: Reader {
                store,
                read_version,
                session: None,
            },
            _pass: pass,
        }
    }
}

impl Reader {
    /// The connection with the snapshot, taken at the first call.
    fn session(&mut self) -> Result<&Session, KvError> {
        if self.session.is_none() {
            let session = self.store.pool.take()?;
            match begin(&session, &self.store.path, self.read_version) {
                Ok(version) => {
                    self.read_version = Some(version);
                    self.session = Some(session);
                }
                Err(error) => {
                    self.store.pool.put(session);
                    return Err(error);
                }
            }
        }
        self.session
            .as_ref()
            .ok_or_else(|| KvError::Io("no connection".into()))
    }

    fn read_version(&mut self) -> Result<u64, KvError> {
        if self.read_version.is_none() {
            self.session()?;
        }
        self.read_version
            .ok_or_else(|| KvError::Io("no read version".into()))
    }

    fn error(&self, error: &rusqlite::Error) -> KvError {
        translate(&self.store.path, error)
    }
}

/// Opens a read transaction, at `version` if that is given, and returns its version.
fn begin(session: &Session, path: &Path, version: Option<u64>) -> Result<u64, KvError> {
    session
        .execute("BEGIN", ())
        .map_err(|error| translate(path, &error))?;
    let current = session.version(path)?;
    // SQLite reads only the newest state; an older one may have become another by now.
    if version.is_some_and(|version| version != current) {
        return Err(KvError::TooOld);
    }
    Ok(current)
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
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
            let found = get(reader.session()?, key);
            found.map_err(|error| reader.error(&error))
        })
    }

    fn range(
        &mut self,
        query: &RangeQuery,
        isolation: Isolation,
    ) -> Result<Vec<KeyValue>, KvError> {
        let store = Arc::clone(&self.reader.store);
        let failed = |error: rusqlite::Error| translate(&store.path, &error);
        let sql = match query.direction {
            Direction::Forward => RANGE_FORWARD,
            Direction::Reverse => RANGE_REVERSE,
        };
        let connection = self.reader.session()?.connection();
        let mut statement = connection.prepare_cached(sql).map_err(failed)?;
        // Rows come one by one, so there is no need to tell SQLite the limit.
        let mut rows = statement
            .query([&query.range.begin, &query.range.end])
            .map_err(failed)?;
        self.buffer.read_range(query, isolation, || {
            let row = rows.next().map_err(failed)?;
            row.map(|row| Ok((row.get(0)?, row.get(1)?)))
                .transpose()
                .map_err(failed)
        })
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
        let read_version = if self.buffer.reads().is_empty() {
            None
        } else {
            Some(self.reader.read_version()?)
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
