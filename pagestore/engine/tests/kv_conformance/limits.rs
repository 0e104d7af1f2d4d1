//! What a store takes, and for how long.

use std::sync::Arc;
use std::time::Duration;

use verso_engine::kv::memory::{ManualClock, MemoryKv, MemoryOptions};
use verso_engine::kv::sqlite::{SqliteKv, SqliteOptions};
use verso_engine::kv::{KeyRange, Kv, KvError, KvTransaction};

use crate::support::{begin, commit, get, put, read};

pub(crate) fn writes_over_the_limits_are_refused<K: Kv>(kv: &K) {
    let limits = kv.limits();
    let mut long_key = begin(kv);
    long_key.set(&vec![b'k'; limits.key_bytes + 1], b"");
    let refused = KvError::TooLarge {
        bytes: limits.key_bytes + 1,
        limit: limits.key_bytes,
    };
    assert_eq!(commit(long_key), Err(refused));

    // A gigabyte is too much to build in a test.
    if limits.transaction_bytes <= 10_000_000 {
        let mut large_value = begin(kv);
        large_value.set(b"k", &vec![0; limits.value_bytes + 1]);
        let refused = KvError::TooLarge {
            bytes: limits.value_bytes + 1,
            limit: limits.value_bytes,
        };
        assert_eq!(commit(large_value), Err(refused));

        let mut large = begin(kv);
        for index in 0..=limits.transaction_bytes / limits.value_bytes {
            large.set(&index.to_be_bytes(), &vec![0; limits.value_bytes]);
        }
        let refused = commit(large).unwrap_err();
        assert!(matches!(refused, KvError::TooLarge { .. }), "{refused:?}");

        let mut many_ranges = begin(kv);
        many_ranges.set(b"x", b"");
        // The prefix of a store in a cluster counts in each.
        for index in 0..120_000_u32 {
            many_ranges.add_read_conflict(KeyRange::single(&(index * 2).to_be_bytes()));
        }
        let mut more_ranges = begin(kv);
        more_ranges.set(b"x", b"");
        for index in 0..300_000_u32 {
            more_ranges.add_read_conflict(KeyRange::single(&(index * 2).to_be_bytes()));
        }
        // A cluster that is busy may need longer for so many than it remembers commits.
        let committed = commit(many_ranges);
        assert!(
            matches!(committed, Ok(_) | Err(KvError::TooOld)),
            "{committed:?}"
        );
        assert!(matches!(commit(more_ranges), Err(KvError::TooLarge { .. })));
    }
    assert_eq!(get(kv, b"k"), None);
}

pub(crate) fn the_longest_key_is_taken<K: Kv>(kv: &K) {
    let key = vec![0xff; kv.limits().key_bytes];
    put(kv, &key, b"1");
    assert_eq!(get(kv, &key), Some(b"1".to_vec()));
}

pub(crate) fn values_up_to_the_limit_of_a_distributed_store_are_taken<K: Kv>(kv: &K) {
    let value: Vec<u8> = (0..=u8::MAX).cycle().take(100_000).collect();
    put(kv, b"a", &value);
    assert_eq!(get(kv, b"a"), Some(value));
}

#[test]
fn memory_forgets_old_versions_by_its_clock() {
    let clock = Arc::new(ManualClock::default());
    let options = MemoryOptions {
        clock: clock.clone(),
        ..MemoryOptions::default()
    };
    let kv = MemoryKv::new(options);
    put(&kv, b"a", b"1");
    let (mut reader, mut blind) = (begin(&kv), begin(&kv));
    clock.advance(Duration::from_millis(4900));
    assert_eq!(read(&mut reader, b"a"), Some(b"1".to_vec()));
    clock.advance(Duration::from_millis(200));
    assert_eq!(
        reader.get(b"a", verso_engine::kv::Isolation::Snapshot),
        Err(KvError::TooOld)
    );
    reader.set(b"b", b"1");
    assert_eq!(commit(reader), Err(KvError::TooOld));
    blind.set(b"b", b"2");
    commit(blind).expect("it depends on nothing");
    assert_eq!(get(&kv, b"b"), Some(b"2".to_vec()));
}

#[test]
fn sqlite_checks_conflicts_only_within_its_window() {
    let directory = tempfile::tempdir().unwrap();
    let options = SqliteOptions {
        conflict_window: 8,
        ..SqliteOptions::default()
    };
    let kv = SqliteKv::open_with(&directory.path().join("store.db"), options).unwrap();
    let read_version = put(&kv, b"a", b"1").read_version;
    let depends = |key: &[u8]| {
        let mut transaction = kv.begin_at(read_version).unwrap();
        transaction.add_read_conflict(KeyRange::single(key));
        transaction.set(b"x", b"");
        commit(transaction).map(|_| ())
    };
    let mut held = begin(&kv);
    read(&mut held, b"a");
    held.set(b"x", b"");
    for _ in 0..7 {
        depends(b"a").unwrap();
    }
    put(&kv, b"b", b"1");
    assert_eq!(depends(b"b"), Err(KvError::Conflict));
    for _ in 0..3 {
        put(&kv, b"c", b"1");
    }
    assert_eq!(depends(b"a"), Err(KvError::TooOld));
    assert_eq!(commit(held), Err(KvError::TooOld));
    let mut blind = kv.begin_at(read_version).unwrap();
    blind.set(b"x", b"");
    commit(blind).expect("it depends on nothing");
    let mut ahead = kv.begin_at(u64::MAX / 2).unwrap();
    ahead.add_read_conflict(KeyRange::single(b"a"));
    ahead.set(b"x", b"");
    assert_eq!(
        commit(ahead),
        Err(KvError::TooOld),
        "a version of another store"
    );
}

#[test]
fn sqlite_takes_large_values() {
    let (kv, _directory) = crate::support::sqlite();
    let value: Vec<u8> = (0..=250_u8).cycle().take(20 << 20).collect();
    put(&kv, b"large", &value);
    assert!(get(&kv, b"large") == Some(value));
}

#[test]
fn memory_stores_are_shared_by_name() {
    put(&MemoryKv::named("limits-shared"), b"a", b"1");
    assert_eq!(
        get(&MemoryKv::named("limits-shared"), b"a"),
        Some(b"1".to_vec())
    );
    assert_eq!(get(&MemoryKv::named("limits-other"), b"a"), None);
}

#[test]
fn memory_versions_follow_the_clock_by_microseconds() {
    let clock = Arc::new(ManualClock::default());
    let options = MemoryOptions {
        clock: clock.clone(),
        ..MemoryOptions::default()
    };
    let kv = MemoryKv::new(options);
    let before = put(&kv, b"a", b"").read_version;
    clock.advance(Duration::from_secs(1));
    let after = put(&kv, b"a", b"").read_version;
    assert!(
        (999_900..1_000_100).contains(&(after - before)),
        "{before} {after}"
    );
    // By default it is the real one.
    let kv = MemoryKv::default();
    let before = begin(&kv).read_version().unwrap();
    std::thread::sleep(Duration::from_millis(10));
    assert!(begin(&kv).read_version().unwrap() >= before + 10_000);
}

#[test]
fn memory_versions_repeat_with_the_seed() {
    let versions = |seed| {
        let clock = Arc::new(ManualClock::default());
        let kv = MemoryKv::new(MemoryOptions {
            clock,
            seed,
            ..MemoryOptions::default()
        });
        (0..20)
            .map(|_| put(&kv, b"a", b"").read_version)
            .collect::<Vec<_>>()
    };
    assert_eq!(versions(7), versions(7));
    assert_ne!(versions(7), versions(8));
}
