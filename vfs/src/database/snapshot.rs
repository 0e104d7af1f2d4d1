//! The begin: which snapshot a transaction reads, and what SQLite's page cache is worth on it.

use std::time::Instant;

use verso_pagestore::{
    Begun, Bound, Changes, CommitPages, Moment, MomentError, RoaringBitmap, Since, Snapshot, Start,
};

use super::{Database, Known};
use crate::cache::StoreKey;
use crate::error::VfsError;
use crate::open::Follow;
use crate::pragma::Freshness;

/// The moment that a transaction reads, in all databases of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReadMoment {
    store: StoreKey,
    read_version: u64,
}

impl Database {
    /// The moment that the transaction reads, if it does read this database.
    pub(crate) fn moment(&self) -> Option<ReadMoment> {
        let read_version = self.transaction_snapshot()?.read_version;
        let store = self.store.key().ok()?;
        (self.follow == Follow::Newest).then_some(ReadMoment {
            store,
            read_version,
        })
    }

    /// The snapshot for a transaction that reads another database already: of the same
    /// moment.
    pub(super) fn snapshot_of(&mut self, moment: ReadMoment) -> Result<Snapshot, VfsError> {
        let newest = self.snapshot()?;
        let is_later = newest.version.commit_version() > moment.read_version;
        if !is_later || self.follow != Follow::Newest || self.store.key()? != moment.store {
            return Ok(newest);
        }
        let pages = self.store.pages()?;
        let earlier = pages.snapshot_at(&self.name, Moment::ReadVersion(moment.read_version));
        let snapshot = earlier.map_err(|error| match error {
            // The name stood for nothing then, or for another database.
            MomentError::NoSuchVersion { .. } | MomentError::NoSuchDatabase { .. } => {
                VfsError::TooYoung {
                    database: self.name.clone(),
                }
            }
            error @ (MomentError::TooEarly { .. } | MomentError::Store(_)) => error.into(),
        })?;
        // What SQLite has in its cache may be newer.
        self.show_change();
        self.know(&snapshot);
        Ok(snapshot)
    }

    /// The snapshot for a new transaction: that of the last begin or of the store's choice, if the
    /// connection allows its age, else the newest.
    pub(super) fn fresh_snapshot(&mut self) -> Result<Snapshot, VfsError> {
        let is_refused = self.refused_counter.is_some() || matches!(self.known, Known::Overtaken);
        if is_refused || self.follow != Follow::Newest || !self.store.is_current() {
            return self.newest_of(Instant::now());
        }
        if let Known::State(snapshot, as_of) = self.known
            && self.is_fresh(&snapshot, as_of)
        {
            return Ok(snapshot);
        }
        let asked = Instant::now();
        let Freshness::Bounded(age) = self.settings.freshness else {
            return self.newest_of(asked);
        };
        let bound = Bound {
            age,
            at_least: self.validated,
        };
        let client = self.store.share()?;
        let recent = client.begin_within(&self.name, self.since, bound)?;
        let snapshot = self.take(&recent.begun)?;
        if let Some(as_of) = asked.checked_sub(recent.age) {
            self.known = Known::State(snapshot, as_of);
        }
        Ok(snapshot)
    }

    /// Whether a transaction may begin on what was the newest at a moment.
    fn is_fresh(&self, snapshot: &Snapshot, as_of: Instant) -> bool {
        match self.settings.freshness {
            Freshness::Strict => self.store.is_newest(snapshot),
            Freshness::Bounded(age) => as_of.elapsed() <= age,
        }
    }

    /// Learns what was the newest state when the database was opened, asked for at a moment.
    pub(super) fn know_from_opening(&mut self, newest: &Begun, asked: Instant) {
        // Otherwise the first begin meets the same failure, and reports it.
        if let Ok(snapshot) = self.take(newest) {
            self.known = Known::State(snapshot, asked);
        }
    }

    /// The newest snapshot, asked for at this moment.
    fn newest_of(&mut self, asked: Instant) -> Result<Snapshot, VfsError> {
        let snapshot = self.snapshot()?;
        self.known = Known::State(snapshot, asked);
        Ok(snapshot)
    }

    /// The snapshot of the last begin has lost: the next transaction begins on the newest.
    pub(crate) const fn begin_afresh(&mut self) {
        self.known = Known::Overtaken;
    }

    /// The newest snapshot, for a new transaction. Moves the change counter if a page that SQLite may
    /// hold in its cache has changed.
    pub(super) fn snapshot(&mut self) -> Result<Snapshot, VfsError> {
        if self.store.renew()? {
            // Another process: another cache, which knows nothing yet.
            self.since = None;
        }
        if let Follow::Pinned(snapshot) = self.follow {
            return Ok(snapshot);
        }
        let begun = self.store.pages()?.begin(&self.name, self.since)?;
        self.take(&begun)
    }

    /// The newest snapshot, with pages of it, as they came with the lease.
    pub(super) fn start_on(&mut self, start: Start) -> Result<Snapshot, VfsError> {
        let snapshot = self.take(&start.begun)?;
        let database = self.cached(&snapshot)?;
        self.store.stats().pages_read.add(start.pages.len() as u64);
        let cache = self.store.cache();
        for (number, page) in start.pages {
            cache.put(database, number, page, snapshot.version);
        }
        Ok(snapshot)
    }

    /// Learns from the answer to a begin.
    fn take(&mut self, begun: &Begun) -> Result<Snapshot, VfsError> {
        let snapshot = begun.snapshot;
        let since = self
            .since
            .filter(|since| since.database == snapshot.database);
        let database = self.cached(&snapshot)?;
        let since = since.map(|since| since.version);
        if begun.changes == Changes::Diverged {
            self.store.cache().forget_database(database);
        }
        self.store
            .cache()
            .learn(database, since, snapshot.version, &begun.changes);
        self.disk.learn(&self.store, &self.name, self.since, begun);
        if let Some(counter) = self.refused_counter.take() {
            self.counter = counter;
            self.show_change();
        } else if self.holds_changed_page(&begun.changes) || self.must_tell(&begun.changes) {
            self.show_change();
        }
        self.own.clear();
        self.know(&snapshot);
        Ok(snapshot)
    }

    /// After an own commit that is the newest, and followed on the snapshot of its transaction.
    pub(super) fn go_on_from(
        &mut self,
        before: &Snapshot,
        committed: &Snapshot,
        written: RoaringBitmap,
    ) {
        let Ok(database) = self.cached(committed) else {
            return;
        };
        let changes = Changes::Commits(vec![CommitPages {
            version: committed.version,
            commit: committed.commit,
            pages: written,
        }]);
        let since = Since {
            database: before.database,
            version: before.version,
            commit: before.commit,
        };
        let cache = self.store.cache();
        cache.learn(database, Some(since.version), committed.version, &changes);
        let begun = Begun {
            snapshot: *committed,
            changes,
        };
        self.disk
            .learn(&self.store, &self.name, Some(since), &begun);
        self.know(committed);
        self.known = Known::State(*committed, Instant::now());
    }

    /// Remembers up to where this connection knows what changed.
    const fn know(&mut self, snapshot: &Snapshot) {
        self.known = Known::Nothing;
        self.since = Some(Since {
            database: snapshot.database,
            version: snapshot.version,
            commit: snapshot.commit,
        });
        self.validated = snapshot.version;
    }

    /// Whether SQLite may hold a page that changed after it was validated.
    fn holds_changed_page(&self, changes: &Changes) -> bool {
        match changes {
            Changes::Unknown | Changes::Diverged => !self.delivered.is_empty(),
            Changes::Commits(commits) => commits
                .iter()
                .filter(|commit| commit.version > self.validated)
                .any(|commit| !commit.pages.is_disjoint(&self.delivered)),
        }
    }

    /// Whether the connection watches `PRAGMA data_version`, and somebody else committed. The
    /// pragma's value follows the change counter, and promises to move at any such commit.
    fn must_tell(&self, changes: &Changes) -> bool {
        self.settings.watches_data_version
            && match changes {
                Changes::Unknown | Changes::Diverged => true,
                Changes::Commits(commits) => commits
                    .iter()
                    .any(|commit| !self.own.contains(&commit.version)),
            }
    }

    /// Makes SQLite drop its page cache.
    pub(super) fn show_change(&mut self) {
        self.counter = self.counter.wrapping_add(1);
        self.delivered.clear();
    }
}
