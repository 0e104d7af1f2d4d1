//! Deltas: the new content of a page, for whoever has the old one.
//!
//! A delta is the new content as one LZ4 block, with the old content as its dictionary: what has
//! stayed, or only moved within the page, is a reference into the old content.

use lz4_flex::block;

/// Bytes are not a delta of a page of this size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is not a delta of a page of {0} bytes")]
pub struct InvalidDelta(pub usize);

/// What makes the new content of a page of the old one.
#[must_use]
pub fn between(old: &[u8], new: &[u8]) -> Vec<u8> {
    block::compress_with_dict(new, old)
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
    apply(&vec![0; page_length], delta).map(|_| ())
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
        assert_eq!(apply(&old, &between(&old, &new)), Ok(new));
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
        fn any_bytes_are_applied_without_panic(delta in prop::collection::vec(any::<u8>(), 0..100)) {
            let applied = apply(&[7; 512], &delta);
            prop_assert_eq!(applied.is_ok(), check(512, &delta).is_ok());
        }
    }
}
