//! Pages that are written as deltas. Goal: every version of a page is what was written, chains stay
//! short, and a delta never meets another base than the one that it was made from. Method: the
//! commits of a client that knows the pages, over the store in memory and the one in a file.

use std::sync::Arc;

use verso_engine::kv::faulty::{Fault, Faulty};
use verso_engine::kv::memory::{MemoryKv, MemoryOptions};
use verso_engine::kv::{Isolation, KeyRange, Kv, KvTransaction, RangeQuery};
use verso_pagestore::{
    Chain, Change, CommitError, CommitOutcome, Durability, LeaseStanding, PageDelta, PageSize,
    PageStore, PageWrite, Participant, ReadError, RoaringBitmap, Snapshot, Version, VersionedPage,
};

use crate::support::{
    create, engine_over, fresh_id, memory, name, newest, page, participant, request,
};

/// The page as a snapshot has it.
fn read(store: &dyn PageStore, snapshot: &Snapshot, number: u32) -> VersionedPage {
    let mut pages = store
        .read(snapshot, &[page(number)])
        .expect("it is readable");
    pages.remove(0)
}

/// A page with other bytes at a place.
fn changed(base: &VersionedPage, at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut page = base.page.to_vec();
    let place = page.get_mut(at..at + bytes.len());
    place.expect("it lies in the page").copy_from_slice(bytes);
    page
}

/// A change of deltas.
fn with_deltas(snapshot: Snapshot, deltas: Vec<PageDelta>) -> Participant {
    Participant {
        snapshot,
        reads: RoaringBitmap::new(),
        lease: None,
        change: Some(Change {
            writes: Vec::new(),
            deltas,
            staged: RoaringBitmap::new(),
            page_size: snapshot.page_size.expect("it has pages"),
            page_count: snapshot.page_count,
        }),
    }
}

/// Changes some bytes of a page, as a delta if that is allowed.
fn update(
    store: &dyn PageStore,
    snapshot: Snapshot,
    number: u32,
    at: usize,
    bytes: &[u8],
) -> Result<CommitOutcome, CommitError> {
    let base = read(store, &snapshot, number);
    let new = changed(&base, at, bytes);
    let mut part = with_deltas(snapshot, Vec::new());
    let change = part.change.as_mut().expect("it has one");
    match PageDelta::between(page(number), &base, &new) {
        Some(delta) => change.deltas.push(delta),
        None => change.writes.push(PageWrite {
            number: page(number),
            page: new.into(),
        }),
    }
    store.commit(&request(vec![part]))
}

/// Bytes that do not compress, others for each number.
fn noise(number: u8, length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ u64::from(number);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

/// A database of three pages of this size.
fn create_of(store: &dyn PageStore, size: u32) -> Snapshot {
    store.create(&name("a"), fresh_id()).expect("it is new");
    let mut part = participant(newest(store, "a"), &[], &[], 3);
    let change = part.change.as_mut().expect("it has one");
    change.page_size = PageSize::new(size).expect("a page size");
    change.writes = (1..=3_u8)
        .map(|number| PageWrite {
            number: page(number.into()),
            page: vec![number; size as usize].into(),
        })
        .collect();
    store.commit(&request(vec![part])).expect("no conflict");
    newest(store, "a")
}

/// More than a chain may have.
const CHANGES: u8 = 60;

/// Length of the chain of page 2 after each of many small changes, which must all be readable.
fn chains(store: &dyn PageStore, size: u32, bytes_each: usize) -> Vec<u8> {
    let mut now = create_of(store, size);
    let mut snapshots = vec![now];
    let mut contents = vec![read(store, &now, 2).page];
    for step in 0..CHANGES {
        let bytes = noise(step, bytes_each);
        let at = usize::from(step) * 3;
        contents.push(changed(&read(store, &now, 2), at, &bytes).into());
        update(store, now, 2, at, &bytes).expect("no conflict");
        now = newest(store, "a");
        snapshots.push(now);
    }
    let read = |snapshot| read(store, snapshot, 2);
    for (snapshot, content) in snapshots.iter().zip(&contents) {
        assert_eq!(read(snapshot).page, content, "{snapshot:?}");
    }
    snapshots.iter().map(|it| read(it).chain.deltas()).collect()
}

#[test]
fn a_chain_ends_with_a_whole_page_and_every_version_is_readable() {
    let cycle = (0..=Chain::MOST_DELTAS).cycle();
    assert_eq!(
        chains(&memory(), 4096, 4),
        cycle.take(1 + usize::from(CHANGES)).collect::<Vec<_>>()
    );
}

#[test]
fn deltas_are_smaller_than_a_page_together() {
    // Of pages with 512 bytes; each has about 15 bytes more.
    let chains = chains(&memory(), 512, 100);
    assert_eq!(chains[..7], [0, 1, 2, 3, 4, 0, 1]);
}

#[test]
fn the_store_in_a_file_reads_them_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("store").display());
    let store = verso_engine::open(&verso_pagestore::StoreUrl::parse(&url).unwrap()).unwrap();
    let cycle = (0..=Chain::MOST_DELTAS).cycle();
    assert_eq!(
        chains(&*store, 4096, 4),
        cycle.take(1 + usize::from(CHANGES)).collect::<Vec<_>>()
    );
    let report = store.verify(newest(&*store, "a").database, None).unwrap();
    assert_eq!(
        (report.records, report.corrupt.len()),
        (u64::from(CHANGES) + 3, 0)
    );
}

/// Pages of every version, asked for all at once and one by one.
fn compare_runs(store: &dyn PageStore) {
    let mut now = create(store, "a", 40);
    let mut snapshots = vec![now];
    for step in 0..60_u8 {
        // Some pages never change, some often, and one in eight commits writes a whole page.
        let number = 3 + u32::from(step) * 7 % 11 * (u32::from(step) % 3 + 1);
        if step % 8 == 0 {
            let whole = participant(now, &[], &[(number, step)], 40);
            store.commit(&request(vec![whole])).expect("no conflict");
        } else {
            update(store, now, number, 5, &noise(step, 9)).expect("no conflict");
        }
        now = newest(store, "a");
        snapshots.push(now);
    }
    for snapshot in &snapshots {
        let numbers: Vec<_> = (5..=40).rev().chain([1, 2, 7]).map(page).collect();
        let at_once = store.read(snapshot, &numbers).expect("they are readable");
        let alone = numbers
            .iter()
            .map(|number| read(store, snapshot, number.get()));
        assert_eq!(at_once, alone.collect::<Vec<_>>(), "{snapshot:?}");
    }
}

#[test]
fn pages_that_are_read_at_once_are_those_that_are_read_alone() {
    compare_runs(&memory());
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("store").display());
    compare_runs(&*verso_engine::open(&verso_pagestore::StoreUrl::parse(&url).unwrap()).unwrap());
}

#[test]
fn of_two_writers_of_a_page_one_loses() {
    let store = memory();
    let snapshot = create(&store, "a", 3);
    update(&store, snapshot, 2, 10, b"one").unwrap();
    let lost = update(&store, snapshot, 2, 300, b"other");
    assert!(matches!(lost, Err(CommitError::Conflict(_))), "{lost:?}");
    // Not on the direct way either, nor under a name that is not read.
    let old = Snapshot {
        lease: LeaseStanding::Unknown,
        ..snapshot
    };
    let lost = update(&store, old, 2, 300, b"other");
    assert!(matches!(lost, Err(CommitError::Conflict(_))), "{lost:?}");
    let now = newest(&store, "a");
    update(&store, now, 2, 300, b"other").unwrap();
    let both = read(&store, &newest(&store, "a"), 2).page;
    assert_eq!(
        (&both[10..13], &both[300..305]),
        (&b"one"[..], &b"other"[..])
    );
}

#[test]
fn a_commit_of_unknown_result_is_one_delta() {
    let kv = MemoryKv::new(MemoryOptions::default());
    let store = engine_over(kv.clone());
    let mut snapshot = create(&store, "a", 2);
    for fault in [Fault::UnknownApplied, Fault::UnknownNotApplied] {
        let faulty = Faulty::new(kv.clone());
        faulty.script([Some(fault)]);
        let failing = engine_over(faulty);
        update(&failing, snapshot, 2, 7, format!("{fault:?}").as_bytes()).unwrap();
        snapshot = newest(&store, "a");
    }
    let last = read(&store, &snapshot, 2);
    assert_eq!(last.chain.deltas(), 2);
    assert_eq!(&last.page[7..24], b"UnknownNotApplied");
    let report = store.verify(snapshot.database, None).unwrap();
    assert_eq!((report.records, report.corrupt.len()), (4, 0));
}

#[test]
fn what_cannot_be_a_delta_is_refused() {
    let store = memory();
    let snapshot = create(&store, "a", 3);
    let base = read(&store, &snapshot, 2);
    let good = PageDelta::between(page(2), &base, &changed(&base, 9, b"new")).unwrap();
    let length = good.chain.bytes();
    let cases = [
        PageDelta {
            number: page(4),
            ..good.clone()
        },
        PageDelta {
            chain: Chain::WHOLE,
            ..good.clone()
        },
        PageDelta {
            chain: Chain::new(Chain::MOST_DELTAS + 1, 100),
            ..good.clone()
        },
        PageDelta {
            chain: Chain::new(2, 512),
            ..good.clone()
        },
        PageDelta {
            chain: Chain::new(1, length + 1),
            ..good.clone()
        },
        PageDelta {
            chain: Chain::new(2, length),
            ..good.clone()
        },
        PageDelta {
            delta: vec![0xff; good.delta.len()].into(),
            ..good.clone()
        },
    ];
    for case in cases {
        let part = with_deltas(snapshot, vec![case.clone()]);
        let refused = store.commit(&request(vec![part]));
        assert!(
            matches!(refused, Err(CommitError::Invalid { .. })),
            "{case:?}: {refused:?}"
        );
    }
    let twice = with_deltas(snapshot, vec![good.clone(), good.clone()]);
    let refused = store.commit(&request(vec![twice]));
    assert!(matches!(refused, Err(CommitError::Invalid { .. })));
    let mut both = participant(snapshot, &[], &[(2, 9)], 3);
    both.change.as_mut().unwrap().deltas.push(good);
    let refused = store.commit(&request(vec![both]));
    assert!(matches!(refused, Err(CommitError::Invalid { .. })));
    assert_eq!(newest(&store, "a").version, snapshot.version);
}

/// A client that says the wrong thing of its base harms nobody but itself, and it is noticed.
#[test]
fn a_delta_on_another_base_is_an_error_that_names_it() {
    let store = memory();
    let snapshot = create(&store, "a", 3);
    let base = read(&store, &snapshot, 2);
    let other = VersionedPage {
        page: changed(&base, 400, b"what it never was").into(),
        ..base.clone()
    };
    let deeper = VersionedPage {
        chain: Chain::new(3, 50),
        ..base.clone()
    };
    for (wrong, reason) in [(other, "checksum"), (deeper, "does not follow")] {
        let new = changed(&wrong, 9, b"new");
        let delta = PageDelta::between(page(2), &wrong, &new).unwrap();
        let now = newest(&store, "a");
        store
            .commit(&request(vec![with_deltas(now, vec![delta])]))
            .unwrap();
        let now = newest(&store, "a");
        assert_corrupt(&store, &now, now.version, reason);
        // A whole page heals it.
        crate::support::commit(&store, now, &[], &[(2, 2)], 3).unwrap();
        assert_eq!(read(&store, &newest(&store, "a"), 2).chain, Chain::WHOLE);
    }
}

fn assert_corrupt(store: &dyn PageStore, snapshot: &Snapshot, at: Version, what: &str) {
    let Err(ReadError::Corrupt {
        page: damaged,
        version,
        reason,
        ..
    }) = store.read(snapshot, &[page(1), page(2)])
    else {
        panic!("it is damaged");
    };
    assert_eq!((damaged, version), (page(2), at), "{reason}");
    assert!(reason.contains(what), "{reason}");
}

/// The records of page 2 in the order of versions.
fn records(kv: &MemoryKv, snapshot: &Snapshot) -> Vec<(Vec<u8>, Vec<u8>)> {
    let id = snapshot.database.get().to_be_bytes();
    let prefix = [b"d".as_slice(), &id, b"p\0\0\0\x02"].concat();
    let mut transaction = kv.begin().expect("the memory store does not fail");
    let query = RangeQuery::first(100, KeyRange::prefix(&prefix));
    let records = transaction.range(&query, Isolation::Snapshot);
    records.expect("the memory store does not fail")
}

/// A database whose page 2 has a page of noise and three deltas, each at a snapshot of its own.
fn chain_of_three(store: &dyn PageStore) -> Vec<Snapshot> {
    let mut now = create(store, "a", 3);
    let mut part = participant(now, &[], &[(2, 0)], 3);
    let change = part.change.as_mut().expect("it has one");
    for write in &mut change.writes {
        write.page = noise(99, 512).into();
    }
    store.commit(&request(vec![part])).expect("no conflict");
    now = newest(store, "a");
    let mut snapshots = vec![now];
    for step in 0..3_u8 {
        let at = 50 + usize::from(step) * 40;
        update(store, now, 2, at, &noise(step, 9)).expect("no conflict");
        now = newest(store, "a");
        snapshots.push(now);
    }
    snapshots
}

#[test]
fn the_damaged_record_of_a_chain_is_named() {
    for damaged in 0..4_usize {
        let kv = MemoryKv::new(MemoryOptions::default());
        let store = engine_over(kv.clone());
        let snapshots = chain_of_three(&store);
        let pages: Vec<_> = snapshots.iter().map(|it| read(&store, it, 2)).collect();
        // The first one is of the creation.
        let (key, mut value) = records(&kv, &snapshots[0]).remove(1 + damaged);
        assert_eq!(value[0] == 3, damaged > 0, "the others are deltas");
        let written = match damaged.checked_sub(1) {
            Some(step) => noise(u8::try_from(step).unwrap(), 9),
            None => noise(99, 512),
        };
        let mut windows = value.windows(written.len());
        let place = windows.position(|window| *window == written).unwrap();
        value[place] ^= 1;
        let mut transaction = kv.begin().unwrap();
        transaction.set(&key, &value);
        transaction.commit(Durability::Full).unwrap();
        let mut unreadable = Vec::new();
        for (snapshot, page_before) in snapshots.iter().zip(&pages) {
            // What a later delta has anew, may be right again.
            if let Ok(read) = store.read(snapshot, &[page(2)]) {
                assert_eq!(read.first(), Some(page_before));
            } else {
                assert_corrupt(&store, snapshot, snapshots[damaged].version, "checksum");
                unreadable.push(snapshot.version);
            }
        }
        assert!(unreadable.contains(&snapshots[damaged].version));
        assert!(damaged > 0 || unreadable.len() == 4);
        let report = store.verify(snapshots[0].database, None).unwrap();
        let found: Vec<_> = report
            .corrupt
            .iter()
            .map(|it| it.position.version)
            .collect();
        assert_eq!(found, unreadable);
    }
}

#[test]
fn a_chain_without_a_whole_page_is_corrupt() {
    let kv = MemoryKv::new(MemoryOptions::default());
    let store = engine_over(kv.clone());
    let snapshot = create(&store, "a", 3);
    update(&store, snapshot, 2, 50, b"first").unwrap();
    let first = newest(&store, "a");
    update(&store, first, 2, 90, b"second").unwrap();
    let second = newest(&store, "a");
    let (key, _) = records(&kv, &snapshot).remove(0);
    let mut transaction = kv.begin().unwrap();
    transaction.clear(&key);
    transaction.commit(Durability::Full).unwrap();
    assert_corrupt(&store, &second, first.version, "missing");
}

#[test]
fn a_large_commit_may_hold_deltas() {
    let mut options = MemoryOptions::default();
    options.limits.transaction_bytes = 16_000;
    let store = Arc::new(engine_over(MemoryKv::new(options)));
    let snapshot = create(&*store, "a", 10);
    update(&*store, snapshot, 2, 50, b"before").unwrap();
    let snapshot = newest(&*store, "a");
    let writes: Vec<(u32, u8)> = (3..=40).map(|number| (number, 77)).collect();
    let mut part = participant(snapshot, &[], &writes, 40);
    let base = read(&*store, &snapshot, 2);
    let new = changed(&base, 90, b"with others");
    let change = part.change.as_mut().unwrap();
    change.deltas = vec![PageDelta::between(page(2), &base, &new).unwrap()];
    store.commit(&request(vec![part])).unwrap();
    let now = newest(&*store, "a");
    let read = read(&*store, &now, 2);
    assert_eq!((read.chain.deltas(), &read.page), (2, &new.into()));
    assert_ne!(read.version, now.version, "it was published in steps");
    let begun = store.begin(&name("a"), None).unwrap();
    assert_eq!(begun.snapshot.page_count.get(), 40);
    let report = store.verify(now.database, None).unwrap();
    assert!(report.corrupt.is_empty(), "{:?}", report.corrupt);
}
