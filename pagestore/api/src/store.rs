//! The `PageStore` trait: everything that a client may ask of a store.

use std::time::Duration;

use roaring::RoaringBitmap;

use crate::{
    BeginError, CatalogueError, CommitError, CommitId, CommitOutcome, CommitRecord, CommitRequest,
    CopyBegun, DatabaseEntry, DatabaseId, DatabaseInfo, DatabaseName, Lease, LeaseAnswer,
    LeaseError, LeaseRequest, LoadError, Moment, MomentError, Origin, PageCount, PageNumber,
    PageSize, PageWrite, Place, ReadError, Snapshot, StoreError, Version, VersionedPage,
};

/// The version up to which a client knows a database's changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Since {
    /// The database that the client knows.
    pub database: DatabaseId,
    /// The version up to which it knows it.
    pub version: Version,
    /// The id of the commit that made that version.
    pub commit: CommitId,
}

/// The pages that one commit wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitPages {
    /// The version that the commit made.
    pub version: Version,
    /// Its id.
    pub commit: CommitId,
    /// Numbers of the pages it wrote.
    pub pages: RoaringBitmap,
}

/// What happened to a database between a client's [`Since`] and a new snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changes {
    /// Exactly these commits, oldest first.
    Commits(Vec<CommitPages>),
    /// Too much to list, or the name stands for another database now: any page may have
    /// changed.
    Unknown,
    /// The database does not have the version that the client named, or not of that commit:
    /// the store was put back to an older state. What the client remembers of any version
    /// may be wrong.
    Diverged,
}

/// The answer to [`PageStore::begin`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begun {
    /// The newest state of the database.
    pub snapshot: Snapshot,
    /// What changed since the version that the client named.
    pub changes: Changes,
}

/// What a transaction under a lease starts with, told together with the lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// The newest state, which nobody but the holder of the lease changes.
    pub begun: Begun,
    /// Pages of it that the last commits have written, if they are few: whoever had to wait for the
    /// lease is likely to want them. Each belongs to the snapshot, and has its page size.
    pub pages: Vec<(PageNumber, VersionedPage)>,
}

/// How old the state may be that a transaction begins on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// It may lack commits of others that are not older than this.
    pub age: Duration,
    /// It contains this version, which the client has seen or made.
    pub at_least: Version,
}

/// The answer to [`PageStore::begin_within`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recent {
    /// A state of the database.
    pub begun: Begun,
    /// It contains every commit that was acknowledged so long before the answer. Zero if the store
    /// was asked for it.
    pub age: Duration,
}

/// Which page record: one page at one version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordPosition {
    /// The page.
    pub page: PageNumber,
    /// The version that wrote it.
    pub version: Version,
}

/// A page record that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CorruptRecord {
    /// Which record.
    pub position: RecordPosition,
    /// What is wrong with it.
    pub reason: String,
}

/// The answer to [`PageStore::verify`]: some page records were checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyReport {
    /// How many records were checked.
    pub records: u64,
    /// How many bytes they take in the store.
    pub bytes: u64,
    /// Those that cannot be read.
    pub corrupt: Vec<CorruptRecord>,
    /// The last record that was checked, to go on behind it; `None` at the end.
    pub last: Option<RecordPosition>,
}

/// Databases made of versioned pages, kept in a store.
///
/// All methods block until the answer is there. They may be called from any number of
/// threads. A store remembers nothing of a client between calls, so any of several processes
/// that have it open may answer.
pub trait PageStore: Send + Sync {
    /// The newest state of a database, and what changed since the client last looked.
    ///
    /// Strictly fresh: it contains every commit that was acknowledged before the call.
    ///
    /// # Errors
    /// If there is no such database, or the store fails.
    fn begin(&self, name: &DatabaseName, since: Option<Since>) -> Result<Begun, BeginError>;

    /// A state of a database that is not older than the client allows. A store that does not know
    /// one asks for the newest.
    ///
    /// # Errors
    /// As for [`begin`](PageStore::begin).
    fn begin_within(
        &self,
        name: &DatabaseName,
        since: Option<Since>,
        bound: Bound,
    ) -> Result<Recent, BeginError> {
        let _ = bound;
        let begun = self.begin(name, since)?;
        Ok(Recent {
            begun,
            age: Duration::ZERO,
        })
    }

    /// Whether a snapshot is known to be the newest still, by its [`Mark`](crate::Mark), so that a
    /// begin would give the same. It costs no request; a store that would have to ask says no.
    ///
    /// Strictly fresh: nothing that was acknowledged before the call is missing.
    fn is_newest(&self, snapshot: &Snapshot) -> bool {
        let _ = snapshot;
        false
    }

    /// The content of pages at a snapshot, in the order they were asked for.
    ///
    /// # Errors
    /// If a page lies beyond the end of the snapshot, its record is missing or damaged, the
    /// database was removed, or the store fails.
    fn read(
        &self,
        snapshot: &Snapshot,
        pages: &[PageNumber],
    ) -> Result<Vec<VersionedPage>, ReadError>;

    /// Commits a transaction in all of its databases, or in none.
    ///
    /// Safe to repeat with the same request: it takes effect at most once, and once it has,
    /// every further answer is the same version.
    ///
    /// # Errors
    /// If a page of a read set has changed, somebody else holds the writer lease of a database
    /// that is changed, a lease of the request was lost, a database is gone, the request
    /// contradicts itself, the transaction is too large, or the store fails or cannot tell
    /// whether the transaction was committed.
    fn commit(&self, request: &CommitRequest) -> Result<CommitOutcome, CommitError>;

    /// Stores pages of a transaction that is too large to be sent at once. Nobody sees them: the
    /// commit with this id takes them from there. Safe to repeat.
    ///
    /// # Errors
    /// If the database was removed, the pages are too large for one transaction of the store, or
    /// the store fails.
    fn stage(
        &self,
        commit: CommitId,
        database: DatabaseId,
        pages: &[PageWrite],
    ) -> Result<(), CommitError>;

    /// Makes the checks of [`commit`](PageStore::commit), and changes nothing. What it says of
    /// databases whose lease the transaction holds stays true while it holds them.
    ///
    /// # Errors
    /// As for [`commit`](PageStore::commit).
    fn validate(&self, request: &CommitRequest) -> Result<(), CommitError>;

    /// Asks for a database's writer lease, or for news about it.
    ///
    /// Never waits for a holder. Whoever comes first gets it first: a client that must wait has
    /// a place in the queue from its first request on.
    ///
    /// # Errors
    /// If the database was removed, or the store fails.
    fn lease(&self, request: &LeaseRequest) -> Result<LeaseAnswer, LeaseError>;

    /// Asks for a lease, and if the client holds it then, for what [`begin`](PageStore::begin)
    /// would answer under it, in the same request. A store may always tell the lease alone: then
    /// the client begins by itself.
    ///
    /// # Errors
    /// As for [`lease`](PageStore::lease).
    fn lease_and_begin(
        &self,
        request: &LeaseRequest,
        name: &DatabaseName,
        since: Option<Since>,
    ) -> Result<(LeaseAnswer, Option<Start>), LeaseError> {
        let _ = (name, since);
        Ok((self.lease(request)?, None))
    }

    /// Moves the lease's beat, so that nobody takes it over. To be called several times within
    /// its time to live.
    ///
    /// # Errors
    /// If the lease is lost, or the store fails.
    fn renew_lease(&self, lease: &Lease) -> Result<(), LeaseError>;

    /// Gives a lease back, as a commit under it does too. One that was lost needs nothing.
    ///
    /// # Errors
    /// If the store fails.
    fn release_lease(&self, lease: &Lease) -> Result<(), LeaseError>;

    /// Gives up a place in the queue for a lease, or the lease if it was handed over meanwhile.
    ///
    /// # Errors
    /// If the store fails.
    fn leave_queue(&self, place: &Place) -> Result<(), LeaseError>;

    /// The state of a database at a moment in its past.
    ///
    /// # Errors
    /// If there is no such database or version, the moment lies before the oldest readable
    /// version, or the store fails.
    fn snapshot_at(&self, name: &DatabaseName, moment: Moment) -> Result<Snapshot, MomentError>;

    /// Makes an empty database, whose id the client has chosen at random. Safe to repeat.
    ///
    /// # Errors
    /// If the name or the id is taken, or the store fails.
    fn create(&self, name: &DatabaseName, id: DatabaseId) -> Result<(), CatalogueError>;

    /// The name of a database, also of one that is being loaded; `None` if there is none of this
    /// id.
    ///
    /// # Errors
    /// If the store fails.
    fn name_of(&self, id: DatabaseId) -> Result<Option<DatabaseName>, StoreError>;

    /// At most `limit` databases in the order of their names, from the first name after
    /// `after`.
    ///
    /// # Errors
    /// If the store fails.
    fn list(
        &self,
        after: Option<&DatabaseName>,
        limit: usize,
    ) -> Result<Vec<DatabaseEntry>, StoreError>;

    /// What the store knows about a database.
    ///
    /// # Errors
    /// If there is no such database, or the store fails.
    fn info(&self, name: &DatabaseName) -> Result<DatabaseInfo, CatalogueError>;

    /// At most `limit` commit records, newest first, of versions below `before`.
    ///
    /// # Errors
    /// If there is no such database, or the store fails.
    fn log(
        &self,
        name: &DatabaseName,
        before: Option<Version>,
        limit: usize,
    ) -> Result<Vec<CommitRecord>, CatalogueError>;

    /// Gives a database another name. Its id stays.
    ///
    /// # Errors
    /// If there is no such database, the new name is taken, or the store fails.
    fn rename(&self, from: &DatabaseName, to: &DatabaseName) -> Result<(), CatalogueError>;

    /// Removes a database with its whole history.
    ///
    /// # Errors
    /// If there is no such database, or the store fails.
    fn remove(&self, name: &DatabaseName) -> Result<(), CatalogueError>;

    /// Checks page records of all versions, a bounded number of them per call, in the order
    /// of pages and versions, behind the record `after`.
    ///
    /// # Errors
    /// If the store fails. A damaged record is no error: the report lists it.
    fn verify(
        &self,
        database: DatabaseId,
        after: Option<RecordPosition>,
    ) -> Result<VerifyReport, StoreError>;

    /// Begins to load a whole database, which nobody sees until
    /// [`load_finish`](PageStore::load_finish). The name is only looked at, so that a load
    /// which cannot succeed fails at once; it is taken at the end. The client has chosen the id
    /// at random. Safe to repeat.
    ///
    /// # Errors
    /// If the name or the id is taken already, or the store fails.
    fn load_begin(&self, name: &DatabaseName, id: DatabaseId) -> Result<(), LoadError>;

    /// Begins to load a database of this name as a copy of `origin`, as
    /// [`load_begin`](PageStore::load_begin) does, or goes on with a copy to this name that has
    /// not been finished: one of the same state keeps its pages, one of another state is removed.
    /// The client has chosen `id` at random, for a load that begins. Safe to repeat.
    ///
    /// # Errors
    /// If the name or the id is taken already, or the store fails.
    fn load_copy(
        &self,
        name: &DatabaseName,
        id: DatabaseId,
        origin: Origin,
    ) -> Result<CopyBegun, LoadError>;

    /// Stores pages of a database that is being loaded. Those of a copy come in ascending order,
    /// so that the last one tells how far it got.
    ///
    /// # Errors
    /// If the load has ended, or the store fails.
    fn load_pages(&self, database: DatabaseId, pages: &[PageWrite]) -> Result<(), LoadError>;

    /// Ends a load: the database appears under its name, at one version, with all pages
    /// from 1 to `page_count`.
    ///
    /// # Errors
    /// If the name is taken by now, the load has ended, or the store fails. Then nothing
    /// has appeared.
    fn load_finish(
        &self,
        database: DatabaseId,
        name: &DatabaseName,
        page_size: PageSize,
        page_count: PageCount,
    ) -> Result<Version, LoadError>;

    /// Gives a load up and removes what it stored.
    ///
    /// # Errors
    /// If the load has ended, or the store fails.
    fn load_abort(&self, database: DatabaseId) -> Result<(), LoadError>;

    /// Called before this process forks: waits for requests under way and lets go of every
    /// file and connection, so that the child inherits none. Requests wait until
    /// [`resume`](PageStore::resume).
    fn suspend(&self);

    /// Called after the fork, in the parent: requests go on. A child never uses the
    /// parent's store; it opens its own.
    fn resume(&self);
}
