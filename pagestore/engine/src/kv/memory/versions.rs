//! The versions of every key, and the recent commits that conflict checks need.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use verso_pagestore::Version;

use crate::kv::buffer::{Operation, WriteBuffer};
use crate::kv::range_set::RangeSet;
use crate::kv::seeded::Seeded;
use crate::kv::{Direction, KeyRange, KeyValue, KvError, RangeQuery};

/// A commit takes a version at most so much above the newest one, so that nobody can rely
/// on the next number. Small, so that versions do not outrun the clock.
const MAX_JUMP: u64 = 8;

/// A value, or `None` where the key was cleared.
type Value = Option<Arc<[u8]>>;

/// Everything that the store holds. Versions are microseconds, as in FoundationDB.
#[derive(Debug)]
pub(super) struct Versions {
    /// The values of each key with their versions, oldest first.
    keys: BTreeMap<Vec<u8>, Vec<(u64, Value)>>,
    commits: VecDeque<Commit>,
    newest: u64,
    /// How many versions back reads and conflict checks go.
    window: u64,
    jumps: Seeded,
}

/// Commits that share a commit version, and differ in their order. Nobody reads at that version
/// before all of them are done.
#[derive(Debug)]
pub(super) struct Batch {
    version: u64,
    next_order: u16,
}

#[derive(Debug)]
struct Commit {
    version: u64,
    writes: RangeSet,
    keys: Vec<Vec<u8>>,
}

impl Versions {
    pub(super) fn new(window: u64, seed: u64) -> Self {
        Self {
            keys: BTreeMap::new(),
            commits: VecDeque::new(),
            newest: 1,
            window,
            jumps: Seeded::new(seed),
        }
    }

    /// The version to read at, at this time in microseconds.
    pub(super) fn read_version(&mut self, now: u64) -> u64 {
        self.newest = self.newest.max(now);
        self.newest
    }

    /// Whether a version will be within the window for a while.
    pub(super) fn is_young(&mut self, version: u64, now: u64) -> bool {
        let newest = self.read_version(now);
        newest.saturating_sub(version) < self.window / 5 * 4
    }

    fn check_age(&mut self, version: u64, now: u64) -> Result<(), KvError> {
        let newest = self.read_version(now);
        if version > newest || newest - version > self.window {
            return Err(KvError::TooOld);
        }
        Ok(())
    }

    pub(super) fn get(
        &mut self,
        version: u64,
        now: u64,
        key: &[u8],
    ) -> Result<Option<Vec<u8>>, KvError> {
        self.check_age(version, now)?;
        let versions = self.keys.get(key);
        Ok(versions
            .and_then(|versions| value_at(versions, version))
            .map(<[u8]>::to_vec))
    }

    /// The stored keys of a range at a version, in the order asked for.
    pub(super) fn range(
        &mut self,
        version: u64,
        now: u64,
        query: &RangeQuery,
    ) -> Result<Box<dyn Iterator<Item = KeyValue> + '_>, KvError> {
        self.check_age(version, now)?;
        let KeyRange { begin, end } = query.range.clone();
        let found = self
            .keys
            .range(begin..end)
            .filter_map(move |(key, versions)| {
                Some((key.clone(), value_at(versions, version)?.to_vec()))
            });
        Ok(match query.direction {
            Direction::Forward => Box::new(found),
            Direction::Reverse => Box::new(found.rev()),
        })
    }

    /// The next commit version.
    pub(super) fn begin_batch(&mut self, now: u64) -> Batch {
        self.newest = self.read_version(now) + 1 + self.jumps.below(MAX_JUMP);
        Batch {
            version: self.newest,
            next_order: 0,
        }
    }

    /// Checks a transaction against the commits since its read version, also those before it in
    /// its batch, and applies it.
    pub(super) fn commit(
        &mut self,
        batch: &mut Batch,
        read_version: u64,
        now: u64,
        buffer: &WriteBuffer,
    ) -> Result<Version, KvError> {
        if buffer.has_read() {
            self.check_age(read_version, now)?;
            let mut since = self
                .commits
                .iter()
                .rev()
                .take_while(|it| it.version > read_version);
            if since.any(|commit| commit.writes.meets(buffer.reads())) {
                return Err(KvError::Conflict);
            }
        }
        let stamp = Version::from_commit(batch.version, batch.next_order);
        batch.next_order += 1;
        let keys = self.apply(stamp, buffer.operations());
        self.commits.push_back(Commit {
            version: batch.version,
            writes: buffer.writes().clone(),
            keys,
        });
        self.prune();
        Ok(stamp)
    }

    /// Applies writes in order, and returns the keys that they changed.
    fn apply(&mut self, stamp: Version, operations: &[Operation]) -> Vec<Vec<u8>> {
        let version = stamp.commit_version();
        let mut changed = Vec::new();
        for operation in operations {
            let (key, value) = match operation {
                Operation::Set { key, value } => (key.clone(), Some(Arc::from(value.as_slice()))),
                Operation::SetVersionstamped { prefix, value } => {
                    let key = [prefix.as_slice(), stamp.as_bytes()].concat();
                    (key, Some(Arc::from(value.as_slice())))
                }
                Operation::Clear { key } => (key.clone(), None),
                Operation::ClearRange(range) => {
                    changed.extend(self.clear_range(version, range));
                    continue;
                }
            };
            put(self.keys.entry(key.clone()).or_default(), version, value);
            changed.push(key);
        }
        changed
    }

    fn clear_range(&mut self, version: u64, range: &KeyRange) -> Vec<Vec<u8>> {
        let mut cleared = Vec::new();
        for (key, versions) in self.keys.range_mut(range.begin.clone()..range.end.clone()) {
            if versions.last().is_some_and(|(_, value)| value.is_some()) {
                put(versions, version, None);
                cleared.push(key.clone());
            }
        }
        cleared
    }

    /// Forgets commits, and values that they replaced, from before the window.
    fn prune(&mut self) {
        let oldest = self.newest.saturating_sub(self.window);
        while let Some(commit) = self.commits.pop_front_if(|commit| commit.version <= oldest) {
            for key in commit.keys {
                self.forget(key, oldest);
            }
        }
    }

    /// Forgets the values of a key that nobody can read from version `oldest` on.
    fn forget(&mut self, key: Vec<u8>, oldest: u64) {
        let std::collections::btree_map::Entry::Occupied(mut entry) = self.keys.entry(key) else {
            return;
        };
        let versions = entry.get_mut();
        let readable = versions.partition_point(|(version, _)| *version <= oldest);
        versions.drain(..readable.saturating_sub(1));
        if let [(version, None)] = versions.as_slice()
            && *version <= oldest
        {
            entry.remove();
        }
    }

    /// How many values are kept, of all keys and versions.
    #[cfg(test)]
    fn values(&self) -> usize {
        self.keys.values().map(Vec::len).sum()
    }
}

fn put(versions: &mut Vec<(u64, Value)>, version: u64, value: Value) {
    versions.pop_if(|(newest, _)| *newest == version);
    versions.push((version, value));
}

fn value_at(versions: &[(u64, Value)], version: u64) -> Option<&[u8]> {
    let (_, value) = versions
        .iter()
        .rev()
        .find(|(stored, _)| *stored <= version)?;
    value.as_deref()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(key: &[u8], value: &[u8]) -> WriteBuffer {
        let mut buffer = WriteBuffer::default();
        buffer.set(key, value);
        buffer
    }

    #[test]
    fn old_versions_are_forgotten_after_the_window() {
        let mut versions = Versions::new(1000, 1);
        let commit = |versions: &mut Versions, now, buffer: &WriteBuffer| {
            let mut batch = versions.begin_batch(now);
            versions.commit(&mut batch, 0, now, buffer).unwrap();
        };
        for _ in 0..10 {
            commit(&mut versions, 0, &set(b"a", b"1"));
        }
        let read_version = versions.read_version(0);
        let mut clear = WriteBuffer::default();
        clear.clear(b"a");
        commit(&mut versions, 500, &clear);
        assert_eq!(versions.values(), 11);
        commit(&mut versions, 1200, &set(b"b", b"1"));
        assert_eq!(
            versions.values(),
            3,
            "the last value before the window, the clear, and b"
        );
        assert_eq!(versions.get(read_version, 1200, b"a"), Err(KvError::TooOld));
        commit(&mut versions, 5000, &set(b"b", b"2"));
        assert_eq!(versions.values(), 2, "b now and at the begin of the window");
    }

    #[test]
    fn commits_of_a_batch_share_a_version_and_exclude_each_other() {
        let mut versions = Versions::new(1000, 1);
        let before = versions.read_version(0);
        let mut batch = versions.begin_batch(0);
        let mut attempt = |buffer: &WriteBuffer| versions.commit(&mut batch, before, 0, buffer);
        let first = attempt(&set(b"a", b"1")).unwrap();
        let mut reader = set(b"b", b"2");
        reader.add_read_conflict(KeyRange::single(b"a"));
        assert_eq!(attempt(&reader), Err(KvError::Conflict));
        let second = attempt(&set(b"a", b"3")).unwrap();
        assert!(first < second && first.commit_version() == second.commit_version());
        let version = first.commit_version();
        assert_eq!(versions.get(before, 0, b"a"), Ok(None));
        assert_eq!(versions.get(version, 0, b"a"), Ok(Some(b"3".to_vec())));
    }
}
