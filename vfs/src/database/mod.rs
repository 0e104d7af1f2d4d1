//! An open database file: the state of one connection's transaction.
//!
//! SQLite's locks are the phases of a transaction here. They never block anybody else:
//! SHARED takes a snapshot, RESERVED begins to collect writes, `SQLITE_FCNTL_SYNC` commits.

mod commit;
mod conflict;
mod describe;
mod disk;
mod lease;
mod pragma;
mod read;
mod snapshot;
mod written;

use std::sync::Arc;
use std::time::{Duration, Instant};

use roaring::RoaringBitmap;
use verso_pagestore::{DatabaseName, Page, PageNumber, PageSize, Since, Snapshot, Version, header};

use crate::ahead::Ahead;
use crate::cache::CachedDatabase;
use crate::error::VfsError;
use crate::joint::Joint;
use crate::open::{Follow, Opened};
use crate::overlay::{Overlay, Source, segments};
use crate::pragma::Settings;
use crate::process::{Process, StoreHandle};
use crate::statement::Scope;
use commit::Staged;
pub(crate) use disk::Disk;
pub(crate) use snapshot::ReadMoment;

/// Where a connection is in its transaction.
enum State {
    /// No lock.
    Idle,
    /// SHARED: reads one snapshot.
    Reading(Snapshot),
    /// SHARED, after a commit from this snapshot was refused: it may be read on, but
    /// nothing that is written on it could commit.
    Overtaken(Snapshot),
    /// RESERVED or above: collects writes.
    Writing(Write),
    /// RESERVED or above: the writes are handed over, and it is not known yet whether they
    /// commit.
    Staged(Staged),
    /// RESERVED or above, and the writes are committed: the snapshot is their version.
    Committed(Snapshot),
}

/// Which snapshot a transaction takes of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begin {
    /// The newest.
    Newest,
    /// One that is as new as the connection wants it.
    Fresh,
    /// Of the moment at which it reads another database.
    At(ReadMoment),
}

/// What a connection knows of the newest state.
enum Known {
    /// Nothing; also after an own commit, which it must not lack.
    Nothing,
    /// This state, which lacks nothing that was committed before the moment.
    State(Snapshot, Instant),
    /// That the last snapshot has lost, or is of another time, so that only the newest will do.
    Overtaken,
}

/// A write transaction that has not committed.
struct Write {
    snapshot: Snapshot,
    overlay: Overlay,
    /// The overlay when SQLite began a batch of writes that it may take back.
    before_batch: Option<Overlay>,
    /// Whether the commit was refused: only a rollback is left.
    refused: bool,
    /// The transaction over several databases that is rolled back.
    rolls_back: Option<Arc<Joint>>,
}

/// How much of a read was there. The rest of the buffer is zero.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ReadLength {
    Full,
    Short,
}

/// An open database.
pub(crate) struct Database {
    name: DatabaseName,
    store: StoreHandle,
    follow: Follow,
    read_only: bool,
    library_version: u32,
    state: State,
    /// What was the newest when the database was opened, until the first transaction begins.
    opened_on: Option<Snapshot>,
    /// Every page that SQLite may hold in its page cache, and so may use without asking.
    delivered: RoaringBitmap,
    /// The change counter shown to SQLite. While it stays the same, SQLite's cache is valid.
    counter: u32,
    /// A change counter that SQLite wrote in a commit that was refused. It must not see it
    /// again as a sign that its cache is valid.
    refused_counter: Option<u32>,
    /// Which statements share the snapshot.
    scope: Scope,
    /// Up to where this connection knows what changed.
    since: Option<Since>,
    known: Known,
    disk: Disk,
    ahead: Ahead,
    /// All of `delivered` is known to be valid here: the newest of the last snapshot and
    /// the last own commit.
    validated: Version,
    /// Own commits since the last begin, kept only if others' commits must be told apart.
    own: Vec<Version>,
    pub(crate) settings: Settings,
    lease_time_to_live: Duration,
}

impl Database {
    pub(crate) fn new(opened: Opened, library_version: u32) -> Self {
        let Opened {
            name,
            store,
            follow,
            newest,
            read_only,
            settings,
            disk,
            lease_time_to_live,
        } = opened;
        let mut database = Self {
            name,
            store,
            follow,
            read_only,
            library_version,
            state: State::Idle,
            opened_on: newest.as_ref().map(|(newest, _)| newest.snapshot),
            delivered: RoaringBitmap::new(),
            counter: 1,
            refused_counter: None,
            scope: Scope::Several,
            since: None,
            known: Known::Nothing,
            disk,
            ahead: Ahead::default(),
            validated: Version::MIN,
            own: Vec::new(),
            settings,
            lease_time_to_live,
        };
        if let Some((newest, asked)) = newest {
            database.know_from_opening(&newest, asked);
        }
        database
    }

    pub(crate) const fn name(&self) -> &DatabaseName {
        &self.name
    }

    /// What the running process shares. After a fork, that is not what the store was opened
    /// in.
    pub(crate) fn process(&self) -> &'static Process {
        self.store.current_process()
    }

    /// The version that it stays at, if it does.
    const fn pinned_version(&self) -> Option<Version> {
        match self.follow {
            Follow::Pinned(snapshot) => Some(snapshot.version),
            Follow::Newest => None,
        }
    }

    /// Whether it is a fixed snapshot, which nobody can overtake.
    pub(crate) fn is_pinned(&self) -> bool {
        self.follow != Follow::Newest
    }

    /// Whether it cannot be written, now or at all.
    pub(crate) fn is_read_only(&self) -> bool {
        self.read_only || self.is_pinned()
    }

    /// `xLock(SHARED)`: takes a snapshot.
    pub(crate) fn lock_shared(&mut self, begin: Begin, scope: Scope) -> Result<(), VfsError> {
        self.opened_on = None;
        if matches!(self.state, State::Idle) {
            let snapshot = match begin {
                Begin::Newest => self.snapshot()?,
                Begin::Fresh => self.fresh_snapshot()?,
                Begin::At(moment) => self.snapshot_of(moment)?,
            };
            self.read_on(snapshot, scope);
        }
        Ok(())
    }

    fn read_on(&mut self, snapshot: Snapshot, scope: Scope) {
        self.scope = scope;
        self.state = State::Reading(snapshot);
    }

    /// `xLock(RESERVED)` and above: begins to write.
    pub(crate) fn lock_write(&mut self) -> Result<(), VfsError> {
        match self.state {
            State::Reading(_) if self.is_read_only() => Err(VfsError::ReadOnly),
            State::Reading(snapshot) => {
                let overlay = Overlay::new(&snapshot);
                self.state = State::Writing(Write {
                    snapshot,
                    overlay,
                    before_batch: None,
                    refused: false,
                    rolls_back: None,
                });
                Ok(())
            }
            State::Overtaken(_) => Err(VfsError::Overtaken),
            State::Writing(_) | State::Staged(_) | State::Committed(_) => Ok(()),
            State::Idle => Err(VfsError::Unlocked),
        }
    }

    /// Which statements share the snapshot.
    pub(crate) const fn scope(&self) -> Scope {
        self.scope
    }

    /// Whether it is between `xLock(RESERVED)` and the commit.
    pub(crate) const fn is_writing(&self) -> bool {
        matches!(self.state, State::Writing(_) | State::Staged(_))
    }

    /// What the transaction reads, if there is one.
    const fn transaction_snapshot(&self) -> Option<&Snapshot> {
        match &self.state {
            State::Reading(snapshot) | State::Overtaken(snapshot) | State::Committed(snapshot) => {
                Some(snapshot)
            }
            State::Writing(write) | State::Staged(Staged { write, .. }) => Some(&write.snapshot),
            State::Idle => None,
        }
    }

    /// What was written and has not committed.
    const fn write_state(&self) -> Option<&Write> {
        match &self.state {
            State::Writing(write) | State::Staged(Staged { write, .. }) => Some(write),
            State::Idle | State::Reading(_) | State::Overtaken(_) | State::Committed(_) => None,
        }
    }

    /// `xUnlock(SHARED)`: ends a write transaction. What was not committed is dropped. Says
    /// whether one ended that was not refused.
    pub(crate) fn unlock_to_shared(&mut self) -> bool {
        self.abandon();
        let has_ended = match &self.state {
            State::Writing(write) => !write.refused,
            State::Committed(_) => true,
            State::Idle | State::Reading(_) | State::Overtaken(_) | State::Staged(_) => false,
        };
        self.state = match std::mem::replace(&mut self.state, State::Idle) {
            State::Writing(Write {
                snapshot,
                refused: true,
                ..
            }) => State::Overtaken(snapshot),
            State::Writing(Write { snapshot, .. }) | State::Committed(snapshot) => {
                State::Reading(snapshot)
            }
            other @ (State::Idle | State::Reading(_) | State::Overtaken(_) | State::Staged(_)) => {
                other
            }
        };
        has_ended
    }

    /// `xUnlock(NONE)`: ends the transaction. Says whether one ended that wrote and was not
    /// refused.
    pub(crate) fn unlock(&mut self) -> bool {
        let has_ended = self.unlock_to_shared();
        self.state = State::Idle;
        has_ended
    }

    /// The length of the file, in bytes.
    pub(crate) fn length(&mut self) -> Result<u64, VfsError> {
        Ok(match &self.state {
            State::Writing(write) | State::Staged(Staged { write, .. }) => write.overlay.length(),
            State::Reading(snapshot) | State::Overtaken(snapshot) | State::Committed(snapshot) => {
                length(snapshot)
            }
            State::Idle => length(&self.unlocked_snapshot()?),
        })
    }

    /// `xRead`: fills `buffer` from `offset`.
    pub(crate) fn read(&mut self, buffer: &mut [u8], offset: u64) -> Result<ReadLength, VfsError> {
        let (snapshot, size, end) = match &self.state {
            State::Idle => {
                let snapshot = self.unlocked_snapshot()?;
                (snapshot, snapshot.page_size, length(&snapshot))
            }
            State::Reading(snapshot) | State::Overtaken(snapshot) | State::Committed(snapshot) => {
                (*snapshot, snapshot.page_size, length(snapshot))
            }
            State::Writing(write) | State::Staged(Staged { write, .. }) => (
                write.snapshot,
                write.overlay.page_size(),
                write.overlay.length(),
            ),
        };
        let available = usize::try_from(end.saturating_sub(offset)).unwrap_or(usize::MAX);
        let (mut present, absent) = buffer.split_at_mut(available.min(buffer.len()));
        absent.fill(0);
        if let Some(size) = size {
            for segment in segments(size, offset, present.len()) {
                let page = self.page(&snapshot, size, segment.page)?;
                let (target, rest) = present.split_at_mut(segment.length);
                let source = page.get(segment.begin..segment.begin + segment.length);
                target.copy_from_slice(source.unwrap_or_default());
                present = rest;
            }
        }
        Ok(if absent.is_empty() {
            ReadLength::Full
        } else {
            ReadLength::Short
        })
    }

    /// A page as SQLite is to see it.
    fn page(
        &mut self,
        snapshot: &Snapshot,
        size: PageSize,
        number: PageNumber,
    ) -> Result<Page, VfsError> {
        if !matches!(self.state, State::Idle) {
            self.delivered.insert(number.get());
        }
        if let Some(write) = self.write_state() {
            match write.overlay.source(number)? {
                Source::Written(page) => return Ok(page),
                Source::Zero => return Ok(vec![0; size.length()].into()),
                Source::Snapshot => {}
            }
        }
        let page = self.scanned_page(snapshot, size, number)?;
        if number != PageNumber::FIRST {
            return Ok(page);
        }
        let mut page = page.to_vec();
        header::present(&mut page, self.counter, self.library_version);
        Ok(page.into())
    }

    fn cached(&self, snapshot: &Snapshot) -> Result<CachedDatabase, VfsError> {
        let pinned = match self.follow {
            Follow::Pinned(snapshot) => Some(snapshot.version),
            Follow::Newest => None,
        };
        Ok(CachedDatabase {
            store: self.store.key()?,
            database: snapshot.database,
            pinned,
        })
    }

    /// `xWrite`.
    pub(crate) fn write(&mut self, data: &[u8], offset: u64) -> Result<(), VfsError> {
        // Once everything is handed over, only a rollback writes.
        self.abandon();
        // Taken out for the time of the write, so that the base pages can be read.
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Writing(mut write) => {
                let base = |page| self.stored_page(&write.snapshot, page);
                let result = write.overlay.write(data, offset, base);
                if let Some(size) = write.overlay.page_size() {
                    for segment in segments(size, offset, data.len()) {
                        self.delivered.insert(segment.page.get());
                    }
                }
                self.state = State::Writing(write);
                result
            }
            // SQLite unlocks after every commit, except in exclusive locking mode.
            state @ State::Committed(_) => {
                self.state = state;
                Err(VfsError::ExclusiveLocking)
            }
            state @ (State::Idle | State::Reading(_) | State::Overtaken(_) | State::Staged(_)) => {
                self.state = state;
                Err(VfsError::Unlocked)
            }
        }
    }

    /// `xTruncate`. Once it is handed over, the file has the size of the commit already.
    pub(crate) fn truncate(&mut self, length: u64) -> Result<(), VfsError> {
        match &mut self.state {
            State::Writing(write) => write.overlay.truncate(length),
            State::Staged(_) | State::Committed(_) => {}
            State::Idle | State::Reading(_) | State::Overtaken(_) => {
                return Err(VfsError::Unlocked);
            }
        }
        Ok(())
    }

    /// Before a batch of writes that SQLite may take back.
    pub(crate) fn begin_batch(&mut self) {
        if let State::Writing(write) = &mut self.state {
            write.before_batch = Some(write.overlay.clone());
        }
    }

    /// After a batch of writes: keeps it, or takes it back.
    pub(crate) fn end_batch(&mut self, keep: bool) {
        if let State::Writing(write) = &mut self.state
            && let Some(before) = write.before_batch.take()
            && !keep
        {
            write.overlay = before;
        }
    }

    /// What a read without a lock sees: the header that SQLite looks at when it opens a
    /// database, or a pinned snapshot, of which SQLite takes no locks.
    fn unlocked_snapshot(&self) -> Result<Snapshot, VfsError> {
        self.opened_on.map_or_else(|| self.newest_snapshot(), Ok)
    }

    /// What a transaction would read that began now. Nothing is learnt from it.
    fn newest_snapshot(&self) -> Result<Snapshot, VfsError> {
        match self.follow {
            Follow::Pinned(snapshot) => Ok(snapshot),
            Follow::Newest => Ok(self.store.pages()?.begin(&self.name, None)?.snapshot),
        }
    }
}

fn length(snapshot: &Snapshot) -> u64 {
    snapshot
        .page_size
        .map_or(0, |size| snapshot.page_count.bytes(size))
}
