//! What the tests share.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use verso_engine::kv::sqlite::{SqliteKv, SqliteTransaction};
use verso_engine::kv::{
    Committed, Isolation, KeyRange, KeyValue, Kv, KvError, KvTransaction, RangeQuery, RunError, run,
};
use verso_pagestore::Durability;

const PART: &str = "VERSO_TEST_PART";
const STORE: &str = "VERSO_TEST_STORE";

/// This binary again, to play a part: a test that does nothing otherwise.
pub(crate) fn child(part: &str, store: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([part, "--exact", "--nocapture", "--test-threads=1"])
        .env(PART, part)
        .env(STORE, store);
    command
}

/// The store of this process's part, if it is a child that plays this one.
pub(crate) fn playing(part: &str) -> Option<PathBuf> {
    let mine = std::env::var_os(PART)? == part;
    mine.then(|| std::env::var_os(STORE).unwrap().into())
}

pub(crate) fn open(path: &Path) -> SqliteKv {
    SqliteKv::open(path).unwrap()
}

pub(crate) fn put(
    kv: &SqliteKv,
    key: &[u8],
    value: &[u8],
    durability: Durability,
) -> Result<Committed, KvError> {
    let mut transaction = kv.begin().unwrap();
    transaction.set(key, value);
    transaction.commit(durability)
}

pub(crate) fn get(kv: &SqliteKv, key: &[u8]) -> Option<Vec<u8>> {
    kv.begin()
        .unwrap()
        .get(key, Isolation::Serializable)
        .unwrap()
}

pub(crate) fn scan(kv: &SqliteKv, range: KeyRange) -> Vec<KeyValue> {
    let query = RangeQuery::first(usize::MAX, range);
    kv.begin()
        .unwrap()
        .range(&query, Isolation::Serializable)
        .unwrap()
}

pub(crate) fn number(value: Option<Vec<u8>>) -> u64 {
    value.map_or(0, |value| u64::from_be_bytes(value.try_into().unwrap()))
}

/// Adds one to each counter in one transaction.
pub(crate) fn increment(kv: &SqliteKv, keys: &[&[u8]], durability: Durability) {
    let body = |transaction: &mut SqliteTransaction| {
        for key in keys {
            let old = number(transaction.get(key, Isolation::Serializable)?);
            transaction.set(key, &(old + 1).to_be_bytes());
        }
        Ok::<_, RunError<()>>(())
    };
    run(kv, durability, body).unwrap();
}

/// Holds the store's write lock, as another process may, while `start` starts writers, and
/// waits for them after it is free. The pauses of `start` give writers the time to queue;
/// a test may profit from them, but must not depend on them.
pub(crate) fn while_locked(path: &Path, start: impl FnOnce(&dyn Fn()) -> Vec<JoinHandle<()>>) {
    let other = rusqlite::Connection::open(path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let writers = start(&|| thread::sleep(Duration::from_millis(50)));
    other.execute_batch("ROLLBACK").unwrap();
    for writer in writers {
        writer.join().unwrap();
    }
}
