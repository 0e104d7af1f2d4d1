//! The pairs of the tail, in memory: of all versions since a flush, as in the memory table of a
//! log-structured merge tree. Snapshots of different versions share them.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::tail::Position;
use crate::kv::buffer::Own;
use crate::kv::{Direction, KeyRange, KeyValue};
use crate::varint;

/// A key with its value; without one it was cleared.
type Pair = (Vec<u8>, Option<Vec<u8>>);

/// What was committed since a flush.
#[derive(Debug, Clone)]
pub(super) struct Recent {
    /// The version of the flush.
    flushed: u64,
    /// The chain at the flush, and after each commit since.
    chains: Vec<u64>,
    /// What commits say about each key, the oldest first.
    said: BTreeMap<Vec<u8>, Vec<Said>>,
    /// Of keys and values as they are stored.
    bytes: usize,
}

/// What the commit of a version says about a key.
#[derive(Debug, Clone)]
struct Said {
    version: u64,
    value: Option<Vec<u8>>,
}

impl Recent {
    /// Nothing, right after a flush.
    pub(super) fn after_flush(flushed: u64, chain: u64) -> Self {
        Self {
            flushed,
            chains: vec![chain],
            said: BTreeMap::new(),
            bytes: 0,
        }
    }

    /// Whether all commits up to this position are in it, and are those that it has: with the same
    /// chain, they have the same pairs.
    pub(super) fn has(&self, position: Position) -> bool {
        let since = position.version.checked_sub(self.flushed);
        let since = since.and_then(|since| usize::try_from(since).ok());
        position.flushed == self.flushed
            && since.and_then(|since| self.chains.get(since)) == Some(&position.chain)
    }

    /// The version of the newest commit in it.
    pub(super) fn newest(&self) -> u64 {
        self.flushed + self.chains.len() as u64 - 1
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds the commit after the newest, with its pairs as they are stored. `None` if these are
    /// damaged; then nothing is added.
    pub(super) fn add(&mut self, chain: u64, pairs: &[u8]) -> Option<()> {
        let version = self.newest() + 1;
        for (key, value) in decode(pairs)? {
            let said = self.said.entry(key).or_default();
            said.push(Said { version, value });
        }
        self.chains.push(chain);
        self.bytes += pairs.len();
        Some(())
    }

    /// A copy without the commits after a version.
    pub(super) fn until(&self, version: u64) -> Self {
        let mut copy = self.clone();
        let commits = version.saturating_sub(self.flushed) + 1;
        copy.chains
            .truncate(usize::try_from(commits).unwrap_or(usize::MAX));
        copy.said.retain(|_, said| {
            said.retain(|said| said.version <= version);
            !said.is_empty()
        });
        copy
    }

    /// What is said about a key at a version.
    pub(super) fn get(&self, key: &[u8], at: u64) -> Own<'_> {
        let said = self.said.get(key);
        said.map_or(Own::Untouched, |said| value(said, at))
    }

    /// The first pairs of a range in a direction, at a version, at most so many. What was cleared
    /// is not among them.
    pub(super) fn range(
        &self,
        range: &KeyRange,
        direction: Direction,
        at: u64,
        most: usize,
    ) -> Vec<KeyValue> {
        let pairs = self.said_in(range);
        let pairs = pairs.filter_map(|(key, said)| match value(said, at) {
            Own::Set(value) => Some((key.clone(), value.to_vec())),
            Own::Cleared | Own::Untouched => None,
        });
        match direction {
            Direction::Forward => pairs.take(most).collect(),
            Direction::Reverse => pairs.rev().take(most).collect(),
        }
    }

    /// Whether anything is said about a key of a range, at whatever version.
    pub(super) fn touches(&self, range: &KeyRange) -> bool {
        self.said_in(range).next().is_some()
    }

    fn said_in(
        &self,
        range: &KeyRange,
    ) -> impl DoubleEndedIterator<Item = (&Vec<u8>, &Vec<Said>)> + use<'_> {
        // A map's range must not end before it begins.
        let end = range.end.as_slice().max(&range.begin);
        let bounds = (
            Bound::Included(range.begin.as_slice()),
            Bound::Excluded(end),
        );
        self.said.range::<[u8], _>(bounds)
    }

    /// All that is said at a version, in the order of the keys.
    pub(super) fn all(&self, at: u64) -> impl Iterator<Item = (&[u8], Own<'_>)> {
        let keys = self.said.iter();
        keys.map(move |(key, said)| (key.as_slice(), value(said, at)))
    }
}

fn value(said: &[Said], at: u64) -> Own<'_> {
    match said.iter().rev().find(|said| said.version <= at) {
        None => Own::Untouched,
        Some(Said { value: None, .. }) => Own::Cleared,
        Some(Said {
            value: Some(value), ..
        }) => Own::Set(value),
    }
}

/// The pairs of a commit, from their stored form; `None` if they are damaged.
fn decode(mut pairs: &[u8]) -> Option<Vec<Pair>> {
    let mut decoded = Vec::new();
    while !pairs.is_empty() {
        let key = varint::take_bytes(&mut pairs)?.to_vec();
        let value = match varint::take(&mut pairs)?.checked_sub(1) {
            None => None,
            Some(length) => Some(varint::take_exactly(&mut pairs, length)?.to_vec()),
        };
        decoded.push((key, value));
    }
    Some(decoded)
}
