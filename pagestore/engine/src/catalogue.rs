//! The catalogue: which databases there are, by name.

use verso_pagestore::{
    CatalogueError, CommitId, DatabaseEntry, DatabaseId, DatabaseInfo, DatabaseName, Durability,
    PageCount, RoaringBitmap, StoreError,
};

use crate::kv::{Isolation, Kv, KvError, KvTransaction, RangeQuery, RunError, attempts, look, run};
use crate::log::{DatabaseState, DecodeError, Info};
use crate::{Engine, keys, log};

type Attempt<T> = Result<T, RunError<CatalogueError>>;

impl<K: Kv> Engine<K> {
    pub(crate) fn create_database(
        &self,
        name: &DatabaseName,
        id: DatabaseId,
    ) -> Result<(), CatalogueError> {
        let commit = self.new_commit_id()?;
        let result = run(&self.kv, Durability::Full, |transaction| -> Attempt<()> {
            let existing = self.resolve::<CatalogueError>(transaction, name)?;
            if existing == Some(id) {
                // An earlier attempt, of which nobody heard, took effect.
                return Ok(());
            }
            let is_used = self.get_info::<CatalogueError>(transaction, id)?.is_some();
            if existing.is_some() || is_used {
                let name = name.clone();
                return Err(RunError::Abort(CatalogueError::Exists { name }));
            }
            self.put_info(transaction, id, DatabaseState::Live);
            put_name(transaction, name, id);
            let record = log::encode_commit(
                (self.clock)(),
                commit,
                None,
                PageCount::ZERO,
                &RoaringBitmap::new(),
            );
            transaction.set_versionstamped(&keys::log_prefix(id), &record);
            Ok(())
        });
        self.finish(result.map(|_| ()))
    }

    pub(crate) fn list_databases(
        &self,
        after: Option<&DatabaseName>,
        limit: usize,
    ) -> Result<Vec<DatabaseEntry>, StoreError> {
        let query = RangeQuery::first(limit, keys::names_after(after));
        let pairs = self.pairs(&query)?;
        pairs
            .iter()
            .map(|(key, value)| self.entry(key, value))
            .collect()
    }

    pub(crate) fn database_name(&self, id: DatabaseId) -> Result<Option<DatabaseName>, StoreError> {
        let name = self.finish(look(&self.kv, |transaction| {
            Ok::<_, RunError<StoreError>>(
                transaction.get(&keys::own_name(id), Isolation::Snapshot)?,
            )
        }))?;
        name.map(|bytes| DatabaseName::from_utf8(&bytes))
            .transpose()
            .map_err(|_| self.damaged(&DecodeError("the name of a database is not valid")))
    }

    fn entry(&self, key: &[u8], value: &[u8]) -> Result<DatabaseEntry, StoreError> {
        let name = keys::name_bytes(key)
            .and_then(|bytes| DatabaseName::from_utf8(bytes).ok())
            .ok_or_else(|| self.damaged(&DecodeError("a name in the catalogue is not valid")))?;
        let id = log::decode_id(value).map_err(|error| self.damaged(&error))?;
        Ok(DatabaseEntry { name, id })
    }

    pub(crate) fn database_info(
        &self,
        name: &DatabaseName,
    ) -> Result<DatabaseInfo, CatalogueError> {
        self.finish(look(&self.kv, |transaction| {
            self.try_info(transaction, name)
        }))
    }

    fn try_info(
        &self,
        transaction: &mut K::Transaction,
        name: &DatabaseName,
    ) -> Attempt<DatabaseInfo> {
        let id = self.existing(transaction, name)?;
        let info = self.get_info(transaction, id)?.ok_or_else(|| {
            RunError::Abort(
                self.damaged(&DecodeError("a named database has no info"))
                    .into(),
            )
        })?;
        let head = self.head(transaction, id)?;
        let oldest = self.oldest(transaction, id)?;
        Ok(DatabaseInfo {
            name: name.clone(),
            id,
            created: info.created,
            version: head.version,
            committed: head.time,
            oldest: oldest.version,
            oldest_committed: oldest.time,
            page_size: head.page_size,
            page_count: head.page_count,
        })
    }

    pub(crate) fn rename_database(
        &self,
        from: &DatabaseName,
        to: &DatabaseName,
    ) -> Result<(), CatalogueError> {
        // What earlier attempts of unknown result have moved, or not.
        let mut moving = None;
        let result = attempts(&self.kv, || {
            let mut transaction = self.kv.begin()?;
            let Some(id) = self.try_rename(&mut transaction, from, to, moving)? else {
                return Ok(());
            };
            let result = transaction.commit(Durability::Full);
            if let Err(KvError::CommitUnknown(_)) = &result {
                moving = Some(id);
            }
            Ok(result.map(|_| ())?)
        });
        self.finish(result)
    }

    /// The answer is what is renamed, or nothing if that was done before.
    fn try_rename(
        &self,
        transaction: &mut K::Transaction,
        from: &DatabaseName,
        to: &DatabaseName,
        moving: Option<DatabaseId>,
    ) -> Attempt<Option<DatabaseId>> {
        let target = self.resolve::<CatalogueError>(transaction, to)?;
        let source = self.resolve::<CatalogueError>(transaction, from)?;
        if moving.is_some() && source != moving {
            if target == moving {
                return Ok(None);
            }
            // Others have renamed or removed it since then, or before.
            let lost = KvError::CommitUnknown("others have renamed the database, too".into());
            return Err(RunError::Abort(self.store_error(lost).into()));
        }
        let id = self.existing(transaction, from)?;
        if target.is_some() {
            return Err(RunError::Abort(CatalogueError::Exists { name: to.clone() }));
        }
        transaction.clear(&keys::name(from));
        put_name(transaction, to, id);
        Ok(Some(id))
    }

    pub(crate) fn remove_database(&self, name: &DatabaseName) -> Result<(), CatalogueError> {
        let mut removing = None;
        let result = run(&self.kv, Durability::Full, |transaction| -> Attempt<()> {
            if let Some(removed) = removing
                && self
                    .get_info::<CatalogueError>(transaction, removed)?
                    .is_none()
            {
                // An earlier attempt, whose result was unknown, took effect. What has the name
                // now is another database, which somebody made since.
                return Ok(());
            }
            let id = self.existing(transaction, name)?;
            removing = Some(id);
            transaction.clear(&keys::name(name));
            transaction.clear_range(&keys::database(id));
            Ok(())
        });
        self.finish(result.map(|_| ()))
    }

    /// What the name stands for, or the error that there is no such database.
    pub(crate) fn existing(
        &self,
        transaction: &mut K::Transaction,
        name: &DatabaseName,
    ) -> Attempt<DatabaseId> {
        self.resolve(transaction, name)?
            .ok_or_else(|| RunError::Abort(CatalogueError::NoSuchDatabase { name: name.clone() }))
    }

    pub(crate) fn get_info<E: From<StoreError>>(
        &self,
        transaction: &mut K::Transaction,
        id: DatabaseId,
    ) -> Result<Option<Info>, RunError<E>> {
        let bytes = transaction.get(&keys::info(id), Isolation::Serializable)?;
        bytes
            .map(|bytes| Info::decode(&bytes))
            .transpose()
            .map_err(|error| RunError::Abort(self.damaged(&error).into()))
    }

    pub(crate) fn put_info(
        &self,
        transaction: &mut K::Transaction,
        id: DatabaseId,
        state: DatabaseState,
    ) {
        let info = Info {
            created: (self.clock)(),
            state,
        };
        transaction.set(&keys::info(id), &info.encode());
    }

    pub(crate) fn new_commit_id(&self) -> Result<CommitId, StoreError> {
        CommitId::random().map_err(|error| StoreError::Io {
            store: self.url.clone(),
            reason: format!("the operating system gives no random numbers: {error}"),
        })
    }
}

/// Lets a name stand for a database.
pub(crate) fn put_name<T: KvTransaction>(transaction: &mut T, name: &DatabaseName, id: DatabaseId) {
    transaction.set(&keys::name(name), &log::encode_id(id));
    transaction.set(&keys::own_name(id), name.as_str().as_bytes());
}
