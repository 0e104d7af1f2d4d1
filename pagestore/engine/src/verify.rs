//! Verification: every page record decodes and has the right checksum.

use verso_pagestore::{CorruptRecord, DatabaseId, RecordPosition, StoreError, VerifyReport};

use crate::kv::{Kv, RangeQuery};
use crate::log::DecodeError;
use crate::{Engine, keys, record};

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
        for (key, value) in &pairs {
            let position = keys::page_position(key)
                .ok_or_else(|| self.damaged(&DecodeError("a page record has an invalid key")))?;
            if let Err(error) = record::decode(value) {
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
}
