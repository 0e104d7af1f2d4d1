//! Ranges of keys.

use std::fmt;

/// The longest key that any store takes, in bytes.
const LONGEST_KEY: usize = 10_000;

/// Keys from `begin` to before `end`, in byte order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyRange {
    /// The first key of the range.
    pub begin: Vec<u8>,
    /// The first key beyond the range.
    pub end: Vec<u8>,
}

impl KeyRange {
    /// From `begin` to before `end`; empty if `end` is not above `begin`.
    #[must_use]
    pub fn new(begin: impl Into<Vec<u8>>, end: impl Into<Vec<u8>>) -> Self {
        Self {
            begin: begin.into(),
            end: end.into(),
        }
    }

    /// Just this key.
    #[must_use]
    pub fn single(key: &[u8]) -> Self {
        Self::new(key, [key, &[0]].concat())
    }

    /// All keys that begin with `prefix`.
    ///
    /// A prefix of only `0xff` bytes has no key above it; its range ends at a key longer
    /// than any that a store takes.
    #[must_use]
    pub fn prefix(prefix: &[u8]) -> Self {
        let mut end = prefix.to_vec();
        while end.last() == Some(&0xff) {
            end.pop();
        }
        match end.last_mut() {
            Some(last) => *last += 1,
            None => end = vec![0xff; LONGEST_KEY + 1],
        }
        Self::new(prefix, end)
    }

    /// Whether the keys from `begin` to before `end` are those that begin with `begin`.
    pub(super) fn is_prefix(begin: &[u8], end: &[u8]) -> bool {
        // Mostly the last byte is one more, and all others are the same.
        match (begin.split_last(), end.split_last()) {
            (Some((&last, begin)), Some((&above, end))) if last < 0xff => {
                last + 1 == above && begin == end
            }
            _ => Self::prefix(begin).end == end,
        }
    }

    /// Whether no key is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.begin >= self.end
    }

    /// Whether the key is in it.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        self.begin.as_slice() <= key && key < self.end.as_slice()
    }

    /// Whether any key is in both.
    #[must_use]
    pub fn intersects(&self, other: &Self) -> bool {
        self.begin < other.end && other.begin < self.end && !self.is_empty() && !other.is_empty()
    }
}

/// The order in which a range is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Ascending keys.
    Forward,
    /// Descending keys.
    Reverse,
}

/// A range read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeQuery {
    /// Which keys.
    pub range: KeyRange,
    /// In which order.
    pub direction: Direction,
    /// At most so many.
    pub limit: usize,
    /// What ends the answer before that.
    pub until: Option<Until>,
}

/// What ends the answer to a range read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Until {
    /// The first value that does not begin with this byte is the last one.
    pub other_than: u8,
    /// A distributed store sends about so many bytes at once, and does not look at the values:
    /// more than most answers have, and few enough that it does not matter if some of them were not
    /// asked for.
    pub bytes_at_once: usize,
}

impl RangeQuery {
    /// The first `limit` keys of the range.
    #[must_use]
    pub const fn first(limit: usize, range: KeyRange) -> Self {
        Self {
            range,
            direction: Direction::Forward,
            limit,
            until: None,
        }
    }

    /// The last `limit` keys of the range, in descending order.
    #[must_use]
    pub const fn last(limit: usize, range: KeyRange) -> Self {
        Self {
            range,
            direction: Direction::Reverse,
            limit,
            until: None,
        }
    }

    /// The same, with an earlier end.
    #[must_use]
    pub fn until(self, until: Until) -> Self {
        let until = Some(until);
        Self { until, ..self }
    }

    /// Whether these pairs are all that is asked for, although more may follow.
    pub(super) fn is_answered(&self, found: &[(Vec<u8>, Vec<u8>)]) -> bool {
        let is_end = |until: Until| {
            let last = found.last();
            last.is_some_and(|(_, value)| value.first() != Some(&until.other_than))
        };
        found.len() >= self.limit || self.until.is_some_and(is_end)
    }
}

/// Ranges that are not computed before somebody needs them.
pub struct LateRanges {
    /// There are no more than so many.
    pub most: usize,
    /// No range has a begin and an end of more bytes together.
    pub longest: usize,
    /// Computes them. None is empty.
    pub ranges: Box<dyn FnOnce() -> Vec<KeyRange> + Send>,
}

impl LateRanges {
    /// The ranges.
    #[must_use]
    pub fn compute(self) -> Vec<KeyRange> {
        (self.ranges)()
    }
}

impl fmt::Debug for LateRanges {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("LateRanges")
            .field("most", &self.most)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefix_ranges_hold_exactly_the_keys_with_the_prefix() {
        let range = KeyRange::prefix(b"a\xff");
        assert!(range.contains(b"a\xff") && range.contains(b"a\xff\xff\xff"));
        assert!(!range.contains(b"b") && !range.contains(b"a\xfe"));
        assert!(KeyRange::prefix(b"\xff").contains(b"\xff"));
        assert!(KeyRange::prefix(b"").contains(b"anything"));
        assert!(KeyRange::prefix(b"").contains(b"\xff\xff\xff"));
        assert!(KeyRange::prefix(b"\xff").contains(b"\xff\xff\xff"));
    }

    #[test]
    fn neighbours_and_empty_ranges_do_not_intersect() {
        assert!(!KeyRange::new("a", "b").intersects(&KeyRange::new("b", "c")));
        assert!(KeyRange::new("a", "b\0").intersects(&KeyRange::new("b", "c")));
        assert!(!KeyRange::new("b", "b").intersects(&KeyRange::new("a", "c")));
    }
}
