//! Verification: every page record decodes and has the right checksum.

use verso_pagestore::{
    CorruptRecord, DatabaseId, PageNumber, RecordPosition, StoreError, VerifyReport,
};

use crate::kv::{Kv, RangeQuery};
use crate::log::DecodeError;
use crate::record::{Content, Record, RecordError};
use crate::{Engine, chain, keys};

/// Records checked per call: eight megabytes at the most.
const RECORDS_PER_CALL: usize = 128;

impl<K: Kv> Engine<K> {
    pub(crate) fn verify_records(
        &self,
        database: DatabaseId,
        after: Option<RecordPosition>,
    ) -> Result<VerifyReport, StoreError> {
        let query = RangeQuery::first(RECORDS_PER_CALL, keys::pages_after(database, after));
        let pairs = self.pairs(&query)?;
        let mut report = VerifyReport {
            records: 0,
            bytes: 0,
            corrupt: Vec::new(),
            last: None,
        };
        let mut before = match after {
            Some(after) => self.content_at(database, after)?,
            None => None,
        };
        for (key, value) in &pairs {
            let position = keys::page_position(key)
                .ok_or_else(|| self.damaged(&DecodeError("a page record has an invalid key")))?;
            let base = before.take().filter(|it| it.page == position.page);
            let checked = content(value, base).and_then(|(content, checked)| {
                let page = position.page;
                before = Some(Before { page, content });
                checked
            });
            if let Err(error) = checked {
                report.corrupt.push(CorruptRecord {
                    position,
                    reason: error.to_string(),
                });
            }
            report.records += 1;
            report.bytes += u64::try_from(key.len() + value.len()).unwrap_or(0);
            report.last = Some(position);
        }
        if pairs.len() < RECORDS_PER_CALL {
            report.last = None;
        }
        Ok(report)
    }

    /// What a record that was checked before holds.
    fn content_at(
        &self,
        database: DatabaseId,
        RecordPosition { page, version }: RecordPosition,
    ) -> Result<Option<Before>, StoreError> {
        let records = self.pairs(&chain::query(database, page, version, None))?;
        let content = chain::content(&records);
        Ok(content.map(|content| Before { page, content }))
    }
}

/// The content of the record before, which the next one may be a delta against.
struct Before {
    page: PageNumber,
    content: Content,
}

/// What a record holds, and whether that is right. Behind a wrong one a right one may follow.
fn content(
    value: &[u8],
    before: Option<Before>,
) -> Result<(Content, Result<(), RecordError>), RecordError> {
    let record = Record::parse(value)?;
    let content = record.on(before.map(|it| it.content).as_ref())?;
    let checked = record.verify(&content);
    Ok(((content, record.chain()), checked))
}
