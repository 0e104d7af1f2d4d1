//! LMDB: a copy-on-write b-tree in memory that is mapped to a file (<https://docs.rs/heed>).

use std::ops::{Bound, Range};
use std::path::Path;

use anyhow::Context as _;
use heed::types::Bytes;
use heed::{AnyTls, CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions, RoTxn};

use super::{BEHIND_COMMITS, COMMITS, Commit, Engine, check, version};

/// The most that the file can grow to: addresses, not memory.
const MAPPED: usize = 16 << 30;

struct Lmdb {
    environment: Env,
    database: Database<'static, Bytes, Bytes>,
}

/// Opens it.
#[expect(
    unsafe_code,
    reason = "whoever changes the file otherwise changes memory"
)]
pub(super) fn open(folder: &Path, is_durable: bool) -> anyhow::Result<Box<dyn Engine>> {
    let mut options = EnvOpenOptions::new();
    options.map_size(MAPPED);
    if !is_durable {
        // SAFETY: what a power loss leaves of the file is never read.
        unsafe { options.flags(EnvFlags::NO_SYNC) };
    }
    // SAFETY: nobody else knows the folder.
    let environment = unsafe { options.open(folder)? };
    let transaction = environment.write_txn()?;
    let created = environment.create_databases_and_commit(transaction, |opener, transaction| {
        let database = opener.create_database::<Bytes, Bytes>(transaction, None);
        database.map(CommitOrAbort::<_, ()>::Commit)
    })?;
    let database = created.commit().context("the database was not made")?;
    Ok(Box::new(Lmdb {
        environment,
        database,
    }))
}

type Keys<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

fn bounds<'a>(begin: &'a [u8], end: &'a [u8]) -> Keys<'a> {
    (Bound::Included(begin), Bound::Excluded(end))
}

impl Lmdb {
    fn newest(&self, transaction: &RoTxn<'_, AnyTls>) -> anyhow::Result<u64> {
        let keys = bounds(COMMITS, BEHIND_COMMITS);
        let last = self.database.rev_range(transaction, &keys)?.next();
        last.map_or(Ok(0), |last| version(last?.0))
    }
}

impl Engine for Lmdb {
    fn commit(&mut self, commit: &Commit) -> anyhow::Result<()> {
        let mut transaction = self.environment.write_txn()?;
        check(commit, self.newest(&transaction)?)?;
        for (key, value) in &commit.pairs {
            self.database.put(&mut transaction, key, value)?;
        }
        let key = Commit::key(commit.version);
        self.database.put(&mut transaction, &key, &commit.writes)?;
        for version in commit.pruned() {
            self.database
                .delete(&mut transaction, &Commit::key(version))?;
        }
        Ok(transaction.commit()?)
    }

    fn last(&mut self, keys: &Range<Vec<u8>>) -> anyhow::Result<Option<Vec<u8>>> {
        let transaction = self.environment.read_txn()?;
        self.newest(&transaction)?;
        let keys = bounds(&keys.start, &keys.end);
        let last = self.database.rev_range(&transaction, &keys)?.next();
        Ok(last.transpose()?.map(|(_, value)| value.to_vec()))
    }

    fn all(&mut self, keys: &Range<Vec<u8>>) -> anyhow::Result<Vec<Vec<u8>>> {
        let transaction = self.environment.read_txn()?;
        self.newest(&transaction)?;
        let keys = bounds(&keys.start, &keys.end);
        let range = self.database.range(&transaction, &keys)?;
        range.map(|pair| Ok(pair?.1.to_vec())).collect()
    }
}
