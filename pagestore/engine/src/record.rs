//! Page records: how one page at one version is stored.
//!
//! ```text
//! +-----+-----------+----------------------+--------------------------+
//! | tag | page size | body                 | xxh3-64 of the full page |
//! | u8  | u8 (log2) | by tag               | u64, big-endian          |
//! +-----+-----------+----------------------+--------------------------+
//! ```

use std::ops::Range;

use verso_pagestore::{Chain, PageDelta, PageSize, delta};
use xxhash_rust::xxh3::xxh3_64;

/// All bytes of the page are zero; no body.
const ZERO: u8 = 0;
/// The body is the page.
const IMAGE: u8 = 1;
/// The body is the page as one LZ4 block.
const COMPRESSED: u8 = 2;
/// The body is the page as one LZ4 block whose dictionary is the page of the record before, behind
/// the length of the chain that ends here (`u8`) and the bytes of its deltas (`u16`, big-endian).
pub(crate) const DELTA: u8 = 3;

const HEADER: usize = 2;
const CHAIN: usize = 3;
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
    #[error("the record states an impossible chain of {0} deltas")]
    Chain(u8),
    #[error("it is a delta, and the records that it needs are missing or damaged")]
    NoBase,
    #[error("it is a delta, and does not follow on the record before it")]
    OtherBase,
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

/// The record of a page that changed in few places.
pub(crate) fn encode_delta(delta: &PageDelta, page_size: PageSize) -> Vec<u8> {
    let PageDelta {
        chain,
        checksum,
        delta,
        ..
    } = delta;
    let bytes = u16::try_from(chain.bytes()).expect("deltas are smaller than a page together");
    let mut record = Vec::with_capacity(HEADER + CHAIN + delta.len() + CHECKSUM);
    header(&mut record, DELTA, page_size.length());
    record.push(chain.deltas());
    record.extend_from_slice(&bytes.to_be_bytes());
    record.extend_from_slice(delta);
    record.extend_from_slice(&checksum.to_be_bytes());
    record
}

/// The content of a page, and the chain of records that it was made of.
pub(crate) type Content = (Vec<u8>, Chain);

/// A record, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub(crate) page_size: PageSize,
    body: Body<'a>,
    checksum: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Body<'a> {
    Zero,
    Image(&'a [u8]),
    Compressed(&'a [u8]),
    Delta(Chain, &'a [u8]),
}

impl<'a> Record<'a> {
    /// Takes a record apart.
    pub(crate) fn parse(record: &'a [u8]) -> Result<Self, RecordError> {
        let too_short = RecordError::TooShort(record.len());
        let ([tag, log2], rest) = record.split_first_chunk().ok_or(too_short)?;
        let (body, checksum) = rest.split_last_chunk().ok_or(too_short)?;
        let page_size = 1_u32
            .checked_shl(u32::from(*log2))
            .and_then(|size| PageSize::new(size).ok())
            .ok_or(RecordError::PageSize(*log2))?;
        let body = match *tag {
            ZERO if body.is_empty() => Body::Zero,
            ZERO => return Err(RecordError::Body(page_size)),
            IMAGE => Body::Image(body),
            COMPRESSED => Body::Compressed(body),
            DELTA => delta_body(body, page_size)?,
            unknown => return Err(RecordError::UnknownTag(unknown)),
        };
        Ok(Self {
            page_size,
            body,
            checksum: u64::from_be_bytes(*checksum),
        })
    }

    /// Whether it is a delta against the record before it.
    pub(crate) const fn is_delta(&self) -> bool {
        matches!(self.body, Body::Delta(..))
    }

    /// The page as it stands in the record, and where, if it does.
    pub(crate) fn image(&self) -> Option<(Range<usize>, &'a [u8])> {
        match self.body {
            Body::Image(page) if page.len() == self.page_size.length() => {
                Some((HEADER..HEADER + page.len(), page))
            }
            Body::Image(_) | Body::Zero | Body::Compressed(_) | Body::Delta(..) => None,
        }
    }

    /// The chain that ends with it.
    pub(crate) const fn chain(&self) -> Chain {
        match self.body {
            Body::Delta(chain, _) => chain,
            Body::Zero | Body::Image(_) | Body::Compressed(_) => Chain::WHOLE,
        }
    }

    /// The content, on top of the content and the chain of the record before it, if there is one
    /// and it is needed. Its checksum is not looked at.
    pub(crate) fn on(&self, base: Option<&Content>) -> Result<Vec<u8>, RecordError> {
        let size = self.page_size;
        let invalid = RecordError::Body(size);
        let page = match self.body {
            Body::Zero => vec![0; size.length()],
            Body::Image(page) => page.to_vec(),
            Body::Compressed(body) => {
                lz4_flex::block::decompress(body, size.length()).map_err(|_| invalid)?
            }
            Body::Delta(chain, delta) => {
                let (page, below) = base.ok_or(RecordError::NoBase)?;
                if page.len() != size.length() || below.with(delta.len()) != chain {
                    return Err(RecordError::OtherBase);
                }
                delta::apply(page, delta).map_err(|_| invalid)?
            }
        };
        if page.len() == size.length() {
            Ok(page)
        } else {
            Err(invalid)
        }
    }

    /// Checks the content.
    pub(crate) fn verify(&self, page: &[u8]) -> Result<(), RecordError> {
        let (expected, found) = (self.checksum, xxh3_64(page));
        if expected == found {
            Ok(())
        } else {
            Err(RecordError::Checksum { expected, found })
        }
    }
}

fn delta_body(body: &[u8], page_size: PageSize) -> Result<Body<'_>, RecordError> {
    let invalid = RecordError::Body(page_size);
    let ([deltas, high, low], delta) = body.split_first_chunk().ok_or(invalid)?;
    let chain = Chain::new(*deltas, u16::from_be_bytes([*high, *low]).into());
    let is_possible = *deltas > 0 && chain.is_short(page_size);
    if !is_possible {
        return Err(RecordError::Chain(*deltas));
    }
    Ok(Body::Delta(chain, delta))
}

/// The page of a record that has all of it.
#[cfg(test)]
pub(crate) fn decode(record: &[u8]) -> Result<Vec<u8>, RecordError> {
    let record = Record::parse(record)?;
    let page = record.on(None)?;
    record.verify(&page)?;
    Ok(page)
}

/// The page size of a record that is to be stored. What it holds is looked at as far as that is
/// possible without the record before it.
pub(crate) fn checked_size(record: &[u8]) -> Result<PageSize, RecordError> {
    let record = Record::parse(record)?;
    match record.body {
        Body::Delta(_, delta) => delta::check(record.page_size.length(), delta)
            .map_err(|_| RecordError::Body(record.page_size))?,
        Body::Zero | Body::Image(_) | Body::Compressed(_) => record.verify(&record.on(None)?)?,
    }
    Ok(record.page_size)
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

    fn delta_of(block: &[u8], page: &[u8], below: Chain) -> Vec<u8> {
        let delta = PageDelta {
            number: verso_pagestore::PageNumber::FIRST,
            chain: below.with(block.len()),
            checksum: xxh3_64(page),
            delta: block.to_vec().into(),
        };
        let size = u32::try_from(page.len()).unwrap();
        encode_delta(&delta, PageSize::new(size).unwrap())
    }

    fn decode_on(base: &Content, record: &[u8]) -> Result<Vec<u8>, RecordError> {
        let record = Record::parse(record)?;
        let page = record.on(Some(base))?;
        record.verify(&page)?;
        Ok(page)
    }

    #[test]
    fn golden_bytes_of_a_delta() {
        let base = (0..512_u16).map(|byte| byte.to_be_bytes()[1]);
        let base = (base.collect::<Vec<u8>>(), Chain::new(2, 700 - 512));
        let mut page = base.0.clone();
        page[100..103].copy_from_slice(b"new");
        let block = b"\x0f\x00\x02\x51\x3fnew\x00\x02\xff\x82\x50\xfb\xfc\xfd\xfe\xff";
        // The third of a chain of 188 + 18 bytes.
        let checksum = xxh3_64(&page).to_be_bytes();
        let expected = [b"\x03\x09\x03\x00\xce".as_slice(), block, &checksum].concat();
        assert_eq!(delta_of(block, &page, base.1), expected);
        assert_eq!(decode_on(&base, &expected), Ok(page));
        assert_eq!(decode(&expected), Err(RecordError::NoBase));
        assert_eq!(checked_size(&expected).map(PageSize::get), Ok(512));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_of_a_delta_is_noticed() {
        let base = (noise(512), Chain::WHOLE);
        let mut page = base.0.clone();
        page.rotate_left(2);
        page[30..90].fill(7);
        let record = delta_of(&delta::between(&base.0, &page), &page, base.1);
        for bit in 0..record.len() * 8 {
            let mut damaged = record.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(
                decode_on(&base, &damaged).map_or(true, |decoded| decoded == page),
                "bit {bit}"
            );
        }
        for length in 0..record.len() {
            assert!(
                decode_on(&base, &record[..length]).is_err(),
                "length {length}"
            );
        }
        let other = (base.0.clone(), Chain::new(1, 20));
        assert_eq!(decode_on(&other, &record), Err(RecordError::OtherBase));
    }

    proptest! {
        #[test]
        fn any_page_comes_back(log2 in 9_u32..=16, seed in prop::collection::vec(any::<u8>(), 1..600)) {
            let page: Vec<u8> = seed.iter().copied().cycle().take(1 << log2).collect();
            let record = encode(&page);
            prop_assert_eq!(checked_size(&record).unwrap().length(), page.len());
            prop_assert_eq!(decode(&record).unwrap(), page);
        }

        #[test]
        fn any_bytes_decode_without_panic(record in prop::collection::vec(any::<u8>(), 0..700)) {
            let _ = decode(&record);
            let _ = checked_size(&record);
        }
    }
}
