//! The tail: the pairs of the newest commits, which are not in the table `kv` yet.
//!
//! A commit appends one row with its pairs to the table `commits`, and so writes one page, where
//! the pairs themselves would change several pages in different places. Now and then a commit
//! *flushes* the tail: it writes all of its pairs to `kv`, in the order of their keys. A reader
//! lays the tail of its snapshot over what `kv` holds.
//!
//! Each process keeps the tail in memory, and reads only the rows that others have added.

use std::path::Path;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use verso_pagestore::Version;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::connection::Session;
use super::error::translate;
use super::recent::Recent;
use crate::kv::buffer::{Operation, Own};
use crate::kv::overlay::Overlay;
use crate::kv::{Direction, KeyRange, KeyValue, KvError, RangeQuery};
use crate::varint;

const NEWEST: &str = "SELECT version, flushed, chain FROM commits ORDER BY version DESC LIMIT 1";
const PAIRS_FROM: &str =
    "SELECT version, chain, pairs FROM commits WHERE version >= ?1 ORDER BY version";

/// A commit of more bytes goes to `kv` at once: in the tail they would be written twice.
const LARGE_COMMIT: usize = 32 << 10;

/// So many pairs of the tail are read at once.
const MOST_AT_ONCE: usize = 256;

/// A tail of more bytes is flushed.
const LARGE_TAIL: usize = 1 << 20;

/// Where the store is, as its newest row of `commits` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    /// The version of the newest commit.
    pub(super) version: u64,
    /// The pairs of commits up to this version are in `kv`.
    pub(super) flushed: u64,
    /// A hash of all commits so far. Two states of one version with different pasts, such as
    /// before and after a store was put back, differ in it.
    pub(super) chain: u64,
}

impl Position {
    /// Reads the newest row.
    pub(super) fn read(session: &Session, path: &Path) -> Result<Self, KvError> {
        let row = session
            .connection()
            .prepare_cached(NEWEST)
            .and_then(|mut newest| {
                newest.query_row((), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            });
        let (version, flushed, chain): (i64, i64, i64) = match row {
            Ok(row) => row,
            Err(rusqlite::Error::QueryReturnedNoRows) => return Err(damaged(path, "no version")),
            Err(error) => return Err(translate(path, &error)),
        };
        match (u64::try_from(version), u64::try_from(flushed)) {
            (Ok(version), Ok(flushed)) if flushed <= version => Ok(Self {
                version,
                flushed,
                chain: chain.cast_unsigned(),
            }),
            _ => Err(damaged(path, "an impossible version")),
        }
    }
}

fn damaged(path: &Path, what: &str) -> KvError {
    KvError::Damaged(format!(
        "{}: its table of commits has {what}",
        path.display()
    ))
}

/// The tail at one position. Its pairs are shared with tails at other positions.
#[derive(Debug, Clone)]
pub(super) struct Tail {
    position: Position,
    recent: Arc<RwLock<Recent>>,
}

impl Tail {
    /// No pairs, right after a flush.
    fn empty(flushed: u64, chain: u64) -> Self {
        Self {
            position: Position {
                version: flushed,
                flushed,
                chain,
            },
            recent: Arc::new(RwLock::new(Recent::after_flush(flushed, chain))),
        }
    }

    pub(super) const fn position(&self) -> Position {
        self.position
    }

    /// The value of a key; `stored` gives that in `kv`.
    pub(super) fn get<E>(
        &self,
        key: &[u8],
        stored: impl FnOnce() -> Result<Option<Vec<u8>>, E>,
    ) -> Result<Option<Vec<u8>>, E> {
        let recent = self.recent.read();
        match recent.get(key, self.position.version) {
            Own::Set(value) => Ok(Some(value.to_vec())),
            Own::Cleared => Ok(None),
            Own::Untouched => {
                drop(recent);
                stored()
            }
        }
    }

    /// The pairs of a range, in its order; `stored` gives those of `kv`.
    pub(super) fn over<'a>(
        &'a self,
        query: &RangeQuery,
        stored: impl FnMut() -> Result<Option<KeyValue>, KvError> + 'a,
    ) -> impl FnMut() -> Result<Option<KeyValue>, KvError> + 'a {
        // Mostly there is nothing to lay over what is stored.
        let is_touched = self.recent.read().touches(&query.range);
        let at = self.position.version;
        let hides =
            move |key: &[u8]| is_touched && self.recent.read().get(key, at) != Own::Untouched;
        let set = is_touched.then(|| self.set_in(query)).into_iter().flatten();
        let mut pairs = Overlay::new(query.direction, set, hides, stored);
        move || pairs.next()
    }

    /// The pairs that it sets in a range, in its order. They are read in batches, since nobody can
    /// tell how many will be wanted.
    fn set_in(&self, query: &RangeQuery) -> impl Iterator<Item = KeyValue> + use<'_> {
        let (mut rest, direction) = (query.range.clone(), query.direction);
        let most = query.limit.clamp(1, MOST_AT_ONCE);
        let batches = std::iter::from_fn(move || {
            let recent = self.recent.read();
            let batch = recent.range(&rest, direction, self.position.version, most);
            let (last, _) = batch.last()?;
            match direction {
                Direction::Forward => rest.begin = KeyRange::single(last).end,
                Direction::Reverse => rest.end.clone_from(last),
            }
            Some(batch)
        });
        batches.flatten()
    }

    /// Calls `visit` with each key and what it says about that, in the order of the keys.
    pub(super) fn visit<E>(
        &self,
        mut visit: impl FnMut(&[u8], Own<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let recent = self.recent.read();
        let mut all = recent.all(self.position.version);
        all.try_for_each(|(key, own)| visit(key, own))
    }

    /// Whether everything is in `kv`.
    pub(super) const fn is_empty(&self) -> bool {
        self.position.version == self.position.flushed
    }

    /// Whether it is time to flush it, if a commit with so many bytes of pairs is added.
    pub(super) fn is_long_with(&self, bytes: usize, most_commits: u64) -> bool {
        self.position.version + 1 - self.position.flushed >= most_commits
            || self.recent.read().bytes() + bytes >= LARGE_TAIL
    }

    /// After everything up to now was written to `kv`.
    pub(super) fn flush(&mut self) {
        *self = Self::empty(self.position.version, self.position.chain);
    }

    /// Where a commit leads that follows this one, with its pairs, if they are for the tail. What
    /// is stored of it is the row of `commits`.
    pub(super) fn next(&self, writes: &[u8], pairs: Option<&[u8]>) -> Position {
        let chain = xxh3_64_with_seed(writes, self.position.chain);
        Position {
            version: self.position.version + 1,
            chain: xxh3_64_with_seed(pairs.unwrap_or_default(), chain),
            ..self.position
        }
    }

    /// Adds the commit that leads to the next position. `None` if its pairs are damaged.
    pub(super) fn follow(&mut self, next: Position, pairs: &[u8]) -> Option<()> {
        let mut recent = self.recent.write();
        // Another thread may have added it.
        if !recent.has(next) {
            if recent.newest() == self.position.version {
                recent.add(next.chain, pairs)?;
            } else {
                // It has commits that have failed since, or that were undone by putting the file back.
                let mut fork = recent.until(self.position.version);
                drop(recent);
                fork.add(next.chain, pairs)?;
                self.recent = Arc::new(RwLock::new(fork));
            }
        }
        self.position = next;
        Some(())
    }

    /// This tail as it is at another position, which a session sees.
    fn moved(&self, session: &Session, path: &Path, to: Position) -> Result<Self, KvError> {
        if self.recent.read().has(to) {
            return Ok(Self {
                position: to,
                recent: Arc::clone(&self.recent),
            });
        }
        if self.position.flushed == to.flushed && self.position.version <= to.version {
            let mut tail = self.clone();
            if tail.read(session, path, Some(self.position.chain))? && tail.position == to {
                return Ok(tail);
            }
        }
        // From the last flush on. Its row tells the chain.
        let mut tail = Self::empty(to.flushed, 0);
        if tail.read(session, path, None)? && tail.position == to {
            Ok(tail)
        } else {
            Err(damaged(path, "a gap"))
        }
    }

    /// Adds the rows after that of its own version. False if that is not there, or has another
    /// chain than this one. A tail that was only flushed may not know its chain yet.
    fn read(
        &mut self,
        session: &Session,
        path: &Path,
        own_chain: Option<u64>,
    ) -> Result<bool, KvError> {
        let failed = |error: rusqlite::Error| translate(path, &error);
        let base = self.position.version;
        let mut statement = session
            .connection()
            .prepare_cached(PAIRS_FROM)
            .map_err(failed)?;
        let mut rows = statement.query([base.cast_signed()]).map_err(failed)?;
        let mut expected = base;
        while let Some(row) = rows.next().map_err(failed)? {
            let version: i64 = row.get(0).map_err(failed)?;
            let chain: i64 = row.get(1).map_err(failed)?;
            let chain = chain.cast_unsigned();
            if version != expected.cast_signed() {
                return Ok(false);
            }
            if expected > base {
                let pairs = row.get_ref(2).map_err(failed)?;
                let pairs = pairs.as_blob_or_null().ok().flatten().unwrap_or_default();
                let next = Position {
                    version: expected,
                    chain,
                    ..self.position
                };
                self.follow(next, pairs)
                    .ok_or_else(|| damaged(path, "pairs that make no sense"))?;
            } else if own_chain.is_none() {
                *self = Self::empty(base, chain);
            } else if own_chain != Some(chain) {
                return Ok(false);
            }
            expected += 1;
        }
        Ok(expected > base)
    }
}

/// The tail that this process has in memory.
#[derive(Debug)]
pub(super) struct Tails(Mutex<Tail>);

impl Default for Tails {
    fn default() -> Self {
        // No store is there.
        Self(Mutex::new(Tail::empty(0, 0)))
    }
}

impl Tails {
    /// The tail of what a session sees, which is in a transaction.
    pub(super) fn of(&self, session: &Session, path: &Path) -> Result<Tail, KvError> {
        let position = Position::read(session, path)?;
        let known = self.newest();
        if known.position == position {
            return Ok(known);
        }
        let tail = known.moved(session, path, position)?;
        self.set(tail.clone());
        Ok(tail)
    }

    /// The newest one that this process knows.
    pub(super) fn newest(&self) -> Tail {
        self.0.lock().clone()
    }

    /// After a commit.
    pub(super) fn set(&self, tail: Tail) {
        let mut newest = self.0.lock();
        // Another thread may have seen more by now.
        let is_known = Arc::ptr_eq(&newest.recent, &tail.recent)
            && newest.position.version > tail.position.version;
        if !is_known {
            *newest = tail;
        }
    }
}

/// The pairs of a commit as the tail stores them; `None` if it is not for the tail. Each is
///
/// ```text
/// varint  how many bytes the key has, and those bytes
/// varint  0: it was cleared  n+1: n bytes follow, its value
/// ```
pub(super) fn encode(operations: &[Operation], stamp: Version) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(256);
    for operation in operations {
        match operation {
            Operation::Set { key, value } => put(&mut bytes, &[key], Some(value)),
            Operation::SetVersionstamped { prefix, value } => {
                put(&mut bytes, &[prefix, stamp.as_bytes()], Some(value));
            }
            Operation::Clear { key } => put(&mut bytes, &[key], None),
            Operation::ClearRange(_) => return None,
        }
        if bytes.len() > LARGE_COMMIT {
            return None;
        }
    }
    Some(bytes)
}

fn put(bytes: &mut Vec<u8>, key: &[&[u8]], value: Option<&[u8]>) {
    varint::put(bytes, key.iter().map(|part| part.len()).sum());
    for part in key {
        bytes.extend_from_slice(part);
    }
    match value {
        None => varint::put(bytes, 0),
        Some(value) => {
            varint::put(bytes, value.len() + 1);
            bytes.extend_from_slice(value);
        }
    }
}
