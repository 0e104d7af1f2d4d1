//! Commits: they queue, and whoever's turn it is commits for all that wait.
//!
//! One SQLite transaction and one sync then serve the whole group, while each of its
//! members has its own version, is checked against those before it, and may fail alone.

use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use verso_pagestore::{Durability, Version};

use super::connection::Session;
use super::error::{translate, translate_commit};
use super::head::Head;
use super::{Store, conflicts};
use crate::kv::buffer::{Operation, WriteBuffer};
use crate::kv::range_set::RangeSet;
use crate::kv::{Committed, KvError};

const SET: &str = "INSERT INTO kv (key, value) VALUES (?1, ?2) \
     ON CONFLICT (key) DO UPDATE SET value = excluded.value";
const CLEAR: &str = "DELETE FROM kv WHERE key = ?1";
const CLEAR_RANGE: &str = "DELETE FROM kv WHERE key >= ?1 AND key < ?2";
const SINCE: &str = "SELECT version, writes FROM commits WHERE version > ?1 ORDER BY version";
const RECORD: &str = "INSERT INTO commits (version, writes) VALUES (?1, ?2)";
const PRUNE: &str = "DELETE FROM commits WHERE version <= ?1";

/// A group takes no further member once it has so many bytes: it holds the write lock.
const GROUP_BYTES: usize = 16 << 20;

type CommitResult = Result<Committed, KvError>;

/// Where the commits of this process take their turns.
#[derive(Debug)]
pub(super) struct Committer {
    waiting: Mutex<Vec<Pending>>,
    /// Held by the thread that commits. The writers of one process queue here, and do not
    /// spin for SQLite's lock against each other.
    turn: Mutex<()>,
    window: u64,
}

/// A transaction that waits for its commit.
#[derive(Debug)]
struct Pending {
    buffer: WriteBuffer,
    /// `None` if it depends on nothing.
    read_version: Option<u64>,
    durability: Durability,
    result: Arc<Mutex<Option<CommitResult>>>,
}

impl Committer {
    pub(super) fn new(window: u64) -> Self {
        Self {
            waiting: Mutex::default(),
            turn: Mutex::default(),
            window: window.max(1),
        }
    }

    /// Commits a transaction, together with those that wait already.
    pub(super) fn commit(
        &self,
        store: &Store,
        buffer: WriteBuffer,
        read_version: Option<u64>,
        durability: Durability,
    ) -> CommitResult {
        let result = Arc::new(Mutex::new(None));
        let pending = Pending {
            buffer,
            read_version,
            durability,
            result: Arc::clone(&result),
        };
        self.waiting.lock().push(pending);
        let _turn = self.turn.lock();
        loop {
            if let Some(result) = result.lock().take() {
                return result;
            }
            let group = self.next_group();
            if group.is_empty() {
                // Only a panic in another thread's turn loses a transaction.
                return Err(KvError::CommitUnknown("the commit was interrupted".into()));
            }
            let results = self.commit_group(store, &group);
            for (pending, result) in group.iter().zip(results) {
                *pending.result.lock() = Some(result);
            }
        }
    }

    /// The transactions that waited longest.
    fn next_group(&self) -> Vec<Pending> {
        let mut waiting = self.waiting.lock();
        let mut bytes = 0;
        let mut members = 0;
        for pending in waiting.iter() {
            members += 1;
            bytes += pending.buffer.size();
            if bytes >= GROUP_BYTES {
                break;
            }
        }
        waiting.drain(..members).collect()
    }

    fn commit_group(&self, store: &Store, group: &[Pending]) -> Vec<CommitResult> {
        let mut session = match store.pool.take() {
            Ok(session) => session,
            Err(error) => return vec![Err(error); group.len()],
        };
        let mut turn = Turn {
            session: &mut session,
            path: &store.path,
            head: &store.head,
            window: self.window,
        };
        let results = match turn.commit(group) {
            // One member's failure, such as a full disk, is not the others'.
            Err(error) if group.len() > 1 && fails_alone(&error) => group
                .iter()
                .flat_map(|alone| turn.commit_or_fail(std::slice::from_ref(alone)))
                .collect(),
            Err(error) => vec![Err(error); group.len()],
            Ok(results) => results,
        };
        store.pool.put(session);
        results
    }
}

/// Whether an error means that nothing was written, and may stem from one transaction of
/// the group.
fn fails_alone(error: &KvError) -> bool {
    !matches!(
        error,
        KvError::CommitUnknown(_) | KvError::Busy(_) | KvError::Unavailable(_)
    )
}

/// The use of a connection to commit.
struct Turn<'a> {
    session: &'a mut Session,
    path: &'a Path,
    head: &'a Head,
    window: u64,
}

impl Turn<'_> {
    fn commit_or_fail(&mut self, group: &[Pending]) -> Vec<CommitResult> {
        self.commit(group)
            .unwrap_or_else(|error| vec![Err(error); group.len()])
    }

    /// Commits a group: check, apply and record each member, then one `COMMIT`.
    fn commit(&mut self, group: &[Pending]) -> Result<Vec<CommitResult>, KvError> {
        let strictest = group
            .iter()
            .map(|pending| pending.durability)
            .max()
            .unwrap_or_default();
        let path = self.path;
        let failed = |error: rusqlite::Error| translate(path, &error);
        // An attempt that failed may have left its transaction open.
        self.session.end().map_err(failed)?;
        self.session.set_durability(strictest).map_err(failed)?;
        self.session
            .execute("BEGIN IMMEDIATE", ())
            .map_err(failed)?;
        let before = self.head.before_commit();
        let mut committed = self.write(group);
        if !matches!(&committed, Ok(results) if results.iter().any(Result::is_ok)) {
            // What fails here fails again when the connection goes back to the pool, which
            // then closes it.
            let _ = self.session.end();
            return committed;
        }
        self.session
            .execute("COMMIT", ())
            .map_err(|error| translate_commit(path, &error))?;
        // What is committed now is what the last one has made.
        if let Ok(results) = &mut committed
            && let Some(last) = results
                .iter_mut()
                .rev()
                .find_map(|result| result.as_mut().ok())
        {
            last.mark = self.head.after_commit(before);
        }
        let bytes = group.iter().map(|pending| pending.buffer.size()).sum();
        self.session.committed(group.len(), bytes);
        committed
    }

    fn write(&mut self, group: &[Pending]) -> Result<Vec<CommitResult>, KvError> {
        let mut version = self.session.version(self.path)?;
        let mut results = Vec::with_capacity(group.len());
        for pending in group {
            if let Some(refusal) = self.check(pending, version)? {
                results.push(Err(refusal));
                continue;
            }
            version += 1;
            let stamp = Version::from_commit(version, 0);
            self.apply(pending.buffer.operations(), stamp)
                .and_then(|()| self.record(version, pending.buffer.writes()))
                .map_err(|error| translate(self.path, &error))?;
            results.push(Ok(Committed {
                versionstamp: Some(stamp),
                read_version: version,
                mark: None,
            }));
        }
        Ok(results)
    }

    /// Why a transaction cannot follow the commits up to `version`.
    fn check(&self, pending: &Pending, version: u64) -> Result<Option<KvError>, KvError> {
        let reads = pending.buffer.reads();
        match pending.read_version {
            Some(read_version) if read_version > version => Ok(Some(KvError::TooOld)),
            Some(read_version) if read_version < version => self.check_since(read_version, reads),
            _ => Ok(None),
        }
    }

    fn check_since(&self, since: u64, reads: &RangeSet) -> Result<Option<KvError>, KvError> {
        let failed = |error: rusqlite::Error| translate(self.path, &error);
        let mut statement = self
            .session
            .connection()
            .prepare_cached(SINCE)
            .map_err(failed)?;
        let mut rows = statement.query([stored(since)]).map_err(failed)?;
        let mut expected = since + 1;
        while let Some(row) = rows.next().map_err(failed)? {
            // Every commit has the version after the one before: a gap was pruned.
            if row.get::<_, i64>(0).map_err(failed)? != stored(expected) {
                return Ok(Some(KvError::TooOld));
            }
            expected += 1;
            let writes = row
                .get_ref(1)
                .map_err(failed)?
                .as_blob()
                .unwrap_or_default();
            match conflicts::any(writes, |begin, end| reads.intersects(begin, end)) {
                Some(false) => {}
                Some(true) => return Ok(Some(KvError::Conflict)),
                None => {
                    let path = self.path.display();
                    return Err(KvError::Damaged(format!("{path}: commit {}", expected - 1)));
                }
            }
        }
        Ok(None)
    }

    fn apply(&self, operations: &[Operation], stamp: Version) -> Result<(), rusqlite::Error> {
        operations.iter().try_for_each(|operation| match operation {
            Operation::Set { key, value } => self.session.execute(SET, [key, value]),
            Operation::SetVersionstamped { prefix, value } => {
                let key = [prefix.as_slice(), stamp.as_bytes()].concat();
                self.session.execute(SET, [&key, value])
            }
            Operation::Clear { key } => self.session.execute(CLEAR, [key]),
            Operation::ClearRange(range) => self
                .session
                .execute(CLEAR_RANGE, [&range.begin, &range.end]),
        })
    }

    fn record(&self, version: u64, writes: &RangeSet) -> Result<(), rusqlite::Error> {
        self.session
            .execute(RECORD, (stored(version), conflicts::encode(writes)))?;
        // A quarter of the window at once: pruning touches the table's other end.
        if version.is_multiple_of(self.window.div_ceil(4)) {
            self.session
                .execute(PRUNE, [stored(version.saturating_sub(self.window))])?;
        }
        Ok(())
    }
}

/// A version as SQLite stores it. Versions count commits, so they never get that large.
fn stored(version: u64) -> i64 {
    i64::try_from(version).unwrap_or(i64::MAX)
}
