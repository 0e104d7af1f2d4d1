//! How the write conflict set of a commit is stored.
//!
//! Ranges in ascending order, each as
//!
//! ```text
//! varint  how many bytes its begin shares with the begin before it
//! varint  how many bytes follow, and those bytes
//! varint  0: it is one key  1: all keys that begin with it
//!         n+2: n bytes follow, its end
//! ```

use crate::kv::KeyRange;
use crate::kv::range_set::RangeSet;
use crate::varint;

/// Sets of more ranges are stored coarser, so that a check stays cheap.
const MOST_RANGES: usize = 1000;

const ONE_KEY: usize = 0;
const PREFIX: usize = 1;
const EXPLICIT: usize = 2;

/// The stored form of a set, or of a slightly larger one if it has too many ranges.
pub(super) fn encode(set: &RangeSet) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(128);
    let mut previous: &[u8] = &[];
    for (begin, end) in coarsen(set.iter().collect()) {
        let shared = shared_prefix(previous, begin);
        varint::put(&mut bytes, shared);
        varint::put_bytes(&mut bytes, begin.get(shared..).unwrap_or_default());
        put_end(&mut bytes, begin, end);
        previous = begin;
    }
    bytes
}

/// Calls `visit` with each range of a stored set, until it answers true; that is the
/// answer then. `None` if the bytes are damaged.
pub(super) fn any(mut bytes: &[u8], mut visit: impl FnMut(&[u8], &[u8]) -> bool) -> Option<bool> {
    let mut begin = Vec::new();
    while !bytes.is_empty() {
        let shared = varint::take(&mut bytes)?;
        if shared > begin.len() {
            return None;
        }
        begin.truncate(shared);
        begin.extend_from_slice(varint::take_bytes(&mut bytes)?);
        let end = match varint::take(&mut bytes)? {
            ONE_KEY => KeyRange::single(&begin).end,
            PREFIX => KeyRange::prefix(&begin).end,
            length => varint::take_exactly(&mut bytes, length - EXPLICIT)?.to_vec(),
        };
        if visit(&begin, &end) {
            return Some(true);
        }
    }
    Some(false)
}

/// Joins neighbours until few enough are left: those with the longest common prefix first,
/// since they are likely to be nearest.
fn coarsen<'a>(ranges: Vec<(&'a [u8], &'a [u8])>) -> Vec<(&'a [u8], &'a [u8])> {
    let excess = ranges.len().saturating_sub(MOST_RANGES);
    if excess == 0 {
        return ranges;
    }
    let begins = ranges.iter().map(|(begin, _)| *begin);
    let mut gaps: Vec<(usize, usize)> = begins
        .clone()
        .zip(begins.skip(1))
        .enumerate()
        .map(|(index, (left, right))| (shared_prefix(left, right), index + 1))
        .collect();
    gaps.sort_unstable_by(|left, right| right.cmp(left));
    let mut joined = vec![false; ranges.len()];
    for (_, index) in gaps.into_iter().take(excess) {
        if let Some(joined) = joined.get_mut(index) {
            *joined = true;
        }
    }
    let mut coarse: Vec<(&[u8], &[u8])> = Vec::new();
    for ((begin, end), joined) in ranges.into_iter().zip(joined) {
        match coarse.last_mut() {
            Some(last) if joined => last.1 = end,
            _ => coarse.push((begin, end)),
        }
    }
    coarse
}

fn shared_prefix(left: &[u8], right: &[u8]) -> usize {
    left.iter()
        .zip(right)
        .take_while(|(left, right)| left == right)
        .count()
}

fn put_end(bytes: &mut Vec<u8>, begin: &[u8], end: &[u8]) {
    if end.strip_prefix(begin) == Some(&[0]) {
        varint::put(bytes, ONE_KEY);
    } else if KeyRange::is_prefix(begin, end) {
        varint::put(bytes, PREFIX);
    } else {
        varint::put(bytes, end.len() + EXPLICIT);
        bytes.extend_from_slice(end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(bytes: &[u8]) -> Option<RangeSet> {
        let mut set = RangeSet::default();
        any(bytes, |begin, end| {
            set.insert(KeyRange::new(begin, end));
            false
        })?;
        Some(set)
    }

    #[test]
    fn sets_come_back_as_they_were() {
        let mut set = RangeSet::default();
        assert_eq!(decode(&encode(&set)), Some(set.clone()));
        set.insert(KeyRange::single(b""));
        set.insert(KeyRange::single(b"page/1"));
        set.insert(KeyRange::prefix(b"page/2\xff"));
        set.insert(KeyRange::new("page/30", "page/4"));
        set.insert(KeyRange::single(&[7; 300]));
        set.insert(KeyRange::prefix(b"\xff\xff"));
        assert_eq!(decode(&encode(&set)), Some(set));
    }

    #[test]
    fn golden_bytes() {
        let mut set = RangeSet::default();
        set.insert(KeyRange::single(b"ab"));
        set.insert(KeyRange::prefix(b"ac"));
        set.insert(KeyRange::new("b", "d"));
        assert_eq!(encode(&set), b"\x00\x02ab\x00\x01\x01c\x01\x00\x01b\x03d");
    }

    #[test]
    fn large_sets_get_coarser_but_lose_nothing() {
        let mut set = RangeSet::default();
        for index in 0..5000_u32 {
            set.insert(KeyRange::single(&(index * 2).to_be_bytes()));
        }
        set.insert(KeyRange::single(b"far away"));
        let coarse = decode(&encode(&set)).unwrap();
        assert_eq!(coarse.len(), MOST_RANGES);
        for (begin, end) in set.iter() {
            assert!(coarse.intersects(begin, end));
        }
        assert!(
            !coarse.contains(b"far"),
            "the gap between distant keys stays"
        );
    }

    #[test]
    fn damaged_bytes_are_noticed() {
        for bytes in [
            &b"\x01"[..],
            b"\x00\x05ab",
            b"\x01\x00\x00",
            b"\x00\x01a\x09b",
            &[0xff; 20],
        ] {
            assert_eq!(decode(bytes), None, "{bytes:?}");
        }
    }
}
