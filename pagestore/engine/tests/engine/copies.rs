//! Loads that are copies of one state of a database, and go on where they were.

use verso_engine::kv::faulty::{Fault, Faulty};
use verso_engine::kv::memory::{MemoryKv, MemoryOptions};
use verso_engine::kv::{Isolation, KeyRange, Kv, KvTransaction, RangeQuery};
use verso_pagestore::{
    CommitId, CopyBegun, DatabaseId, LoadError, Origin, PageCount, PageSize, PageStore, PageWrite,
    Version,
};

use crate::support::{SIZE, content, engine_over, filled, fresh_id, memory, name, newest, page};

fn writes(range: std::ops::RangeInclusive<u8>) -> Vec<PageWrite> {
    range
        .map(|byte| PageWrite {
            number: page(byte.into()),
            page: filled(byte),
        })
        .collect()
}

/// A state of some database of another store.
fn origin(version: u64) -> Origin {
    Origin {
        database: DatabaseId::new(1),
        version: Version::from_commit(version, 0),
        commit: CommitId::from_bytes([7; 16]),
    }
}

fn size() -> PageSize {
    PageSize::new(SIZE).expect("a page size")
}

fn everything(kv: &MemoryKv) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut transaction = kv.begin().expect("a transaction");
    let all = RangeQuery::first(1000, KeyRange::prefix(b""));
    transaction.range(&all, Isolation::Snapshot).expect("pairs")
}

#[test]
fn a_copy_goes_on_where_it_was() {
    let kv = MemoryKv::new(MemoryOptions::default());
    let store = engine_over(kv.clone());
    let id = fresh_id();
    let begun = store.load_copy(&name("a"), id, origin(1)).unwrap();
    let fresh = CopyBegun {
        database: id,
        loaded: PageCount::ZERO,
        removed: None,
    };
    assert_eq!(begun, fresh);
    store.load_pages(id, &writes(1..=3)).unwrap();
    // Another process, which knows nothing of the first one.
    let again = engine_over(kv.clone());
    let begun = again.load_copy(&name("a"), fresh_id(), origin(1)).unwrap();
    let loaded = PageCount::new(3);
    assert_eq!(begun, CopyBegun { loaded, ..fresh });
    again.load_pages(id, &writes(4..=5)).unwrap();
    again
        .load_finish(id, &name("a"), size(), PageCount::new(5))
        .unwrap();
    assert_eq!(content(&again, &newest(&again, "a")), [1, 2, 3, 4, 5]);
    let taken = LoadError::Exists { name: name("a") };
    assert_eq!(
        again.load_copy(&name("a"), fresh_id(), origin(1)),
        Err(taken)
    );
    // Nothing of it is remembered.
    again.remove(&name("a")).unwrap();
    assert_eq!(everything(&kv).len(), 1, "the format version");
}

#[test]
fn a_copy_of_another_state_begins_anew() {
    let changed = |origin: Origin| {
        [
            Origin {
                database: DatabaseId::new(2),
                ..origin
            },
            Origin {
                version: Version::from_commit(9, 0),
                ..origin
            },
            Origin {
                commit: CommitId::from_bytes([8; 16]),
                ..origin
            },
        ]
    };
    for other in changed(origin(1)) {
        let store = memory();
        let (first, second) = (fresh_id(), fresh_id());
        store.load_copy(&name("a"), first, origin(1)).unwrap();
        store.load_pages(first, &writes(1..=3)).unwrap();
        let begun = store.load_copy(&name("a"), second, other).unwrap();
        let expected = CopyBegun {
            database: second,
            loaded: PageCount::ZERO,
            removed: Some(origin(1).version),
        };
        assert_eq!(begun, expected);
        // Who was at it is told, and mixes nothing in.
        let ended = LoadError::Ended { database: first };
        assert_eq!(store.load_pages(first, &writes(4..=4)), Err(ended));
        assert_eq!(store.name_of(first), Ok(None));
    }
}

#[test]
fn copies_to_other_names_and_loads_that_are_none_are_left_alone() {
    let store = memory();
    let ids = [fresh_id(), fresh_id(), fresh_id()];
    store.load_copy(&name("a"), ids[0], origin(1)).unwrap();
    store.load_copy(&name("b"), ids[1], origin(2)).unwrap();
    store.load_begin(&name("a"), ids[2]).unwrap();
    for id in ids {
        store.load_pages(id, &writes(1..=2)).unwrap();
    }
    store.load_abort(ids[2]).unwrap();
    for (index, copied) in ["a", "b"].into_iter().enumerate() {
        let origin = origin(index as u64 + 1);
        let begun = store.load_copy(&name(copied), fresh_id(), origin).unwrap();
        assert_eq!(
            (begun.database, begun.loaded.get(), begun.removed),
            (ids[index], 2, None)
        );
    }
}

#[test]
fn a_copy_given_up_is_forgotten() {
    let kv = MemoryKv::new(MemoryOptions::default());
    let store = engine_over(kv.clone());
    let before = everything(&kv);
    let id = fresh_id();
    store.load_copy(&name("a"), id, origin(1)).unwrap();
    store.load_pages(id, &writes(1..=3)).unwrap();
    store.load_abort(id).unwrap();
    assert_eq!(everything(&kv), before);
}

#[test]
fn a_copy_is_begun_once_through_lost_answers() {
    for fault in [Fault::UnknownApplied, Fault::UnknownNotApplied] {
        let kv = Faulty::new(MemoryKv::new(MemoryOptions::default()));
        let store = engine_over(kv.clone());
        kv.script([Some(fault), None, Some(fault), None, Some(fault)]);
        let id = fresh_id();
        let begun = store.load_copy(&name("a"), id, origin(1)).unwrap();
        assert_eq!((begun.database, begun.loaded), (id, PageCount::ZERO));
        store.load_pages(id, &writes(1..=2)).unwrap();
        store
            .load_finish(id, &name("a"), size(), PageCount::new(2))
            .unwrap();
        assert_eq!(content(&store, &newest(&store, "a")), [1, 2]);
    }
}

#[test]
fn pages_beyond_one_transaction_are_stored_in_several() {
    let store = memory();
    let id = fresh_id();
    store.load_begin(&name("a"), id).unwrap();
    // 16 MB that do not compress, in a store that takes 10 MB in one transaction.
    let mut state = 1_u64;
    let mut byte = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        state.to_be_bytes()[0]
    };
    let pages: Vec<PageWrite> = (1..=256)
        .map(|number| PageWrite {
            number: page(number),
            page: (0..65536).map(|_| byte()).collect::<Vec<u8>>().into(),
        })
        .collect();
    store.load_pages(id, &pages).unwrap();
    store
        .load_finish(id, &name("a"), PageSize::MAX, PageCount::new(256))
        .unwrap();
    let snapshot = newest(&store, "a");
    for part in pages.chunks(16) {
        let numbers: Vec<_> = part.iter().map(|write| write.number).collect();
        let read = store.read(&snapshot, &numbers).unwrap();
        for (sent, read) in part.iter().zip(read) {
            // Behind the header of page 1, of which some fields are not kept.
            assert!(sent.page[100..] == read.page[100..], "page {}", sent.number);
        }
    }
}
