//! Loading whole databases: pages first, the name last, so that it is all or nothing.

use verso_pagestore::{
    CopyBegun, DatabaseId, DatabaseName, Durability, LoadError, Origin, PageCount, PageNumber,
    PageSize, PageWrite, RoaringBitmap, Version,
};

use crate::catalogue::put_name;
use crate::commit::stored;
use crate::kv::{Isolation, Kv, KvError, KvTransaction, RangeQuery, RunError, attempts, run};
use crate::log::{CopyRecord, DatabaseState};
use crate::{Engine, keys, log, record};

/// A load's transactions take at most this part of what the store takes in one: FoundationDB takes
/// 10 MB, and advises to stay below 1 MB
/// (<https://apple.github.io/foundationdb/known-limitations.html#large-transactions>).
const PART_OF_A_TRANSACTION: usize = 10;

/// More than a record takes in a transaction beside its bytes: its key with a prefix of the
/// store, the same again twice for its conflict range, and what is counted for each write.
const RECORD_OVERHEAD: usize = 500;

type Attempt<T> = Result<T, RunError<LoadError>>;

/// A page and its record.
type PageRecord = (PageNumber, Vec<u8>);

impl<K: Kv> Engine<K> {
    pub(crate) fn begin_load(&self, name: &DatabaseName, id: DatabaseId) -> Result<(), LoadError> {
        let result = run(&self.kv, Durability::Normal, |transaction| -> Attempt<()> {
            self.free(transaction, name)?;
            match self.get_info::<LoadError>(transaction, id)? {
                // An earlier attempt, of which nobody heard, took effect.
                Some(info) if info.state == DatabaseState::Loading => Ok(()),
                _ => self.put_loading(transaction, name, id),
            }
        });
        self.finish(result.map(|_| ()))
    }

    pub(crate) fn begin_copy(
        &self,
        name: &DatabaseName,
        id: DatabaseId,
        origin: Origin,
    ) -> Result<CopyBegun, LoadError> {
        let result = run(&self.kv, Durability::Normal, |transaction| {
            self.free(transaction, name)?;
            let earlier = self.unfinished_copy(transaction, name)?;
            if let Some(earlier) = earlier.filter(|earlier| earlier.origin == origin) {
                return Self::go_on(transaction, earlier.load);
            }
            if let Some(earlier) = earlier {
                transaction.clear_range(&keys::database(earlier.load));
            }
            self.put_loading(transaction, name, id)?;
            let copy = CopyRecord { load: id, origin };
            transaction.set(&keys::copy(name), &copy.encode());
            Ok(CopyBegun {
                database: id,
                loaded: PageCount::ZERO,
                removed: earlier.map(|earlier| earlier.origin.version),
            })
        });
        let (begun, _) = self.finish(result)?;
        Ok(begun)
    }

    /// How far a copy got. Its pages came in ascending order, so the last one tells.
    fn go_on(transaction: &mut K::Transaction, database: DatabaseId) -> Attempt<CopyBegun> {
        let last = RangeQuery::last(1, keys::pages_after(database, None));
        let last = transaction.range(&last, Isolation::Snapshot)?;
        let position = last.first().and_then(|(key, _)| keys::page_position(key));
        Ok(CopyBegun {
            database,
            loaded: PageCount::new(position.map_or(0, |position| position.page.get())),
            removed: None,
        })
    }

    pub(crate) fn store_pages(
        &self,
        database: DatabaseId,
        pages: &[PageWrite],
    ) -> Result<(), LoadError> {
        let records: Vec<PageRecord> = pages
            .iter()
            .map(|write| (write.number, record::encode(&stored(write))))
            .collect();
        let most = self.kv.limits().transaction_bytes / PART_OF_A_TRANSACTION;
        for part in parts(&records, most) {
            let result = run(&self.kv, Durability::Normal, |transaction| -> Attempt<()> {
                self.loading(transaction, database)?;
                for (page, record) in part {
                    transaction.set_versionstamped(&keys::page_prefix(database, *page), record);
                }
                Ok(())
            });
            self.finish(result)?;
        }
        Ok(())
    }

    pub(crate) fn finish_load(
        &self,
        database: DatabaseId,
        name: &DatabaseName,
        page_size: PageSize,
        page_count: PageCount,
    ) -> Result<Version, LoadError> {
        let commit = self.new_commit_id()?;
        let mut pages = RoaringBitmap::new();
        pages.insert_range(1..=page_count.get());
        // Why the result of an earlier attempt is unknown.
        let mut unknown = None;
        let result = attempts(&self.kv, || {
            let mut transaction = self.kv.begin()?;
            match self.load_state(&mut transaction, database)? {
                // An earlier attempt took effect. It may have got another name since.
                Some(DatabaseState::Live) => {
                    let first = self.oldest::<LoadError>(&mut transaction, database)?;
                    return Ok(first.version);
                }
                Some(DatabaseState::Loading) => {}
                None => return Err(RunError::Abort(self.no_load(database, unknown.take()))),
            }
            self.free(&mut transaction, name)?;
            self.clear_copy_record(&mut transaction, database)?;
            self.put_info(&mut transaction, database, DatabaseState::Live);
            put_name(&mut transaction, name, database);
            let record =
                log::encode_commit((self.clock)(), commit, Some(page_size), page_count, &pages);
            transaction.set_versionstamped(&keys::log_prefix(database), &record);
            let result = transaction.commit(Durability::Full);
            if let Err(KvError::CommitUnknown(reason)) = &result {
                unknown = Some(reason.clone());
            }
            let version = result?.versionstamp;
            Ok(version.expect("a load that is finished writes its commit"))
        });
        self.finish(result)
    }

    fn load_state(
        &self,
        transaction: &mut K::Transaction,
        database: DatabaseId,
    ) -> Attempt<Option<DatabaseState>> {
        let info = self.get_info::<LoadError>(transaction, database)?;
        Ok(info.map(|info| info.state))
    }

    /// Why there is nothing to finish: it was given up, unless an attempt of unknown result has
    /// finished it, and somebody removed the database since.
    fn no_load(&self, database: DatabaseId, unknown: Option<String>) -> LoadError {
        match unknown {
            Some(reason) => self.store_error(KvError::CommitUnknown(reason)).into(),
            None => LoadError::Ended { database },
        }
    }

    pub(crate) fn abort_load(&self, database: DatabaseId) -> Result<(), LoadError> {
        let result = run(&self.kv, Durability::Normal, |transaction| -> Attempt<()> {
            self.loading(transaction, database)?;
            self.clear_copy_record(transaction, database)?;
            transaction.clear_range(&keys::database(database));
            Ok(())
        });
        self.finish(result.map(|_| ()))
    }

    /// An error unless the name is free.
    fn free(&self, transaction: &mut K::Transaction, name: &DatabaseName) -> Attempt<()> {
        match self.resolve::<LoadError>(transaction, name)? {
            Some(_) => Err(RunError::Abort(LoadError::Exists { name: name.clone() })),
            None => Ok(()),
        }
    }

    /// An error unless the database is being loaded.
    fn loading(&self, transaction: &mut K::Transaction, database: DatabaseId) -> Attempt<()> {
        match self.load_state(transaction, database)? {
            Some(DatabaseState::Loading) => Ok(()),
            Some(DatabaseState::Live) | None => Err(RunError::Abort(LoadError::Ended { database })),
        }
    }

    /// Makes a database that is being loaded; an error if the id is taken.
    fn put_loading(
        &self,
        transaction: &mut K::Transaction,
        name: &DatabaseName,
        id: DatabaseId,
    ) -> Attempt<()> {
        if self.get_info::<LoadError>(transaction, id)?.is_some() {
            return Err(RunError::Abort(LoadError::Exists { name: name.clone() }));
        }
        self.put_info(transaction, id, DatabaseState::Loading);
        transaction.set(&keys::own_name(id), name.as_str().as_bytes());
        Ok(())
    }

    /// The copy to a name that has not been finished.
    fn unfinished_copy(
        &self,
        transaction: &mut K::Transaction,
        name: &DatabaseName,
    ) -> Attempt<Option<CopyRecord>> {
        let Some(copy) = self.copy_record(transaction, name)? else {
            return Ok(None);
        };
        let info = self.get_info::<LoadError>(transaction, copy.load)?;
        Ok(info
            .is_some_and(|info| info.state == DatabaseState::Loading)
            .then_some(copy))
    }

    /// What is remembered of a copy to a name.
    fn copy_record(
        &self,
        transaction: &mut K::Transaction,
        name: &DatabaseName,
    ) -> Attempt<Option<CopyRecord>> {
        let bytes = transaction.get(&keys::copy(name), Isolation::Serializable)?;
        let record = bytes.map(|bytes| CopyRecord::decode(&bytes)).transpose();
        record.map_err(|error| RunError::Abort(self.damaged(&error).into()))
    }

    /// Forgets a copy, if the load that ends is one.
    fn clear_copy_record(
        &self,
        transaction: &mut K::Transaction,
        database: DatabaseId,
    ) -> Attempt<()> {
        let name = transaction.get(&keys::own_name(database), Isolation::Serializable)?;
        let Some(name) = name.and_then(|bytes| DatabaseName::from_utf8(&bytes).ok()) else {
            return Ok(());
        };
        let copy = self.copy_record(transaction, &name)?;
        if copy.is_some_and(|copy| copy.load == database) {
            transaction.clear(&keys::copy(&name));
        }
        Ok(())
    }
}

/// Records in parts of at most so many bytes, or of one record.
fn parts(records: &[PageRecord], most: usize) -> impl Iterator<Item = &[PageRecord]> {
    let mut rest = records;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |(_, record): &&PageRecord| {
            bytes += record.len() + RECORD_OVERHEAD;
            bytes <= most
        };
        let count = rest.iter().take_while(fits).count().max(1);
        let (part, following) = rest.split_at_checked(count)?;
        rest = following;
        Some(part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_small_and_hold_everything_in_order() {
        let record = |number| (PageNumber::new(number).unwrap(), vec![0; 1000]);
        let records: Vec<PageRecord> = (1..=7).map(record).collect();
        for (most, lengths) in [
            (4500, vec![3, 3, 1]),
            (10, vec![1; 7]),
            (usize::MAX, vec![7]),
        ] {
            let found: Vec<&[PageRecord]> = parts(&records, most).collect();
            let found_lengths: Vec<usize> = found.iter().map(|part| part.len()).collect();
            assert_eq!(found_lengths, lengths);
            assert_eq!(found.concat(), records);
        }
        assert_eq!(parts(&[], 10).count(), 0);
    }
}
