//! Versions, conflicts, and what a snapshot sees.

use verso_engine::kv::memory::{MemoryKv, MemoryOptions};
use verso_pagestore::{
    Changes, CommitError, CommitId, PageSize, PageStore, PageWrite, Participant, Since, Version,
    header,
};

use crate::support::{
    commit, content, create, engine_over, filled, memory, name, newest, page, participant, reader,
    request,
};

#[test]
fn a_snapshot_never_changes() {
    let store = memory();
    let old = create(&store, "a", 3);
    for byte in 10..20 {
        commit(&store, newest(&store, "a"), &[], &[(2, byte)], 3).unwrap();
        assert_eq!(content(&store, &old), [1, 2, 3]);
        assert_eq!(content(&store, &newest(&store, "a")), [1, byte, 3]);
    }
}

#[test]
fn disjoint_writers_merge_and_a_read_that_changed_conflicts() {
    let store = memory();
    let base = create(&store, "a", 4);
    let first = commit(&store, base, &[2], &[(2, 20)], 4).unwrap();
    commit(&store, base, &[3], &[(3, 30)], 4).unwrap();
    assert_eq!(content(&store, &newest(&store, "a")), [1, 20, 30, 4]);
    let Err(CommitError::Conflict(conflict)) = commit(&store, base, &[2, 4], &[(4, 40)], 4) else {
        panic!("page 2 was read and has changed");
    };
    assert_eq!((conflict.page, conflict.winner), (page(2), first.version));
    assert_eq!(content(&store, &newest(&store, "a")), [1, 20, 30, 4]);
}

#[test]
fn a_blind_write_and_a_change_of_size_conflict_too() {
    let store = memory();
    let base = create(&store, "a", 2);
    commit(&store, base, &[], &[(2, 20)], 2).unwrap();
    assert!(matches!(
        commit(&store, base, &[], &[(2, 21)], 2),
        Err(CommitError::Conflict(_))
    ));
    let base = newest(&store, "a");
    commit(&store, base, &[], &[(1, 5), (3, 30)], 3).unwrap();
    let late = commit(&store, base, &[2], &[(2, 22)], 2);
    assert!(
        matches!(late, Err(CommitError::Conflict(_))),
        "page 1 holds the size"
    );
}

#[test]
fn several_databases_commit_together_or_not_at_all() {
    let store = memory();
    let (a, b) = (create(&store, "a", 2), create(&store, "b", 2));
    let both = |byte| {
        request(vec![
            participant(a, &[], &[(2, byte)], 2),
            participant(b, &[], &[(2, byte)], 2),
        ])
    };
    let outcome = store_commit(&store, &both(7)).unwrap();
    assert_eq!(newest(&store, "a").version, outcome.version);
    assert_eq!(newest(&store, "b").version, outcome.version);
    let fresh = newest(&store, "a");
    let mixed = request(vec![
        participant(fresh, &[], &[(2, 8)], 2),
        participant(b, &[], &[(2, 8)], 2),
    ]);
    assert!(matches!(
        store_commit(&store, &mixed),
        Err(CommitError::Conflict(_))
    ));
    assert_eq!(content(&store, &newest(&store, "a")), [1, 7]);
}

fn store_commit(
    store: &dyn verso_pagestore::PageStore,
    request: &verso_pagestore::CommitRequest,
) -> Result<verso_pagestore::CommitOutcome, CommitError> {
    store.commit(request)
}

#[test]
fn begin_tells_exactly_what_changed() {
    use verso_pagestore::PageStore;
    let store = memory();
    let base = create(&store, "a", 4);
    let since = Since {
        database: base.database,
        version: base.version,
        commit: base.commit,
    };
    let begun = store.begin(&name("a"), Some(since)).unwrap();
    assert_eq!(begun.changes, Changes::Commits(Vec::new()));
    commit(&store, base, &[], &[(2, 9)], 4).unwrap();
    commit(&store, newest(&store, "a"), &[], &[(3, 9), (4, 9)], 4).unwrap();
    let Changes::Commits(commits) = store.begin(&name("a"), Some(since)).unwrap().changes else {
        panic!("two commits are few");
    };
    let pages: Vec<Vec<u32>> = commits
        .iter()
        .map(|commit| commit.pages.iter().collect())
        .collect();
    assert_eq!(pages, [vec![2], vec![3, 4]]);
    create(&store, "b", 1);
    assert_eq!(
        store.begin(&name("b"), Some(since)).unwrap().changes,
        Changes::Unknown
    );
    let (other, newer) = (
        Since {
            commit: CommitId::from_bytes([7; 16]),
            ..since
        },
        Since {
            version: Version::MAX,
            ..since
        },
    );
    for unknown in [other, newer] {
        let begun = store.begin(&name("a"), Some(unknown)).unwrap();
        assert_eq!(begun.changes, Changes::Diverged);
    }
    for _ in 0..1001 {
        commit(&store, newest(&store, "a"), &[], &[(2, 9)], 4).unwrap();
    }
    assert_eq!(
        store.begin(&name("a"), Some(since)).unwrap().changes,
        Changes::Unknown
    );
}

#[test]
fn page_1_is_stored_without_its_volatile_fields() {
    use verso_pagestore::PageStore;
    let store = memory();
    let snapshot = create(&store, "a", 2);
    let read = store.read(&snapshot, &[page(1), page(2)]).unwrap();
    let mut expected = filled(1).to_vec();
    header::normalize(&mut expected);
    assert_eq!(read[0].page, expected);
    assert_eq!(read[1].page, filled(2));
}

#[test]
fn the_page_size_changes_only_with_every_page() {
    use verso_pagestore::PageStore;
    let store = memory();
    let base = create(&store, "a", 2);
    let mut part = participant(base, &[], &[], 1);
    part.change.as_mut().unwrap().page_size = PageSize::new(1024).unwrap();
    assert!(matches!(
        store.commit(&request(vec![part.clone()])),
        Err(CommitError::Invalid { .. })
    ));
    let write = verso_pagestore::PageWrite {
        number: page(1),
        page: vec![9; 1024].into(),
    };
    part.change.as_mut().unwrap().writes.push(write);
    store.commit(&request(vec![part])).unwrap();
    let new = newest(&store, "a");
    assert_eq!(
        (new.page_size, new.page_count.get()),
        (PageSize::new(1024).ok(), 1)
    );
    assert_eq!(
        content(&store, &base),
        [1, 2],
        "the past keeps its page size"
    );
}

#[test]
fn requests_that_contradict_themselves_change_nothing() {
    use verso_pagestore::PageStore;
    let store = memory();
    let base = create(&store, "a", 2);
    let mut short = participant(base, &[], &[(2, 9)], 2);
    short.change.as_mut().unwrap().writes[0].page = vec![0; 100].into();
    for (what, participants) in [
        ("no database", vec![]),
        ("no change", vec![reader(base, &[1])]),
        (
            "a database twice",
            vec![
                participant(base, &[], &[], 2),
                participant(base, &[], &[], 2),
            ],
        ),
        (
            "a page twice",
            vec![participant(base, &[], &[(2, 9), (2, 8)], 2)],
        ),
        ("a page of the wrong size", vec![short]),
        (
            "a new page that is not written",
            vec![participant(base, &[], &[(3, 9)], 4)],
        ),
    ] {
        let result = store.commit(&request(participants));
        assert!(matches!(result, Err(CommitError::Invalid { .. })), "{what}");
    }
    assert_eq!(newest(&store, "a").version, base.version);
}

#[test]
fn a_transaction_may_read_200_000_pages_and_then_write() {
    let store = memory();
    let base = create(&store, "a", 3);
    let mut part = participant(base, &[], &[], 600_001);
    let change = part.change.as_mut().unwrap();
    // Far apart, so that they do not make few ranges; most of it is one page of zeros.
    change.writes = (1..=600_001_u32)
        .map(|number| PageWrite {
            number: page(number),
            page: filled(0),
        })
        .collect();
    store.commit(&request(vec![part])).unwrap();
    let snapshot = newest(&store, "a");
    let reads: Vec<u32> = (1..=200_000).map(|index| index * 3).collect();
    let depends = |byte| commit(&store, snapshot, &reads, &[(600_001, byte)], 600_001);
    // What it has not read may change, also where that lies among what it has.
    commit(&store, snapshot, &[], &[(301, 1)], 600_001).unwrap();
    depends(7).unwrap();
    let snapshot = newest(&store, "a");
    commit(&store, snapshot, &[], &[(300_000, 1)], 600_001).unwrap();
    let lost = commit(&store, snapshot, &reads, &[(600_000, 8)], 600_001);
    let Err(CommitError::Conflict(conflict)) = lost else {
        panic!("it has read page 300000");
    };
    assert_eq!(conflict.page, page(300_000));
}

#[test]
fn a_commit_over_the_stores_limit_is_taken() {
    let store = memory();
    let base = create(&store, "a", 1);
    let size = PageSize::MAX;
    let mut part = participant(base, &[], &[], 200);
    let change = part.change.as_mut().unwrap();
    change.page_size = size;
    change.writes = (1..=200_u32)
        .map(|number| PageWrite {
            number: page(number),
            page: noise(number, size.length()).into(),
        })
        .collect();
    let writes = change.writes.clone();
    store.commit(&request(vec![part])).unwrap();
    let pages: Vec<_> = writes.iter().map(|write| write.number).collect();
    let read = store.read(&newest(&store, "a"), &pages).unwrap();
    for (write, read) in writes.iter().zip(read).skip(1) {
        assert!(write.page == read.page, "page {}", write.number);
    }
}

#[test]
fn a_page_over_the_stores_limit_says_so() {
    let mut options = MemoryOptions::default();
    options.limits.transaction_bytes = 20_000;
    let store = engine_over(MemoryKv::new(options));
    let base = create(&store, "a", 1);
    let mut part = participant(base, &[], &[], 1);
    let change = part.change.as_mut().unwrap();
    change.page_size = PageSize::MAX;
    change.writes = vec![PageWrite {
        number: page(1),
        page: noise(1, PageSize::MAX.length()).into(),
    }];
    let refused = store.commit(&request(vec![part])).unwrap_err();
    assert!(matches!(refused, CommitError::TooLarge { .. }), "{refused}");
    assert_eq!(content(&store, &newest(&store, "a")), [1]);
}

/// Bytes that do not compress.
fn noise(seed: u32, length: usize) -> Vec<u8> {
    let mut state = u64::from(seed) | 1 << 40;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

#[test]
fn a_changelog_of_any_length_is_looked_through() {
    let store = memory();
    let base = create(&store, "a", 3);
    let first = request(vec![participant(base, &[], &[(1, 10)], 3)]);
    let outcome = store.commit(&first).unwrap();
    for round in 0..2500_u32 {
        let snapshot = newest(&store, "a");
        let byte = u8::try_from(round % 250).unwrap();
        commit(&store, snapshot, &[], &[(2, byte)], 3).unwrap();
    }
    let late = newest(&store, "a");
    commit(&store, late, &[], &[(3, 77)], 3).unwrap();
    assert_eq!(store.commit(&first).unwrap().version, outcome.version);
    // Only the last of them wrote page 3.
    let reader = Participant {
        change: None,
        ..participant(base, &[3], &[], 3)
    };
    let other = create(&store, "b", 1);
    let writer = participant(other, &[], &[(1, 5)], 1);
    let Err(CommitError::Conflict(conflict)) = store.commit(&request(vec![reader, writer])) else {
        panic!("page 3 has changed");
    };
    assert_eq!(
        (conflict.page, conflict.winner),
        (page(3), newest(&store, "a").version)
    );
}
