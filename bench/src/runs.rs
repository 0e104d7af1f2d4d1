//! Deltas of pages as runs of new bytes: how many stay, how many follow, and those. An alternative to
//! what stores use, to compare it with.

/// Fewer equal bytes between two runs are stored with them: another run would not be shorter.
const SHORTEST_GAP: usize = 3;

/// What changes the old content of a page into the new one of the same length.
pub(crate) fn between(old: &[u8], new: &[u8]) -> Vec<u8> {
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
    for (index, (old, new)) in old.iter().zip(new).enumerate().skip(begin) {
        if old != new {
            end = index + 1;
        } else if index + 1 - end >= SHORTEST_GAP {
            break;
        }
    }
    end
}

/// Changes the old content of a page into the new one; `None` if the bytes are no delta of it.
pub(crate) fn apply(page: &mut [u8], mut delta: &[u8]) -> Option<()> {
    let mut rest = page;
    while !delta.is_empty() {
        let kept = take_varint(&mut delta)?;
        let length = take_varint(&mut delta)?;
        let (new, behind) = delta.split_at_checked(length)?;
        let (target, after) = std::mem::take(&mut rest)
            .get_mut(kept..)?
            .split_at_mut_checked(length)?;
        target.copy_from_slice(new);
        (rest, delta) = (after, behind);
    }
    Some(())
}

/// Seven bits a byte, the lowest first; the top bit says that more follow.
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
    for shift in [0, 7, 14] {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
