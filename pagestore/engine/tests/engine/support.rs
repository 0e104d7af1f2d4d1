//! What the engine's tests share: stores, and transactions of few words.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use verso_engine::kv::Kv;
use verso_engine::kv::faulty::Faulty;
use verso_engine::kv::memory::{MemoryKv, MemoryOptions};
use verso_engine::{Clock, Engine};
use verso_pagestore::{
    Change, CommitError, CommitId, CommitOutcome, CommitRequest, DatabaseId, DatabaseName,
    Durability, PageCount, PageNumber, PageSize, PageStore, PageWrite, Participant, RoaringBitmap,
    Snapshot, UnixMillis,
};

/// A clock that tests set.
#[derive(Clone, Default)]
pub(crate) struct TestClock(Arc<AtomicU64>);

impl TestClock {
    pub(crate) fn set(&self, milliseconds: u64) {
        self.0.store(milliseconds, Ordering::Relaxed);
    }

    pub(crate) fn clock(&self) -> Clock {
        let time = Arc::clone(&self.0);
        Arc::new(move || UnixMillis::new(time.load(Ordering::Relaxed)))
    }
}

pub(crate) fn engine_over<K: Kv>(kv: K) -> Engine<K> {
    Engine::new(kv, "test:", TestClock::default().clock()).expect("an empty store")
}

pub(crate) fn memory() -> Engine<Faulty<MemoryKv>> {
    engine_over(Faulty::new(MemoryKv::new(MemoryOptions::default())))
}

pub(crate) fn name(text: &str) -> DatabaseName {
    DatabaseName::new(text).expect("a valid name")
}

pub(crate) fn page(number: u32) -> PageNumber {
    PageNumber::new(number).expect("pages count from 1")
}

pub(crate) const SIZE: u32 = 512;

/// A page filled with one byte.
pub(crate) fn filled(byte: u8) -> Bytes {
    Bytes::from(vec![byte; SIZE as usize])
}

/// An id that no database has.
pub(crate) fn fresh_id() -> DatabaseId {
    DatabaseId::random().expect("random numbers")
}

/// One participant: what was read, what is written, and how many pages there are after it.
pub(crate) fn participant(
    snapshot: Snapshot,
    reads: &[u32],
    writes: &[(u32, u8)],
    pages: u32,
) -> Participant {
    Participant {
        snapshot,
        reads: reads.iter().collect::<RoaringBitmap>(),
        lease: None,
        change: Some(Change {
            deltas: Vec::new(),
            writes: writes
                .iter()
                .map(|&(number, byte)| PageWrite {
                    number: page(number),
                    page: filled(byte),
                })
                .collect(),
            page_size: PageSize::new(SIZE).expect("a page size"),
            page_count: PageCount::new(pages),
            staged: RoaringBitmap::new(),
        }),
    }
}

/// A participant that only read.
pub(crate) fn reader(snapshot: Snapshot, reads: &[u32]) -> Participant {
    Participant {
        change: None,
        ..participant(snapshot, reads, &[], 0)
    }
}

pub(crate) fn request(participants: Vec<Participant>) -> CommitRequest {
    let id = CommitId::random().expect("random numbers");
    CommitRequest {
        id,
        durability: Durability::Off,
        participants,
    }
}

/// Commits writes to a database of one participant.
pub(crate) fn commit(
    store: &dyn PageStore,
    snapshot: Snapshot,
    reads: &[u32],
    writes: &[(u32, u8)],
    pages: u32,
) -> Result<CommitOutcome, CommitError> {
    store.commit(&request(vec![participant(snapshot, reads, writes, pages)]))
}

pub(crate) fn newest(store: &dyn PageStore, database: &str) -> Snapshot {
    store
        .begin(&name(database), None)
        .expect("the database exists")
        .snapshot
}

/// The first byte of each page of a snapshot.
pub(crate) fn content(store: &dyn PageStore, snapshot: &Snapshot) -> Vec<u8> {
    let pages: Vec<PageNumber> = (1..=snapshot.page_count.get()).map(page).collect();
    let read = store
        .read(snapshot, &pages)
        .expect("all pages are readable");
    read.iter()
        .map(|page| *page.page.get(40).expect("pages have 512 bytes"))
        .collect()
}

/// A database with `pages` pages, each filled with its number.
pub(crate) fn create(store: &dyn PageStore, database: &str, pages: u8) -> Snapshot {
    store
        .create(&name(database), fresh_id())
        .expect("the name is free");
    let writes: Vec<(u32, u8)> = (1..=pages)
        .map(|number| (u32::from(number), number))
        .collect();
    commit(
        store,
        newest(store, database),
        &[],
        &writes,
        u32::from(pages),
    )
    .expect("no conflict");
    newest(store, database)
}
