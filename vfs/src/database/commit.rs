//! The commit: what `SQLITE_FCNTL_SYNC` does.

use verso_pagestore::{
    CommitId, CommitOutcome, CommitRequest, PageCount, PageNumber, PageSize, PageWrite,
    Participant, Snapshot, header,
};

use super::{Database, State, Write};
use crate::error::VfsError;
use crate::overlay::Overlay;

impl Database {
    /// Whether `SQLITE_FCNTL_SYNC` would commit.
    pub(crate) fn is_committing(&self) -> bool {
        match &self.state {
            State::Writing(write) => advanced_counter(write, self.counter).is_some(),
            State::Idle | State::Reading(_) | State::Overtaken(_) | State::Committed(_) => false,
        }
    }

    /// `SQLITE_FCNTL_SYNC`: SQLite has written all pages of a commit, or of a rollback that
    /// had spilled. The change counter tells which.
    pub(crate) fn sync(&mut self) -> Result<(), VfsError> {
        let shown = self.counter;
        let State::Writing(write) = &mut self.state else {
            return Ok(());
        };
        let Some(counter) = advanced_counter(write, shown) else {
            return Ok(());
        };
        if write.refused {
            return Err(VfsError::Overtaken);
        }
        match self.commit(counter) {
            Ok(snapshot) => {
                self.state = State::Committed(snapshot);
                Ok(())
            }
            Err(error) => {
                self.refuse(counter, &error);
                Err(error)
            }
        }
    }

    fn commit(&mut self, counter: u32) -> Result<Snapshot, VfsError> {
        let State::Writing(write) = &self.state else {
            return Err(VfsError::Unlocked);
        };
        let snapshot = write.snapshot;
        let (page_size, page_count, was_wal) = committed_shape(&write.overlay)?;
        let writes = self.page_writes(write, page_size, page_count)?;
        let (outcome, id) = if writes.is_empty() {
            // Only counters changed: the transaction read its snapshot, and that is all.
            let outcome = CommitOutcome {
                version: snapshot.version,
                read_version: snapshot.read_version,
            };
            (outcome, snapshot.commit)
        } else {
            self.send(Participant {
                snapshot,
                reads: self.delivered.clone(),
                writes,
                page_size,
                page_count,
            })?
        };
        self.validated = outcome.version;
        if self.settings.watches_data_version {
            self.own.push(outcome.version);
        }
        // A connection that wrote a WAL-mode header must read page 1 again, as it is stored.
        self.counter = if was_wal {
            counter.wrapping_add(1)
        } else {
            counter
        };
        Ok(Snapshot {
            version: outcome.version,
            commit: id,
            read_version: outcome.read_version,
            page_size: Some(page_size),
            page_count,
            ..snapshot
        })
    }

    /// The pages to send: page 1 as it is stored, and only if more of it than counters changed.
    fn page_writes(
        &self,
        write: &Write,
        page_size: PageSize,
        page_count: PageCount,
    ) -> Result<Vec<PageWrite>, VfsError> {
        let snapshot = &write.snapshot;
        let base = |page| self.stored_page(snapshot, page);
        let mut writes = write.overlay.writes(page_size, page_count, base)?;
        for first in writes
            .iter_mut()
            .filter(|write| write.number == PageNumber::FIRST)
        {
            let mut page = first.page.to_vec();
            header::normalize(&mut page);
            first.page = page.into();
        }
        if snapshot.page_count > PageCount::ZERO && snapshot.page_size == Some(page_size) {
            let old = self.stored_page(snapshot, PageNumber::FIRST)?;
            writes.retain(|write| write.number != PageNumber::FIRST || write.page != old);
        }
        Ok(writes)
    }

    /// Commits to the store, and keeps the pages in the cache.
    fn send(&self, participant: Participant) -> Result<(CommitOutcome, CommitId), VfsError> {
        // Whatever can fail does so before the commit: after it, nothing may look like a refusal.
        let id = CommitId::random().map_err(|error| VfsError::Random(error.to_string()))?;
        let (cache, database) = (self.store.cache(), self.cached(&participant.snapshot)?);
        let request = CommitRequest {
            id,
            durability: self.settings.durability,
            participants: vec![participant],
        };
        let outcome = self.store.pages()?.commit(&request)?;
        let version = outcome.version;
        let writes = request
            .participants
            .into_iter()
            .flat_map(|part| part.writes);
        for PageWrite { number, page } in writes {
            cache.put(database, number, page, version, version);
        }
        Ok((outcome, id))
    }

    /// Remembers that a commit failed, with the change counter that SQLite had written.
    fn refuse(&mut self, counter: u32, error: &VfsError) {
        if error.code() == libsqlite3_sys::SQLITE_BUSY {
            // SQLite keeps the transaction open, and the application may commit it again.
            return;
        }
        self.refused_counter = Some(counter);
        if let State::Writing(write) = &mut self.state {
            write.refused = true;
        }
    }
}

/// The change counter that SQLite wrote, if it is not the one that the transaction began
/// with.
fn advanced_counter(write: &Write, shown: u32) -> Option<u32> {
    let counter = header::change_counter(write.overlay.first_page()?)?;
    // An empty database shows no counter at all.
    let began_with = if write.snapshot.page_count == PageCount::ZERO {
        0
    } else {
        shown
    };
    (counter != began_with).then_some(counter)
}

/// Page size and number of pages that SQLite wrote into the header, and whether it is that
/// of a WAL-mode database.
fn committed_shape(overlay: &Overlay) -> Result<(PageSize, PageCount, bool), VfsError> {
    let mut first = overlay
        .first_page()
        .map(|page| page.to_vec())
        .unwrap_or_default();
    let size = overlay.header_page_size();
    let was_wal = header::normalize(&mut first);
    match (size, header::page_count(&first)) {
        (Some(size), Some(count)) if count > PageCount::ZERO => Ok((size, count, was_wal)),
        _ => Err(VfsError::Header(size)),
    }
}
