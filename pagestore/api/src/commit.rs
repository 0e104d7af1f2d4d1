//! Commits: what a transaction sends, and what the store keeps of it.

use bytes::Bytes;
use roaring::RoaringBitmap;
use xxhash_rust::xxh3::xxh3_64;

use crate::id::random_id;
use crate::{
    Chain, Lease, Mark, Page, PageCount, PageNumber, PageSize, Snapshot, UnixMillis, Version,
    VersionedPage, delta,
};

random_id! {
    /// The identity of one commit, chosen at random by the client.
    ///
    /// A commit whose answer was lost is asked again with the same id; the store applies it
    /// at most once.
    CommitId
}

/// How much a commit must survive once it is acknowledged, as SQLite's
/// <https://www.sqlite.org/pragma.html#pragma_synchronous> in WAL mode.
///
/// The embedded store offers the choice; a store may do more than it is asked for. The
/// default is [`Full`].
///
/// [`Full`]: Durability::Full
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Durability {
    /// As [`Normal`](Self::Normal), and the disk is waited for even less often.
    Off,
    /// Survives the end of the process. A power loss may undo the newest commits, but
    /// leaves the store consistent.
    Normal,
    /// Survives a power loss.
    #[default]
    Full,
}

/// A page that a transaction writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageWrite {
    /// Which page.
    pub number: PageNumber,
    /// Its whole new content, as long as the page size.
    pub page: Page,
}

/// A delta of more than this part of a page is not worth its place in the chain: compressed pages
/// are about as small.
const LARGEST_PART: usize = 4;

/// A page that a transaction changes in few places: what turns its content at the snapshot into
/// the new one.
///
/// Of page 1 both contents are those without volatile fields (see [`header`](crate::header)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageDelta {
    /// Which page.
    pub number: PageNumber,
    /// The chain that the page has at the snapshot, and this delta on top of it.
    pub chain: Chain,
    /// XXH3 with 64 bits of the whole new content.
    pub checksum: u64,
    /// What changed, in the form of [`delta`].
    pub delta: Bytes,
}

impl PageDelta {
    /// A delta from the content that a page has at the snapshot to its new one; `None` if it is
    /// better to write the whole page.
    #[must_use]
    pub fn between(number: PageNumber, base: &VersionedPage, page: &[u8]) -> Option<Self> {
        let size = u32::try_from(page.len()).ok();
        let size = size.and_then(|size| PageSize::new(size).ok())?;
        if base.page.len() != page.len() || base.chain.deltas() >= Chain::MOST_DELTAS {
            return None;
        }
        let delta = delta::between(&base.page, page);
        let chain = base.chain.with(delta.len());
        (delta.len() <= page.len() / LARGEST_PART && chain.is_short(size)).then(|| Self {
            number,
            chain,
            checksum: xxh3_64(page),
            delta: delta.into(),
        })
    }
}

/// One database's part of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Participant {
    /// What the transaction read.
    pub snapshot: Snapshot,
    /// The read set: numbers of all pages that the transaction depends on. The commit is
    /// refused if any of them changed after the snapshot.
    pub reads: RoaringBitmap,
    /// The writer lease that the transaction holds. It ends with the commit, and without it
    /// a commit that changes the database is refused while somebody else holds it.
    pub lease: Option<Lease>,
    /// What the transaction changes; `None` if it only read.
    pub change: Option<Change>,
}

/// What a transaction does to one database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Pages of the write set, which has at most one entry a page. Pages beyond `page_count` are
    /// ignored. Every page between the old and the new size must be here, and every page of the
    /// database if the page size changes.
    pub writes: Vec<PageWrite>,
    /// More of the write set: pages of the snapshot, of which only what changed is sent.
    pub deltas: Vec<PageDelta>,
    /// The rest of the write set: numbers of pages that were staged under the id of the commit
    /// (see [`PageStore::stage`](crate::PageStore::stage)).
    pub staged: RoaringBitmap,
    /// Page size after the commit.
    pub page_size: PageSize,
    /// Number of pages after the commit.
    pub page_count: PageCount,
}

impl Change {
    /// Numbers of the pages that it writes.
    #[must_use]
    pub fn written(&self) -> RoaringBitmap {
        let mut pages = self.staged.clone();
        pages.extend(self.writes.iter().map(|write| write.number.get()));
        pages.extend(self.deltas.iter().map(|delta| delta.number.get()));
        pages
    }
}

/// A transaction to commit: all of its participants, or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitRequest {
    /// Makes the request safe to repeat.
    pub id: CommitId,
    /// What the commit must survive once acknowledged.
    pub durability: Durability,
    /// The databases that take part; at most one entry a database, and a change in at least
    /// one of them.
    pub participants: Vec<Participant>,
}

/// A transaction was committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommitOutcome {
    /// The version it made, the same in all databases that took part.
    pub version: Version,
    /// A read version of the key-value store at which that version is visible, for the next
    /// snapshot.
    pub read_version: u64,
    /// What the store had committed right after it, where it can tell without a request.
    pub mark: Option<Mark>,
}

/// What a database's changelog holds of one commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitRecord {
    /// The version the commit made.
    pub version: Version,
    /// When it was made, by the clock of the process that ran the store's code.
    pub time: UnixMillis,
    /// Its id.
    pub id: CommitId,
    /// Numbers of the pages it wrote.
    pub pages: RoaringBitmap,
    /// Page size after it; `None` while the database is empty.
    pub page_size: Option<PageSize>,
    /// Number of pages after it.
    pub page_count: PageCount,
}
