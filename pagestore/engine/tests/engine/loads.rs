//! Loading whole databases: all or nothing.

use verso_engine::kv::faulty::{Fault, Faulty};
use verso_engine::kv::memory::{MemoryKv, MemoryOptions};
use verso_engine::kv::{Isolation, KeyRange, Kv, KvTransaction, RangeQuery};
use verso_pagestore::{LoadError, PageCount, PageSize, PageStore, PageWrite};

use crate::support::{SIZE, content, engine_over, filled, fresh_id, memory, name, newest, page};

fn writes(range: std::ops::RangeInclusive<u8>) -> Vec<PageWrite> {
    range
        .map(|byte| PageWrite {
            number: page(byte.into()),
            page: filled(byte),
        })
        .collect()
}

fn size() -> PageSize {
    PageSize::new(SIZE).expect("a page size")
}

#[test]
fn a_load_appears_at_once_and_whole() {
    let store = memory();
    let id = fresh_id();
    store.load_begin(&name("a"), id).unwrap();
    store.load_pages(id, &writes(1..=3)).unwrap();
    store.load_pages(id, &writes(4..=5)).unwrap();
    assert!(
        store.list(None, 10).unwrap().is_empty(),
        "nobody sees it yet"
    );
    let version = store
        .load_finish(id, &name("a"), size(), PageCount::new(5))
        .unwrap();
    let snapshot = newest(&store, "a");
    assert_eq!((snapshot.database, snapshot.version), (id, version));
    assert_eq!(content(&store, &snapshot), [1, 2, 3, 4, 5]);
    assert_eq!(store.log(&name("a"), None, 10).unwrap().len(), 1);
    assert_eq!(
        store.load_pages(id, &writes(1..=1)),
        Err(LoadError::Ended { database: id })
    );
    assert_eq!(store.load_abort(id), Err(LoadError::Ended { database: id }));
}

#[test]
fn a_load_given_up_leaves_nothing() {
    let kv = MemoryKv::new(MemoryOptions::default());
    let store = engine_over(kv.clone());
    let everything = || {
        let mut transaction = kv.begin().unwrap();
        let all = RangeQuery::first(1000, KeyRange::prefix(b""));
        transaction.range(&all, Isolation::Snapshot).unwrap()
    };
    let before = everything();
    let id = fresh_id();
    store.load_begin(&name("a"), id).unwrap();
    store.load_pages(id, &writes(1..=3)).unwrap();
    store.load_abort(id).unwrap();
    assert_eq!(everything(), before);
}

#[test]
fn a_name_that_is_taken_is_refused_at_both_ends() {
    let store = memory();
    let id = fresh_id();
    store.load_begin(&name("a"), id).unwrap();
    store.load_pages(id, &writes(1..=1)).unwrap();
    store.create(&name("a"), fresh_id()).unwrap();
    let taken = LoadError::Exists { name: name("a") };
    assert_eq!(store.load_begin(&name("a"), fresh_id()), Err(taken.clone()));
    assert_eq!(
        store.load_finish(id, &name("a"), size(), PageCount::new(1)),
        Err(taken)
    );
    assert_eq!(newest(&store, "a").page_count.get(), 0);
}

#[test]
fn a_load_is_exactly_once_through_lost_answers() {
    for fault in [Fault::UnknownApplied, Fault::UnknownNotApplied] {
        let kv = Faulty::new(MemoryKv::new(MemoryOptions::default()));
        let store = engine_over(kv.clone());
        kv.script([Some(fault), None, Some(fault), None, Some(fault)]);
        let id = fresh_id();
        store.load_begin(&name("a"), id).unwrap();
        store.load_pages(id, &writes(1..=2)).unwrap();
        let version = store
            .load_finish(id, &name("a"), size(), PageCount::new(2))
            .unwrap();
        let snapshot = newest(&store, "a");
        assert_eq!(
            (snapshot.version, content(&store, &snapshot)),
            (version, vec![1, 2])
        );
    }
}
