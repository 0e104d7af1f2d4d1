//! Staged pages: part of a commit that was sent ahead of it.

use verso_pagestore::{CommitError, CommitRequest, PageStore, PageWrite, Participant, Snapshot};

use crate::support::{
    commit, content, create, filled, memory, name, newest, page, participant, request,
};

fn written(writes: &[(u32, u8)]) -> Vec<PageWrite> {
    let write = |&(number, byte): &(u32, u8)| PageWrite {
        number: page(number),
        page: filled(byte),
    };
    writes.iter().map(write).collect()
}

/// A commit of some pages that are written in it, and of some that are staged under its id.
fn staged(snapshot: Snapshot, writes: &[(u32, u8)], numbers: &[u32], pages: u32) -> CommitRequest {
    let part = participant(snapshot, &[], writes, pages);
    let change = part.change.map(|mut change| {
        change.staged = numbers.iter().collect();
        change
    });
    request(vec![Participant { change, ..part }])
}

fn invalid(result: Result<verso_pagestore::CommitOutcome, CommitError>) -> String {
    match result {
        Err(CommitError::Invalid { reason }) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn staged_pages_appear_with_their_commit_and_not_before() {
    let store = memory();
    let base = create(&store, "a", 3);
    let request = staged(base, &[(1, 10)], &[2, 4], 4);
    for part in [&[(2, 20)], &[(4, 40)]] {
        store
            .stage(request.id, base.database, &written(part))
            .unwrap();
        assert_eq!(newest(&store, "a").version, base.version);
        assert_eq!(content(&store, &newest(&store, "a")), [1, 2, 3]);
    }
    let outcome = store.commit(&request).unwrap();
    assert_eq!(content(&store, &newest(&store, "a")), [10, 20, 3, 40]);
    // The stage is gone, and the commit is known all the same.
    assert_eq!(store.commit(&request).unwrap().version, outcome.version);
    let other = staged(newest(&store, "a"), &[], &[2], 4);
    let again = CommitRequest {
        id: request.id,
        ..other
    };
    assert!(invalid(store.commit(&again)).contains("page 2"));
}

#[test]
fn a_staged_page_is_in_the_write_set() {
    let store = memory();
    let base = create(&store, "a", 3);
    let request = staged(base, &[], &[2], 3);
    store
        .stage(request.id, base.database, &written(&[(2, 20)]))
        .unwrap();
    commit(&store, base, &[], &[(2, 21)], 3).unwrap();
    let Err(CommitError::Conflict(conflict)) = store.commit(&request) else {
        panic!("somebody else wrote page 2");
    };
    assert_eq!(conflict.page, page(2));
    assert_eq!(content(&store, &newest(&store, "a")), [1, 21, 3]);
}

#[test]
fn what_is_not_staged_as_it_should_be_is_refused() {
    let store = memory();
    let base = create(&store, "a", 3);
    let request = staged(base, &[], &[2], 3);
    assert!(invalid(store.commit(&request)).contains("was not staged"));
    let large = PageWrite {
        number: page(2),
        page: vec![7; 1024].into(),
    };
    store.stage(request.id, base.database, &[large]).unwrap();
    assert!(invalid(store.commit(&request)).contains("page size"));
    let twice = staged(base, &[(2, 20)], &[2], 3);
    assert!(invalid(store.commit(&twice)).contains("twice"));
    assert_eq!(newest(&store, "a").version, base.version);

    store.remove(&name("a")).unwrap();
    let database = base.database;
    let gone = store.stage(request.id, database, &written(&[(2, 20)]));
    assert_eq!(gone, Err(CommitError::Removed { database }));
}

#[test]
fn what_was_staged_for_a_commit_that_lost_is_removed() {
    let store = memory();
    let base = create(&store, "a", 3);
    let request = staged(base, &[], &[2], 3);
    let stage = || store.stage(request.id, base.database, &written(&[(2, 20)]));
    stage().unwrap();
    commit(&store, base, &[], &[(3, 9)], 3).unwrap();
    store
        .commit(&request)
        .expect("page 3 is not of its concern");
    stage().unwrap();
    let lost = staged(base, &[], &[3], 3);
    store
        .stage(lost.id, base.database, &written(&[(3, 30)]))
        .unwrap();
    assert!(matches!(store.commit(&lost), Err(CommitError::Conflict(_))));
    // It has to be staged again, for whatever reason somebody asks.
    let fresh = CommitRequest {
        id: lost.id,
        ..staged(newest(&store, "a"), &[], &[3], 3)
    };
    assert!(invalid(store.commit(&fresh)).contains("was not staged"));
}
