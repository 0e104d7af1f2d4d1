//! fjall: a log-structured merge tree in Rust (<https://docs.rs/fjall>).

use std::ops::Range;
use std::path::Path;

use fjall::{KeyspaceCreateOptions, PersistMode, Readable};
use fjall::{SingleWriterTxDatabase, SingleWriterTxKeyspace};

use super::{BEHIND_COMMITS, COMMITS, Commit, Engine, check, version};

struct Fjall {
    database: SingleWriterTxDatabase,
    keyspace: SingleWriterTxKeyspace,
    persist: PersistMode,
}

/// Opens it.
pub(super) fn open(folder: &Path, is_durable: bool) -> anyhow::Result<Box<dyn Engine>> {
    let database = SingleWriterTxDatabase::builder(folder).open()?;
    let keyspace = database.keyspace("kv", KeyspaceCreateOptions::default)?;
    Ok(Box::new(Fjall {
        database,
        keyspace,
        persist: if is_durable {
            PersistMode::SyncData
        } else {
            PersistMode::Buffer
        },
    }))
}

fn newest(reader: &impl Readable, keyspace: &SingleWriterTxKeyspace) -> anyhow::Result<u64> {
    let last = reader.range(keyspace, COMMITS..BEHIND_COMMITS).next_back();
    last.map_or(Ok(0), |last| version(&last.key()?))
}

impl Engine for Fjall {
    fn commit(&mut self, commit: &Commit) -> anyhow::Result<()> {
        let transaction = self.database.write_tx();
        let mut transaction = transaction.durability(Some(self.persist));
        check(commit, newest(&transaction, &self.keyspace)?)?;
        for (key, value) in &commit.pairs {
            transaction.insert(&self.keyspace, key.as_slice(), value.as_slice());
        }
        let key = Commit::key(commit.version);
        transaction.insert(&self.keyspace, key, commit.writes.as_slice());
        for version in commit.pruned() {
            transaction.remove(&self.keyspace, Commit::key(version));
        }
        Ok(transaction.commit()?)
    }

    fn last(&mut self, keys: &Range<Vec<u8>>) -> anyhow::Result<Option<Vec<u8>>> {
        let reader = self.database.read_tx();
        newest(&reader, &self.keyspace)?;
        let last = reader.range(&self.keyspace, keys.clone()).next_back();
        last.map(|last| Ok(last.value()?.to_vec())).transpose()
    }

    fn all(&mut self, keys: &Range<Vec<u8>>) -> anyhow::Result<Vec<Vec<u8>>> {
        let reader = self.database.read_tx();
        newest(&reader, &self.keyspace)?;
        let range = reader.range(&self.keyspace, keys.clone());
        range.map(|pair| Ok(pair.value()?.to_vec())).collect()
    }
}
