//! A page store that remembers: pages, and the last commits of databases.
//!
//! It stands in a node between the requests and the store, and answers what the store would answer.
//! A begin asks the store, which only lists what is new to the node, unless the store's mark says that
//! nothing was committed. A page is answered from memory if the commits that the node knows say that it
//! is valid at the snapshot.

mod databases;
mod lineage;
mod marks;
mod store;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use verso_cache::PageCache;
use verso_pagestore::{
    BeginError, Begun, DatabaseId, DatabaseName, LeaseAnswer, LeaseError, LeaseRequest, PageNumber,
    PageStore, ReadError, Since, Snapshot, Start, VersionedPage,
};

use crate::operations::cache;
use databases::{Databases, Known, Pages};
use lineage::{Lineage, LineageNumber, Position};

/// This part of the bytes is for commits.
const PART_OF_COMMITS: u64 = 8;

/// For how long a database is taken to exist that the store was not asked about.
const CONFIRMED_FOR: Duration = Duration::from_secs(1);

/// What a [`Warm`] store has counted, and what it holds now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheStatistics {
    /// Pages that were answered from memory.
    pub hits: u64,
    /// Pages that the store was asked for.
    pub misses: u64,
    /// Pages that are held.
    pub pages: u64,
    /// Bytes that they take.
    pub bytes: u64,
}

/// A page store in front of another one, with a cache of pages and of the last commits of
/// databases.
///
/// Answers are those of the store behind, with two exceptions, both of states that are gone. Of a
/// database that was removed elsewhere, pages may be answered for a second more. And of a store
/// that was put back to an older state, pages of a newer one may be answered, as they were, until
/// somebody begins; the store itself would answer with pages of another state.
pub struct Warm {
    store: Arc<dyn PageStore>,
    pages: PageCache<LineageNumber>,
    databases: Databases,
    confirmed_for: Duration,
    hits: AtomicU64,
    misses: AtomicU64,
}

/// What is known of the pages that a read asks for.
struct Found {
    known: Arc<Known>,
    /// Whose pages these are.
    run: LineageNumber,
    pages: Vec<Option<VersionedPage>>,
}

impl Warm {
    /// A cache of at most so many bytes in front of a store.
    #[must_use]
    pub fn new(store: Arc<dyn PageStore>, bytes: u64) -> Self {
        let bytes_of_commits = bytes / PART_OF_COMMITS;
        Self {
            store,
            pages: PageCache::new(bytes - bytes_of_commits),
            databases: Databases::new(bytes_of_commits),
            confirmed_for: CONFIRMED_FOR,
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    /// Asks the store at least so often whether a database that is read still exists: for one page
    /// of a read.
    #[must_use]
    pub const fn confirming_after(mut self, age: Duration) -> Self {
        self.confirmed_for = age;
        self
    }

    /// What it has counted.
    #[must_use]
    pub fn cache_statistics(&self) -> CacheStatistics {
        CacheStatistics {
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            pages: self.pages.pages() as u64,
            bytes: self.pages.bytes(),
        }
    }

    /// The newest state, as the store has it, and what changed since the client looked, as the
    /// node knows it.
    fn begin_warm(&self, name: &DatabaseName, since: Option<Since>) -> Result<Begun, BeginError> {
        if let Some(begun) = self.begin_at_once(name, since) {
            return Ok(begun);
        }
        let asked = self.databases.newest(name).or(since);
        let begun = self.ask(name, asked)?;
        if asked == since {
            return Ok(begun);
        }
        let snapshot = begun.snapshot;
        match self.databases.changes(since, &snapshot) {
            Some(changes) => Ok(Begun { snapshot, changes }),
            None => self.ask(name, since),
        }
    }

    /// Asks the store, and learns from its answer.
    fn ask(&self, name: &DatabaseName, since: Option<Since>) -> Result<Begun, BeginError> {
        let before = self.databases.named(name);
        let asked = Instant::now();
        let begun = self.store.begin(name, since);
        let now = match &begun {
            Ok(begun) => Some(begun.snapshot.database),
            Err(BeginError::NoSuchDatabase { .. }) => None,
            Err(BeginError::Store(_)) => return begun,
        };
        if let Some(gone) = before.filter(|before| Some(*before) != now) {
            self.forget(gone);
        }
        match &begun {
            Ok(begun) => self.drop_lost(self.databases.learn(name, since, begun, asked)),
            Err(_) => self.databases.forget_name(name),
        }
        begun
    }

    /// A turn: what the store tells of the newest state with the lease is learnt as from a begin.
    fn take_turn(
        &self,
        request: &LeaseRequest,
        name: &DatabaseName,
        since: Option<Since>,
    ) -> Result<(LeaseAnswer, Option<Start>), LeaseError> {
        let known = self.databases.newest(name).or(since);
        let asked = Instant::now();
        let (answer, start) = self.store.lease_and_begin(request, name, known)?;
        let start = start.and_then(|Start { begun, pages }| {
            self.drop_lost(self.databases.learn(name, known, &begun, asked));
            let snapshot = begun.snapshot;
            let changes = if known == since {
                begun.changes
            } else {
                self.databases.changes(since, &snapshot)?
            };
            let begun = Begun { snapshot, changes };
            Some(Start { begun, pages })
        });
        Ok((answer, start))
    }

    /// Pages of a snapshot, those that are not known from the store.
    fn read_warm(
        &self,
        snapshot: &Snapshot,
        pages: &[PageNumber],
    ) -> Result<Vec<VersionedPage>, ReadError> {
        let asked = Instant::now();
        let Some(found) = self.find(snapshot, pages) else {
            return self.read_through(snapshot, pages);
        };
        let wanted = pages.iter().zip(&found.pages);
        let wanted = wanted.filter(|(_, page)| page.is_none());
        let missing: Vec<_> = wanted.map(|(number, _)| *number).collect();
        self.count_hits(pages.len() - missing.len());
        if missing.is_empty() {
            return Ok(found.pages.into_iter().flatten().collect());
        }
        let read = self.read_through(snapshot, &missing)?;
        let Found { known, run, pages } = found;
        known.confirm(asked);
        self.keep(&known.lineage.read(), run, snapshot, &missing, &read);
        cache::holds(self.pages.bytes());
        let mut read = read.into_iter();
        let merged = pages.into_iter().map(|page| page.or_else(|| read.next()));
        Ok(merged.flatten().collect())
    }

    /// Pages of a snapshot, if all of them are in memory. Never waits for the store.
    pub(crate) fn read_at_once(
        &self,
        snapshot: &Snapshot,
        pages: &[PageNumber],
    ) -> Option<Vec<VersionedPage>> {
        let found = self.find(snapshot, pages)?.pages;
        let found = found.into_iter().collect::<Option<Vec<_>>>()?;
        self.count_hits(found.len());
        Some(found)
    }

    fn count_hits(&self, pages: usize) {
        self.hits.fetch_add(pages as u64, Ordering::Relaxed);
        cache::hit(pages);
    }

    /// What is known of pages, if the snapshot is one of the database's known states, and they are
    /// pages of it. One of them is not told if the store is to be asked whether the database exists.
    fn find(&self, snapshot: &Snapshot, pages: &[PageNumber]) -> Option<Found> {
        let known = self.databases.get(snapshot.database)?;
        let is_beyond = |page: &PageNumber| !snapshot.page_count.contains(*page);
        if pages.iter().any(is_beyond) {
            return None;
        }
        let (run, mut found) = self.find_in(&known, snapshot, pages)?;
        if known.is_unconfirmed(self.confirmed_for)
            && let Some(first) = found.first_mut()
        {
            *first = None;
        }
        Some(Found {
            known,
            run,
            pages: found,
        })
    }

    /// What is known of pages, if the snapshot is one of the database's known states. The number
    /// says of which run it is.
    fn find_in(
        &self,
        known: &Known,
        snapshot: &Snapshot,
        pages: &[PageNumber],
    ) -> Option<(LineageNumber, Vec<Option<VersionedPage>>)> {
        let lineage = known.lineage.read();
        if !lineage.contains(Position::from(snapshot)) {
            return None;
        }
        let size = snapshot.page_size?.length();
        let find = |&page: &PageNumber| {
            let unchanged = |from| lineage.unchanged(page, from, snapshot.version);
            let found = self
                .pages
                .get(lineage.number, page, snapshot.version, unchanged)?;
            // The store would say that the client is wrong about the size.
            (found.page.len() == size).then_some(found)
        };
        Some((lineage.number, pages.iter().map(find).collect()))
    }

    /// Keeps what the store answered, if it still has the past that the node knows.
    fn keep(
        &self,
        lineage: &Lineage,
        number: LineageNumber,
        snapshot: &Snapshot,
        pages: &[PageNumber],
        read: &[VersionedPage],
    ) {
        if lineage.number != number {
            return;
        }
        for (&page, content) in pages.iter().zip(read) {
            if lineage.agrees(page, content, snapshot.version) {
                self.pages
                    .put(number, page, content.clone(), snapshot.version);
            }
        }
    }

    fn read_through(
        &self,
        snapshot: &Snapshot,
        pages: &[PageNumber],
    ) -> Result<Vec<VersionedPage>, ReadError> {
        self.misses.fetch_add(pages.len() as u64, Ordering::Relaxed);
        cache::missed(pages.len());
        let read = self.store.read(snapshot, pages);
        if let Err(ReadError::Removed { database }) = &read {
            self.forget(*database);
        }
        read
    }

    /// Drops all that is known of the database of a name.
    fn forget_name(&self, name: &DatabaseName) {
        if let Some(database) = self.databases.named(name) {
            self.forget(database);
        }
        self.databases.forget_name(name);
    }

    /// Drops all that is known of a database.
    fn forget(&self, database: DatabaseId) {
        self.drop_lost(self.databases.forget(database));
    }

    fn drop_lost(&self, pages: Pages) {
        match pages {
            Pages::Kept => {}
            Pages::Lost(number) => self.pages.forget(number),
        }
    }
}
