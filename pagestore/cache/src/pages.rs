//! Pages, weighed in bytes, with the versions that they are known to be valid for.
//!
//! Whoever scans more pages than the cache holds, again and again, would find none of them if the
//! newest always took the place of the oldest. So a page that comes stays for long only if it is used
//! again soon, or by its luck: one in [`LUCKY`] counts as used at once. The others pass through a small
//! part of the cache, and what is kept changes slowly, also when it is wanted no more.

use std::hash::Hash;
use std::sync::atomic::{AtomicU32, Ordering};

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};
use verso_pagestore::{PageNumber, Version, VersionedPage};

/// This part of the cache is for pages that were used again. What is read ahead waits in the rest until
/// it is wanted.
const KEPT: f64 = 0.9;

/// One page in so many that come is kept as if it had been used again.
const LUCKY: u32 = 8;

#[derive(Clone)]
struct Entry {
    /// The content, and the commit that wrote it.
    page: VersionedPage,
    /// The newest version that the page is known to be valid for.
    to: Version,
}

#[derive(Clone)]
struct ByBytes;

impl<D> Weighter<(D, PageNumber), Entry> for ByBytes {
    fn weight(&self, key: &(D, PageNumber), entry: &Entry) -> u64 {
        (entry.page.page.len() + size_of_val(key) + size_of::<Entry>()) as u64
    }
}

/// A cache of pages, bounded in bytes. `D` tells apart what must not be mixed up: databases, in
/// whatever sense the owner of the cache needs.
///
/// It holds one content of a page: the newest that it was given.
pub struct PageCache<D> {
    pages: Cache<(D, PageNumber), Entry, ByBytes>,
    /// How many pages came. It may wrap around.
    came: AtomicU32,
}

impl<D: Copy + Eq + Hash> PageCache<D> {
    /// An empty cache of at most so many bytes.
    #[must_use]
    #[expect(
        clippy::missing_panics_doc,
        reason = "building options fails only without capacities"
    )]
    pub fn new(bytes: u64) -> Self {
        let typical_pages = usize::try_from(bytes / 4096).unwrap_or(usize::MAX);
        // It does not remember pages that went: they would come back into the kept part, all of
        // those of a repeated scan, and leave no room for pages that are read ahead.
        let options = OptionsBuilder::new()
            .estimated_items_capacity(typical_pages)
            .weight_capacity(bytes)
            .hot_allocation(KEPT)
            .ghost_allocation(0.0)
            .build()
            .expect("both capacities are given");
        let (hasher, lifecycle) = (DefaultHashBuilder::default(), DefaultLifecycle::default());
        Self {
            pages: Cache::with_options(options, ByBytes, hasher, lifecycle),
            came: AtomicU32::new(0),
        }
    }

    /// The page at a version, if it is known to be valid there. Asks `unchanged` whether no commit
    /// after the version that it is given, up to `at`, wrote the page.
    pub fn get(
        &self,
        database: D,
        number: PageNumber,
        at: Version,
        unchanged: impl FnOnce(Version) -> bool,
    ) -> Option<VersionedPage> {
        let entry = self.pages.get(&(database, number))?;
        self.valid(database, number, entry, at, unchanged)
    }

    /// The same, but it does not count as a use: for pages that are only looked at, and for the first
    /// use of a page that was read ahead.
    pub fn look(
        &self,
        database: D,
        number: PageNumber,
        at: Version,
        unchanged: impl FnOnce(Version) -> bool,
    ) -> Option<VersionedPage> {
        let entry = self.pages.peek(&(database, number))?;
        self.valid(database, number, entry, at, unchanged)
    }

    fn valid(
        &self,
        database: D,
        number: PageNumber,
        entry: Entry,
        at: Version,
        unchanged: impl FnOnce(Version) -> bool,
    ) -> Option<VersionedPage> {
        if at < entry.page.version {
            return None;
        }
        if at > entry.to {
            if !unchanged(entry.to) {
                return None;
            }
            let entry = Entry {
                to: at,
                ..entry.clone()
            };
            // It may be gone by now, and then stays so.
            let _ = self.pages.replace((database, number), entry, true);
        }
        Some(entry.page)
    }

    /// Keeps a page that is valid at `at`, unless a newer content is known.
    pub fn put(&self, database: D, number: PageNumber, page: VersionedPage, at: Version) {
        let key = (database, number);
        if let Some(existing) = self.pages.peek(&key)
            && (existing.page.version, existing.to) >= (page.version, at)
        {
            return;
        }
        self.pages.insert(key, Entry { page, to: at });
        let came = self.came.fetch_add(1, Ordering::Relaxed);
        if came.is_multiple_of(LUCKY) {
            self.pages.get(&key);
        }
    }

    /// Counts a page as used often, so that it stays longer than most.
    pub fn prefer(&self, database: D, number: PageNumber) {
        for _ in 0..2 {
            self.pages.get(&(database, number));
        }
    }

    /// Forgets all pages of a database.
    pub fn forget(&self, database: D) {
        self.pages.retain(|(cached, _), _| *cached != database);
    }

    /// How many bytes it holds.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.pages.weight()
    }

    /// How many pages it holds.
    #[must_use]
    pub fn pages(&self) -> usize {
        self.pages.len()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use verso_pagestore::Chain;

    use super::*;

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

    #[test]
    fn a_range_is_extended_only_by_what_is_known() {
        let cache = PageCache::new(1 << 20);
        cache.put(1, page(7), content(b"x", 3), version(5));
        let get =
            |at, unchanged: fn(Version) -> bool| cache.get(1, page(7), version(at), unchanged);
        let never = |_| panic!("it need not ask");
        assert_eq!(get(2, never), None, "before it was written");
        assert_eq!(get(3, never), Some(content(b"x", 3)));
        assert_eq!(get(5, never), Some(content(b"x", 3)));
        assert_eq!(get(6, |_| false), None);
        let asked = |to| {
            assert_eq!(to, version(5));
            true
        };
        assert_eq!(get(9, asked), Some(content(b"x", 3)));
        assert_eq!(get(8, never), Some(content(b"x", 3)), "the range was kept");
        assert_eq!(cache.get(2, page(7), version(5), never), None);
    }

    #[test]
    fn an_older_content_never_replaces_a_newer_one() {
        let cache = PageCache::new(1 << 20);
        cache.put(1, page(1), content(b"new", 5), version(5));
        cache.put(1, page(1), content(b"old", 2), version(4));
        let get = |at| cache.get(1, page(1), version(at), |_| false);
        assert_eq!(get(5), Some(content(b"new", 5)));
        assert_eq!(get(4), None);
    }

    #[test]
    fn a_database_is_forgotten_alone() {
        let cache = PageCache::new(1 << 20);
        cache.put(1, page(1), content(b"one", 1), version(1));
        cache.put(2, page(1), content(b"two", 1), version(1));
        cache.forget(1);
        let get = |database| cache.get(database, page(1), version(1), |_| false);
        assert_eq!(get(1), None);
        assert_eq!(get(2), Some(content(b"two", 1)));
    }

    const MIB: u64 = 1 << 20;

    /// Pages of some database, with as many bytes as most have.
    struct Scanned {
        cache: PageCache<u8>,
        page: VersionedPage,
    }

    impl Scanned {
        fn new() -> Self {
            let zeros = Bytes::from(vec![0; 4096]);
            let page = VersionedPage {
                page: zeros,
                ..content(b"", 1)
            };
            Self {
                cache: PageCache::new(4 * MIB),
                page,
            }
        }

        fn has(&self, database: u8, number: u32) -> bool {
            let version = version(1);
            let found = self.cache.get(database, page(number), version, |_| false);
            found.is_some()
        }

        /// Reads so many pages in their order; says how many were there.
        fn scan(&self, database: u8, pages: u32) -> usize {
            let is_hit = |number: &u32| {
                let is_hit = self.has(database, *number);
                if !is_hit {
                    let page_of_zeros = self.page.clone();
                    self.cache
                        .put(database, page(*number), page_of_zeros, version(1));
                }
                is_hit
            };
            (1..=pages).filter(is_hit).count()
        }
    }

    #[test]
    fn most_of_a_repeated_scan_of_too_many_pages_stays() {
        let scanned = Scanned::new();
        // 5 MiB through 4 MiB.
        for turn in 0..20 {
            let hits = scanned.scan(1, 1280);
            assert!(turn == 0 || hits > 1280 / 2, "turn {turn}: {hits} hits");
        }
    }

    #[test]
    fn what_is_wanted_no_more_goes() {
        let scanned = Scanned::new();
        scanned.scan(1, 1000);
        scanned.scan(1, 1000);
        for _ in 0..20 {
            scanned.scan(2, 800);
        }
        let hits = scanned.scan(2, 800);
        assert!(hits > 600, "{hits} hits");
    }

    #[test]
    fn what_is_preferred_outlasts_scans() {
        let scanned = Scanned::new();
        scanned.scan(2, 1000);
        for number in 1..=50 {
            scanned
                .cache
                .put(1, page(number), scanned.page.clone(), version(1));
            scanned.cache.prefer(1, page(number));
        }
        scanned.scan(3, 1000);
        assert!((1..=50).all(|number| scanned.has(1, number)));
    }

    #[test]
    fn it_is_bounded_in_bytes() {
        let cache = PageCache::new(1 << 20);
        for number in 1..=1000 {
            let page_of_zeros = VersionedPage {
                version: version(1),
                page: Bytes::from(vec![0; 4096]),
                chain: Chain::WHOLE,
            };
            cache.put(1, page(number), page_of_zeros, version(1));
        }
        assert!(cache.bytes() <= 1 << 20, "{}", cache.bytes());
        assert!(cache.pages() > 100);
    }
}
