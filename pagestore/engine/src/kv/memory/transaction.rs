//! A transaction of the store in memory.

use std::sync::Arc;

use verso_pagestore::{Durability, Version};

use super::Store;
use crate::kv::buffer::WriteBuffer;
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

    fn commit(self, _durability: Durability) -> Result<Committed, KvError> {
        let Self {
            store,
            read_version,
            buffer,
            ..
        } = &self;
        if buffer.is_read_only() {
            return Ok(Committed {
                versionstamp: None,
                read_version: *read_version,
            });
        }
        buffer.check_limits(&store.options.limits)?;
        let version = store
            .versions
            .lock()
            .commit(*read_version, store.now(), buffer)?;
        Ok(Committed {
            versionstamp: Some(Version::from_commit(version, 0)),
            read_version: version,
        })
    }
}
