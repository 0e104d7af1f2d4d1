//! Stores that are damaged, foreign, or of a newer format.

use std::sync::Arc;
use std::time::Duration;

use verso_engine::Engine;
use verso_engine::kv::memory::{ManualClock, MemoryKv, MemoryOptions};
use verso_engine::kv::{Isolation, KeyRange, Kv, KvTransaction, RangeQuery};
use verso_pagestore::{BeginError, Durability, PageStore, ReadError, Since, StoreError};

use crate::support::{TestClock, commit, content, create, engine_over, name, newest, page};

fn set(kv: &MemoryKv, key: &[u8], value: &[u8]) {
    let mut transaction = kv.begin().expect("the memory store does not fail");
    transaction.set(key, value);
    transaction
        .commit(Durability::Full)
        .expect("the memory store does not fail");
}

/// The key and value of a page's newest record: `d`, the id, `p`, the number, the version.
fn page_record(kv: &MemoryKv, id: verso_pagestore::DatabaseId, number: u32) -> (Vec<u8>, Vec<u8>) {
    let prefix = [
        b"d".as_slice(),
        &id.get().to_be_bytes(),
        b"p",
        &number.to_be_bytes(),
    ]
    .concat();
    let mut transaction = kv.begin().expect("the memory store does not fail");
    let query = RangeQuery::last(1, KeyRange::prefix(&prefix));
    transaction
        .range(&query, Isolation::Snapshot)
        .expect("the memory store does not fail")
        .remove(0)
}

#[test]
fn a_wrong_checksum_is_an_error_that_names_the_page() {
    let kv = MemoryKv::new(MemoryOptions::default());
    let store = engine_over(kv.clone());
    let snapshot = create(&store, "a", 3);
    let (key, mut value) = page_record(&kv, snapshot.database, 2);
    *value.last_mut().unwrap() ^= 1;
    set(&kv, &key, &value);
    let Err(ReadError::Corrupt {
        page: damaged,
        version,
        reason,
        ..
    }) = store.read(&snapshot, &[page(1), page(2)])
    else {
        panic!("the checksum is wrong");
    };
    assert_eq!((damaged, version), (page(2), snapshot.version));
    assert!(reason.contains("checksum"), "{reason}");
    store.read(&snapshot, &[page(1), page(3)]).unwrap();
    let report = store.verify(snapshot.database, None).unwrap();
    assert_eq!(
        (report.records, report.corrupt.len(), report.last),
        (3, 1, None)
    );
    assert_eq!(report.corrupt[0].position.page, page(2));
}

#[test]
fn a_missing_page_is_an_error_and_not_zeros() {
    let kv = MemoryKv::new(MemoryOptions::default());
    let store = engine_over(kv.clone());
    let snapshot = create(&store, "a", 3);
    let (key, _) = page_record(&kv, snapshot.database, 3);
    let mut transaction = kv.begin().unwrap();
    transaction.clear(&key);
    transaction.commit(Durability::Full).unwrap();
    assert!(matches!(
        store.read(&snapshot, &[page(3)]),
        Err(ReadError::Corrupt { .. })
    ));
}

#[test]
fn verification_goes_through_all_versions_in_steps() {
    let store = crate::support::memory();
    let mut snapshot = create(&store, "a", 2);
    for step in 0..1300_u32 {
        let byte = u8::try_from(step % 200).unwrap();
        crate::support::commit(&store, snapshot, &[], &[(2, byte)], 2).unwrap();
        snapshot = newest(&store, "a");
    }
    let (mut records, mut after, mut calls) = (0, None, 0);
    loop {
        let report = store.verify(snapshot.database, after).unwrap();
        records += report.records;
        calls += 1;
        assert!(report.corrupt.is_empty());
        after = report.last;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(records, 1302);
    assert!(calls > 2);
}

#[test]
fn foreign_newer_and_older_stores_are_refused_unchanged() {
    let open = |kv: &MemoryKv| Engine::new(kv.clone(), "test:", TestClock::default().clock()).err();
    let kv = MemoryKv::new(MemoryOptions::default());
    let formats: [(&[u8], _, _); 2] = [
        (b"verso\0\0\0\x63more", 99, "use a newer verso"),
        (b"verso\0\0\0\x01", 1, "with the verso that made it"),
    ];
    for (meta, found, advice) in formats {
        set(&kv, b"m", meta);
        let store = "test:".into();
        let refused = StoreError::OtherFormat {
            store,
            found,
            known: 2,
        };
        assert_eq!(open(&kv), Some(refused.clone()));
        assert!(refused.to_string().contains(advice), "{refused}");
    }
    set(&kv, b"m", b"something else");
    assert!(matches!(open(&kv), Some(StoreError::NotAStore { .. })));
    let foreign = MemoryKv::new(MemoryOptions::default());
    set(&foreign, b"users/1", b"alice");
    assert!(matches!(open(&foreign), Some(StoreError::NotAStore { .. })));
    let mut transaction = foreign.begin().unwrap();
    assert_eq!(transaction.get(b"m", Isolation::Snapshot).unwrap(), None);
}

#[test]
fn a_damaged_log_is_an_error() {
    let kv = MemoryKv::new(MemoryOptions::default());
    let store = engine_over(kv.clone());
    let snapshot = create(&store, "a", 1);
    let prefix = [
        b"d".as_slice(),
        &snapshot.database.get().to_be_bytes(),
        b"l",
    ]
    .concat();
    let key = [prefix, snapshot.version.as_bytes().to_vec()].concat();
    set(&kv, &key, b"\x01cut");
    assert!(matches!(
        store.begin(&name("a"), None),
        Err(verso_pagestore::BeginError::Store(
            StoreError::Damaged { .. }
        ))
    ));
}

fn everything(kv: &MemoryKv) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut transaction = kv.begin().expect("the memory store does not fail");
    let query = RangeQuery::first(1000, KeyRange::prefix(b""));
    transaction
        .range(&query, Isolation::Snapshot)
        .expect("the memory store does not fail")
}

#[test]
fn a_store_restored_where_versions_are_lower_is_not_used_before_they_are_raised() {
    let clock = Arc::new(ManualClock::default());
    clock.advance(Duration::from_mins(1));
    let origin = MemoryKv::new(MemoryOptions {
        clock,
        ..MemoryOptions::default()
    });
    let snapshot = create(&engine_over(origin.clone()), "a", 3);
    let clock = Arc::new(ManualClock::default());
    let copy = MemoryKv::new(MemoryOptions {
        clock: Arc::<ManualClock>::clone(&clock),
        ..MemoryOptions::default()
    });
    for (key, value) in everything(&origin) {
        set(&copy, &key, &value);
    }
    let store = engine_over(copy);
    let known = Since {
        database: snapshot.database,
        version: snapshot.version,
        commit: snapshot.commit,
    };
    for since in [None, Some(known)] {
        let begun = store.begin(&name("a"), since);
        let Err(BeginError::Store(StoreError::Unavailable { reason, .. })) = begun else {
            panic!("a commit would be below the head: {begun:?}");
        };
        let advice = format!("advanceversion {}", snapshot.version.commit_version());
        assert!(reason.contains(&advice), "{reason}");
    }
    clock.advance(Duration::from_mins(2));
    let raised = newest(&store, "a");
    assert_eq!(raised.version, snapshot.version);
    commit(&store, raised, &[1], &[(1, 9)], 3).expect("nobody else is there");
    assert_eq!(content(&store, &newest(&store, "a"))[0], 9);
}
