//! An open database file: the state of one connection's transaction.
//!
//! SQLite's locks are the phases of a transaction here. They never block anybody else:
//! SHARED takes a snapshot, RESERVED begins to collect writes, `SQLITE_FCNTL_SYNC` commits.

use roaring::RoaringBitmap;
use verso_pagestore::{
    Changes, CommitId, CommitOutcome, CommitRequest, DatabaseName, Page, PageCount, PageNumber,
    PageSize, Participant, Since, Snapshot, Version, header,
};

use crate::cache::CachedDatabase;
use crate::error::VfsError;
use crate::open::{Follow, Opened};
use crate::overlay::{Overlay, Source, segments};
use crate::pragma::Settings;
use crate::process::StoreHandle;

/// Where a connection is in its transaction.
#[derive(Debug)]
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
    /// RESERVED or above, and the writes are committed: the snapshot is their version.
    Committed(Snapshot),
}

/// A write transaction that has not committed.
#[derive(Debug)]
struct Write {
    snapshot: Snapshot,
    overlay: Overlay,
    /// The overlay when SQLite began a batch of writes that it may take back.
    before_batch: Option<Overlay>,
    /// Whether the commit was refused: only a rollback is left.
    refused: bool,
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
    /// Every page that SQLite may hold in its page cache, and so may use without asking.
    delivered: RoaringBitmap,
    /// The change counter shown to SQLite. While it stays the same, SQLite's cache is valid.
    counter: u32,
    /// A change counter that SQLite wrote in a commit that was refused. It must not see it
    /// again as a sign that its cache is valid.
    refused_counter: Option<u32>,
    /// Up to where this connection knows what changed.
    since: Option<Since>,
    /// All of `delivered` is known to be valid here: the newest of the last snapshot and
    /// the last own commit.
    validated: Version,
    /// Own commits since the last begin, kept only if others' commits must be told apart.
    own: Vec<Version>,
    pub(crate) settings: Settings,
}

impl Database {
    pub(crate) fn new(opened: Opened, library_version: u32) -> Self {
        let Opened {
            name,
            store,
            follow,
            read_only,
        } = opened;
        Self {
            name,
            store,
            follow,
            read_only,
            library_version,
            state: State::Idle,
            delivered: RoaringBitmap::new(),
            counter: 1,
            refused_counter: None,
            since: None,
            validated: Version::MIN,
            own: Vec::new(),
            settings: Settings::default(),
        }
    }

    pub(crate) const fn name(&self) -> &DatabaseName {
        &self.name
    }

    pub(crate) const fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// `xLock(SHARED)`: takes a snapshot.
    pub(crate) fn lock_shared(&mut self) -> Result<(), VfsError> {
        if matches!(self.state, State::Idle) {
            self.state = State::Reading(self.snapshot()?);
        }
        Ok(())
    }

    /// `xLock(RESERVED)` and above: begins to write.
    pub(crate) fn lock_write(&mut self) -> Result<(), VfsError> {
        match self.state {
            State::Reading(_) if self.read_only => Err(VfsError::ReadOnly),
            State::Reading(snapshot) => {
                let overlay = Overlay::new(&snapshot);
                self.state = State::Writing(Write {
                    snapshot,
                    overlay,
                    before_batch: None,
                    refused: false,
                });
                Ok(())
            }
            State::Overtaken(_) => Err(VfsError::Overtaken),
            State::Writing(_) | State::Committed(_) => Ok(()),
            State::Idle => Err(VfsError::Unlocked),
        }
    }

    /// `xUnlock(SHARED)`: ends a write transaction. What was not committed is dropped.
    pub(crate) fn unlock_to_shared(&mut self) {
        self.state = match std::mem::replace(&mut self.state, State::Idle) {
            State::Writing(Write {
                snapshot,
                refused: true,
                ..
            }) => State::Overtaken(snapshot),
            State::Writing(Write { snapshot, .. }) | State::Committed(snapshot) => {
                State::Reading(snapshot)
            }
            other @ (State::Idle | State::Reading(_) | State::Overtaken(_)) => other,
        };
    }

    /// `xUnlock(NONE)`: ends the transaction.
    pub(crate) fn unlock(&mut self) {
        self.state = State::Idle;
    }

    /// The length of the file, in bytes.
    pub(crate) fn length(&mut self) -> Result<u64, VfsError> {
        Ok(match &self.state {
            State::Writing(write) => write.overlay.length(),
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
            State::Writing(write) => (
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
        if let State::Writing(write) = &self.state {
            match write.overlay.source(number) {
                Source::Written(page) => return Ok(page.clone()),
                Source::Zero => return Ok(vec![0; size.length()].into()),
                Source::Snapshot => {}
            }
        }
        let page = self.stored_page(snapshot, number)?;
        if number != PageNumber::FIRST {
            return Ok(page);
        }
        let mut page = page.to_vec();
        header::present(&mut page, self.counter, self.library_version);
        Ok(page.into())
    }

    /// A page as the store has it: from the cache, or else from the store.
    fn stored_page(&self, snapshot: &Snapshot, number: PageNumber) -> Result<Page, VfsError> {
        let (cache, database) = (self.store.cache(), self.cached(snapshot)?);
        if let Some(page) = cache.get(database, number, snapshot.version) {
            return Ok(page);
        }
        let pages = self.store.pages()?.read(snapshot, &[number])?;
        let read = pages
            .into_iter()
            .next()
            .expect("a read answers as many pages as it was asked");
        cache.put(
            database,
            number,
            read.page.clone(),
            read.version,
            snapshot.version,
        );
        Ok(read.page)
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
            state @ (State::Idle | State::Reading(_) | State::Overtaken(_)) => {
                self.state = state;
                Err(VfsError::Unlocked)
            }
        }
    }

    /// `xTruncate`. After a commit the file has the size of the commit already.
    pub(crate) fn truncate(&mut self, length: u64) -> Result<(), VfsError> {
        match &mut self.state {
            State::Writing(write) => write.overlay.truncate(length),
            State::Committed(_) => {}
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
        let (page_size, page_count, was_wal) = committed_shape(&write.overlay)?;
        let base = |page| self.stored_page(&write.snapshot, page);
        let mut writes = write.overlay.writes(page_size, page_count, base)?;
        for first in writes
            .iter_mut()
            .filter(|write| write.number == PageNumber::FIRST)
        {
            let mut page = first.page.to_vec();
            header::normalize(&mut page);
            first.page = page.into();
        }
        let unchanged = write.snapshot.page_count.contains(PageNumber::FIRST)
            && write.snapshot.page_size == Some(page_size);
        if unchanged {
            let old = self.stored_page(&write.snapshot, PageNumber::FIRST)?;
            writes.retain(|write| write.number != PageNumber::FIRST || write.page != old);
        }
        let snapshot = write.snapshot;
        let outcome = if writes.is_empty() {
            // Only counters changed: the transaction read its snapshot, and that is all.
            CommitOutcome {
                version: snapshot.version,
                read_version: snapshot.read_version,
            }
        } else {
            let reads = self.delivered.clone();
            let id = CommitId::random().map_err(|error| VfsError::Random(error.to_string()))?;
            let participant = Participant {
                snapshot,
                reads,
                writes,
                page_size,
                page_count,
            };
            let request = CommitRequest {
                id,
                durability: self.settings.durability,
                participants: vec![participant],
            };
            let outcome = self.store.pages()?.commit(&request)?;
            self.keep_written(&request, outcome.version)?;
            outcome
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
            read_version: outcome.read_version,
            page_size: Some(page_size),
            page_count,
            ..snapshot
        })
    }

    /// Puts the pages of a commit into the cache.
    fn keep_written(&self, request: &CommitRequest, version: Version) -> Result<(), VfsError> {
        for participant in &request.participants {
            let database = self.cached(&participant.snapshot)?;
            for write in &participant.writes {
                let page = write.page.clone();
                self.store
                    .cache()
                    .put(database, write.number, page, version, version);
            }
        }
        Ok(())
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

    /// The snapshot for a new transaction. Moves the change counter if a page that SQLite may
    /// hold in its cache has changed.
    fn snapshot(&mut self) -> Result<Snapshot, VfsError> {
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
        });
        self.validated = snapshot.version;
        Ok(snapshot)
    }

    /// Whether SQLite may hold a page that changed after it was validated.
    fn holds_changed_page(&self, changes: &Changes) -> bool {
        match changes {
            Changes::Unknown => !self.delivered.is_empty(),
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
                Changes::Unknown => true,
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

    /// What a read without a lock sees: the header that SQLite looks at when it opens a
    /// database, or a pinned snapshot, of which SQLite takes no locks.
    fn unlocked_snapshot(&self) -> Result<Snapshot, VfsError> {
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
