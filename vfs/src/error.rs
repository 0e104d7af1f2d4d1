//! Failures of the VFS, and the one place that turns them into SQLite's result codes.

use std::cell::RefCell;
use std::ffi::c_int;

use libsqlite3_sys as sqlite;
use verso_pagestore::{
    BeginError, CatalogueError, CommitError, MomentError, NameError, PageSize, ParseMomentError,
    ReadError, StoreError, StoreUrlError,
};

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
    #[error(transparent)]
    Commit(#[from] CommitError),
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    #[error(transparent)]
    Moment(#[from] MomentError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(
        "nolock=1 would read a database while it changes: leave it out, or use immutable=1 for \
         one fixed snapshot"
    )]
    NoLock,
    #[error("the snapshot was overtaken by another transaction: roll back, and run this one again")]
    Overtaken,
    #[error("{0} (RELEASE cannot end this transaction any more: ROLLBACK it)")]
    Release(Box<VfsError>),
    #[error(
        "this connection reads one fixed snapshot and cannot write: open the database without at= and \
         immutable="
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
        "one transaction writes several databases, which Verso cannot commit atomically yet: write \
         one database per transaction"
    )]
    SeveralDatabases,
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
    #[error("a rollback journal could not be kept in a temporary file: {0}")]
    Journal(#[from] std::io::Error),
}

impl VfsError {
    /// Whether the message says which database it is about.
    pub(crate) const fn names_database(&self) -> bool {
        matches!(
            self,
            Self::Name(_)
                | Self::Begin(BeginError::NoSuchDatabase { .. })
                | Self::Catalogue(_)
                | Self::Moment(_)
        )
    }

    /// The result code that SQLite gets.
    pub(crate) fn code(&self) -> c_int {
        match self {
            Self::Begin(BeginError::Store(error))
            | Self::Read(ReadError::Store(error))
            | Self::Commit(CommitError::Store(error))
            | Self::Catalogue(CatalogueError::Store(error))
            | Self::Moment(MomentError::Store(error))
            | Self::Store(error) => store_code(error),
            Self::Commit(CommitError::Conflict(_)) | Self::Overtaken => {
                sqlite::SQLITE_BUSY_SNAPSHOT
            }
            Self::Commit(CommitError::TooLarge { .. }) | Self::TooManyPages(_) => {
                sqlite::SQLITE_FULL
            }
            Self::Read(ReadError::Corrupt { .. }) => sqlite::SQLITE_CORRUPT,
            Self::ReadOnly => sqlite::SQLITE_READONLY,
            // After SQLITE_BUSY_SNAPSHOT a second RELEASE would succeed, with nothing committed.
            Self::Release(_) => sqlite::SQLITE_BUSY,
            Self::SeveralDatabases => sqlite::SQLITE_ERROR,
            Self::Name(_)
            | Self::StoreUrl(_)
            | Self::ParseMoment(_)
            | Self::NoLock
            | Self::WriteAheadLog
            | Self::Catalogue(
                CatalogueError::NoSuchDatabase { .. } | CatalogueError::Exists { .. },
            )
            | Self::Begin(BeginError::NoSuchDatabase { .. })
            | Self::Moment(
                MomentError::NoSuchDatabase { .. }
                | MomentError::NoSuchVersion { .. }
                | MomentError::TooEarly { .. },
            ) => sqlite::SQLITE_CANTOPEN,
            Self::Commit(
                CommitError::Removed { .. }
                | CommitError::Invalid { .. }
                | CommitError::Unknown { .. },
            )
            | Self::Read(ReadError::Removed { .. })
            | Self::ExclusiveLocking
            | Self::FirstWrite { .. }
            | Self::Unlocked
            | Self::Header(_)
            | Self::Random(_)
            | Self::Journal(_) => sqlite::SQLITE_IOERR,
        }
    }
}

fn store_code(error: &StoreError) -> c_int {
    match error {
        StoreError::Unavailable { .. } | StoreError::NewerFormat { .. } => sqlite::SQLITE_CANTOPEN,
        StoreError::Busy { .. } => sqlite::SQLITE_BUSY,
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
