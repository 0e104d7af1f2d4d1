//! The databases that a node knows the last commits of.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use verso_pagestore::{Begun, Changes, DatabaseId, DatabaseName, Since, Snapshot};

use super::lineage::{Learnt, Lineage, LineageNumber, News, Position};

/// Most names that are remembered.
const MOST_NAMES: usize = 10_000;

/// One database may have this part of all bytes, or at least so many.
const PARTS: u64 = 128;
const LEAST_BYTES: u64 = 16 << 10;

/// A database that the node knows the last commits of.
pub(super) struct Known {
    pub(super) lineage: RwLock<Lineage>,
    /// When the store was last asked and knew the database.
    confirmed: Mutex<Instant>,
    /// What the store last said of it, if that has a mark.
    marked: Mutex<Option<Marked>>,
}

/// A state of a database with a mark, and the name that stood for it.
#[derive(Clone)]
pub(super) struct Marked {
    pub(super) name: DatabaseName,
    pub(super) snapshot: Snapshot,
}

impl Known {
    fn learn(&self, news: News<'_>) -> Learnt {
        let is_old = *news.changes == Changes::Commits(Vec::new());
        if is_old && self.lineage.read().newest() == news.newest {
            return Learnt::Nothing;
        }
        self.lineage.write().learn(news)
    }

    /// What the store last said of the database, if it can be told whether that is the newest still.
    pub(super) fn marked(&self) -> Option<Marked> {
        self.marked.lock().clone()
    }

    fn mark(&self, name: &DatabaseName, snapshot: &Snapshot) {
        let name = name.clone();
        let snapshot = *snapshot;
        *self.marked.lock() = snapshot.mark.map(|_| Marked { name, snapshot });
    }

    /// The store was asked at this moment, and knew the database.
    pub(super) fn confirm(&self, asked: Instant) {
        let mut confirmed = self.confirmed.lock();
        *confirmed = confirmed.max(asked);
    }

    /// Whether the store was not asked for so long.
    pub(super) fn is_unconfirmed(&self, age: Duration) -> bool {
        self.confirmed.lock().elapsed() >= age
    }
}

/// A database with its weight, which must not change while it is in the cache.
#[derive(Clone)]
struct Weighed {
    known: Arc<Known>,
    bytes: u64,
}

impl Weighed {
    fn new(known: Arc<Known>) -> Self {
        let bytes = known.lineage.read().bytes() + size_of::<Known>();
        Self {
            known,
            bytes: bytes as u64,
        }
    }
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<DatabaseId, Weighed> for ByBytes {
    fn weight(&self, _: &DatabaseId, entry: &Weighed) -> u64 {
        entry.bytes
    }
}

/// The databases, bounded in bytes, and what names stood for when they were last asked for.
pub(super) struct Databases {
    names: Cache<DatabaseName, DatabaseId>,
    known: Cache<DatabaseId, Weighed, ByBytes>,
    numbers: AtomicU64,
    /// Of one database.
    most_bytes: usize,
}

/// What became of a database's pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pages {
    /// They are as valid as they were.
    Kept,
    /// Nothing is known of those of this run any more.
    Lost(LineageNumber),
}

impl Databases {
    /// None, and never more than so many bytes of them.
    pub(super) fn new(bytes: u64) -> Self {
        let typical = usize::try_from(bytes / 16_384).unwrap_or(usize::MAX);
        let most_bytes = (bytes / PARTS).max(LEAST_BYTES).min(bytes / 2);
        let most_bytes = usize::try_from(most_bytes).unwrap_or(usize::MAX);
        Self {
            names: Cache::new(MOST_NAMES),
            known: Cache::with_weighter(typical, bytes, ByBytes),
            numbers: AtomicU64::new(0),
            most_bytes,
        }
    }

    /// The newest state that is known of the database that a name stood for.
    pub(super) fn newest(&self, name: &DatabaseName) -> Option<Since> {
        let database = self.named(name)?;
        let newest = self.get(database)?.lineage.read().newest();
        Some(Since {
            database,
            version: newest.version,
            commit: newest.commit,
        })
    }

    pub(super) fn get(&self, database: DatabaseId) -> Option<Arc<Known>> {
        self.known.get(&database).map(|entry| entry.known)
    }

    /// What changed between two states, if it is known: what the store would answer.
    pub(super) fn changes(&self, since: Option<Since>, newest: &Snapshot) -> Option<Changes> {
        let Some(since) = since.filter(|since| since.database == newest.database) else {
            return Some(Changes::Unknown);
        };
        let known = self.get(newest.database)?;
        let lineage = known.lineage.read();
        let commits = lineage.changes((&since).into(), newest.into())?;
        Some(Changes::Commits(commits))
    }

    /// Learns from the store's answer to a begin that it was asked at a moment.
    pub(super) fn learn(
        &self,
        name: &DatabaseName,
        since: Option<Since>,
        begun: &Begun,
        asked: Instant,
    ) -> Pages {
        let database = begun.snapshot.database;
        if self.named(name) != Some(database) {
            self.names.insert(name.clone(), database);
        }
        let since = since.filter(|since| since.database == database);
        let news = News {
            since: since.as_ref().map(Position::from),
            newest: (&begun.snapshot).into(),
            changes: &begun.changes,
        };
        let Some(known) = self.get(database) else {
            let known = Known {
                lineage: RwLock::new(Lineage::new(self.number(), self.most_bytes, news)),
                confirmed: Mutex::new(asked),
                marked: Mutex::default(),
            };
            known.mark(name, &begun.snapshot);
            self.known.insert(database, Weighed::new(Arc::new(known)));
            return Pages::Kept;
        };
        known.confirm(asked);
        known.mark(name, &begun.snapshot);
        let pages = match known.learn(news) {
            Learnt::Nothing => return Pages::Kept,
            Learnt::More => Pages::Kept,
            Learnt::Broken => {
                let new = Lineage::new(self.number(), self.most_bytes, news);
                let old = std::mem::replace(&mut *known.lineage.write(), new);
                Pages::Lost(old.number)
            }
        };
        // Unless it was dropped meanwhile.
        let _ = self.known.replace(database, Weighed::new(known), false);
        pages
    }

    /// Drops a database that was removed.
    pub(super) fn forget(&self, database: DatabaseId) -> Pages {
        self.known
            .remove(&database)
            .map_or(Pages::Kept, |(_, entry)| {
                Pages::Lost(entry.known.lineage.read().number)
            })
    }

    /// What a name stood for when it was last asked for.
    pub(super) fn named(&self, name: &DatabaseName) -> Option<DatabaseId> {
        self.names.get(name)
    }

    /// Forgets what a name stood for.
    pub(super) fn forget_name(&self, name: &DatabaseName) {
        self.names.remove(name);
    }

    fn number(&self) -> LineageNumber {
        LineageNumber(self.numbers.fetch_add(1, Ordering::Relaxed))
    }
}
