//! Pages of a snapshot: from the cache, or else from the store.

use verso_pagestore::{Page, PageNumber, PageSize, ReadError, Snapshot, VersionedPage};

use super::Database;
use crate::cache::CachedDatabase;
use crate::error::VfsError;

/// Most bytes of one request that reads ahead.
const MOST_BYTES: usize = 1 << 20;

/// Most pages of one request that reads ahead.
const MOST_PAGES: usize = 128;

/// What is read ahead must stay in the cache until it is wanted: it is at most so small a part of it.
const PART_OF_CACHE: usize = 16;

impl Database {
    /// A page that SQLite wants. If it is missing in the middle of a scan, those that follow are
    /// read with it.
    pub(super) fn scanned_page(
        &mut self,
        snapshot: &Snapshot,
        size: PageSize,
        number: PageNumber,
    ) -> Result<Page, VfsError> {
        let is_first_use = self.ahead.is_first_use(number);
        let cached = if is_first_use {
            self.look(snapshot, number)?
        } else {
            self.cached_page(snapshot, number)?
        };
        let page = match cached {
            Some(page) => {
                self.store.stats().cache_hits.add(1);
                page
            }
            None => self.read_ahead(snapshot, size, number, is_first_use)?,
        };
        self.ahead.delivered(number, &page);
        Ok(page)
    }

    /// A page as the store has it.
    pub(super) fn stored_page(
        &self,
        snapshot: &Snapshot,
        number: PageNumber,
    ) -> Result<Page, VfsError> {
        if let Some(page) = self.cached_page(snapshot, number)? {
            self.store.stats().cache_hits.add(1);
            return Ok(page);
        }
        self.fetch(snapshot, number, &[number])
    }

    fn cached_page(
        &self,
        snapshot: &Snapshot,
        number: PageNumber,
    ) -> Result<Option<Page>, VfsError> {
        let database = self.cached(snapshot)?;
        let cached = self.store.cache().get(database, number, snapshot.version);
        let cached = cached.or_else(|| self.kept_on_disk(snapshot, database, number));
        Ok(cached.map(|cached| cached.page))
    }

    /// The same, but it does not count as a use.
    fn look(&self, snapshot: &Snapshot, number: PageNumber) -> Result<Option<Page>, VfsError> {
        let database = self.cached(snapshot)?;
        let cached = self.store.cache().look(database, number, snapshot.version);
        let cached = cached.or_else(|| self.kept_on_disk(snapshot, database, number));
        Ok(cached.map(|cached| cached.page))
    }

    /// A page that is on local disk. From then on it is in memory.
    fn kept_on_disk(
        &self,
        snapshot: &Snapshot,
        database: CachedDatabase,
        number: PageNumber,
    ) -> Option<VersionedPage> {
        let found = self.disk.get(&self.store, snapshot, number)?;
        self.store
            .cache()
            .put(database, number, found.clone(), snapshot.version);
        Some(found)
    }

    /// Reads a page that is missing, and `went` if it was read ahead and did not stay.
    fn read_ahead(
        &mut self,
        snapshot: &Snapshot,
        size: PageSize,
        number: PageNumber,
        went: bool,
    ) -> Result<Page, VfsError> {
        let room = usize::try_from(self.store.cache_bytes()).unwrap_or(usize::MAX);
        let bytes = MOST_BYTES.min(room / PART_OF_CACHE);
        let most = (bytes / size.length()).clamp(1, MOST_PAGES);
        let mut ahead = std::mem::take(&mut self.ahead);
        let cached = |page| self.look(snapshot, page).ok().flatten();
        let mut wanted = ahead.wanted(number, went, most, cached);
        self.ahead = ahead;
        if wanted.len() == 1 {
            return self.fetch(snapshot, number, &[number]);
        }
        wanted.retain(|other| *other == number || snapshot.page_count.contains(*other));
        match self.fetch(snapshot, number, &wanted) {
            // Damage of another page is for whoever wants that one.
            Err(VfsError::Read(ReadError::Corrupt { page, .. })) if page != number => {
                self.fetch(snapshot, number, &[number])
            }
            answer => {
                self.ahead.came(&wanted, number);
                answer
            }
        }
    }

    /// Reads pages from the store into the cache, and returns one of them.
    fn fetch(
        &self,
        snapshot: &Snapshot,
        number: PageNumber,
        wanted: &[PageNumber],
    ) -> Result<Page, VfsError> {
        let (cache, database) = (self.store.cache(), self.cached(snapshot)?);
        let pages = self.store.pages()?.read(snapshot, wanted)?;
        self.store.stats().pages_read.add(pages.len() as u64);
        self.disk.put(&self.store, snapshot, wanted, &pages);
        let mut found = None;
        for (&other, read) in wanted.iter().zip(pages) {
            if other == number {
                found = Some(read.page.clone());
            }
            cache.put(database, other, read, snapshot.version);
        }
        Ok(found.expect("a read answers as many pages as it was asked"))
    }
}
