//! What a transaction keeps to itself until it commits: its writes in order, what reads
//! see of them, and its conflict sets.

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;

use super::overlay::Overlay;
use super::range_set::RangeSet;
use super::{Direction, Isolation, KeyRange, KeyValue, KvError, LateRanges, Limits, RangeQuery};

/// What a write adds to the size of its transaction beside its bytes, as in FoundationDB
/// (`MutationRef` and `KeyRangeRef` are counted with their structs).
const OPERATION_OVERHEAD: usize = 40;
const RANGE_OVERHEAD: usize = 32;

/// One write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Operation {
    Set { key: Vec<u8>, value: Vec<u8> },
    SetVersionstamped { prefix: Vec<u8>, value: Vec<u8> },
    Clear { key: Vec<u8> },
    ClearRange(KeyRange),
}

/// What newer writes say about a key than those below them.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Own<'a> {
    Untouched,
    Cleared,
    Set(&'a [u8]),
}

/// The writes and conflict sets of one transaction.
#[derive(Debug, Default)]
pub(super) struct WriteBuffer {
    operations: Vec<Operation>,
    /// The last operation on each key since it was last in a cleared range: the index of
    /// its `Set`, or `None` for a `Clear`.
    latest: BTreeMap<Vec<u8>, Option<usize>>,
    cleared: RangeSet,
    reads: ConflictSet,
    writes: ConflictSet,
    /// Bytes of `operations`.
    bytes: usize,
    longest_key: usize,
    longest_value: usize,
}

/// A conflict set. It is put in order only when somebody asks for it: mostly nobody asks for what
/// a transaction has read.
#[derive(Debug, Default)]
struct ConflictSet {
    ordered: OnceCell<RangeSet>,
    /// What is not in order yet.
    added: RefCell<Vec<KeyRange>>,
    /// What is not even computed yet.
    late: RefCell<Vec<LateRanges>>,
    /// Bytes of what was added.
    bytes: usize,
}

impl ConflictSet {
    /// More are put in order at once, since many of them may be the same.
    const MOST_ADDED: usize = 64;

    fn insert(&mut self, range: KeyRange) {
        if range.is_empty() {
            return;
        }
        self.bytes += range.begin.len() + range.end.len() + RANGE_OVERHEAD;
        if let Some(ordered) = self.ordered.get_mut() {
            ordered.insert(range);
            return;
        }
        let added = self.added.get_mut();
        added.push(range);
        if added.len() >= Self::MOST_ADDED {
            self.ordered();
        }
    }

    fn insert_late(&mut self, ranges: LateRanges) {
        if self.ordered.get().is_some() {
            ranges.compute().into_iter().for_each(|it| self.insert(it));
            return;
        }
        self.bytes += ranges.most * (ranges.longest + RANGE_OVERHEAD);
        self.late.get_mut().push(ranges);
    }

    const fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    fn ordered(&self) -> &RangeSet {
        self.ordered.get_or_init(|| {
            let mut ordered = RangeSet::default();
            let late = self.late.take();
            let late = late.into_iter().flat_map(LateRanges::compute);
            for range in self.added.take().into_iter().chain(late) {
                ordered.insert(range);
            }
            ordered
        })
    }
}

impl WriteBuffer {
    pub(super) fn set(&mut self, key: &[u8], value: &[u8]) {
        self.count(key.len(), value.len());
        self.latest
            .insert(key.to_vec(), Some(self.operations.len()));
        self.operations.push(Operation::Set {
            key: key.to_vec(),
            value: value.to_vec(),
        });
        self.writes.insert(KeyRange::single(key));
    }

    pub(super) fn set_versionstamped(&mut self, prefix: &[u8], value: &[u8]) {
        self.count(prefix.len() + verso_pagestore::Version::LENGTH, value.len());
        self.operations.push(Operation::SetVersionstamped {
            prefix: prefix.to_vec(),
            value: value.to_vec(),
        });
        self.writes.insert(KeyRange::prefix(prefix));
    }

    pub(super) fn clear(&mut self, key: &[u8]) {
        self.count(key.len(), 0);
        self.latest.insert(key.to_vec(), None);
        self.operations.push(Operation::Clear { key: key.to_vec() });
        self.writes.insert(KeyRange::single(key));
    }

    pub(super) fn clear_range(&mut self, range: &KeyRange) {
        if range.is_empty() {
            return;
        }
        self.bytes += range.begin.len() + range.end.len() + OPERATION_OVERHEAD;
        self.latest
            .extract_if(range.begin.clone()..range.end.clone(), |_, _| true)
            .for_each(drop);
        self.cleared.insert(range.clone());
        self.operations.push(Operation::ClearRange(range.clone()));
        self.writes.insert(range.clone());
    }

    pub(super) fn add_read_conflict(&mut self, range: KeyRange) {
        self.reads.insert(range);
    }

    pub(super) fn add_read_conflicts(&mut self, ranges: LateRanges) {
        self.reads.insert_late(ranges);
    }

    pub(super) fn add_write_conflict(&mut self, range: KeyRange) {
        self.writes.insert(range);
    }

    fn count(&mut self, key: usize, value: usize) {
        self.bytes += key + value + OPERATION_OVERHEAD;
        self.longest_key = self.longest_key.max(key);
        self.longest_value = self.longest_value.max(value);
    }

    /// The writes in order.
    pub(super) fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// Whether it depends on anything that others may write.
    pub(super) const fn has_read(&self) -> bool {
        !self.reads.is_empty()
    }

    /// The read conflict set.
    pub(super) fn reads(&self) -> &RangeSet {
        self.reads.ordered()
    }

    /// The write conflict set.
    pub(super) fn writes(&self) -> &RangeSet {
        self.writes.ordered()
    }

    /// Whether a commit has nothing to do.
    pub(super) const fn is_read_only(&self) -> bool {
        self.writes.is_empty()
    }

    /// Size of the transaction in bytes, as FoundationDB counts it: also what is in its conflict sets
    /// twice.
    pub(super) const fn size(&self) -> usize {
        self.bytes + self.reads.bytes + self.writes.bytes
    }

    pub(super) fn check_limits(&self, limits: &Limits) -> Result<(), KvError> {
        let checks = [
            (self.longest_key, limits.key_bytes),
            (self.longest_value, limits.value_bytes),
            (self.size(), limits.transaction_bytes),
        ];
        match checks.into_iter().find(|(bytes, limit)| bytes > limit) {
            Some((bytes, limit)) => Err(KvError::TooLarge { bytes, limit }),
            None => Ok(()),
        }
    }

    /// What the own writes say about a key.
    pub(super) fn own(&self, key: &[u8]) -> Own<'_> {
        match self.latest.get(key) {
            Some(index) => self.value(*index).map_or(Own::Cleared, Own::Set),
            None if self.cleared.contains(key) => Own::Cleared,
            None => Own::Untouched,
        }
    }

    /// Reads a key: from the own writes, else from the store. A value that the own writes
    /// settle depends on nobody, so it adds no read conflict.
    pub(super) fn read(
        &mut self,
        key: &[u8],
        isolation: Isolation,
        store: impl FnOnce() -> Result<Option<Vec<u8>>, KvError>,
    ) -> Result<Option<Vec<u8>>, KvError> {
        match self.own(key) {
            Own::Set(value) => Ok(Some(value.to_vec())),
            Own::Cleared => Ok(None),
            Own::Untouched => {
                let value = store()?;
                if isolation == Isolation::Serializable {
                    self.reads.insert(KeyRange::single(key));
                }
                Ok(value)
            }
        }
    }

    /// Reads a range: `stored` gives the store's keys in the order asked for, and the own
    /// writes are laid over them. A full answer depends only on the keys up to its last.
    pub(super) fn read_range(
        &mut self,
        query: &RangeQuery,
        isolation: Isolation,
        stored: impl FnMut() -> Result<Option<KeyValue>, KvError>,
    ) -> Result<Vec<KeyValue>, KvError> {
        if query.limit == 0 || query.range.is_empty() {
            return Ok(Vec::new());
        }
        let found = self.merge(query, stored)?;
        if isolation == Isolation::Serializable {
            self.reads.insert(seen(query, &found));
        }
        Ok(found)
    }

    fn merge(
        &self,
        query: &RangeQuery,
        stored: impl FnMut() -> Result<Option<KeyValue>, KvError>,
    ) -> Result<Vec<KeyValue>, KvError> {
        let hides = |key: &[u8]| self.own(key) != Own::Untouched;
        let mut pairs = Overlay::new(query.direction, self.own_range(query), hides, stored);
        let mut found = Vec::new();
        while !query.is_answered(&found)
            && let Some(pair) = pairs.next()?
        {
            found.push(pair);
        }
        Ok(found)
    }

    /// The keys that the own writes set in a range, in the order asked for.
    fn own_range(&self, query: &RangeQuery) -> Box<dyn Iterator<Item = (&[u8], &[u8])> + '_> {
        let KeyRange { begin, end } = query.range.clone();
        let set = self
            .latest
            .range(begin..end)
            .filter_map(|(key, index)| Some((key.as_slice(), self.value(*index)?)));
        match query.direction {
            Direction::Forward => Box::new(set),
            Direction::Reverse => Box::new(set.rev()),
        }
    }

    fn value(&self, index: Option<usize>) -> Option<&[u8]> {
        if let Some(Operation::Set { value, .. }) = self.operations.get(index?) {
            Some(value)
        } else {
            None
        }
    }
}

/// The part of a range that an answer depends on.
fn seen(query: &RangeQuery, found: &[KeyValue]) -> KeyRange {
    let mut range = query.range.clone();
    if let Some((last, _)) = found.last()
        && query.is_answered(found)
    {
        match query.direction {
            Direction::Forward => range.end = KeyRange::single(last).end,
            Direction::Reverse => range.begin.clone_from(last),
        }
    }
    range
}
