//! The commit: what `SQLITE_FCNTL_SYNC` hands over, and what becomes of it.

use std::sync::Arc;

use verso_pagestore::{
    Change, CommitId, CommitOutcome, Durability, LeaseStanding, PageCount, PageNumber, PageSize,
    PageWrite, Participant, RoaringBitmap, Snapshot, Version, header,
};

use super::written::Written;
use super::{Database, Known, State, Write};
use crate::error::VfsError;
use crate::joint::{Joint, Verdict};
use crate::open::Follow;
use crate::overlay::Overlay;
use crate::spill::SpilledPages;
use crate::transaction::Part;

/// A transaction that was handed over to be committed.
pub(super) struct Staged {
    pub(super) write: Write,
    after: After,
    /// Numbers of the pages that it writes.
    written: RoaringBitmap,
    /// The transaction over several databases that it belongs to, if any.
    joint: Option<Arc<Joint>>,
}

/// What the database is once the transaction has committed.
#[derive(Debug, Clone, Copy)]
struct After {
    /// The change counter that SQLite wrote.
    counter: u32,
    /// Whether SQLite wrote the header of a WAL-mode database.
    was_wal: bool,
    page_size: PageSize,
    page_count: PageCount,
}

impl Database {
    /// Whether `SQLITE_FCNTL_SYNC` would commit.
    pub(crate) fn is_committing(&self) -> bool {
        match &self.state {
            State::Writing(write) => advanced_counter(write, self.counter).is_some(),
            State::Idle
            | State::Reading(_)
            | State::Overtaken(_)
            | State::Staged(_)
            | State::Committed(_) => false,
        }
    }

    /// `SQLITE_FCNTL_SYNC`: SQLite has written all pages of a commit, or of a rollback that
    /// had spilled. The change counter tells which. The answer is the commit.
    pub(crate) fn stage(&mut self) -> Result<Option<(Part, Durability)>, VfsError> {
        let State::Writing(write) = &self.state else {
            return Ok(None);
        };
        let Some(counter) = advanced_counter(write, self.counter) else {
            return Ok(None);
        };
        if write.refused {
            return Err(VfsError::Overtaken);
        }
        match self.part(write, counter) {
            Ok((part, after)) => {
                let change = part.participant.change.as_ref();
                let written = change.map(Change::written).unwrap_or_default();
                if let State::Writing(write) = std::mem::replace(&mut self.state, State::Idle) {
                    self.state = State::Staged(Staged {
                        write,
                        after,
                        written,
                        joint: None,
                    });
                }
                Ok(Some((part, self.settings.durability)))
            }
            Err(error) => {
                self.refuse(counter, &error);
                Err(error)
            }
        }
    }

    /// As [`stage`](Self::stage), in a transaction over several databases. What fails is rolled
    /// back in all of them.
    pub(crate) fn stage_in(
        &mut self,
        joint: &Arc<Joint>,
    ) -> Result<Option<(Part, Durability)>, VfsError> {
        let shown = self.counter;
        self.stage().map_err(|error| {
            if let State::Writing(write) = &mut self.state {
                write.refused = true;
                write.rolls_back = Some(Arc::clone(joint));
                self.refused_counter = advanced_counter(write, shown);
            }
            joint.refuse();
            error.of_several()
        })
    }

    fn part(&self, write: &Write, counter: u32) -> Result<(Part, After), VfsError> {
        let (page_size, page_count, was_wal) = committed_shape(&write.overlay)?;
        let writes = self.page_writes(write, page_size, page_count)?;
        let is_resized = write.overlay.page_size() != Some(page_size);
        let spilled = write.overlay.spilled(page_count).filter(|_| !is_resized);
        let staged: RoaringBitmap = spilled.iter().flat_map(SpilledPages::numbers).collect();
        // If only counters changed, the transaction read its snapshot, and that is all.
        let has_written = !writes.is_empty() || !staged.is_empty();
        let Written {
            writes,
            deltas,
            pages,
        } = self.written(&write.snapshot, writes)?;
        let change = has_written.then_some(Change {
            writes,
            deltas,
            staged,
            page_size,
            page_count,
        });
        let after = After {
            counter,
            was_wal,
            page_size,
            page_count,
        };
        let part = self.participant(write.snapshot, change)?;
        let part = Part {
            pages,
            spilled,
            ..part
        };
        Ok((part, after))
    }

    fn participant(&self, snapshot: Snapshot, change: Option<Change>) -> Result<Part, VfsError> {
        Ok(Part {
            client: self.store.share()?,
            cached: self.cached(&snapshot)?,
            spilled: None,
            pages: Vec::new(),
            participant: Participant {
                snapshot,
                reads: self.delivered.clone(),
                lease: None,
                change,
            },
        })
    }

    /// The database as a part of a transaction that did not write it; `None` if it has no
    /// part in it, or a fixed snapshot of the past.
    pub(crate) fn as_reader(&self) -> Result<Option<Part>, VfsError> {
        let snapshot = match &self.state {
            State::Reading(snapshot) | State::Overtaken(snapshot) => *snapshot,
            State::Writing(write) => write.snapshot,
            State::Idle | State::Staged(_) | State::Committed(_) => return Ok(None),
        };
        if self.follow != Follow::Newest || self.delivered.is_empty() {
            return Ok(None);
        }
        self.participant(snapshot, None).map(Some)
    }

    /// What became of the commit; with no outcome, there was nothing to send.
    pub(crate) fn committed(
        &mut self,
        result: Result<Option<(CommitOutcome, CommitId)>, VfsError>,
    ) -> Result<(), VfsError> {
        let state = std::mem::replace(&mut self.state, State::Idle);
        let State::Staged(staged) = state else {
            self.state = state;
            return Err(VfsError::Unlocked);
        };
        match result {
            Ok(outcome) => {
                self.accept(staged, outcome);
                Ok(())
            }
            Err(error) => {
                self.state = State::Writing(staged.write);
                self.refuse(staged.after.counter, &error);
                Err(error)
            }
        }
    }

    /// Whether the transaction over several databases took this one in.
    pub(crate) fn joined(
        &mut self,
        joint: &Arc<Joint>,
        result: Result<(), VfsError>,
    ) -> Result<(), VfsError> {
        if let State::Staged(staged) = &mut self.state {
            staged.joint = Some(Arc::clone(joint));
        }
        result.map_err(|error| {
            joint.refuse();
            self.settle();
            error.of_several()
        })
    }

    /// Learns what became of the transaction over several databases.
    pub(crate) fn settle(&mut self) {
        let verdict = match &self.state {
            State::Staged(Staged {
                joint: Some(joint), ..
            }) => joint.verdict(),
            State::Staged(_)
            | State::Idle
            | State::Reading(_)
            | State::Overtaken(_)
            | State::Writing(_)
            | State::Committed(_) => return,
        };
        let state = std::mem::replace(&mut self.state, State::Idle);
        let State::Staged(mut staged) = state else {
            self.state = state;
            return;
        };
        match verdict {
            Verdict::Open => self.state = State::Staged(staged),
            Verdict::Committed(outcome) => self.accept(staged, outcome),
            Verdict::Refused => {
                self.refused_counter = Some(staged.after.counter);
                staged.write.refused = true;
                // As long as a database rolls back, it must be able to find the super-journal.
                staged.write.rolls_back = staged.joint;
                self.state = State::Writing(staged.write);
            }
        }
    }

    /// Gives up a transaction that SQLite rolls back after it was handed over.
    pub(super) fn abandon(&mut self) {
        if let State::Staged(Staged {
            joint: Some(joint), ..
        }) = &self.state
        {
            joint.refuse();
            self.settle();
        }
    }

    fn accept(&mut self, staged: Staged, outcome: Option<(CommitOutcome, CommitId)>) {
        let after = staged.after;
        let snapshot = staged.write.snapshot;
        let (version, read_version, mark, commit) = match outcome {
            Some((outcome, id)) => (outcome.version, outcome.read_version, outcome.mark, id),
            None => (
                snapshot.version,
                snapshot.read_version,
                None,
                snapshot.commit,
            ),
        };
        self.validated = version;
        self.known = Known::Nothing;
        if self.settings.watches_data_version {
            self.own.push(version);
        }
        // A connection that wrote a WAL-mode header must read page 1 again, as it is stored.
        self.counter = if after.was_wal {
            after.counter.wrapping_add(1)
        } else {
            after.counter
        };
        let mut committed = Snapshot {
            version,
            commit,
            read_version,
            lease: LeaseStanding::Unknown,
            mark,
            page_size: Some(after.page_size),
            page_count: after.page_count,
            ..snapshot
        };
        // Between the snapshot and the commit there is no other, nor after it: the next transaction
        // can go on from here. The lease was free when it committed, or else its own, and nobody
        // waited for it: the store would not call it the newest. Of a database that did not
        // change, it is no commit.
        let is_next = version == Version::from_commit(snapshot.read_version.saturating_add(1), 0);
        let has_changed = !staged.written.is_empty();
        if is_next && has_changed && self.store.is_newest(&committed) {
            committed.lease = LeaseStanding::Free;
            self.go_on_from(&snapshot, &committed, staged.written);
        }
        self.state = State::Committed(committed);
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
