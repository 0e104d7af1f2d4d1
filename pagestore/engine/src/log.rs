//! The stored forms of commit records, of a database's info, of copies under way, and of the
//! store's meta record.
//!
//! `docs/format.md` has the diagrams.

use verso_pagestore::{
    CommitId, CommitRecord, DatabaseId, Origin, PageCount, PageSize, RoaringBitmap, UnixMillis,
    Version,
};

use crate::varint;

/// The format of everything in a store. A store with a higher one is refused.
pub(crate) const FORMAT: u32 = 2;

const META_MAGIC: &[u8; 5] = b"verso";
/// A commit record, and how it names its pages: by a bitmap, or by a list.
const COMMIT_WITH_BITMAP: u8 = 1;
const COMMIT_WITH_LIST: u8 = 2;
const INFO: u8 = 1;
const COPY: u8 = 1;
const NO_PAGES: u8 = 0;

/// The bitmap of more pages is not larger than their list, or not by much.
const LONGEST_LIST: u64 = 64;

/// No bitmap with a page has fewer bytes (<https://github.com/RoaringBitmap/RoaringFormatSpec>).
const LEAST_BITMAP: usize = 11;

/// Stored bytes do not have the form they should have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct DecodeError(pub(crate) &'static str);

/// Whether a database can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DatabaseState {
    /// It has a name, and a changelog that is not empty.
    Live,
    /// Its pages are being loaded; nobody sees it.
    Loading,
}

/// The fixed facts of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Info {
    pub(crate) created: UnixMillis,
    pub(crate) state: DatabaseState,
}

impl Info {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let state = match self.state {
            DatabaseState::Live => 0,
            DatabaseState::Loading => 1,
        };
        [[INFO, state].as_slice(), &self.created.get().to_be_bytes()].concat()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader(bytes);
        if reader.byte()? != INFO {
            return Err(DecodeError("a database's info has an unknown form"));
        }
        let state = match reader.byte()? {
            0 => DatabaseState::Live,
            1 => DatabaseState::Loading,
            _ => return Err(DecodeError("a database's info has an unknown state")),
        };
        Ok(Self {
            created: UnixMillis::new(u64::from_be_bytes(reader.take()?)),
            state,
        })
    }
}

/// A copy under way: which database is being loaded, and of what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CopyRecord {
    pub(crate) load: DatabaseId,
    pub(crate) origin: Origin,
}

impl CopyRecord {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let Origin {
            database,
            version,
            commit,
        } = &self.origin;
        [
            [COPY].as_slice(),
            &encode_id(self.load),
            &encode_id(*database),
            version.as_bytes(),
            commit.as_bytes(),
        ]
        .concat()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader(bytes);
        if reader.byte()? != COPY {
            return Err(DecodeError("the record of a copy has an unknown form"));
        }
        Ok(Self {
            load: DatabaseId::new(u64::from_be_bytes(reader.take()?)),
            origin: Origin {
                database: DatabaseId::new(u64::from_be_bytes(reader.take()?)),
                version: Version::from_bytes(reader.take()?),
                commit: CommitId::from_bytes(reader.take()?),
            },
        })
    }
}

/// The stored form of a commit record; its version is in the key.
///
/// Runs of pages are stored as runs: that of a load names all pages of a database, and must fit
/// into a value of the key-value store.
pub(crate) fn encode_commit(
    time: UnixMillis,
    id: CommitId,
    page_size: Option<PageSize>,
    page_count: PageCount,
    pages: &RoaringBitmap,
) -> Vec<u8> {
    let log2 = page_size.map_or(NO_PAGES, |size| {
        u8::try_from(size.get().trailing_zeros()).expect("a page size is at most 2^16")
    });
    let set = PageSet::of(pages);
    let mut bytes = Vec::with_capacity(32 + set.bytes.len());
    bytes.push(set.form);
    let [_, _, time @ ..] = time.get().to_be_bytes();
    bytes.extend_from_slice(&time);
    bytes.extend_from_slice(id.as_bytes());
    bytes.push(log2);
    varint::put(&mut bytes, page_count.get() as usize);
    bytes.extend_from_slice(&set.bytes);
    bytes
}

/// The numbers of the pages that a commit wrote, as they are stored.
struct PageSet {
    form: u8,
    bytes: Vec<u8>,
}

impl PageSet {
    /// In the shorter of the two forms.
    fn of(pages: &RoaringBitmap) -> Self {
        let list = (pages.len() <= LONGEST_LIST).then(|| list(pages));
        let is_shorter = |list: &Vec<u8>| {
            list.len() < LEAST_BITMAP || list.len() < optimized(pages).serialized_size()
        };
        if let Some(bytes) = list.filter(is_shorter) {
            let form = COMMIT_WITH_LIST;
            return Self { form, bytes };
        }
        let pages = optimized(pages);
        let mut bytes = Vec::with_capacity(pages.serialized_size());
        pages
            .serialize_into(&mut bytes)
            .expect("writing to memory does not fail");
        Self {
            form: COMMIT_WITH_BITMAP,
            bytes,
        }
    }

    fn decode(form: u8, bytes: &[u8]) -> Option<RoaringBitmap> {
        match form {
            COMMIT_WITH_BITMAP => RoaringBitmap::deserialize_from(bytes).ok(),
            COMMIT_WITH_LIST => from_list(bytes),
            _ => None,
        }
    }
}

/// The set in the shortest form of its bitmap.
fn optimized(pages: &RoaringBitmap) -> RoaringBitmap {
    let mut pages = pages.clone();
    pages.optimize();
    pages
}

/// How many pages, and of each its number less that of the one before.
fn list(pages: &RoaringBitmap) -> Vec<u8> {
    let mut bytes = Vec::new();
    let count = pages.iter().count();
    varint::put(&mut bytes, count);
    let mut before = 0;
    for page in pages {
        varint::put(&mut bytes, (page - before) as usize);
        before = page;
    }
    bytes
}

fn from_list(mut bytes: &[u8]) -> Option<RoaringBitmap> {
    let mut pages = RoaringBitmap::new();
    let mut before = 0_u32;
    for _ in 0..varint::take(&mut bytes)? {
        let step = u32::try_from(varint::take(&mut bytes)?).ok()?;
        before = before.checked_add(step)?;
        pages.insert(before);
    }
    bytes.is_empty().then_some(pages)
}

/// Reads a commit record of the given version.
pub(crate) fn decode_commit(version: Version, bytes: &[u8]) -> Result<CommitRecord, DecodeError> {
    let mut reader = Reader(bytes);
    let form = reader.byte()?;
    if ![COMMIT_WITH_BITMAP, COMMIT_WITH_LIST].contains(&form) {
        return Err(DecodeError("a commit record has an unknown form"));
    }
    let mut time = [0; 8];
    time[2..].copy_from_slice(&reader.take::<6>()?);
    let time = UnixMillis::new(u64::from_be_bytes(time));
    let id = CommitId::from_bytes(reader.take()?);
    let page_size = match reader.byte()? {
        NO_PAGES => None,
        log2 => Some(
            1_u32
                .checked_shl(u32::from(log2))
                .and_then(|size| PageSize::new(size).ok())
                .ok_or(DecodeError("a commit record has an impossible page size"))?,
        ),
    };
    let page_count = varint::take(&mut reader.0)
        .and_then(|count| u32::try_from(count).ok())
        .ok_or(DecodeError(
            "a commit record has an impossible number of pages",
        ))?;
    let pages = PageSet::decode(form, reader.0).ok_or(DecodeError(
        "a commit record has an unreadable set of pages",
    ))?;
    Ok(CommitRecord {
        version,
        time,
        id,
        pages,
        page_size,
        page_count: PageCount::new(page_count),
    })
}

/// The stored form of a database id.
pub(crate) fn encode_id(id: DatabaseId) -> [u8; 8] {
    id.get().to_be_bytes()
}

/// Reads a database id.
pub(crate) fn decode_id(bytes: &[u8]) -> Result<DatabaseId, DecodeError> {
    let bytes = bytes
        .try_into()
        .map_err(|_| DecodeError("a database id has not 8 bytes"))?;
    Ok(DatabaseId::new(u64::from_be_bytes(bytes)))
}

/// The stored form of the store's format version.
pub(crate) fn encode_meta(format: u32) -> Vec<u8> {
    [META_MAGIC.as_slice(), &format.to_be_bytes()].concat()
}

/// Reads the store's format version. A newer format may append bytes.
pub(crate) fn decode_meta(bytes: &[u8]) -> Result<u32, DecodeError> {
    let mut reader = Reader(bytes);
    if reader.take()? != *META_MAGIC {
        return Err(DecodeError("its meta record is not Verso's"));
    }
    Ok(u32::from_be_bytes(reader.take()?))
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (head, rest) = self
            .0
            .split_first_chunk()
            .ok_or(DecodeError("a record is cut off"))?;
        self.0 = rest;
        Ok(*head)
    }

    fn byte(&mut self) -> Result<u8, DecodeError> {
        self.take::<1>().map(|[byte]| byte)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes() {
        let info = Info {
            created: UnixMillis::new(0x0102),
            state: DatabaseState::Loading,
        };
        assert_eq!(info.encode(), b"\x01\x01\0\0\0\0\0\0\x01\x02");
        assert_eq!(Info::decode(&info.encode()), Ok(info));
        assert_eq!(encode_meta(1), b"verso\0\0\0\x01");
        let bytes = encode_commit(
            UnixMillis::new(0x0102),
            CommitId::from_bytes([7; 16]),
            Some(PageSize::new(4096).unwrap()),
            PageCount::new(300),
            &RoaringBitmap::from_iter([1, 5]),
        );
        let expected = [
            b"\x02\0\0\0\0\x01\x02".as_slice(),
            &[7; 16],
            b"\x0c\xac\x02\x02\x01\x04",
        ]
        .concat();
        assert_eq!(bytes, expected);
        let record = decode_commit(Version::MIN, &bytes).unwrap();
        assert_eq!(record.pages, RoaringBitmap::from_iter([1, 5]));
        assert_eq!(record.page_count, PageCount::new(300));
    }

    #[test]
    fn golden_bytes_of_a_copy_under_way() {
        let copy = CopyRecord {
            load: DatabaseId::new(3),
            origin: Origin {
                database: DatabaseId::new(0x0102),
                version: Version::from_commit(9, 1),
                commit: CommitId::from_bytes([7; 16]),
            },
        };
        let expected = [
            b"\x01\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\x01\x02".as_slice(),
            b"\0\0\0\0\0\0\0\x09\0\x01",
            &[7; 16],
        ]
        .concat();
        assert_eq!(copy.encode(), expected);
        assert_eq!(CopyRecord::decode(&expected), Ok(copy));
        for length in 0..expected.len() {
            assert!(CopyRecord::decode(&expected[..length]).is_err());
        }
    }

    /// The pages from 1 to `last`, as a load writes them.
    fn loaded(last: u32) -> Vec<u8> {
        let mut pages = RoaringBitmap::new();
        pages.insert_range(1..=last);
        let (time, id) = (UnixMillis::new(1), CommitId::from_bytes([7; 16]));
        let count = PageCount::new(last);
        let bytes = encode_commit(time, id, Some(PageSize::MIN), count, &pages);
        assert_eq!(decode_commit(Version::MIN, &bytes).unwrap().pages, pages);
        bytes
    }

    #[test]
    fn runs_of_pages_are_stored_as_runs() {
        // Roaring's portable format: cookie with one container - 1, which containers are runs,
        // key and cardinality - 1, how many runs, and of each its first value and length - 1.
        let expected = b"\x3b\x30\0\0\x01\0\0\x63\0\x01\0\x01\0\x63\0";
        let bytes = loaded(100);
        assert_eq!((bytes[0], &bytes[25..]), (1, &expected[..]));
        // 1 TiB of pages of 4 KiB: far below the 100 kB of a value in FoundationDB.
        assert!(loaded(1 << 28).len() < 70_000);
    }

    #[test]
    fn cut_and_foreign_bytes_are_errors() {
        let of = |pages: &RoaringBitmap| {
            let (time, id) = (UnixMillis::new(1), CommitId::from_bytes([7; 16]));
            encode_commit(time, id, None, PageCount::ZERO, pages)
        };
        let some = RoaringBitmap::from_iter([1, 7, u32::MAX]);
        let many: RoaringBitmap = (1..200).map(|number| number * 7).collect();
        for pages in [RoaringBitmap::new(), some, many] {
            let mut bytes = of(&pages);
            let record = decode_commit(Version::MIN, &bytes).unwrap();
            assert_eq!((record.page_size, record.pages), (None, pages));
            for length in 0..bytes.len() {
                assert!(
                    decode_commit(Version::MIN, &bytes[..length]).is_err(),
                    "length {length}"
                );
            }
            bytes[0] = 3;
            assert!(decode_commit(Version::MIN, &bytes).is_err());
        }
        assert!(decode_meta(b"other\0\0\0\x01").is_err());
        assert!(decode_id(b"short").is_err());
        assert!(Info::decode(b"\x02\0\0\0\0\0\0\0\0\0").is_err());
    }
}
