//! Page records: how one page at one version is stored.
//!
//! ```text
//! +-----+-----------+----------------------+--------------------------+
//! | tag | page size | body                 | xxh3-64 of the full page |
//! | u8  | u8 (log2) | by tag               | u64, big-endian          |
//! +-----+-----------+----------------------+--------------------------+
//! ```

use bytes::Bytes;
use verso_pagestore::{Page, PageSize};
use xxhash_rust::xxh3::xxh3_64;

/// All bytes of the page are zero; no body.
const ZERO: u8 = 0;
/// The body is the page.
const IMAGE: u8 = 1;
/// The body is the page as one LZ4 block.
const COMPRESSED: u8 = 2;
// Tag 3 is kept for deltas against the previous record of the same page.

const HEADER: usize = 2;
const CHECKSUM: usize = 8;

/// A page record cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RecordError {
    #[error("the record has only {0} bytes")]
    TooShort(usize),
    #[error("the record has the unknown tag {0}")]
    UnknownTag(u8),
    #[error("the record states the impossible page size 2^{0}")]
    PageSize(u8),
    #[error("the body does not decode to a page of {0} bytes")]
    Body(PageSize),
    #[error("the checksum is {found:016x} and should be {expected:016x}")]
    Checksum { expected: u64, found: u64 },
}

/// The smallest record of a page. Its length must be a page size.
pub(crate) fn encode(page: &[u8]) -> Vec<u8> {
    let mut record = Vec::with_capacity(HEADER + page.len() + CHECKSUM);
    if page.iter().all(|&byte| byte == 0) {
        header(&mut record, ZERO, page.len());
    } else {
        let compressed = lz4_flex::block::compress(page);
        if compressed.len() < page.len() {
            header(&mut record, COMPRESSED, page.len());
            record.extend_from_slice(&compressed);
        } else {
            header(&mut record, IMAGE, page.len());
            record.extend_from_slice(page);
        }
    }
    record.extend_from_slice(&xxh3_64(page).to_be_bytes());
    record
}

/// The page of a record.
pub(crate) fn decode(record: &[u8]) -> Result<Page, RecordError> {
    let too_short = RecordError::TooShort(record.len());
    let ([tag, log2], rest) = record.split_first_chunk().ok_or(too_short)?;
    let (body, checksum) = rest.split_last_chunk().ok_or(too_short)?;
    let size = 1_u32
        .checked_shl(u32::from(*log2))
        .and_then(|size| PageSize::new(size).ok())
        .ok_or(RecordError::PageSize(*log2))?;
    let page = match *tag {
        ZERO if body.is_empty() => vec![0; size.length()],
        IMAGE => body.to_vec(),
        COMPRESSED => {
            lz4_flex::block::decompress(body, size.length()).map_err(|_| RecordError::Body(size))?
        }
        ZERO => return Err(RecordError::Body(size)),
        unknown => return Err(RecordError::UnknownTag(unknown)),
    };
    if page.len() != size.length() {
        return Err(RecordError::Body(size));
    }
    let (expected, found) = (u64::from_be_bytes(*checksum), xxh3_64(&page));
    if expected != found {
        return Err(RecordError::Checksum { expected, found });
    }
    Ok(Bytes::from(page))
}

fn header(record: &mut Vec<u8>, tag: u8, page_length: usize) {
    let log2 = u8::try_from(page_length.trailing_zeros()).expect("a usize has at most 64 bits");
    record.extend_from_slice(&[tag, log2]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Bytes that do not compress, the same on every run.
    fn noise(length: usize) -> Vec<u8> {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        (0..length)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state.to_be_bytes()[0]
            })
            .collect()
    }

    /// Checksums and LZ4 bytes are those of the reference libraries.
    #[test]
    fn golden_bytes() {
        let zero = b"\x00\x09\xb2\x98\x7a\x9d\x94\x9e\x80\x7c";
        assert_eq!(encode(&[0; 512]), zero);
        let mut repeated = b"verso".repeat(103);
        repeated.truncate(512);
        let compressed =
            b"\x02\x09\x5fverso\x05\x00\xff\xe4\x50rsove\xa3\x76\x12\x5c\xad\xfa\xd9\x31";
        assert_eq!(decode(compressed).unwrap(), repeated);
        let page = noise(512);
        let image = [
            b"\x01\x09".as_slice(),
            &page,
            b"\x0b\xf6\xdc\x10\x49\xf4\xa0\x60",
        ]
        .concat();
        assert_eq!(encode(&page), image);
        for (page, record) in [(vec![0; 512], zero.as_slice()), (page, &image)] {
            assert_eq!(decode(record).unwrap(), page);
        }
        assert_eq!(encode(&repeated).first(), Some(&COMPRESSED));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        for page in [vec![0; 512], b"verso db".repeat(64), noise(512)] {
            let record = encode(&page);
            for bit in 0..record.len() * 8 {
                let mut damaged = record.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                // A damaged record may still decode, but never to another page.
                assert!(
                    decode(&damaged).map_or(true, |decoded| decoded == page),
                    "bit {bit}"
                );
            }
            for length in 0..record.len() {
                assert!(decode(&record[..length]).is_err(), "length {length}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_page_comes_back(log2 in 9_u32..=16, seed in prop::collection::vec(any::<u8>(), 1..600)) {
            let page: Vec<u8> = seed.iter().copied().cycle().take(1 << log2).collect();
            prop_assert_eq!(decode(&encode(&page)).unwrap(), page);
        }

        #[test]
        fn any_bytes_decode_without_panic(record in prop::collection::vec(any::<u8>(), 0..700)) {
            let _ = decode(&record);
        }
    }
}
