//! Pages that name their writer, and changes made of them.

use bytes::Bytes;
use verso_engine::kv::sim::Seeded;
use verso_pagestore::{
    Change, CommitId, DatabaseId, PageCount, PageNumber, PageSize, PageWrite, RoaringBitmap,
    Snapshot,
};

/// Databases grow up to so many pages: few, so that transactions meet.
const MOST_PAGES: u32 = 16;

/// Behind the header fields of page 1 that a store does not keep.
const CONTENT: usize = 104;

pub(crate) fn number(page: u32) -> PageNumber {
    PageNumber::new(page).expect("pages count from 1")
}

/// What a commit writes to a page.
pub(crate) fn content(id: CommitId, database: DatabaseId, page: u32) -> Bytes {
    let mut bytes = vec![0; PageSize::MIN.length()];
    let name = [
        id.as_bytes().as_slice(),
        &database.get().to_be_bytes(),
        &page.to_be_bytes(),
    ]
    .concat();
    bytes[CONTENT..CONTENT + name.len()].copy_from_slice(&name);
    bytes.into()
}

/// Numbers of the pages that a change writes.
pub(crate) fn written(change: &Change) -> RoaringBitmap {
    let mut pages = change.written();
    pages.remove_range(change.page_count.get() + 1..);
    pages
}

/// Up to `most` different pages of a snapshot.
pub(crate) fn some_pages(random: &mut Seeded, snapshot: &Snapshot, most: u64) -> RoaringBitmap {
    let count = u64::from(snapshot.page_count.get());
    if count == 0 {
        return RoaringBitmap::new();
    }
    (0..=random.below(most))
        .map(|_| small(random.below(count)) + 1)
        .collect()
}

/// A number that was drawn below a small one.
pub(crate) fn small(drawn: u64) -> u32 {
    u32::try_from(drawn).expect("it is small")
}

/// A change as a client of SQLite makes them: one that changes the size also writes page 1.
/// Beside it, the pages that are to be staged before.
pub(crate) fn some_change(
    random: &mut Seeded,
    id: CommitId,
    snapshot: &Snapshot,
) -> (Change, Vec<PageWrite>) {
    let old = snapshot.page_count.get();
    let mut count = old;
    let mut pages = RoaringBitmap::new();
    match random.below(100) {
        _ if old == 0 => count = 1 + small(random.below(15)),
        // Nothing but a commit record: what is left of a transaction that wrote only fields of
        // page 1 that a store does not keep.
        0..10 => {}
        10..22 if old < MOST_PAGES => count = old + 1 + small(random.below(2)),
        22..30 if old > 2 => count = old - 1,
        // Most of the database.
        30..42 => pages = (1..=old).filter(|_| random.below(5) > 0).collect(),
        _ => pages = some_pages(random, snapshot, 3),
    }
    if count != old {
        pages.insert(1);
        pages.insert_range(old + 1..=count.max(old));
    }
    let write = |page| PageWrite {
        number: number(page),
        page: content(id, snapshot.database, page),
    };
    let has_staged = random.below(if pages.len() > 3 { 2 } else { 6 }) == 0;
    let (staged, direct): (Vec<_>, Vec<_>) = pages
        .iter()
        .map(write)
        .partition(|_| has_staged && random.below(2) == 0);
    let change = Change {
        writes: direct,
        deltas: Vec::new(),
        staged: staged.iter().map(|write| write.number.get()).collect(),
        page_size: PageSize::MIN,
        page_count: PageCount::new(count),
    };
    (change, staged)
}
