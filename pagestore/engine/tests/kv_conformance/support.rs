//! What the tests share.

use std::sync::Arc;

use tempfile::TempDir;
use verso_engine::kv::memory::{ManualClock, MemoryKv, MemoryOptions};
use verso_engine::kv::sqlite::{SqliteKv, SqliteOptions};
use verso_engine::kv::{
    Committed, Isolation, KeyRange, KeyValue, Kv, KvError, KvTransaction, RangeQuery,
};
use verso_pagestore::Durability;

/// A store in memory whose clock stands still: no transaction gets old on a busy machine.
pub(crate) fn memory() -> MemoryKv {
    let clock = Arc::new(ManualClock::default());
    MemoryKv::new(MemoryOptions {
        clock,
        ..MemoryOptions::default()
    })
}

/// An embedded store in a new directory.
pub(crate) fn sqlite() -> (SqliteKv, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    (
        SqliteKv::open(&directory.path().join("store.db")).unwrap(),
        directory,
    )
}

/// One that puts pairs in the order of their keys every few commits.
pub(crate) fn sqlite_with_short_tail() -> (SqliteKv, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let options = SqliteOptions {
        longest_tail: 3,
        ..SqliteOptions::default()
    };
    let kv = SqliteKv::open_with(&directory.path().join("store.db"), options).unwrap();
    (kv, directory)
}

/// Runs a test on an empty store in the cluster that `VERSO_TEST_FDB_CLUSTER` names, if any.
#[cfg(feature = "foundationdb")]
pub(crate) fn with_fdb(test: impl FnOnce(&verso_engine::kv::fdb::FdbKv)) {
    use std::sync::atomic::{AtomicU32, Ordering};

    static COUNT: AtomicU32 = AtomicU32::new(0);
    let Ok(cluster) = std::env::var("VERSO_TEST_FDB_CLUSTER") else {
        println!("skipped: no FoundationDB");
        return;
    };
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    // Short, since it counts in every key.
    let prefix = format!("{:x}/{count:x}", std::process::id());
    let url = verso_pagestore::StoreUrl::parse(&format!("fdb:{cluster}?prefix={prefix}")).unwrap();
    let verso_pagestore::StoreUrl::FoundationDb(url) = url else {
        panic!("this is a cluster");
    };
    let kv = verso_engine::kv::fdb::FdbKv::open(&url).unwrap();
    let clear = || {
        let mut transaction = begin(&kv);
        transaction.clear_range(&KeyRange::prefix(b""));
        commit(transaction).unwrap();
    };
    // A process of the same number may have left something.
    clear();
    test(&kv);
    clear();
}

/// A transaction whose snapshot is taken now; a store may otherwise wait for its first use.
pub(crate) fn begin<K: Kv>(kv: &K) -> K::Transaction {
    let mut transaction = kv.begin().unwrap();
    transaction.read_version().unwrap();
    transaction
}

/// Commits without a sync, which no test of the contract needs.
pub(crate) fn commit(transaction: impl KvTransaction) -> Result<Committed, KvError> {
    transaction.commit(Durability::Off)
}

pub(crate) fn put<K: Kv>(kv: &K, key: &[u8], value: &[u8]) -> Committed {
    let mut transaction = begin(kv);
    transaction.set(key, value);
    commit(transaction).unwrap()
}

pub(crate) fn get<K: Kv>(kv: &K, key: &[u8]) -> Option<Vec<u8>> {
    read(&mut begin(kv), key)
}

pub(crate) fn read(transaction: &mut impl KvTransaction, key: &[u8]) -> Option<Vec<u8>> {
    transaction.get(key, Isolation::Serializable).unwrap()
}

/// All pairs of a range.
pub(crate) fn scan(transaction: &mut impl KvTransaction, range: KeyRange) -> Vec<KeyValue> {
    let query = RangeQuery::first(usize::MAX, range);
    transaction.range(&query, Isolation::Serializable).unwrap()
}

pub(crate) fn keys(transaction: &mut impl KvTransaction, query: &RangeQuery) -> Vec<String> {
    let pairs = transaction.range(query, Isolation::Serializable).unwrap();
    pairs
        .into_iter()
        .map(|(key, _)| String::from_utf8(key).unwrap())
        .collect()
}
