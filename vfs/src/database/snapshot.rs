//! The begin: which snapshot a transaction reads, and what SQLite's page cache is worth on it.

use verso_pagestore::{Changes, Since, Snapshot};

use super::Database;
use crate::error::VfsError;
use crate::open::Follow;

impl Database {
    /// The snapshot for a new transaction. Moves the change counter if a page that SQLite may
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
        if let Some(counter) = self.refused_counter.take() {
            self.counter = counter;
            self.show_change();
        } else if self.holds_changed_page(&begun.changes) || self.must_tell(&begun.changes) {
            self.show_change();
        }
        self.own.clear();
        self.since = Some(Since {
            database: snapshot.database,
            version: snapshot.version,
            commit: snapshot.commit,
        });
        self.validated = snapshot.version;
        Ok(snapshot)
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
    fn show_change(&mut self) {
        self.counter = self.counter.wrapping_add(1);
        self.delivered.clear();
    }
}
