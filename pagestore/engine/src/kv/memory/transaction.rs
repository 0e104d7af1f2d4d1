//! A transaction of the store in memory.

use std::sync::Arc;

use verso_pagestore::Durability;

use super::Store;
use super::versions::{Batch, Versions};
use crate::kv::buffer::{Operation, WriteBuffer};
use crate::kv::{Committed, Isolation, KeyRange, KeyValue, KvError, KvTransaction, RangeQuery};
use verso_pagestore::Pass;

/// A transaction of a [`MemoryKv`](super::MemoryKv).
#[derive(Debug)]
pub struct MemoryTransaction {
    store: Arc<Store>,
    read_version: u64,
    buffer: WriteBuffer,
    _pass: Pass,
}

impl MemoryTransaction {
    pub(super) fn new(store: Arc<Store>, read_version: u64, pass: Pass) -> Self {
        Self {
            store,
            read_version,
            buffer: WriteBuffer::default(),
            _pass: pass,
        }
    }

    /// What there is to commit; `None` if nothing was written.
    pub(in crate::kv) fn pending(&mut self) -> Result<Option<PendingCommit>, KvError> {
        if self.buffer.is_read_only() {
            return Ok(None);
        }
        self.buffer.check_limits(&self.store.options.limits)?;
        Ok(Some(PendingCommit {
            read_version: self.read_version,
            buffer: std::mem::take(&mut self.buffer),
        }))
    }
}

/// A transaction on its way to a commit.
#[derive(Debug)]
pub(in crate::kv) struct PendingCommit {
    read_version: u64,
    buffer: WriteBuffer,
}

impl PendingCommit {
    /// The writes in order.
    pub(in crate::kv) fn operations(&self) -> &[Operation] {
        self.buffer.operations()
    }

    pub(super) fn commit(
        &self,
        versions: &mut Versions,
        batch: &mut Batch,
        now: u64,
    ) -> Result<Committed, KvError> {
        let version = versions.commit(batch, self.read_version, now, &self.buffer)?;
        Ok(Committed {
            versionstamp: Some(version),
            read_version: version.commit_version(),
            mark: None,
        })
    }
}

impl KvTransaction for MemoryTransaction {
    fn read_version(&mut self) -> Result<u64, KvError> {
        Ok(self.read_version)
    }

    fn get(&mut self, key: &[u8], isolation: Isolation) -> Result<Option<Vec<u8>>, KvError> {
        let Self {
            store,
            read_version,
            buffer,
            ..
        } = self;
        let now = store.now();
        buffer.read(key, isolation, || {
            store.versions.lock().get(*read_version, now, key)
        })
    }

    fn range(
        &mut self,
        query: &RangeQuery,
        isolation: Isolation,
    ) -> Result<Vec<KeyValue>, KvError> {
        if query.range.is_empty() {
            return Ok(Vec::new());
        }
        let now = self.store.now();
        let mut versions = self.store.versions.lock();
        let mut stored = versions.range(self.read_version, now, query)?;
        self.buffer
            .read_range(query, isolation, || Ok(stored.next()))
    }

    fn set(&mut self, key: &[u8], value: &[u8]) {
        self.buffer.set(key, value);
    }

    fn set_versionstamped(&mut self, prefix: &[u8], value: &[u8]) {
        self.buffer.set_versionstamped(prefix, value);
    }

    fn clear(&mut self, key: &[u8]) {
        self.buffer.clear(key);
    }

    fn clear_range(&mut self, range: &KeyRange) {
        self.buffer.clear_range(range);
    }

    fn add_read_conflict(&mut self, range: KeyRange) {
        self.buffer.add_read_conflict(range);
    }

    fn add_write_conflict(&mut self, range: KeyRange) {
        self.buffer.add_write_conflict(range);
    }

    fn commit(mut self, _durability: Durability) -> Result<Committed, KvError> {
        let Some(pending) = self.pending()? else {
            return Ok(Committed {
                versionstamp: None,
                read_version: self.read_version,
                mark: None,
            });
        };
        let now = self.store.now();
        let mut versions = self.store.versions.lock();
        let mut batch = versions.begin_batch(now);
        pending.commit(&mut versions, &mut batch, now)
    }
}
