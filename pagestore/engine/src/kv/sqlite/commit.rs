//! Commits: they queue, and whoever's turn it is commits for all that wait.
//!
//! One SQLite transaction and one sync then serve the whole group, while each of its
//! members has its own version, is checked against those before it, and may fail alone.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use verso_pagestore::{Durability, Version};

use super::connection::Session;
use super::error::{translate, translate_commit};
use super::head::Head;
use super::tail::{self, Tail, Tails};
use super::{SqliteOptions, Store, conflicts};
use crate::kv::buffer::{Operation, Own, WriteBuffer};
use crate::kv::range_set::RangeSet;
use crate::kv::{Committed, KvError};

const SET: &str = "INSERT INTO kv (key, value) VALUES (?1, ?2) \
     ON CONFLICT (key) DO UPDATE SET value = excluded.value";
const CLEAR: &str = "DELETE FROM kv WHERE key = ?1";
const CLEAR_RANGE: &str = "DELETE FROM kv WHERE key >= ?1 AND key < ?2";
const SINCE: &str = "SELECT version, writes FROM commits WHERE version > ?1 ORDER BY version";
const RECORD: &str = "INSERT INTO commits (version, flushed, chain, writes, pairs) \
     VALUES (?1, ?2, ?3, ?4, ?5)";
/// Ignored, as no column but the last may be null, if the commit before is another one, and, as
/// versions are unique, if there is a later one.
const RECORD_IF_NEWEST: &str = "INSERT OR IGNORE INTO commits (version, flushed, chain, writes, pairs) \
     VALUES (?1 + 1, \
     (SELECT flushed FROM commits WHERE version = ?1 AND flushed = ?2 AND chain = ?3), ?4, ?5, ?6)";
const FLUSHED: &str = "UPDATE commits SET flushed = ?1 WHERE version = ?1";
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
    longest_tail: u64,
    has_committed: AtomicBool,
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
    pub(super) fn new(options: &SqliteOptions) -> Self {
        let window = options.conflict_window.max(1);
        Self {
            waiting: Mutex::default(),
            turn: Mutex::default(),
            window,
            // The rows of the tail cannot be pruned.
            longest_tail: options.longest_tail.clamp(1, window.div_ceil(4)),
            has_committed: AtomicBool::new(false),
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

    fn turn<'a>(&self, store: &'a Store, session: &'a mut Session) -> Turn<'a> {
        Turn {
            session,
            path: &store.path,
            head: &store.head,
            tails: &store.tails,
            window: self.window,
            longest_tail: self.longest_tail,
        }
    }

    /// Leaves the store tidy, where that costs nobody anything: whoever opens it next need not
    /// read the tail. After a fork no connection is left to do it with.
    pub(super) fn close(&self, store: &Store) {
        if self.has_committed.load(Ordering::Relaxed)
            && let Some(mut session) = store.pool.take_idle()
            && let Err(error) = self.turn(store, &mut session).tidy()
        {
            tracing::debug!(%error, "the tail was not flushed at the end");
        }
    }

    fn commit_group(&self, store: &Store, group: &[Pending]) -> Vec<CommitResult> {
        let mut session = match store.pool.take() {
            Ok(session) => session,
            Err(error) => return vec![Err(error); group.len()],
        };
        self.has_committed.store(true, Ordering::Relaxed);
        let mut turn = self.turn(store, &mut session);
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
    tails: &'a Tails,
    window: u64,
    longest_tail: u64,
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
        if let [alone] = group
            && let Some(committed) = self.commit_alone(alone)?
        {
            return Ok(vec![Ok(committed)]);
        }
        self.session
            .execute("BEGIN IMMEDIATE", ())
            .map_err(failed)?;
        let before = self.head.before_commit();
        let (mut results, tail) = match self.write(group) {
            Ok((results, tail)) if results.iter().any(Result::is_ok) => (results, tail),
            // What fails here fails again when the connection goes back to the pool, which
            // then closes it.
            refused => {
                let _ = self.session.end();
                return refused.map(|(results, _)| results);
            }
        };
        self.session
            .execute("COMMIT", ())
            .map_err(|error| translate_commit(path, &error))?;
        self.tails.set(tail);
        // What is committed now is what the last one has made.
        let mut committed = results.iter_mut().filter_map(|result| result.as_mut().ok());
        if let Some(last) = committed.next_back() {
            last.mark = self.head.after_commit(before);
        }
        let bytes = group.iter().map(|pending| pending.buffer.size()).sum();
        self.session.committed(group.len(), bytes);
        Ok(results)
    }

    /// Commits in a single statement, if nobody has committed since this process last looked, so
    /// that there is nothing to check, and if nothing is to be flushed. `None` if that is not so;
    /// then nothing was written.
    fn commit_alone(&mut self, pending: &Pending) -> Result<Option<Committed>, KvError> {
        let mut tail = self.tails.newest();
        let newest = tail.position();
        let version = newest.version + 1;
        let depends_on_others = pending
            .read_version
            .is_some_and(|version| version != newest.version);
        if depends_on_others || self.prunes(version) {
            return Ok(None);
        }
        let stamp = Version::from_commit(version, 0);
        let Some(pairs) = tail::encode(pending.buffer.operations(), stamp) else {
            return Ok(None);
        };
        let writes = conflicts::encode(pending.buffer.writes());
        if tail.is_long_with(pairs.len(), self.longest_tail) {
            return Ok(None);
        }
        let next = tail.next(&writes, Some(&pairs));
        let before = self.head.before_commit();
        let row = (
            stored(newest.version),
            stored(newest.flushed),
            newest.chain.cast_signed(),
            next.chain.cast_signed(),
            writes,
            pairs.as_slice(),
        );
        let changed = self
            .session
            .change(RECORD_IF_NEWEST, row)
            .map_err(|error| translate_commit(self.path, &error))?;
        if changed == 0 {
            return Ok(None);
        }
        // What was encoded here can be decoded.
        if tail.follow(next, &pairs).is_some() {
            self.tails.set(tail);
        }
        self.session.committed(1, pending.buffer.size());
        Ok(Some(Committed {
            versionstamp: Some(stamp),
            read_version: version,
            mark: self.head.after_commit(before),
        }))
    }

    /// Whether the commit of this version prunes the table of commits: a quarter of the window at
    /// once, since pruning touches the table's other end.
    const fn prunes(&self, version: u64) -> bool {
        version.is_multiple_of(self.window.div_ceil(4))
    }

    /// Writes what may be committed of a group, which the tail then contains.
    fn write(&mut self, group: &[Pending]) -> Result<(Vec<CommitResult>, Tail), KvError> {
        let mut tail = self.tails.of(self.session, self.path)?;
        let mut results = Vec::with_capacity(group.len());
        for pending in group {
            if let Some(refusal) = self.check(pending, tail.position().version)? {
                results.push(Err(refusal));
                continue;
            }
            let version = self.append(&mut tail, &pending.buffer)?;
            results.push(Ok(Committed {
                versionstamp: Some(Version::from_commit(version, 0)),
                read_version: version,
                mark: None,
            }));
        }
        Ok((results, tail))
    }

    /// Why a transaction cannot follow the commits up to `version`.
    fn check(&self, pending: &Pending, version: u64) -> Result<Option<KvError>, KvError> {
        match pending.read_version {
            Some(read_version) if read_version > version => Ok(Some(KvError::TooOld)),
            Some(read_version) if read_version < version => {
                self.check_since(read_version, pending.buffer.reads())
            }
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

    /// Appends a commit: to the tail, or to `kv` with all that is in the tail before it. Returns
    /// its version.
    fn append(&self, tail: &mut Tail, buffer: &WriteBuffer) -> Result<u64, KvError> {
        let failed = |error: rusqlite::Error| translate(self.path, &error);
        let version = tail.position().version + 1;
        let stamp = Version::from_commit(version, 0);
        let writes = conflicts::encode(buffer.writes());
        let pairs = tail::encode(buffer.operations(), stamp);
        let bytes = pairs.as_ref().map_or(0, Vec::len);
        let is_long = tail.is_long_with(bytes, self.longest_tail);
        let next = tail.next(&writes, pairs.as_deref());
        let followed = tail.follow(next, pairs.as_deref().unwrap_or_default());
        followed.ok_or_else(|| KvError::Io("the pairs of a commit cannot be read back".into()))?;
        if pairs.is_none() {
            self.flush(tail)
                .and_then(|()| self.apply(buffer.operations(), stamp))
                .map_err(failed)?;
        } else if is_long {
            self.flush(tail).map_err(failed)?;
        }
        let position = tail.position();
        let (flushed, chain) = (stored(position.flushed), position.chain.cast_signed());
        let row = (stored(version), flushed, chain, writes, pairs);
        self.session.execute(RECORD, row).map_err(failed)?;
        if self.prunes(version) {
            let oldest = version.saturating_sub(self.window);
            // The tail begins behind the row of the last flush.
            let last = oldest.min(position.flushed.saturating_sub(1));
            let pruned = self.session.execute(PRUNE, [stored(last)]);
            pruned.map_err(failed)?;
        }
        Ok(version)
    }

    /// Flushes the tail in a transaction of its own, unless somebody else is committing.
    fn tidy(&mut self) -> Result<(), KvError> {
        let failed = |error: rusqlite::Error| translate(self.path, &error);
        self.session.wait_for_nobody().map_err(failed)?;
        self.session
            .set_durability(Durability::Normal)
            .map_err(failed)?;
        self.session
            .execute("BEGIN IMMEDIATE", ())
            .map_err(failed)?;
        let mut tail = self.tails.of(self.session, self.path)?;
        if tail.is_empty() {
            return Ok(());
        }
        self.flush(&mut tail)
            .and_then(|()| {
                let version = stored(tail.position().version);
                self.session.execute(FLUSHED, [version])
            })
            .and_then(|()| self.session.execute("COMMIT", ()))
            .map_err(failed)
    }

    /// Writes the tail to `kv`.
    fn flush(&self, tail: &mut Tail) -> Result<(), rusqlite::Error> {
        tail.visit(|key, own| match own {
            Own::Set(value) => self.session.execute(SET, [key, value]),
            Own::Cleared => self.session.execute(CLEAR, [key]),
            Own::Untouched => Ok(()),
        })?;
        tail.flush();
        Ok(())
    }

    /// Writes a commit to `kv`.
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
}

/// A version as SQLite stores it. Versions count commits, so they never get that large.
fn stored(version: u64) -> i64 {
    i64::try_from(version).unwrap_or(i64::MAX)
}
