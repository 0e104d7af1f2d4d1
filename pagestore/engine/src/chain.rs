//! Chains: the records that together make one page. The newest is a delta against the one before,
//! which may be a delta as well, and so on down to a record of the whole page.

use verso_pagestore::{Chain, DatabaseId, Page, PageNumber, PageSize, Version, VersionedPage};

use crate::keys;
use crate::kv::{KeyValue, RangeQuery, Until};
use crate::record::{self, Content, Record, RecordError};

/// Most records that one page needs.
const MOST_RECORDS: usize = Chain::MOST_DELTAS as usize + 1;

/// Most chains are not larger than this part of a page, and most images not much smaller.
const PART_AT_ONCE: usize = 2;

/// Asks for the records of a page at a version, newest first.
pub(crate) fn query(
    database: DatabaseId,
    page: PageNumber,
    version: Version,
    page_size: Option<PageSize>,
) -> RangeQuery {
    let length = page_size.map_or(0, PageSize::length);
    RangeQuery::last(MOST_RECORDS, keys::page_until(database, page, version)).until(Until {
        other_than: record::DELTA,
        bytes_at_once: (length / PART_AT_ONCE).max(1),
    })
}

/// Why there is no page, and which record is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Broken {
    pub(crate) version: Version,
    pub(crate) error: RecordError,
}

/// A record and its version.
type Versioned<'a> = (Version, Record<'a>);

/// Of records of a page, oldest first, keeps those that make its content, newest first. Whether they
/// do: without a record of the whole page there is none.
pub(crate) fn newest(records: &mut Vec<KeyValue>) -> bool {
    let is_whole = |(_, value): &KeyValue| value.first() != Some(&record::DELTA);
    let Some(whole) = records.iter().rposition(is_whole) else {
        return false;
    };
    records.drain(..whole);
    records.reverse();
    true
}

/// The page that records make, newest first; `None` if there are none.
pub(crate) fn decode(records: Vec<KeyValue>) -> Result<Option<VersionedPage>, Broken> {
    let chain = parse(&records)?;
    let Some((version, newest)) = chain.last().copied() else {
        return Ok(None);
    };
    if let Some((place, image)) = newest.image() {
        let verified = newest.verify(image);
        verified.map_err(|error| Broken { version, error })?;
        let record = records.into_iter().next().map(|(_, record)| record);
        // The page lies in its record, so it needs no copy.
        let page = Page::from(record.unwrap_or_default()).slice(place);
        return Ok(Some(VersionedPage {
            version,
            page,
            chain: Chain::WHOLE,
        }));
    }
    let page = replay(&chain, false)?;
    if let Err(error) = newest.verify(&page) {
        // Which of them it is must be looked for.
        replay(&chain, true)?;
        return Err(Broken { version, error });
    }
    Ok(Some(VersionedPage {
        version,
        page: Page::from(page),
        chain: newest.chain(),
    }))
}

/// The same without a look at checksums, for whoever reads the record that follows; `None` if there
/// is nothing that it could be a delta against.
pub(crate) fn content(records: &[KeyValue]) -> Option<Content> {
    let chain = parse(records).ok()?;
    let (_, newest) = chain.last()?;
    Some((replay(&chain, false).ok()?, newest.chain()))
}

/// The records of a chain, oldest first.
fn parse(records: &[KeyValue]) -> Result<Vec<Versioned<'_>>, Broken> {
    let mut chain = Vec::with_capacity(records.len());
    for (key, value) in records {
        let version = keys::page_position(key).map_or(Version::MIN, |it| it.version);
        let record = Record::parse(value).map_err(|error| Broken { version, error })?;
        chain.push((version, record));
        if !record.is_delta() {
            break;
        }
    }
    chain.reverse();
    Ok(chain)
}

/// Applies records, oldest first.
fn replay(records: &[Versioned], verifies: bool) -> Result<Vec<u8>, Broken> {
    let mut base: Option<Content> = None;
    for &(version, record) in records {
        let broken = |error| Broken { version, error };
        let page = record.on(base.as_ref()).map_err(broken)?;
        if verifies {
            record.verify(&page).map_err(broken)?;
        }
        base = Some((page, record.chain()));
    }
    Ok(base.map(|(page, _)| page).unwrap_or_default())
}
