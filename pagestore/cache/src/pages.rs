//! Pages, weighed in bytes, with the versions that they are known to be valid for.

use std::hash::Hash;

use quick_cache::Weighter;
use quick_cache::sync::Cache;
use verso_pagestore::{PageNumber, Version, VersionedPage};

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
}

impl<D: Copy + Eq + Hash> PageCache<D> {
    /// An empty cache of at most so many bytes.
    #[must_use]
    pub fn new(bytes: u64) -> Self {
        let typical_pages = usize::try_from(bytes / 4096).unwrap_or(usize::MAX);
        Self {
            pages: Cache::with_weighter(typical_pages, bytes, ByBytes),
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
            self.pages.insert((database, number), entry);
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
