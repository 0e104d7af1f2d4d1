//! The page cache of the process: one for all connections, weighed in bytes.
//!
//! A page is kept with the range of versions that it is known to be valid for. What
//! connections learn about commits extends the range, or ends it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::RwLock;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use roaring::RoaringBitmap;
use verso_pagestore::{Changes, DatabaseId, Page, PageNumber, Version};

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

type Key = (CachedDatabase, PageNumber);

#[derive(Clone)]
struct Entry {
    page: Page,
    /// The commit that wrote the page.
    from: Version,
    /// The newest version that the page is known to be valid for.
    to: Version,
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<Key, Entry> for ByBytes {
    fn weight(&self, _: &Key, entry: &Entry) -> u64 {
        (entry.page.len() + size_of::<Key>() + size_of::<Entry>()) as u64
    }
}

pub(crate) struct PageCache {
    pages: Cache<Key, Entry, ByBytes>,
    histories: RwLock<HashMap<CachedDatabase, Arc<RwLock<History>>>>,
}

impl PageCache {
    pub(crate) fn new(bytes: u64) -> Self {
        let typical_pages = usize::try_from(bytes / 4096).unwrap_or(usize::MAX);
        Self {
            pages: Cache::with_weighter(typical_pages, bytes, ByBytes),
            histories: RwLock::default(),
        }
    }

    /// The page at a version, if it is cached and known to be valid there.
    pub(crate) fn get(
        &self,
        database: CachedDatabase,
        number: PageNumber,
        at: Version,
    ) -> Option<Page> {
        let entry = self.pages.get(&(database, number))?;
        if at < entry.from {
            return None;
        }
        if at > entry.to {
            let history = self.histories.read().get(&database).cloned()?;
            if !history.read().unchanged(number, entry.to, at) {
                return None;
            }
            self.pages.insert(
                (database, number),
                Entry {
                    to: at,
                    ..entry.clone()
                },
            );
        }
        Some(entry.page)
    }

    /// Keeps a page that was written at `from` and is valid at `at`.
    pub(crate) fn put(
        &self,
        database: CachedDatabase,
        number: PageNumber,
        page: Page,
        from: Version,
        at: Version,
    ) {
        let key = (database, number);
        if let Some(existing) = self.pages.peek(&key)
            && (existing.from, existing.to) >= (from, at)
        {
            return;
        }
        self.pages.insert(key, Entry { page, from, to: at });
    }

    /// Forgets everything about a database whose store was put back to an older state.
    pub(crate) fn forget_database(&self, database: CachedDatabase) {
        self.histories.write().remove(&database);
        self.pages.retain(|(cached, _), _| *cached != database);
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
        if history.read().newest < newest {
            history.write().learn(since, newest, changes);
        }
    }
}

/// Most commits that a history remembers.
const MOST_COMMITS: usize = 1024;

/// What is known of a database's commits: all of those in `(oldest, newest]`.
struct History {
    oldest: Version,
    newest: Version,
    commits: VecDeque<(Version, RoaringBitmap)>,
}

impl History {
    const fn starting_at(version: Version) -> Self {
        Self {
            oldest: version,
            newest: version,
            commits: VecDeque::new(),
        }
    }

    fn learn(&mut self, since: Option<Version>, newest: Version, changes: &Changes) {
        if newest <= self.newest {
            return;
        }
        let (Some(since), Changes::Commits(commits)) = (since, changes) else {
            *self = Self::starting_at(newest);
            return;
        };
        if since > self.newest {
            *self = Self::starting_at(since);
        }
        let known = self.newest;
        let news = commits.iter().filter(|commit| commit.version > known);
        self.commits
            .extend(news.map(|commit| (commit.version, commit.pages.clone())));
        self.newest = newest;
        while self.commits.len() > MOST_COMMITS {
            if let Some((version, _)) = self.commits.pop_front() {
                self.oldest = version;
            }
        }
    }

    /// Whether it is known that no commit in `(from, to]` wrote the page.
    fn unchanged(&self, page: PageNumber, from: Version, to: Version) -> bool {
        if from < self.oldest || to > self.newest {
            return false;
        }
        let first = self
            .commits
            .partition_point(|(version, _)| *version <= from);
        let after = self.commits.partition_point(|(version, _)| *version <= to);
        !self
            .commits
            .range(first..after)
            .any(|(_, pages)| pages.contains(page.get()))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use verso_pagestore::CommitPages;

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

    fn commits(list: &[(u64, &[u32])]) -> Changes {
        Changes::Commits(
            list.iter()
                .map(|(at, pages)| CommitPages {
                    version: version(*at),
                    pages: pages.iter().collect(),
                })
                .collect(),
        )
    }

    #[test]
    fn a_page_is_valid_from_its_commit_to_the_next_that_writes_it() {
        let cache = PageCache::new(1 << 20);
        let content = Bytes::from_static(b"content");
        cache.learn(DATABASE, None, version(5), &Changes::Unknown);
        cache.put(DATABASE, page(7), content.clone(), version(3), version(5));
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
        cache.put(
            DATABASE,
            page(1),
            Bytes::from_static(b"x"),
            version(1),
            version(1),
        );
        cache.learn(
            DATABASE,
            Some(version(3)),
            version(4),
            &commits(&[(4, &[])]),
        );
        assert_eq!(cache.get(DATABASE, page(1), version(4)), None);
    }

    #[test]
    fn an_older_content_never_replaces_a_newer_one() {
        let cache = PageCache::new(1 << 20);
        cache.put(
            DATABASE,
            page(1),
            Bytes::from_static(b"new"),
            version(5),
            version(5),
        );
        cache.put(
            DATABASE,
            page(1),
            Bytes::from_static(b"old"),
            version(2),
            version(4),
        );
        assert_eq!(
            cache.get(DATABASE, page(1), version(5)),
            Some(Bytes::from_static(b"new"))
        );
        assert_eq!(cache.get(DATABASE, page(1), version(4)), None);
    }

    #[test]
    fn the_cache_is_bounded_in_bytes() {
        let cache = PageCache::new(1 << 20);
        for number in 1..=1000 {
            cache.put(
                DATABASE,
                page(number),
                Bytes::from(vec![0; 4096]),
                version(1),
                version(1),
            );
        }
        assert!(cache.pages.weight() <= 1 << 20, "{}", cache.pages.weight());
        assert!(cache.pages.len() > 100);
    }
}
