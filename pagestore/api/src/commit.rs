//! Commits: what a transaction sends, and what the store keeps of it.

use roaring::RoaringBitmap;

use crate::id::random_id;
use crate::{Lease, Mark, Page, PageCount, PageNumber, PageSize, Snapshot, UnixMillis, Version};

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
    /// The write set, at most one entry a page. Pages beyond `page_count` are ignored.
    /// Every page between the old and the new size must be here, and every page of the
    /// database if the page size changes.
    pub writes: Vec<PageWrite>,
    /// The rest of the write set: numbers of pages that were staged under the id of the commit
    /// (see [`PageStore::stage`](crate::PageStore::stage)).
    pub staged: RoaringBitmap,
    /// Page size after the commit.
    pub page_size: PageSize,
    /// Number of pages after the commit.
    pub page_count: PageCount,
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
