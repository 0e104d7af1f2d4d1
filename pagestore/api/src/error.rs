//! Errors: one enum per operation, over the failures of the store itself.

use crate::{DatabaseId, DatabaseName, PageNumber, UnixMillis, Version};

/// The store itself failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached or opened.
    #[error("the store {store} cannot be opened: {reason}")]
    Unavailable {
        /// Its URL.
        store: String,
        /// Why, and what to do.
        reason: String,
    },
    /// No node of it answers.
    #[error(
        "the store {store} cannot be reached: {reason}; see that a node runs there, and try again"
    )]
    Unreachable {
        /// Its URL.
        store: String,
        /// What was tried, and what came of it.
        reason: String,
    },
    /// Its nodes do not let this client do what it asked for.
    #[error("the store {store} refused: {reason}")]
    Denied {
        /// Its URL.
        store: String,
        /// What is not allowed, and what to do.
        reason: String,
    },
    /// It stayed busy for longer than a request may take.
    #[error("the store {store} stayed busy: {reason}; try again")]
    Busy {
        /// Its URL.
        store: String,
        /// What it was busy with.
        reason: String,
    },
    /// Its disk is full, or a limit on its file was reached.
    #[error("the disk of the store {store} is full: free some space and try again")]
    Full {
        /// Its URL.
        store: String,
    },
    /// What is there is not a store.
    #[error("{store} is not a Verso store: {reason}")]
    NotAStore {
        /// Its URL.
        store: String,
        /// What was found instead.
        reason: String,
    },
    /// It was made by a newer or an older version of Verso.
    #[error(
        "the store {store} has format {found}, and this build reads format {known}: {}",
        other_format(*found, *known)
    )]
    OtherFormat {
        /// Its URL.
        store: String,
        /// The format that it says it has.
        found: u32,
        /// The format that this build knows.
        known: u32,
    },
    /// A record of it cannot be read.
    #[error("the store {store} is damaged: {reason}; run `verso check`, and restore from a copy")]
    Damaged {
        /// Its URL.
        store: String,
        /// Which record, and what is wrong with it.
        reason: String,
    },
    /// Reading or writing failed.
    #[error("the store {store} failed: {reason}")]
    Io {
        /// Its URL.
        store: String,
        /// What the lower layer said.
        reason: String,
    },
}

impl StoreError {
    /// As a node tells of it: where its store is, is nobody's business.
    #[cfg(feature = "grpc")]
    pub(crate) fn behind_node(mut self) -> Self {
        let (Self::Unavailable { store, .. }
        | Self::Unreachable { store, .. }
        | Self::Denied { store, .. }
        | Self::Busy { store, .. }
        | Self::Full { store }
        | Self::NotAStore { store, .. }
        | Self::OtherFormat { store, .. }
        | Self::Damaged { store, .. }
        | Self::Io { store, .. }) = &mut self;
        "behind the node".clone_into(store);
        self
    }
}

/// What to do about a store of another format.
const fn other_format(found: u32, known: u32) -> &'static str {
    if found > known {
        "use a newer verso"
    } else {
        "export its databases with the verso that made it, and import them into a new store"
    }
}

/// [`begin`](crate::PageStore::begin) failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BeginError {
    /// The store has no database of this name.
    #[error("no such database: {name}; `verso ls` shows what the store has")]
    NoSuchDatabase {
        /// The name.
        name: DatabaseName,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// [`read`](crate::PageStore::read) failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// A page record is missing, or its checksum is wrong.
    #[error(
        "page {page} of database {database} is corrupt at version {version}: {reason}; \
         `verso check` lists all such pages"
    )]
    Corrupt {
        /// The database.
        database: DatabaseId,
        /// The page.
        page: PageNumber,
        /// The version of the record, or of the snapshot if there is no record.
        version: Version,
        /// What is wrong.
        reason: String,
    },
    /// The database was removed after the snapshot was taken.
    #[error("database {database} was removed while it was read")]
    Removed {
        /// The database.
        database: DatabaseId,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a commit was refused: another transaction won.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conflict {
    /// The database.
    pub database: DatabaseId,
    /// A page that this transaction read and the other wrote.
    pub page: PageNumber,
    /// The version that the other transaction made.
    pub winner: Version,
}

/// [`commit`](crate::PageStore::commit) failed. But for [`CommitError::Unknown`], the
/// transaction did not take effect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// A page of the read set changed after the snapshot.
    #[error(
        "conflict: version {} changed page {}, which this transaction read or wrote; nothing of \
         it was committed: run it again", .0.winner, .0.page
    )]
    Conflict(Conflict),
    /// Somebody else holds the writer lease of a database. The same request may succeed
    /// once it is free.
    #[error("another connection holds the writer lease of database {database}; try again")]
    Leased {
        /// The database.
        database: DatabaseId,
    },
    /// The transaction held the writer lease of a database, and somebody else took it over.
    #[error(
        "the writer lease of database {database} was taken over, because this process had not \
         renewed it in time; nothing of the transaction was committed: run it again"
    )]
    LeaseLost {
        /// The database.
        database: DatabaseId,
    },
    /// The database was removed after the snapshot was taken.
    #[error("database {database} was removed before this transaction committed")]
    Removed {
        /// The database.
        database: DatabaseId,
    },
    /// The transaction is larger than the store takes in one piece.
    #[error(
        "the transaction is too large for the store: {bytes} bytes, and it takes {limit}; \
         split it into smaller transactions"
    )]
    TooLarge {
        /// Size of the transaction as stored, in bytes.
        bytes: u64,
        /// The store's limit, in bytes.
        limit: u64,
    },
    /// The request contradicts itself.
    #[error("invalid commit request: {reason}")]
    Invalid {
        /// What is wrong.
        reason: String,
    },
    /// The store failed before the commit took effect.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store could not tell whether the commit took effect.
    #[error(
        "the store did not say whether the transaction committed ({reason}): look before you \
         run it again"
    )]
    Unknown {
        /// Why the result could not be learnt.
        reason: String,
    },
}

/// A request for a writer lease failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError {
    /// The database was removed.
    #[error("database {database} was removed")]
    Removed {
        /// The database.
        database: DatabaseId,
    },
    /// The lease is not held any more: it was taken over, or given back.
    #[error("the writer lease of database {database} was lost")]
    Lost {
        /// The database.
        database: DatabaseId,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An operation on the catalogue failed. It changed nothing, unless the store says that it
/// lost track of the result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CatalogueError {
    /// The store has no database of this name.
    #[error("no such database: {name}; `verso ls` shows what the store has")]
    NoSuchDatabase {
        /// The name.
        name: DatabaseName,
    },
    /// The name is taken.
    #[error("the database {name} exists already: choose another name, or remove it first")]
    Exists {
        /// The name.
        name: DatabaseName,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// [`snapshot_at`](crate::PageStore::snapshot_at) failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MomentError {
    /// The store has no database of this name.
    #[error("no such database: {name}; `verso ls` shows what the store has")]
    NoSuchDatabase {
        /// The name.
        name: DatabaseName,
    },
    /// The database has no such version.
    #[error("database {name} has no version {version}: `verso log` shows those it has")]
    NoSuchVersion {
        /// The database.
        name: DatabaseName,
        /// The version that was asked for.
        version: Version,
    },
    /// The moment lies before the oldest readable version.
    #[error(
        "database {name} cannot be read as of {time}: its oldest version is of {oldest}; \
         choose a later time"
    )]
    TooEarly {
        /// The database.
        name: DatabaseName,
        /// The time that was asked for.
        time: UnixMillis,
        /// When the oldest version was committed.
        oldest: UnixMillis,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Loading a whole database failed. The catalogue is as before, unless the store says that
/// it lost track of the result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// The name is taken.
    #[error("the database {name} exists already: choose another name, or remove it first")]
    Exists {
        /// The name.
        name: DatabaseName,
    },
    /// The load was finished or given up before.
    #[error("the load of database {database} has ended already")]
    Ended {
        /// The database that was being loaded.
        database: DatabaseId,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
