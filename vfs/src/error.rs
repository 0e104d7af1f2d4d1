//! Failures of the VFS, and the one place that turns them into SQLite's result codes.

use std::cell::RefCell;
use std::ffi::c_int;
use std::io::ErrorKind;

use libsqlite3_sys as sqlite;
use verso_pagestore::{
    BeginError, CatalogueError, CommitError, DatabaseName, LeaseError, MomentError, NameError,
    PageSize, ParseMomentError, ReadError, StoreError, StoreUrlError,
};

use crate::conflict::Conflict;

/// Why a callback failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VfsError {
    #[error(transparent)]
    Name(#[from] NameError),
    #[error(transparent)]
    StoreUrl(#[from] StoreUrlError),
    #[error(transparent)]
    ParseMoment(#[from] ParseMomentError),
    #[error(transparent)]
    Begin(#[from] BeginError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("{0}: run it again")]
    Conflict(Box<Conflict>),
    #[error(transparent)]
    Commit(#[from] CommitError),
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    #[error(transparent)]
    Moment(#[from] MomentError),
    #[error(transparent)]
    Lease(#[from] LeaseError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(
        "another connection holds the writer lease of database {database}: try again, or give this \
         one more patience with PRAGMA busy_timeout"
    )]
    Waited { database: DatabaseName },
    #[error(
        "the writer lease of database {database} was taken over, because this process had not renewed \
         it in time; nothing of the transaction was committed: run it again"
    )]
    LeaseLost { database: DatabaseName },
    #[error("database {database} was removed or replaced meanwhile: run the transaction again")]
    Replaced { database: DatabaseName },
    #[error(
        "database {database} did not exist yet at the moment that this transaction reads: end the \
         transaction and begin again"
    )]
    TooYoung { database: DatabaseName },
    #[error("a transaction is open, which reads one moment: end it first")]
    InTransaction,
    #[error("another connection holds the writer lease: run this statement again")]
    Leased,
    #[error("'{text}' is no kind of {setting}: use {choices}")]
    Setting {
        setting: &'static str,
        choices: &'static str,
        text: String,
    },
    #[error(
        "the URI has the parameter '{name}', which neither Verso nor SQLite knows: correct it or \
         leave it out (Verso knows {ours}; SQLite {others}; names that begin with _ are the \
         driver's)"
    )]
    UnknownParameter {
        name: String,
        ours: String,
        others: String,
    },
    #[error("the URI has {0}= twice: leave one of them out")]
    RepeatedParameter(String),
    #[error(
        "there is no PRAGMA {0}: use verso_version, verso_at, verso_writers or verso_freshness"
    )]
    UnknownPragma(String),
    #[error("'{0}' is not UTF-8")]
    NotUtf8(String),
    #[error(
        "'{0}' is no name of a database, since it begins with file: as URIs do: this application \
         does not let SQLite read URIs; have it do so (SQLITE_OPEN_URI; in Python uri=True), or \
         give the name alone, and what the URI says in VERSO_STORE, VERSO_WRITERS and PRAGMA \
         verso_at"
    )]
    UriAsName(String),
    /// A database cannot even be opened, for a reason that would otherwise be one to wait.
    #[error("{0}")]
    Unopened(Box<VfsError>),
    /// What is wrong stands in this place.
    #[error("{error} ({place})")]
    SetBy {
        place: &'static str,
        error: Box<VfsError>,
    },
    #[error(
        "a shared cache (cache=shared, SQLITE_OPEN_SHAREDCACHE or sqlite3_enable_shared_cache) would \
         hide from Verso which connection has read what: open the database without it; all \
         connections of a process have one page cache anyway"
    )]
    SharedCache,
    #[error(
        "nolock=1 would read a database while it changes: leave it out, or use immutable=1 for \
         one fixed snapshot"
    )]
    NoLock,
    #[error("the snapshot was overtaken by another transaction: roll back, and run this one again")]
    Overtaken,
    /// SQLite runs the statement again.
    #[error("{}; the statement runs again", reason(.0))]
    Repeat(Box<VfsError>),
    /// A refusal of a transaction over several databases, all of which SQLite rolls back.
    #[error("{0}")]
    OfSeveral(Box<VfsError>),
    #[error(
        "{0} (other files of this transaction may have committed without this part: look before you run \
         it again)"
    )]
    Unpublished(Box<VfsError>),
    #[error("{0} (RELEASE cannot end this transaction any more: ROLLBACK it)")]
    Release(Box<VfsError>),
    #[error(
        "this connection only reads: open the database without at=, immutable= and mode=ro to write \
         it"
    )]
    ReadOnly,
    #[error(
        "locking_mode=EXCLUSIVE is set on this connection, and Verso shares databases: run PRAGMA \
         locking_mode=NORMAL and open the database again"
    )]
    ExclusiveLocking,
    #[error(
        "SQLite asked for a write-ahead log, which Verso has no use for: run PRAGMA \
         locking_mode=NORMAL before the database is opened or attached"
    )]
    WriteAheadLog,
    #[error(
        "one transaction uses databases of the stores {first} and {second}, which cannot commit \
         together: use one store, or attach the database that is only read with immutable=1"
    )]
    SeveralStores { first: String, second: String },
    #[error("one transaction writes to a database through two attachments: use one of them")]
    AttachedTwice,
    #[error(
        "the file {path}, by which a transaction over Verso databases and local files commits, could \
         not be used ({error}): make the directory writable, or write them in two transactions"
    )]
    SuperJournal { path: String, error: std::io::Error },
    #[error("the thread that renews writer leases could not be started: {0}")]
    Thread(std::io::Error),
    #[error("SQLite wrote {length} bytes at offset {offset}, which is no page of a new database")]
    FirstWrite { offset: u64, length: usize },
    #[error("SQLite wrote without a lock")]
    Unlocked,
    #[error("the database cannot grow beyond {0} pages")]
    TooManyPages(u32),
    #[error("SQLite committed without a readable header on page 1 (page size {0:?})")]
    Header(Option<PageSize>),
    #[error("the operating system gives no random numbers: {0}")]
    Random(String),
    #[error(
        "a transaction's temporary file in {folder} failed ({reason}): see that the disk has room, \
         or name another folder in TMPDIR",
        folder = std::env::temp_dir().display(),
        reason = .0
    )]
    Temporary(#[from] std::io::Error),
}

impl VfsError {
    /// Whether the message says which database it is about.
    pub(crate) fn names_database(&self) -> bool {
        if let Self::Repeat(error) | Self::OfSeveral(error) | Self::Release(error) = self {
            return error.names_database();
        }
        matches!(
            self,
            Self::Name(_)
                | Self::UriAsName(_)
                | Self::Conflict(_)
                | Self::Waited { .. }
                | Self::LeaseLost { .. }
                | Self::Replaced { .. }
                | Self::TooYoung { .. }
                | Self::Begin(BeginError::NoSuchDatabase { .. })
                | Self::Catalogue(_)
                | Self::Moment(_)
        )
    }

    /// As a refusal of a transaction over several databases.
    pub(crate) fn of_several(self) -> Self {
        if matches!(self, Self::OfSeveral(_)) {
            self
        } else {
            Self::OfSeveral(Box::new(self))
        }
    }

    /// As a failure after SQLite's commit. SQLite must not go on with the pages it has.
    pub(crate) fn unpublished(self) -> Self {
        Self::Unpublished(Box::new(self))
    }

    /// As the failure of a later attempt at a commit, after one of which nobody knows. Only
    /// refusals that are final tell what became of that.
    pub(crate) fn after_an_unknown_attempt(self) -> Self {
        let tells = !matches!(
            self,
            Self::Waited { .. }
                | Self::Store(_)
                | Self::Lease(LeaseError::Store(_))
                | Self::Commit(CommitError::Store(_) | CommitError::Leased { .. })
        );
        if tells {
            return self;
        }
        let reason = self.to_string();
        Self::Commit(CommitError::Unknown { reason })
    }

    /// With the place that an application must look at to correct it.
    pub(crate) fn set_by(self, place: &'static str) -> Self {
        Self::SetBy {
            place,
            error: Box::new(self),
        }
    }

    /// As the failure of an open: while no node answers there is nothing to be busy with.
    pub(crate) fn at_open(self) -> Self {
        if let Self::Begin(BeginError::Store(error)) = &self
            && matches!(
                error,
                StoreError::Unreachable { .. } | StoreError::Denied { .. }
            )
        {
            return Self::Unopened(Box::new(self));
        }
        self
    }

    /// The result code that SQLite gets.
    pub(crate) fn code(&self) -> c_int {
        match self {
            Self::Commit(error) => commit_code(error),
            // To take a lease is to write.
            Self::ReadOnly | Self::Lease(LeaseError::Store(StoreError::Denied { .. })) => {
                sqlite::SQLITE_READONLY
            }
            Self::Begin(BeginError::Store(error))
            | Self::Read(ReadError::Store(error))
            | Self::Catalogue(CatalogueError::Store(error))
            | Self::Moment(MomentError::Store(error))
            | Self::Lease(LeaseError::Store(error))
            | Self::Store(error) => store_code(error),
            Self::Conflict(_)
            | Self::Lease(LeaseError::Lost { .. })
            | Self::LeaseLost { .. }
            | Self::Overtaken
            | Self::Leased => sqlite::SQLITE_BUSY_SNAPSHOT,
            // After SQLITE_BUSY_SNAPSHOT a second RELEASE would succeed, with nothing committed.
            Self::Waited { .. } | Self::Release(_) => sqlite::SQLITE_BUSY,
            Self::Repeat(_) => sqlite::SQLITE_SCHEMA,
            Self::SetBy { error, .. } => error.code(),
            Self::OfSeveral(error) => code_of_several(error.code()),
            Self::TooManyPages(_) => sqlite::SQLITE_FULL,
            Self::Temporary(error) if is_full(error) => sqlite::SQLITE_FULL,
            Self::Read(ReadError::Corrupt { .. }) => sqlite::SQLITE_CORRUPT,
            // Not of the family of SQLITE_BUSY: no waiting helps.
            Self::SeveralStores { .. }
            | Self::AttachedTwice
            | Self::TooYoung { .. }
            | Self::InTransaction
            | Self::UnknownPragma(_)
            | Self::Replaced { .. } => sqlite::SQLITE_ERROR,
            Self::Name(_)
            | Self::StoreUrl(_)
            | Self::ParseMoment(_)
            | Self::NoLock
            | Self::Unopened(_)
            | Self::SharedCache
            | Self::WriteAheadLog
            | Self::Setting { .. }
            | Self::UnknownParameter { .. }
            | Self::RepeatedParameter(_)
            | Self::NotUtf8(_)
            | Self::UriAsName(_)
            | Self::SuperJournal { .. }
            | Self::Catalogue(
                CatalogueError::NoSuchDatabase { .. } | CatalogueError::Exists { .. },
            )
            | Self::Begin(BeginError::NoSuchDatabase { .. })
            | Self::Moment(
                MomentError::NoSuchDatabase { .. }
                | MomentError::NoSuchVersion { .. }
                | MomentError::TooEarly { .. },
            ) => sqlite::SQLITE_CANTOPEN,
            Self::Read(ReadError::Removed { .. })
            | Self::Lease(LeaseError::Removed { .. })
            | Self::Thread(_)
            | Self::Unpublished(_)
            | Self::ExclusiveLocking
            | Self::FirstWrite { .. }
            | Self::Unlocked
            | Self::Header(_)
            | Self::Random(_)
            | Self::Temporary(_) => sqlite::SQLITE_IOERR,
        }
    }
}

/// Why a statement lost, without what an application would have to do about it.
fn reason(error: &VfsError) -> String {
    if let VfsError::Conflict(conflict) = error {
        conflict.to_string()
    } else {
        error.to_string()
    }
}

/// Plain `SQLITE_BUSY` is not for a transaction with a super-journal (`vdbeCommit`).
const fn code_of_several(code: c_int) -> c_int {
    match code {
        sqlite::SQLITE_BUSY => sqlite::SQLITE_BUSY_SNAPSHOT,
        code => code,
    }
}

/// Whether no room is left for a file.
fn is_full(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded
    )
}

fn commit_code(error: &CommitError) -> c_int {
    match error {
        CommitError::Conflict(_) | CommitError::LeaseLost { .. } => sqlite::SQLITE_BUSY_SNAPSHOT,
        CommitError::Leased { .. } => sqlite::SQLITE_BUSY,
        CommitError::TooLarge { .. } => sqlite::SQLITE_FULL,
        CommitError::Store(StoreError::Denied { .. }) => sqlite::SQLITE_READONLY,
        CommitError::Store(error) => store_code(error),
        CommitError::Removed { .. } | CommitError::Invalid { .. } | CommitError::Unknown { .. } => {
            sqlite::SQLITE_IOERR
        }
    }
}

fn store_code(error: &StoreError) -> c_int {
    match error {
        StoreError::Unavailable { .. } | StoreError::OtherFormat { .. } => sqlite::SQLITE_CANTOPEN,
        StoreError::Busy { .. } | StoreError::Unreachable { .. } => sqlite::SQLITE_BUSY,
        StoreError::Denied { .. } => sqlite::SQLITE_PERM,
        StoreError::Full { .. } => sqlite::SQLITE_FULL,
        StoreError::NotAStore { .. } => sqlite::SQLITE_NOTADB,
        StoreError::Damaged { .. } => sqlite::SQLITE_CORRUPT,
        StoreError::Io { .. } => sqlite::SQLITE_IOERR,
    }
}

thread_local! {
    static LAST: RefCell<Option<(c_int, String)>> = const { RefCell::new(None) };
}

/// Keeps a message for [`last_error`].
pub(crate) fn remember(code: c_int, message: String) {
    // A failure while the thread ends has nobody to tell.
    let _ = LAST.try_with(|last| *last.borrow_mut() = Some((code, message)));
}

/// The message of the last failure of the VFS on this thread: what happened, to which
/// database, and what to do.
///
/// SQLite reports failures of a VFS by its own fixed texts, such as "unable to open
/// database file". The message behind such a text is here, and goes to `sqlite3_log` too.
/// It stays until the next failure, so it may be older than the error at hand: where that
/// is not sure, [`last_error_of`] is safer.
#[must_use]
pub fn last_error() -> Option<String> {
    LAST.try_with(|last| last.borrow().as_ref().map(|(_, message)| message.clone()))
        .ok()
        .flatten()
}

/// Takes the message of the last failure of the VFS on this thread, if it had this extended
/// result code. Afterwards there is none.
#[must_use]
pub fn last_error_of(code: c_int) -> Option<String> {
    let (found, message) = LAST
        .try_with(|last| last.borrow_mut().take())
        .ok()
        .flatten()?;
    (found == code).then_some(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_under_a_temporary_file_is_told_as_one() {
        let full = VfsError::from(std::io::Error::from(ErrorKind::StorageFull));
        assert_eq!(full.code(), sqlite::SQLITE_FULL);
        let folder = std::env::temp_dir();
        assert!(full.to_string().contains(&*folder.to_string_lossy()));
        let other = VfsError::from(std::io::Error::from(ErrorKind::PermissionDenied));
        assert_eq!(other.code(), sqlite::SQLITE_IOERR);
    }
}
