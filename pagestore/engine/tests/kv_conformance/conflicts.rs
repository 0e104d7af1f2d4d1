//! When a commit is refused.

use verso_engine::kv::{Isolation, KeyRange, Kv, KvError, KvTransaction, RangeQuery};

use crate::support::{begin, commit, get, keys, put, read, scan};

pub(crate) fn a_lost_update_conflicts<K: Kv>(kv: &K) {
    put(kv, b"a", b"1");
    let (mut first, mut second) = (begin(kv), begin(kv));
    for transaction in [&mut first, &mut second] {
        read(transaction, b"a");
        transaction.set(b"a", b"2");
    }
    commit(first).unwrap();
    assert_eq!(commit(second), Err(KvError::Conflict));
}

pub(crate) fn write_skew_conflicts<K: Kv>(kv: &K) {
    let (mut first, mut second) = (begin(kv), begin(kv));
    read(&mut first, b"b");
    first.set(b"a", b"1");
    read(&mut second, b"a");
    second.set(b"b", b"1");
    commit(first).unwrap();
    assert_eq!(
        commit(second),
        Err(KvError::Conflict),
        "a missing key was read too"
    );
    assert_eq!(get(kv, b"b"), None);
}

pub(crate) fn a_phantom_in_a_range_conflicts<K: Kv>(kv: &K) {
    put(kv, b"r/1", b"");
    let mut counter = begin(kv);
    assert_eq!(scan(&mut counter, KeyRange::prefix(b"r/")).len(), 1);
    counter.set(b"count", b"1");
    put(kv, b"r/2", b"");
    assert_eq!(commit(counter), Err(KvError::Conflict));

    let mut counter = begin(kv);
    scan(&mut counter, KeyRange::prefix(b"r/"));
    counter.set(b"count", b"2");
    put(kv, b"r0", b"");
    commit(counter).expect("the key is just beyond the range");
}

pub(crate) fn beyond_the_last_key_of_a_full_answer_nothing_conflicts<K: Kv>(kv: &K) {
    for key in ["k1", "k3", "k5"] {
        put(kv, key.as_bytes(), b"");
    }
    let all = KeyRange::prefix(b"k");
    for (query, free, taken) in [
        (RangeQuery::first(2, all.clone()), "k4", "k2"),
        (RangeQuery::last(2, all.clone()), "k2", "k4"),
    ] {
        for (key, expected) in [(free, None), (taken, Some(KvError::Conflict))] {
            let mut reader = begin(kv);
            assert_eq!(keys(&mut reader, &query).len(), 2);
            reader.set(b"x", b"");
            put(kv, key.as_bytes(), b"");
            assert_eq!(commit(reader).err(), expected, "{query:?} {key}");
            let mut cleaner = begin(kv);
            cleaner.clear(key.as_bytes());
            commit(cleaner).unwrap();
        }
    }
}

pub(crate) fn snapshot_reads_add_no_conflict<K: Kv>(kv: &K) {
    let mut reader = begin(kv);
    reader.get(b"a", Isolation::Snapshot).unwrap();
    let everything = RangeQuery::first(10, KeyRange::prefix(b""));
    reader.range(&everything, Isolation::Snapshot).unwrap();
    reader.set(b"b", b"1");
    put(kv, b"a", b"1");
    commit(reader).unwrap();
}

pub(crate) fn reads_of_own_writes_add_no_conflict<K: Kv>(kv: &K) {
    let mut writer = begin(kv);
    writer.set(b"a", b"1");
    writer.clear_range(&KeyRange::prefix(b"r/"));
    read(&mut writer, b"a");
    read(&mut writer, b"r/1");
    put(kv, b"a", b"2");
    put(kv, b"r/1", b"2");
    commit(writer).unwrap();
    assert_eq!(get(kv, b"a"), Some(b"1".to_vec()));
    assert_eq!(get(kv, b"r/1"), None);
}

pub(crate) fn blind_writes_do_not_conflict<K: Kv>(kv: &K) {
    let (mut first, mut second) = (begin(kv), begin(kv));
    first.set(b"a", b"1");
    second.set(b"a", b"2");
    commit(second).unwrap();
    commit(first).unwrap();
    assert_eq!(get(kv, b"a"), Some(b"1".to_vec()), "the later commit wins");
}

pub(crate) fn explicit_conflict_ranges_count_like_reads_and_writes<K: Kv>(kv: &K) {
    let mut reader = begin(kv);
    reader.add_read_conflict(KeyRange::new("b", "d"));
    reader.set(b"x", b"");
    let mut beside = begin(kv);
    beside.add_read_conflict(KeyRange::new("d", "f"));
    beside.set(b"y", b"");
    let mut writer = begin(kv);
    writer.add_write_conflict(KeyRange::single(b"c"));
    let committed = commit(writer).unwrap();
    assert!(
        committed.versionstamp.is_some(),
        "a write conflict makes it a write"
    );
    assert_eq!(get(kv, b"c"), None, "a write conflict writes nothing");
    assert_eq!(commit(reader), Err(KvError::Conflict));
    commit(beside).unwrap();

    let mut only_reads = begin(kv);
    only_reads.add_read_conflict(KeyRange::prefix(b""));
    put(kv, b"c", b"");
    commit(only_reads).expect("without writes there is nothing to refuse");
}

pub(crate) fn two_attempts_at_one_commit_exclude_each_other<K: Kv>(kv: &K) {
    let attempt = || {
        let mut attempt = begin(kv);
        attempt.add_read_conflict(KeyRange::single(b"commit/7"));
        attempt.add_write_conflict(KeyRange::single(b"commit/7"));
        attempt.set_versionstamped(b"log/", b"7");
        attempt
    };
    let (first, second) = (attempt(), attempt());
    commit(first).unwrap();
    assert_eq!(commit(second), Err(KvError::Conflict));
    assert_eq!(scan(&mut begin(kv), KeyRange::prefix(b"log/")).len(), 1);
}

pub(crate) fn a_cleared_range_is_written_even_where_it_was_empty<K: Kv>(kv: &K) {
    let mut inside = begin(kv);
    read(&mut inside, b"r/5");
    inside.set(b"x", b"");
    let mut outside = begin(kv);
    read(&mut outside, b"s");
    outside.set(b"y", b"");
    let mut cleaner = begin(kv);
    cleaner.clear_range(&KeyRange::prefix(b"r/"));
    commit(cleaner).unwrap();
    assert_eq!(commit(inside), Err(KvError::Conflict));
    commit(outside).unwrap();
}

pub(crate) fn a_transaction_does_not_conflict_with_earlier_commits<K: Kv>(kv: &K) {
    put(kv, b"a", b"1");
    let mut transaction = begin(kv);
    read(&mut transaction, b"a");
    transaction.set(b"a", b"2");
    commit(transaction).unwrap();
    assert_eq!(get(kv, b"a"), Some(b"2".to_vec()));
}

pub(crate) fn begin_at_checks_conflicts_from_there_on<K: Kv>(kv: &K) {
    let earlier = put(kv, b"a", b"1").read_version;
    put(kv, b"b", b"1");
    let depends_on = |key: &[u8]| {
        let mut transaction = kv.begin_at(earlier).unwrap();
        assert_eq!(transaction.read_version(), Ok(earlier));
        transaction.add_read_conflict(KeyRange::single(key));
        transaction.set(b"c", key);
        commit(transaction).map(|_| ())
    };
    assert_eq!(depends_on(b"b"), Err(KvError::Conflict));
    depends_on(b"a").expect("its own commit is not after its read version");

    let mut blind = kv.begin_at(earlier).unwrap();
    blind.set(b"b", b"2");
    commit(blind).unwrap();

    let newest = begin(kv).read_version().unwrap();
    let mut reader = kv.begin_at(newest).unwrap();
    assert_eq!(read(&mut reader, b"b"), Some(b"2".to_vec()));
    reader.set(b"c", b"3");
    commit(reader).unwrap();

    // An old state may be gone, but another one is never shown for it.
    let old = kv
        .begin_at(earlier)
        .unwrap()
        .get(b"b", Isolation::Serializable);
    assert!(matches!(old, Ok(None) | Err(KvError::TooOld)), "{old:?}");
}
