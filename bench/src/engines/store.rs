//! Verso's embedded store itself, below the engine of pages.

use std::ops::Range;
use std::path::Path;

use verso_engine::kv::sqlite::SqliteKv;
use verso_engine::kv::{Isolation, KeyRange, Kv, KvTransaction, RangeQuery};
use verso_pagestore::Durability;

use super::{COMMITS, Commit, Engine, check};

struct Store {
    kv: SqliteKv,
    durability: Durability,
}

/// Opens it.
pub(super) fn open(folder: &Path, is_durable: bool) -> anyhow::Result<Box<dyn Engine>> {
    let durability = if is_durable {
        Durability::Full
    } else {
        Durability::Normal
    };
    let kv = SqliteKv::open(&folder.join("store.db"))?;
    Ok(Box::new(Store { kv, durability }))
}

impl Store {
    fn range(&self, query: &RangeQuery) -> anyhow::Result<Vec<Vec<u8>>> {
        let found = self.kv.begin()?.range(query, Isolation::Snapshot)?;
        Ok(found.into_iter().map(|(_, value)| value).collect())
    }
}

impl Engine for Store {
    fn commit(&mut self, commit: &Commit) -> anyhow::Result<()> {
        // An empty store has version 1, and each commit the next one.
        let mut transaction = self.kv.begin_at(commit.version)?;
        transaction.add_read_conflict(KeyRange::prefix(b""));
        for (key, value) in &commit.pairs {
            transaction.set(key, value);
        }
        let id = [COMMITS, commit.writes.get(..16).unwrap_or_default()].concat();
        transaction.add_write_conflict(KeyRange::single(&id));
        let committed = transaction.commit(self.durability)?;
        check(commit, committed.read_version - 2)
    }

    fn last(&mut self, keys: &Range<Vec<u8>>) -> anyhow::Result<Option<Vec<u8>>> {
        let range = KeyRange::new(keys.start.clone(), keys.end.clone());
        Ok(self.range(&RangeQuery::last(1, range))?.pop())
    }

    fn all(&mut self, keys: &Range<Vec<u8>>) -> anyhow::Result<Vec<Vec<u8>>> {
        let range = KeyRange::new(keys.start.clone(), keys.end.clone());
        self.range(&RangeQuery::first(usize::MAX, range))
    }
}
