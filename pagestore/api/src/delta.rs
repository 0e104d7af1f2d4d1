//! Deltas: the new content of a page, for whoever has the old one.
//!
//! A delta is the new content as one LZ4 block, with the old content as its dictionary: what has
//! stayed, or only moved within the page, is a reference into the old content.

use lz4_flex::block;

/// Bytes are not a delta of a page of this size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is not a delta of a page of {0} bytes")]
pub struct InvalidDelta(pub usize);

/// Shortest reference into the old content that is worth its bytes: LZ4 needs three or more for it.
const SHORTEST_MATCH: usize = 8;

/// If more bytes than that are new, LZ4 is asked: some may be old ones that moved, as all pointers
/// behind the one of a new cell do.
const MOST_NEW_BYTES: usize = 64;

/// Where a block must end with literals, and where its last reference may begin at the latest
/// (<https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md#end-of-block-restrictions>).
const LAST_LITERALS: usize = 5;
const LAST_MATCH: usize = 12;

/// The shortest reference that the format knows.
const LEAST_MATCH: usize = 4;

/// The largest number that a half of a token has; with it, more of the number follows.
const IN_TOKEN: usize = 15;

/// What makes the new content of a page of the old one.
#[must_use]
pub fn between(old: &[u8], new: &[u8]) -> Vec<u8> {
    in_place(old, new).unwrap_or_else(|| block::compress_with_dict(new, old))
}

/// A delta of a page of which few bytes differ from those at the same place: it need not be searched
/// for what has stayed. `None` if there are more.
fn in_place(old: &[u8], new: &[u8]) -> Option<Vec<u8>> {
    if old.len() != new.len() {
        return None;
    }
    // Seen from any place in the new content, the same place in the old one is so far back.
    let offset = u16::try_from(new.len()).ok()?;
    let mut block = Vec::with_capacity(64);
    let (mut from, mut room) = (0, MOST_NEW_BYTES);
    while let Some(begin) = next_match(old, new, from, room) {
        room -= begin - from;
        let end = first_difference(old, new, begin).min(new.len() - LAST_LITERALS);
        put_sequence(
            &mut block,
            new.get(from..begin)?,
            Some((offset, end - begin)),
        );
        from = end;
    }
    let last = new.get(from..)?;
    if last.len() > room.max(LAST_MATCH) {
        return None;
    }
    put_sequence(&mut block, last, None);
    Some(block)
}

/// Where both are the same again, at or after a position, for long enough; `None` if there is no such
/// place, or none before so many other bytes.
fn next_match(old: &[u8], new: &[u8], from: usize, most_literals: usize) -> Option<usize> {
    let last = new.len().checked_sub(LAST_MATCH)?.min(from + most_literals);
    let is_same = |at: usize| {
        let range = at..at + SHORTEST_MATCH;
        old.get(range.clone()) == new.get(range)
    };
    (from..=last).find(|&at| is_same(at))
}

/// The first position from `from` on where they differ, or their end.
fn first_difference(old: &[u8], new: &[u8], from: usize) -> usize {
    const STEP: usize = 64;
    let (old, new) = (
        old.get(from..).unwrap_or_default(),
        new.get(from..).unwrap_or_default(),
    );
    let steps = old.chunks(STEP).zip(new.chunks(STEP));
    let same = steps.take_while(|(old, new)| old == new).count() * STEP;
    let rest = old.iter().zip(new).skip(same);
    from + same.min(new.len()) + rest.take_while(|(old, new)| old == new).count()
}

/// Literals, then a reference: how far back it is, and how long. The last sequence has none.
fn put_sequence(block: &mut Vec<u8>, literals: &[u8], reference: Option<(u16, usize)>) {
    let length = reference.map_or(0, |(_, length)| length - LEAST_MATCH);
    let token = literals.len().min(IN_TOKEN) << 4 | length.min(IN_TOKEN);
    block.push(u8::try_from(token).unwrap_or(u8::MAX));
    put_rest(block, literals.len());
    block.extend_from_slice(literals);
    if let Some((offset, _)) = reference {
        block.extend_from_slice(&offset.to_le_bytes());
        put_rest(block, length);
    }
}

/// What of a number is not in its token.
fn put_rest(block: &mut Vec<u8>, number: usize) {
    let Some(mut rest) = number.checked_sub(IN_TOKEN) else {
        return;
    };
    while let Some(less) = rest.checked_sub(usize::from(u8::MAX)) {
        block.push(u8::MAX);
        rest = less;
    }
    block.push(u8::try_from(rest).unwrap_or(u8::MAX));
}

/// The new content of a page, which is as long as the old one.
///
/// # Errors
/// If the bytes are not a delta of a page of this length.
pub fn apply(old: &[u8], delta: &[u8]) -> Result<Vec<u8>, InvalidDelta> {
    let new = block::decompress_with_dict(delta, old.len(), old);
    let new = new.ok().filter(|new| new.len() == old.len());
    new.ok_or(InvalidDelta(old.len()))
}

/// Whether the bytes are a delta of pages of this length. That does not depend on what the pages
/// hold.
///
/// # Errors
/// If they are not.
pub fn check(page_length: usize, delta: &[u8]) -> Result<(), InvalidDelta> {
    match made_length(page_length, delta) {
        Some(made) if made == page_length => Ok(()),
        _ => Err(InvalidDelta(page_length)),
    }
}

/// How many bytes a block makes of a dictionary of so many; `None` if it is damaged, or makes more.
fn made_length(page_length: usize, mut block: &[u8]) -> Option<usize> {
    let mut made = 0;
    loop {
        let (&token, rest) = block.split_first()?;
        block = rest;
        let literals = take_rest(&mut block, usize::from(token >> 4), page_length)?;
        block = block.get(literals..)?;
        made += literals;
        if block.is_empty() {
            return Some(made);
        }
        let (offset, rest) = block.split_first_chunk()?;
        block = rest;
        let offset = usize::from(u16::from_le_bytes(*offset));
        if offset == 0 || offset > made + page_length {
            return None;
        }
        let length = take_rest(&mut block, usize::from(token & 0x0f), page_length)?;
        made += length + LEAST_MATCH;
        if made > page_length {
            return None;
        }
    }
}

/// A number that begins in a token; `None` if it is more than `most`, or does not end.
fn take_rest(block: &mut &[u8], in_token: usize, most: usize) -> Option<usize> {
    let mut number = in_token;
    let mut goes_on = in_token == IN_TOKEN;
    while goes_on {
        let (&byte, rest) = block.split_first()?;
        *block = rest;
        number += usize::from(byte);
        goes_on = byte == u8::MAX && number <= most;
    }
    (number <= most).then_some(number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Bytes of the reference library.
    #[test]
    fn golden_bytes() {
        let old: Vec<u8> = (0..512_u16).map(|byte| byte.to_be_bytes()[1]).collect();
        let mut new = old.clone();
        new[100..103].copy_from_slice(b"new");
        // No literals and 100 bytes from 512 before, 3 literals and the rest but 5, 5 literals.
        let delta = b"\x0f\x00\x02\x51\x3fnew\x00\x02\xff\x82\x50\xfb\xfc\xfd\xfe\xff";
        assert_eq!(apply(&old, delta), Ok(new.clone()));
        assert_eq!(between(&old, &new), delta);
    }

    #[test]
    fn what_is_no_delta_is_refused() {
        let old = vec![1; 512];
        let whole = between(&old, &vec![2; 512]);
        for length in 0..whole.len() {
            assert_eq!(apply(&old, &whole[..length]), Err(InvalidDelta(512)));
            assert_eq!(check(512, &whole[..length]), Err(InvalidDelta(512)));
        }
        assert_eq!(check(512, &whole), Ok(()));
        let larger = between(&[1; 1024], &[2; 1024]);
        assert!(check(512, &larger).is_err() && check(1024, &larger).is_ok());
    }

    proptest! {
        #[test]
        fn any_change_comes_back(
            log2 in 9_u32..=16,
            seed in prop::collection::vec(any::<u8>(), 1..600),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..80),
            moved in 0_usize..50,
        ) {
            let old: Vec<u8> = seed.iter().copied().cycle().take(1 << log2).collect();
            let mut new = old.clone();
            new.rotate_left(moved);
            for (at, byte) in changes {
                new[at.index(1 << log2)] = byte;
            }
            let delta = between(&old, &new);
            prop_assert_eq!(check(old.len(), &delta), Ok(()));
            prop_assert_eq!(apply(&old, &delta), Ok(new));
        }

        #[test]
        fn what_changes_in_place_is_found_without_lz4(
            log2 in 9_u32..=15,
            changes in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..8), 0..4),
        ) {
            let old: Vec<u8> = (0..1_u32 << log2).map(|at| at.wrapping_mul(0x9e37_79b1).to_le_bytes()[3]).collect();
            let mut new = old.clone();
            for (at, length) in changes {
                let at = at.index(1 << log2);
                new.iter_mut().skip(at).take(length).for_each(|byte| *byte ^= 0xa5);
            }
            let delta = in_place(&old, &new).expect("little has changed");
            prop_assert!(delta.len() < (1 << log2) / 8);
            prop_assert_eq!(check(old.len(), &delta), Ok(()));
            prop_assert_eq!(apply(&old, &delta), Ok(new));
        }

        #[test]
        fn damage_is_seen_by_whoever_checks_as_by_whoever_applies(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..20),
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        ) {
            let old: Vec<u8> = (0..512_u16).map(|at| at.to_be_bytes()[1] / 3).collect();
            let mut new = old.clone();
            for (at, byte) in changes {
                new[at.index(512)] = byte;
            }
            for mut delta in [between(&old, &new), block::compress_with_dict(&new, &old)] {
                for (at, byte) in &damage {
                    let at = at.index(delta.len());
                    delta[at] = *byte;
                }
                prop_assert_eq!(apply(&old, &delta).is_ok(), check(512, &delta).is_ok(), "{:?}", delta);
            }
        }

        #[test]
        fn any_bytes_are_applied_without_panic(delta in prop::collection::vec(any::<u8>(), 0..100)) {
            let applied = apply(&[7; 512], &delta);
            prop_assert_eq!(applied.is_ok(), check(512, &delta).is_ok());
        }
    }
}
