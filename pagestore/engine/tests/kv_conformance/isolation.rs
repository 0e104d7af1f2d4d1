//! What transactions see of each other.

use verso_engine::kv::{KeyRange, Kv, KvTransaction};

use crate::support::{begin, commit, get, put, read, scan};

pub(crate) fn a_snapshot_does_not_move<K: Kv>(kv: &K) {
    put(kv, b"a", b"1");
    let mut before = begin(kv);
    put(kv, b"a", b"2");
    put(kv, b"b", b"1");
    assert_eq!(read(&mut before, b"a"), Some(b"1".to_vec()));
    assert_eq!(read(&mut before, b"b"), None);
    assert_eq!(
        scan(&mut before, KeyRange::prefix(b"")),
        [(b"a".to_vec(), b"1".to_vec())]
    );
    assert_eq!(get(kv, b"a"), Some(b"2".to_vec()));
}

pub(crate) fn own_writes_are_visible_to_the_transaction_only<K: Kv>(kv: &K) {
    put(kv, b"a", b"1");
    let mut writer = begin(kv);
    writer.set(b"a", b"2");
    writer.set(b"b", b"2");
    assert_eq!(read(&mut writer, b"a"), Some(b"2".to_vec()));
    assert_eq!(read(&mut writer, b"b"), Some(b"2".to_vec()));
    writer.clear(b"a");
    assert_eq!(read(&mut writer, b"a"), None);
    assert_eq!(
        get(kv, b"a"),
        Some(b"1".to_vec()),
        "nothing is visible before the commit"
    );
    assert_eq!(get(kv, b"b"), None);
    commit(writer).unwrap();
    assert_eq!(get(kv, b"a"), None);
    assert_eq!(get(kv, b"b"), Some(b"2".to_vec()));
}

pub(crate) fn a_dropped_transaction_leaves_nothing<K: Kv>(kv: &K) {
    let mut dropped = begin(kv);
    dropped.set(b"a", b"1");
    dropped.clear_range(&KeyRange::prefix(b""));
    drop(dropped);
    assert_eq!(get(kv, b"a"), None);
}

pub(crate) fn a_new_transaction_sees_every_acknowledged_commit<K: Kv>(kv: &K) {
    let mut newest = 0;
    for round in 0..50_u32 {
        let committed = put(kv, b"a", &round.to_be_bytes());
        assert!(
            committed.read_version > newest,
            "read versions ascend with commits"
        );
        newest = committed.read_version;
        let mut transaction = begin(kv);
        assert!(transaction.read_version().unwrap() >= newest);
        assert_eq!(
            read(&mut transaction, b"a"),
            Some(round.to_be_bytes().to_vec())
        );
    }
}

pub(crate) fn a_read_only_commit_always_succeeds<K: Kv>(kv: &K) {
    put(kv, b"a", b"1");
    let mut reader = begin(kv);
    let read_version = reader.read_version().unwrap();
    read(&mut reader, b"a");
    put(kv, b"a", b"2");
    let committed = commit(reader).unwrap();
    assert_eq!(committed.versionstamp, None);
    assert_eq!(committed.read_version, read_version);

    let untouched = kv.begin().unwrap();
    assert!(commit(untouched).unwrap().read_version > read_version);
}

pub(crate) fn any_bytes_are_keys_and_values<K: Kv>(kv: &K) {
    let keys: [&[u8]; 9] = [
        b"",
        b"\0",
        b"\0\0",
        b"\0\xff",
        b"a",
        b"a\0",
        b"\xff",
        b"\xff\0",
        b"\xff\xff\xff",
    ];
    let mut writer = begin(kv);
    for key in keys {
        writer.set(key, key);
    }
    writer.set(b"empty value", b"");
    commit(writer).unwrap();
    for key in keys {
        assert_eq!(get(kv, key), Some(key.to_vec()), "{key:?}");
    }
    assert_eq!(
        get(kv, b"empty value"),
        Some(Vec::new()),
        "empty is not absent"
    );
    let all = scan(&mut begin(kv), KeyRange::prefix(b""));
    assert_eq!(all.len(), keys.len() + 1);
    assert!(all.is_sorted(), "byte order");
    assert_eq!(scan(&mut begin(kv), KeyRange::prefix(b"\xff")).len(), 3);
}
