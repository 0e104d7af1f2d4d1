//! Deltas: what changed of a page, as runs of new bytes.
//!
//! A delta is a list of
//!
//! ```text
//! varint  how many bytes stay as they are
//! varint  how many new bytes follow, at least 1
//! bytes   those
//! ```
//!
//! A varint has 7 bits a byte, the lowest first, and the highest bit set in all bytes but the last.
//! What lies behind the last run stays as it is.

/// Fewer equal bytes between two runs are stored with them: another run would not be shorter.
const SHORTEST_GAP: usize = 3;

/// The highest number of a varint, which no page reaches, has so many bits.
const VARINT_BITS: u32 = 21;

/// Bytes are not a delta of a page of this size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is not a delta of a page of {0} bytes")]
pub struct InvalidDelta(pub usize);

/// What changes the old content of a page into the new one of the same length.
#[must_use]
pub fn between(old: &[u8], new: &[u8]) -> Vec<u8> {
    let mut delta = Vec::new();
    let mut end = 0;
    while let Some(begin) = difference(old, new, end) {
        let run = run_end(old, new, begin);
        put_varint(&mut delta, begin - end);
        put_varint(&mut delta, run - begin);
        delta.extend_from_slice(new.get(begin..run).unwrap_or_default());
        end = run;
    }
    delta
}

/// Where the contents differ for the first time from `from` on.
fn difference(old: &[u8], new: &[u8], from: usize) -> Option<usize> {
    const WIDTH: usize = 64;
    let (old, new) = (old.get(from..)?, new.get(from..)?);
    // Whole blocks are compared at once.
    let equal = old.chunks(WIDTH).zip(new.chunks(WIDTH));
    let skipped = equal.take_while(|(old, new)| old == new).count() * WIDTH;
    let mut rest = old.iter().zip(new).skip(skipped);
    Some(from + skipped + rest.position(|(old, new)| old != new)?)
}

/// Where a run of differences ends, with the short gaps in it.
fn run_end(old: &[u8], new: &[u8], begin: usize) -> usize {
    let mut end = begin;
    let bytes = old.iter().zip(new).enumerate().skip(begin);
    for (index, (old, new)) in bytes {
        if old != new {
            end = index + 1;
        } else if index + 1 - end >= SHORTEST_GAP {
            break;
        }
    }
    end
}

/// Changes the old content of a page into the new one.
///
/// # Errors
/// If the bytes are not a delta of a page of this length. Then the page is of no use.
pub fn apply(page: &mut [u8], delta: &[u8]) -> Result<(), InvalidDelta> {
    let invalid = InvalidDelta(page.len());
    let mut rest = page;
    runs(delta, |kept, new| {
        let (target, behind) = std::mem::take(&mut rest)
            .get_mut(kept..)?
            .split_at_mut_checked(new.len())?;
        target.copy_from_slice(new);
        rest = behind;
        Some(())
    })
    .ok_or(invalid)
}

/// Whether the bytes are a delta of pages of this length.
///
/// # Errors
/// If they are not.
pub fn check(page_length: usize, delta: &[u8]) -> Result<(), InvalidDelta> {
    let mut rest = page_length;
    runs(delta, |kept, new| {
        rest = rest.checked_sub(kept)?.checked_sub(new.len())?;
        Some(())
    })
    .ok_or(InvalidDelta(page_length))
}

/// Visits the runs: how many bytes stay before it, and its own.
fn runs(mut delta: &[u8], mut visit: impl FnMut(usize, &[u8]) -> Option<()>) -> Option<()> {
    while !delta.is_empty() {
        let kept = take_varint(&mut delta)?;
        let length = take_varint(&mut delta).filter(|length| *length > 0)?;
        let (new, behind) = delta.split_at_checked(length)?;
        visit(kept, new)?;
        delta = behind;
    }
    Some(())
}

fn put_varint(bytes: &mut Vec<u8>, mut value: usize) {
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            bytes.push(low & 0x7f);
            return;
        }
        bytes.push(low | 0x80);
    }
}

fn take_varint(bytes: &mut &[u8]) -> Option<usize> {
    let mut value = 0;
    for shift in (0..VARINT_BITS).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn applied(old: &[u8], delta: &[u8]) -> Result<Vec<u8>, InvalidDelta> {
        let mut page = old.to_vec();
        assert_eq!(check(page.len(), delta), apply(&mut page, delta));
        apply(&mut page, delta).map(|()| page)
    }

    #[test]
    fn golden_bytes() {
        let old = vec![0; 512];
        assert_eq!(between(&old, &old), b"");
        let mut new = old.clone();
        new[3] = 7;
        new[6] = 8;
        new[300..302].copy_from_slice(b"ab");
        new[511] = 9;
        // Two equal bytes are cheaper than another run, and 293 is 0x25 + 2 * 128.
        let expected = b"\x03\x04\x07\0\0\x08\xa5\x02\x02ab\xd1\x01\x01\x09";
        assert_eq!(between(&old, &new), expected);
        assert_eq!(applied(&old, expected), Ok(new));
    }

    #[test]
    fn what_is_no_delta_is_refused() {
        let page = vec![1; 512];
        for delta in [
            &b"\x00"[..],
            b"\x00\x00",
            b"\x00\x02a",
            b"\x80\x04\x01a",
            b"\xff\x03\x02ab",
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x01a",
            b"\xff\x03\x01a\x00\x01b",
        ] {
            assert_eq!(applied(&page, delta), Err(InvalidDelta(512)), "{delta:?}");
        }
        assert!(applied(&page, b"\xff\x03\x01a").is_ok());
    }

    proptest! {
        #[test]
        fn any_change_comes_back(
            old in prop::collection::vec(0_u8..3, 512),
            changes in prop::collection::vec((0_usize..512, any::<u8>()), 0..80),
        ) {
            let mut new = old.clone();
            for (at, byte) in changes {
                new[at] = byte;
            }
            let delta = between(&old, &new);
            prop_assert_eq!(applied(&old, &delta), Ok(new));
        }

        #[test]
        fn any_bytes_are_applied_without_panic(delta in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = applied(&[7; 512], &delta);
        }
    }
}
