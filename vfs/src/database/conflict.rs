//! What a conflict was about: read from the database itself, and only when there is one.

use verso_pagestore::{self as pagestore, Moment, PageNumber, Snapshot};

use super::Database;
use crate::conflict::Conflict;
use crate::owner;

/// Most pages that are read to find out what a page belongs to.
const MOST_READS: usize = 100;

impl Database {
    /// The conflict in words, if it was about this database.
    pub(crate) fn explain(&self, conflict: &pagestore::Conflict) -> Option<Conflict> {
        let snapshot = *self.transaction_snapshot()?;
        if snapshot.database != conflict.database {
            return None;
        }
        self.store.stats().conflicts.add(1);
        Some(Conflict {
            database: self.name.clone(),
            page: conflict.page,
            owner: self.owner(&snapshot, conflict),
            winner: conflict.winner,
        })
    }

    /// Reads the owner of the page from the snapshot, or if the other transaction has added
    /// the page, from that one's version.
    fn owner(&self, snapshot: &Snapshot, conflict: &pagestore::Conflict) -> owner::Owner {
        let winner = || {
            let moment = Moment::Version(conflict.winner);
            let winner = self.store.pages().ok()?.snapshot_at(&self.name, moment);
            winner
                .ok()
                .filter(|winner| winner.database == snapshot.database)
        };
        let snapshot = if snapshot.page_count.contains(conflict.page) {
            Some(*snapshot)
        } else {
            winner()
        };
        let read = |page: PageNumber| {
            let snapshot = snapshot.filter(|snapshot| snapshot.page_count.contains(page))?;
            self.stored_page(&snapshot, page).ok()
        };
        owner::find(conflict.page, MOST_READS, read)
    }
}
