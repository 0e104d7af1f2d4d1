//! redb: a copy-on-write b-tree in Rust (<https://docs.rs/redb>).

use std::ops::Range;
use std::path::Path;

use redb::{
    ConcurrencyMode, Database, Durability, ReadableDatabase as _, ReadableTable, TableDefinition,
};

use super::{BEHIND_COMMITS, COMMITS, Commit, Engine, check, version};

const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("kv");

struct Redb {
    database: Database,
    is_durable: bool,
}

/// Opens it for this process alone.
pub(super) fn open(folder: &Path, is_durable: bool) -> anyhow::Result<Box<dyn Engine>> {
    create(folder, is_durable, ConcurrencyMode::ExclusiveWriter)
}

/// Opens it for several processes that write. Then every commit is synced, and twice.
pub(super) fn open_shared(folder: &Path, _is_durable: bool) -> anyhow::Result<Box<dyn Engine>> {
    create(folder, true, ConcurrencyMode::MultiWriter)
}

fn create(
    folder: &Path,
    is_durable: bool,
    mode: ConcurrencyMode,
) -> anyhow::Result<Box<dyn Engine>> {
    let mut builder = Database::builder();
    builder.set_concurrency_mode(mode);
    let database = builder.create(folder.join("store.redb"))?;
    let transaction = database.begin_write()?;
    transaction.open_table(TABLE)?;
    transaction.commit()?;
    Ok(Box::new(Redb {
        database,
        is_durable,
    }))
}

type Bytes = &'static [u8];

fn newest(table: &impl ReadableTable<Bytes, Bytes>) -> anyhow::Result<u64> {
    let last = table.range(COMMITS..BEHIND_COMMITS)?.next_back();
    last.map_or(Ok(0), |last| version(last?.0.value()))
}

impl Engine for Redb {
    fn commit(&mut self, commit: &Commit) -> anyhow::Result<()> {
        let mut transaction = self.database.begin_write()?;
        if !self.is_durable {
            transaction.set_durability(Durability::None)?;
        }
        let mut table = transaction.open_table(TABLE)?;
        check(commit, newest(&table)?)?;
        for (key, value) in &commit.pairs {
            table.insert(key.as_slice(), value.as_slice())?;
        }
        let key = Commit::key(commit.version);
        table.insert(key.as_slice(), commit.writes.as_slice())?;
        for version in commit.pruned() {
            table.remove(Commit::key(version).as_slice())?;
        }
        drop(table);
        Ok(transaction.commit()?)
    }

    fn last(&mut self, keys: &Range<Vec<u8>>) -> anyhow::Result<Option<Vec<u8>>> {
        let table = self.database.begin_read()?.open_table(TABLE)?;
        newest(&table)?;
        let last = table
            .range(keys.start.as_slice()..keys.end.as_slice())?
            .next_back();
        Ok(last.transpose()?.map(|(_, value)| value.value().to_vec()))
    }

    fn all(&mut self, keys: &Range<Vec<u8>>) -> anyhow::Result<Vec<Vec<u8>>> {
        let table = self.database.begin_read()?.open_table(TABLE)?;
        newest(&table)?;
        let range = table.range(keys.start.as_slice()..keys.end.as_slice())?;
        range.map(|pair| Ok(pair?.1.value().to_vec())).collect()
    }
}
