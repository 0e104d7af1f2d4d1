//! SQLite as Verso's embedded store uses it, but that each commit puts its pairs in the order of
//! their keys.

use std::ops::Range;
use std::path::Path;

use rusqlite::Connection;

use super::{Commit, Engine, check};

struct Sqlite(Connection);

/// Opens it.
pub(super) fn open(folder: &Path, is_durable: bool) -> anyhow::Result<Box<dyn Engine>> {
    create(folder, is_durable, "")
}

/// Opens one that keeps keys and values in one tree.
pub(super) fn open_one_tree(folder: &Path, is_durable: bool) -> anyhow::Result<Box<dyn Engine>> {
    create(folder, is_durable, "WITHOUT ROWID")
}

fn create(folder: &Path, is_durable: bool, kind: &str) -> anyhow::Result<Box<dyn Engine>> {
    let db = Connection::open(folder.join("store.db"))?;
    let synchronous = if is_durable { "FULL" } else { "NORMAL" };
    db.execute_batch(&format!(
        "PRAGMA page_size = 4096; PRAGMA journal_mode = WAL; PRAGMA cache_size = -4096;
         PRAGMA journal_size_limit = 67108864; PRAGMA synchronous = {synchronous};
         CREATE TABLE kv (key BLOB PRIMARY KEY NOT NULL, value BLOB NOT NULL) {kind};
         CREATE TABLE commits (version INTEGER PRIMARY KEY, writes BLOB NOT NULL);
         INSERT INTO commits VALUES (0, x'')"
    ))?;
    Ok(Box::new(Sqlite(db)))
}

impl Sqlite {
    fn run(&self, sql: &str, values: impl rusqlite::Params) -> anyhow::Result<()> {
        self.0.prepare_cached(sql)?.execute(values)?;
        Ok(())
    }

    fn version(&self) -> anyhow::Result<u64> {
        let mut newest = self.0.prepare_cached("SELECT max(version) FROM commits")?;
        let version: i64 = newest.query_row((), |row| row.get(0))?;
        Ok(u64::try_from(version)?)
    }

    fn read(&self, sql: &str, keys: &Range<Vec<u8>>, limit: usize) -> anyhow::Result<Vec<Vec<u8>>> {
        self.run("BEGIN", ())?;
        self.version()?;
        let mut statement = self.0.prepare_cached(sql)?;
        let rows = statement.query_map([&keys.start, &keys.end], |row| row.get(1))?;
        let values = rows.take(limit).collect::<Result<_, _>>()?;
        self.run("ROLLBACK", ())?;
        Ok(values)
    }
}

impl Engine for Sqlite {
    fn commit(&mut self, commit: &Commit) -> anyhow::Result<()> {
        self.run("BEGIN IMMEDIATE", ())?;
        check(commit, self.version()?)?;
        for (key, value) in &commit.pairs {
            let set = "INSERT INTO kv (key, value) VALUES (?1, ?2) \
                 ON CONFLICT (key) DO UPDATE SET value = excluded.value";
            self.run(set, (key, value))?;
        }
        let record = "INSERT INTO commits (version, writes) VALUES (?1, ?2)";
        self.run(record, (i64::try_from(commit.version)?, &commit.writes))?;
        let pruned = commit.pruned();
        if !pruned.is_empty() {
            let prune = "DELETE FROM commits WHERE version < ?1";
            self.run(prune, [i64::try_from(pruned.end)?])?;
        }
        self.run("COMMIT", ())
    }

    fn last(&mut self, keys: &Range<Vec<u8>>) -> anyhow::Result<Option<Vec<u8>>> {
        let sql = "SELECT key, value FROM kv WHERE key >= ?1 AND key < ?2 ORDER BY key DESC";
        Ok(self.read(sql, keys, 1)?.pop())
    }

    fn all(&mut self, keys: &Range<Vec<u8>>) -> anyhow::Result<Vec<Vec<u8>>> {
        let sql = "SELECT key, value FROM kv WHERE key >= ?1 AND key < ?2 ORDER BY key";
        self.read(sql, keys, usize::MAX)
    }
}
