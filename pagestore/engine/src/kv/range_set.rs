//! A set of keys, kept as sorted ranges that neither overlap nor touch.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::KeyRange;

/// A set of keys.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct RangeSet {
    /// From the begin of each range to its end.
    ends: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl RangeSet {
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The ranges in ascending order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.ends
            .iter()
            .map(|(begin, end)| (begin.as_slice(), end.as_slice()))
    }

    /// Adds a range, and joins it with those that it overlaps or touches.
    pub(super) fn insert(&mut self, range: KeyRange) {
        if range.is_empty() {
            return;
        }
        let KeyRange { mut begin, mut end } = range;
        if let Some((before, before_end)) = self.at_or_before(&begin)
            && before_end >= begin.as_slice()
        {
            if before_end >= end.as_slice() {
                return;
            }
            begin = before.to_vec();
        }
        while let Some((next, next_end)) = self
            .ends
            .range::<[u8], _>((
                Bound::Included(begin.as_slice()),
                Bound::Included(end.as_slice()),
            ))
            .next()
        {
            let next = next.clone();
            end = end.max(next_end.clone());
            self.ends.remove(&next);
        }
        self.ends.insert(begin, end);
    }

    /// Whether the key is in the set.
    pub(super) fn contains(&self, key: &[u8]) -> bool {
        self.at_or_before(key).is_some_and(|(_, end)| key < end)
    }

    /// Whether any key from `begin` to before `end` is in the set.
    pub(super) fn intersects(&self, begin: &[u8], end: &[u8]) -> bool {
        // Of the ranges that begin below `end`, the last one also ends last.
        begin < end
            && self
                .ends
                .range::<[u8], _>((Bound::Unbounded, Bound::Excluded(end)))
                .next_back()
                .is_some_and(|(_, last)| begin < last.as_slice())
    }

    /// Whether any key is in both sets.
    pub(super) fn meets(&self, other: &Self) -> bool {
        let (few, many) = if self.len() <= other.len() {
            (self, other)
        } else {
            (other, self)
        };
        few.iter().any(|(begin, end)| many.intersects(begin, end))
    }

    fn at_or_before(&self, key: &[u8]) -> Option<(&[u8], &[u8])> {
        self.ends
            .range::<[u8], _>((Bound::Unbounded, Bound::Included(key)))
            .next_back()
            .map(|(begin, end)| (begin.as_slice(), end.as_slice()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ranges: &[(&str, &str)]) -> RangeSet {
        let mut set = RangeSet::default();
        for (begin, end) in ranges {
            set.insert(KeyRange::new(*begin, *end));
        }
        set
    }

    #[test]
    fn overlapping_and_touching_ranges_join() {
        assert_eq!(
            set(&[("a", "c"), ("b", "d"), ("d", "e")]),
            set(&[("a", "e")])
        );
        assert_eq!(
            set(&[("a", "b"), ("c", "d"), ("e", "f"), ("a", "f")]),
            set(&[("a", "f")])
        );
        assert_eq!(set(&[("a", "z"), ("c", "d")]), set(&[("a", "z")]));
        assert_eq!(set(&[("c", "d"), ("a", "b"), ("d", "c")]).len(), 2);
    }

    #[test]
    fn membership_ends_before_the_end() {
        let set = set(&[("a", "c"), ("e", "g")]);
        assert!(set.contains(b"a") && set.contains(b"b\xff") && set.contains(b"f"));
        assert!(!set.contains(b"c") && !set.contains(b"d") && !set.contains(b"g"));
        assert!(set.intersects(b"b", b"d") && set.intersects(b"d", b"e\0"));
        assert!(!set.intersects(b"c", b"e") && !set.intersects(b"g", b"z"));
        assert!(!set.intersects(b"b", b"b") && !set.intersects(b"f", b"b"));
    }
}
