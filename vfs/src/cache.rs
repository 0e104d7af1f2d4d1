//! The page cache of the process: one for all connections, weighed in bytes.
//!
//! A page is kept with the range of versions that it is known to be valid for. What
//! connections learn about commits extends the range, or ends it.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;
use verso_cache::History;
use verso_pagestore::{Changes, DatabaseId, PageNumber, Version, VersionedPage};

use crate::owner::is_interior;

/// Which open store of this process: two stores may hold copies of one database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct StoreKey(pub(crate) u64);

/// A database in a store of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct CachedDatabase {
    pub(crate) store: StoreKey,
    pub(crate) database: DatabaseId,
    /// Pages of a fixed past version are kept apart, or they would replace the newest ones.
    pub(crate) pinned: Option<Version>,
}

pub(crate) struct PageCache {
    pages: verso_cache::PageCache<CachedDatabase>,
    histories: RwLock<HashMap<CachedDatabase, Arc<RwLock<History>>>>,
}

impl PageCache {
    pub(crate) fn new(bytes: u64) -> Self {
        Self {
            pages: verso_cache::PageCache::new(bytes),
            histories: RwLock::default(),
        }
    }

    /// The page at a version, if it is cached and known to be valid there.
    pub(crate) fn get(
        &self,
        database: CachedDatabase,
        number: PageNumber,
        at: Version,
    ) -> Option<VersionedPage> {
        let unchanged = |from| self.unchanged(database, number, from, at);
        self.pages.get(database, number, at, unchanged)
    }

    /// The same, but it does not count as a use.
    pub(crate) fn look(
        &self,
        database: CachedDatabase,
        number: PageNumber,
        at: Version,
    ) -> Option<VersionedPage> {
        let unchanged = |from| self.unchanged(database, number, from, at);
        self.pages.look(database, number, at, unchanged)
    }

    fn unchanged(
        &self,
        database: CachedDatabase,
        number: PageNumber,
        from: Version,
        to: Version,
    ) -> bool {
        let history = self.histories.read().get(&database).cloned();
        history.is_some_and(|history| history.read().unchanged(number, from, to))
    }

    /// Keeps a page that is valid at `at`. An interior page of a b-tree stays longer: SQLite has it in
    /// its own cache for most of the time, so that it seems to be used less than it is.
    pub(crate) fn put(
        &self,
        database: CachedDatabase,
        number: PageNumber,
        page: VersionedPage,
        at: Version,
    ) {
        let is_interior = is_interior(number, &page.page);
        self.pages.put(database, number, page, at);
        if is_interior {
            self.pages.prefer(database, number);
        }
    }

    /// Forgets everything about a database whose store was put back to an older state.
    pub(crate) fn forget_database(&self, database: CachedDatabase) {
        self.histories.write().remove(&database);
        self.pages.forget(database);
    }

    /// Forgets what it learnt of a store that was closed. Its pages go as others come.
    pub(crate) fn forget_store(&self, store: StoreKey) {
        self.histories
            .write()
            .retain(|database, _| database.store != store);
    }

    /// Learns which pages changed from `since` to `newest`.
    pub(crate) fn learn(
        &self,
        database: CachedDatabase,
        since: Option<Version>,
        newest: Version,
        changes: &Changes,
    ) {
        let known = self.histories.read().get(&database).cloned();
        let history = known.unwrap_or_else(|| {
            let history = || Arc::new(RwLock::new(History::starting_at(newest)));
            Arc::clone(
                self.histories
                    .write()
                    .entry(database)
                    .or_insert_with(history),
            )
        });
        if history.read().newest() < newest {
            learn(&mut history.write(), since, newest, changes);
        }
    }
}

/// Most commits that a history remembers.
const MOST_COMMITS: usize = 1024;

/// Adds to a history which pages changed from `since` to `newest`, or begins it anew.
fn learn(history: &mut History, since: Option<Version>, newest: Version, changes: &Changes) {
    if newest <= history.newest() {
        return;
    }
    let (Some(since), Changes::Commits(commits)) = (since, changes) else {
        *history = History::starting_at(newest);
        return;
    };
    if since > history.newest() {
        *history = History::starting_at(since);
    }
    history.extend(commits.iter().cloned(), newest);
    history.trim(MOST_COMMITS, usize::MAX);
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use verso_pagestore::{Chain, CommitId, CommitPages};

    use super::*;

    const DATABASE: CachedDatabase = CachedDatabase {
        store: StoreKey(1),
        database: DatabaseId::new(1),
        pinned: None,
    };

    fn version(number: u64) -> Version {
        Version::from_commit(number, 0)
    }

    fn page(number: u32) -> PageNumber {
        PageNumber::new(number).unwrap()
    }

    fn content(text: &'static [u8], from: u64) -> VersionedPage {
        VersionedPage {
            version: version(from),
            page: Bytes::from_static(text),
            chain: Chain::WHOLE,
        }
    }

    fn commits(list: &[(u64, &[u32])]) -> Changes {
        Changes::Commits(
            list.iter()
                .map(|(at, pages)| CommitPages {
                    version: version(*at),
                    commit: CommitId::from_bytes([0; 16]),
                    pages: pages.iter().collect(),
                })
                .collect(),
        )
    }

    #[test]
    fn a_page_is_valid_from_its_commit_to_the_next_that_writes_it() {
        let cache = PageCache::new(1 << 20);
        let content = content(b"content", 3);
        cache.learn(DATABASE, None, version(5), &Changes::Unknown);
        cache.put(DATABASE, page(7), content.clone(), version(5));
        assert_eq!(
            cache.get(DATABASE, page(7), version(2)),
            None,
            "before it was written"
        );
        assert_eq!(
            cache.get(DATABASE, page(7), version(4)),
            Some(content.clone())
        );
        assert_eq!(
            cache.get(DATABASE, page(7), version(6)),
            None,
            "nothing is known of 6"
        );
        cache.learn(
            DATABASE,
            Some(version(5)),
            version(6),
            &commits(&[(6, &[8])]),
        );
        assert_eq!(
            cache.get(DATABASE, page(7), version(6)),
            Some(content.clone())
        );
        // Another connection learns the same and one more.
        let more = commits(&[(6, &[8]), (7, &[7])]);
        cache.learn(DATABASE, Some(version(5)), version(7), &more);
        assert_eq!(cache.get(DATABASE, page(7), version(7)), None, "7 wrote it");
        assert_eq!(cache.get(DATABASE, page(7), version(6)), Some(content));
    }

    #[test]
    fn a_gap_in_what_is_known_ends_every_range() {
        let cache = PageCache::new(1 << 20);
        cache.learn(DATABASE, None, version(1), &Changes::Unknown);
        cache.put(DATABASE, page(1), content(b"x", 1), version(1));
        cache.learn(
            DATABASE,
            Some(version(3)),
            version(4),
            &commits(&[(4, &[])]),
        );
        assert_eq!(cache.get(DATABASE, page(1), version(4)), None);
    }
}
