//! Staged pages: those of a transaction that is too large to be sent at once wait in the store,
//! where nobody sees them, until its commit makes them page records.

use verso_pagestore::{
    Change, CommitError, CommitId, DatabaseId, Durability, PageNumber, PageWrite, RoaringBitmap,
};

use crate::commit::stored;
use crate::kv::{Isolation, Kv, KvError, KvTransaction, RunError, run};
use crate::{Engine, keys, record};

type Attempt<T> = Result<T, RunError<CommitError>>;

impl<K: Kv> Engine<K> {
    pub(crate) fn stage_pages(
        &self,
        commit: CommitId,
        database: DatabaseId,
        pages: &[PageWrite],
    ) -> Result<(), CommitError> {
        let records: Vec<_> = pages
            .iter()
            .map(|write| (write.number, record::encode(&stored(write))))
            .collect();
        self.stage_records(commit, database, &records)
    }

    /// Stages page records.
    pub(crate) fn stage_records(
        &self,
        commit: CommitId,
        database: DatabaseId,
        records: &[(PageNumber, Vec<u8>)],
    ) -> Result<(), CommitError> {
        // What a power loss takes is missed at the commit, and refused.
        let result = run(&self.kv, Durability::Off, |transaction| -> Attempt<()> {
            let info = transaction.get(&keys::info(database), Isolation::Serializable)?;
            if info.is_none() {
                return Err(RunError::Abort(CommitError::Removed { database }));
            }
            for (page, record) in records {
                transaction.set(&keys::staged_page(database, commit, *page), record);
            }
            Ok(())
        });
        result.map(|_| ()).map_err(|error| match error {
            RunError::Abort(refusal) => refusal,
            RunError::Kv(error) => self.commit_error(error, None),
        })
    }
}

/// Makes page records of the staged pages, of at most so many bytes. The answer is which.
pub(crate) fn unstage<T: KvTransaction>(
    transaction: &mut T,
    commit: CommitId,
    database: DatabaseId,
    change: &Change,
    limit: usize,
) -> Attempt<RoaringBitmap> {
    let mut pages = RoaringBitmap::new();
    let mut bytes = 0;
    for page in change.staged.iter().filter_map(PageNumber::new) {
        let key = keys::staged_page(database, commit, page);
        let Some(record) = transaction.get(&key, Isolation::Snapshot)? else {
            return Err(refused(database, page, "was not staged: stage it again"));
        };
        let page_size = record::checked_size(&record)
            .map_err(|_| refused(database, page, "was staged and cannot be read"))?;
        if page_size != change.page_size {
            return Err(refused(database, page, "was staged with another page size"));
        }
        // What the store would refuse must not fill the memory first.
        bytes += record.len();
        if bytes > limit {
            return Err(KvError::TooLarge { bytes, limit }.into());
        }
        if change.page_count.contains(page) {
            pages.insert(page.get());
            transaction.set_versionstamped(&keys::page_prefix(database, page), &record);
        }
    }
    transaction.clear_range(&keys::staged(database, commit));
    Ok(pages)
}

fn refused(database: DatabaseId, page: PageNumber, what: &str) -> RunError<CommitError> {
    RunError::Abort(CommitError::Invalid {
        reason: format!("page {page} of database {database} {what}"),
    })
}
