//! The records of an index file: what the files of a folder know. `docs/format.md` has the bytes.
//!
//! Every record is true by itself and stays true, whatever becomes of the others, of the store and
//! of the process that wrote it.

use verso_pagestore::{Chain, CommitId, DatabaseId, PageNumber, RoaringBitmap, Version};
use xxhash_rust::xxh3::xxh3_64;

use super::{DatabaseKey, State};

/// What an index file begins with; the last byte is the format's version.
pub(super) const MAGIC: [u8; 8] = *b"VersoPC\x01";

/// Length of a record's body and its kind.
const HEAD: usize = 5;

/// Length of the checksum behind the body.
const CHECKSUM: usize = 8;

/// A longer body is damage.
const MOST_BYTES: usize = 64 << 20;

const DATABASE: u8 = 1;
const CHANGES: u8 = 2;
const LOST: u8 = 3;
const PAGE: u8 = 4;

/// Where the content of a page is, and what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// The commit that wrote it.
    pub(super) version: Version,
    pub(super) chain: Chain,
    /// In the file of pages, in bytes from its begin.
    pub(super) offset: u32,
    pub(super) length: u32,
    /// Of the content.
    pub(super) checksum: u64,
}

/// A record. `database` is a number that a record of the same file before it has given a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Record {
    /// What a number stands for in the records that follow.
    Database { number: u32, key: DatabaseKey },
    /// Exactly these pages were written after one state, up to a later one that followed from it.
    Changes {
        database: u32,
        from: State,
        to: State,
        pages: RoaringBitmap,
    },
    /// The store could not say what happened since this state, and will not be able to.
    Lost { database: u32, state: State },
    /// A page as it is at a state.
    Page {
        database: u32,
        number: PageNumber,
        at: State,
        place: Place,
    },
}

impl Record {
    /// Appends the record to an index.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let begin = out.len();
        out.extend_from_slice(&[0; HEAD]);
        let kind = self.encode_body(out);
        let length = out.len() - begin - HEAD;
        let length = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
        if let Some(head) = out.get_mut(begin..begin + HEAD) {
            head.copy_from_slice(&[length[0], length[1], length[2], length[3], kind]);
        }
        let checksum = xxh3_64(out.get(begin..).unwrap_or_default());
        out.extend_from_slice(&checksum.to_be_bytes());
    }

    fn encode_body(&self, out: &mut Vec<u8>) -> u8 {
        match self {
            Self::Database { number, key } => {
                out.extend_from_slice(&number.to_be_bytes());
                out.extend_from_slice(&key.database.get().to_be_bytes());
                out.extend_from_slice(key.store.as_bytes());
                DATABASE
            }
            Self::Changes {
                database,
                from,
                to,
                pages,
            } => {
                out.extend_from_slice(&database.to_be_bytes());
                encode_state(from, out);
                encode_state(to, out);
                // Writing to a Vec cannot fail.
                let _ = pages.serialize_into(out);
                CHANGES
            }
            Self::Lost { database, state } => {
                out.extend_from_slice(&database.to_be_bytes());
                encode_state(state, out);
                LOST
            }
            Self::Page {
                database,
                number,
                at,
                place,
            } => {
                out.extend_from_slice(&database.to_be_bytes());
                out.extend_from_slice(&number.get().to_be_bytes());
                encode_state(at, out);
                out.extend_from_slice(place.version.as_bytes());
                out.push(place.chain.deltas());
                out.extend_from_slice(&place.chain.bytes().to_be_bytes());
                out.extend_from_slice(&place.offset.to_be_bytes());
                out.extend_from_slice(&place.length.to_be_bytes());
                out.extend_from_slice(&place.checksum.to_be_bytes());
                PAGE
            }
        }
    }

    /// The record at the begin of `bytes`, which are what follows it afterwards. `None`, and the
    /// bytes as they were, if there is no whole and undamaged one.
    fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let all = *bytes;
        let mut rest = all;
        let length = usize::try_from(u32::from_be_bytes(take(&mut rest)?)).ok()?;
        let [kind] = take(&mut rest)?;
        if length > MOST_BYTES {
            return None;
        }
        let (mut body, mut after) = rest.split_at_checked(length)?;
        let checksum = u64::from_be_bytes(take::<CHECKSUM>(&mut after)?);
        if xxh3_64(all.get(..HEAD + length)?) != checksum {
            return None;
        }
        let record = Self::decode_body(kind, &mut body)?;
        if !body.is_empty() {
            return None;
        }
        *bytes = after;
        Some(record)
    }

    fn decode_body(kind: u8, body: &mut &[u8]) -> Option<Self> {
        let database = u32::from_be_bytes(take(body)?);
        Some(match kind {
            DATABASE => {
                let id = u64::from_be_bytes(take(body)?);
                let store = std::str::from_utf8(std::mem::take(body)).ok()?;
                let key = DatabaseKey {
                    store: store.to_owned(),
                    database: DatabaseId::new(id),
                };
                let number = database;
                Self::Database { number, key }
            }
            CHANGES => Self::Changes {
                database,
                from: decode_state(body)?,
                to: decode_state(body)?,
                pages: RoaringBitmap::deserialize_from(&mut *body).ok()?,
            },
            LOST => Self::Lost {
                database,
                state: decode_state(body)?,
            },
            PAGE => Self::Page {
                database,
                number: PageNumber::new(u32::from_be_bytes(take(body)?))?,
                at: decode_state(body)?,
                place: Place {
                    version: Version::from_bytes(take(body)?),
                    chain: {
                        let [deltas] = take(body)?;
                        Chain::new(deltas, u32::from_be_bytes(take(body)?))
                    },
                    offset: u32::from_be_bytes(take(body)?),
                    length: u32::from_be_bytes(take(body)?),
                    checksum: u64::from_be_bytes(take(body)?),
                },
            },
            _ => return None,
        })
    }
}

/// The records of an index file, up to the first one that is damaged or not there.
pub(super) struct Records<'a> {
    rest: &'a [u8],
    length: usize,
}

impl<'a> Records<'a> {
    /// `None` if it is no index file.
    pub(super) fn of(index: &'a [u8]) -> Option<Self> {
        let rest = index.strip_prefix(&MAGIC)?;
        let length = index.len();
        Some(Self { rest, length })
    }

    /// Where the records end that were read so far, in bytes from the file's begin.
    pub(super) const fn end(&self) -> usize {
        self.length - self.rest.len()
    }
}

impl Iterator for Records<'_> {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        Record::decode(&mut self.rest)
    }
}

fn encode_state(state: &State, out: &mut Vec<u8>) {
    out.extend_from_slice(state.version.as_bytes());
    out.extend_from_slice(state.commit.as_bytes());
}

fn decode_state(bytes: &mut &[u8]) -> Option<State> {
    Some(State {
        version: Version::from_bytes(take(bytes)?),
        commit: CommitId::from_bytes(take(bytes)?),
    })
}

fn take<const LENGTH: usize>(bytes: &mut &[u8]) -> Option<[u8; LENGTH]> {
    let (taken, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(version: u64, id: u8) -> State {
        State {
            version: Version::from_commit(version, 0),
            commit: CommitId::from_bytes([id; 16]),
        }
    }

    fn records() -> Vec<Record> {
        vec![
            Record::Database {
                number: 1,
                key: DatabaseKey {
                    store: "http://a:1".to_owned(),
                    database: DatabaseId::new(0x0203),
                },
            },
            Record::Page {
                database: 1,
                number: PageNumber::new(7).unwrap(),
                at: state(9, 0xcc),
                place: Place {
                    version: Version::from_commit(5, 6),
                    chain: Chain::new(2, 300),
                    offset: 4096,
                    length: 512,
                    checksum: 0x0102_0304_0506_0708,
                },
            },
            Record::Changes {
                database: 1,
                from: state(9, 0xcc),
                to: state(10, 0xdd),
                pages: RoaringBitmap::from([7]),
            },
            Record::Lost {
                database: 1,
                state: state(10, 0xdd),
            },
        ]
    }

    fn encoded() -> Vec<u8> {
        let mut index = MAGIC.to_vec();
        for record in records() {
            record.encode(&mut index);
        }
        index
    }

    #[test]
    fn golden_bytes() {
        let expected = [
            "566572736f504301",
            // What number 1 stands for.
            "00000016", /* length */
            "01",
            "00000001",
            "0000000000000203",
            "687474703a2f2f613a31",
            "f0e59c18f5c0916f",
            // A page.
            "00000041",
            "04",
            "00000001",
            "00000007",
            "00000000000000090000",
            "cccccccccccccccccccccccccccccccc",
            "00000000000000050006",
            "02",
            "0000012c",
            "00001000",
            "00000200",
            "0102030405060708",
            "ae4a1f87aee18ba1",
            // What changed.
            "0000004a",
            "02",
            "00000001",
            "00000000000000090000",
            "cccccccccccccccccccccccccccccccc",
            "000000000000000a0000",
            "dddddddddddddddddddddddddddddddd",
            "3a300000", /* a bitmap */
            "01000000",
            "00000000",
            "10000000",
            "0700",
            "c7ce4f753029bfd0",
            // A lost state.
            "0000001e",
            "03",
            "00000001",
            "000000000000000a0000",
            "dddddddddddddddddddddddddddddddd",
            "31465f6e64934678",
        ];
        assert_eq!(hex(&encoded()), expected.concat());
    }

    fn hex(bytes: &[u8]) -> String {
        let digits = |byte: &u8| [byte >> 4, byte & 0xf];
        let digits = bytes.iter().flat_map(digits);
        digits
            .filter_map(|digit| char::from_digit(digit.into(), 16))
            .collect()
    }

    #[test]
    fn they_are_read_back() {
        let index = encoded();
        let mut read = Records::of(&index).expect("an index");
        assert_eq!(read.by_ref().collect::<Vec<_>>(), records());
        assert_eq!(read.end(), index.len());
    }

    #[test]
    fn whatever_bit_is_damaged_nothing_false_is_read() {
        let index = encoded();
        let all = records();
        for position in 0..index.len() * 8 {
            let mut damaged = index.clone();
            damaged[position / 8] ^= 1 << (position % 8);
            let read: Vec<_> = Records::of(&damaged).into_iter().flatten().collect();
            assert!(read.len() < all.len(), "bit {position}");
            assert_eq!(read, all[..read.len()], "bit {position}");
        }
    }

    #[test]
    fn what_is_cut_off_is_read_up_to_there() {
        let index = encoded();
        let all = records();
        for length in 0..index.len() {
            let mut read = Records::of(&index[..length]);
            let found: Vec<_> = read.iter_mut().flatten().collect();
            assert_eq!(found, all[..found.len()], "{length} bytes");
            let end = read.map_or(0, |records| records.end());
            assert!(end <= length);
            let again = Records::of(&index[..end]);
            assert_eq!(again.into_iter().flatten().count(), found.len());
        }
    }
}
