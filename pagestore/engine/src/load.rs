//! Loading whole databases: pages first, the name last, so that it is all or nothing.

use verso_pagestore::{
    DatabaseId, DatabaseName, Durability, LoadError, PageCount, PageSize, PageWrite, RoaringBitmap,
    Version,
};

use crate::catalogue::put_name;
use crate::commit::stored;
use crate::kv::{Kv, KvTransaction, RunError, run};
use crate::log::DatabaseState;
use crate::{Engine, keys, log, record};

type Attempt<T> = Result<T, RunError<LoadError>>;

impl<K: Kv> Engine<K> {
    pub(crate) fn begin_load(&self, name: &DatabaseName, id: DatabaseId) -> Result<(), LoadError> {
        let result = run(&self.kv, Durability::Normal, |transaction| -> Attempt<()> {
            self.free(transaction, name)?;
            match self.get_info::<LoadError>(transaction, id)? {
                None => {}
                // An earlier attempt, of which nobody heard, took effect.
                Some(info) if info.state == DatabaseState::Loading => return Ok(()),
                Some(_) => {
                    let name = name.clone();
                    return Err(RunError::Abort(LoadError::Exists { name }));
                }
            }
            self.put_info(transaction, id, DatabaseState::Loading);
            transaction.set(&keys::own_name(id), name.as_str().as_bytes());
            Ok(())
        });
        self.finish(result.map(|_| ()))
    }

    pub(crate) fn store_pages(
        &self,
        database: DatabaseId,
        pages: &[PageWrite],
    ) -> Result<(), LoadError> {
        let records: Vec<_> = pages
            .iter()
            .map(|write| (write.number, record::encode(&stored(write))))
            .collect();
        let result = run(&self.kv, Durability::Normal, |transaction| -> Attempt<()> {
            self.loading(transaction, database)?;
            for (page, record) in &records {
                transaction.set_versionstamped(&keys::page_prefix(database, *page), record);
            }
            Ok(())
        });
        self.finish(result.map(|_| ()))
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
        let result = run(
            &self.kv,
            Durability::Full,
            |transaction| -> Attempt<Option<Version>> {
                if self.resolve::<LoadError>(transaction, name)? == Some(database) {
                    // An earlier attempt, whose result was unknown, took effect.
                    return Ok(Some(
                        self.oldest::<LoadError>(transaction, database)?.version,
                    ));
                }
                self.free(transaction, name)?;
                self.loading(transaction, database)?;
                self.put_info(transaction, database, DatabaseState::Live);
                put_name(transaction, name, database);
                let record =
                    log::encode_commit((self.clock)(), commit, Some(page_size), page_count, &pages);
                transaction.set_versionstamped(&keys::log_prefix(database), &record);
                Ok(None)
            },
        );
        let (earlier, committed) = self.finish(result)?;
        Ok(earlier
            .or(committed.versionstamp)
            .expect("a load that is finished wrote its commit"))
    }

    pub(crate) fn abort_load(&self, database: DatabaseId) -> Result<(), LoadError> {
        let result = run(&self.kv, Durability::Normal, |transaction| -> Attempt<()> {
            self.loading(transaction, database)?;
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
        match self.get_info::<LoadError>(transaction, database)? {
            Some(info) if info.state == DatabaseState::Loading => Ok(()),
            _ => Err(RunError::Abort(LoadError::Ended { database })),
        }
    }
}
