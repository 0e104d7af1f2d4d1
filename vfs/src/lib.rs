//! A SQLite VFS that keeps every version of every page in a page store.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use rusqlite::{Connection, OpenFlags};
//!
//! verso_vfs::register(verso_vfs::Options::new(verso_engine::open))?;
//! let db = Connection::open_with_flags_and_vfs("app.db", OpenFlags::default(), "verso")?;
//! db.execute_batch("CREATE TABLE IF NOT EXISTS t (n INTEGER); INSERT INTO t VALUES (1)")?;
//! # Ok(())
//! # }
//! ```
//!
//! A page read goes `ffi` → `database` (own writes) → `cache` → the page store; a commit
//! goes `ffi` (`SQLITE_FCNTL_SYNC`) → `connection` → `database` → `overlay`, and as a
//! `transaction` to the page store.
//!
//! # URI parameters
//!
//! A database opened as `file:NAME?…` with `SQLITE_OPEN_URI` takes:
//!
//! | parameter | meaning |
//! | --- | --- |
//! | `vfs=verso` | use this VFS |
//! | `store=URL` | which store; else the one of [`Options::store`], else `VERSO_STORE`, else `sqlite:verso.db` |
//! | `at=MOMENT` | read the past: a version, a time such as `2026-01-31T12:00:00Z`, or `-15m` |
//! | `writers=MODE` | `concurrent` or `queued`; else `VERSO_WRITERS`, else `concurrent`. Later: `PRAGMA verso_writers` |
//! | `freshness=HOW` | `strict`, or `bounded:MS`: a transaction may begin on a snapshot that lacks others' commits of the last `MS` milliseconds; else `VERSO_FRESHNESS`, else `strict`. Later: `PRAGMA verso_freshness` |
//! | `cache_dir=FOLDER` | keep pages in this folder on local disk for the next process; an empty one for none. Else [`Options::cache_dir`], else `VERSO_CACHE_DIR`, else none. Without effect on an embedded store, which is as near |
//! | `cache_dir_size=BYTES` | most bytes of all files in that folder, such as `512MiB`, from `16MiB` on; else [`Options::cache_dir_bytes`], else `VERSO_CACHE_DIR_SIZE`, else `1GiB`. Give all processes of a folder the same |
//! | `mode=ro`, `mode=rw` | as in SQLite: read only (follows new commits); do not create |
//! | `immutable=1` | read only, stays at the newest version of when it was opened |
//! | `nolock=1` | refused: it would read a database while it changes |
//! | `cache=shared` | refused: what each connection has read must be known; all connections of a process have one page cache anyway |
//!
//! Other parameters of SQLite's pass, as do those that begin with `_`, which drivers for Go leave
//! in a URI. Whatever else stands there is refused: it is a misspelling, or meant for another VFS.
//!
//! No database that is opened has a name that begins with `file:`. It is what a URI looks like
//! to a VFS where the application does not have SQLite read it, and is refused with that reason.

mod ahead;
mod cache;
mod cache_folder;
mod conflict;
mod connection;
mod database;
mod error;
mod ffi;
mod joint;
mod journal;
mod lease;
mod open;
mod overlay;
mod owner;
mod pragma;
mod process;
mod renewer;
mod rows;
mod spill;
mod sql;
mod statement;
mod stats;
mod transaction;

use std::ffi::c_int;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use verso_pagestore::{PageStore, StoreError, StoreUrl};

/// The code in this page must compile.
#[cfg(doctest)]
#[doc = include_str!("../../docs/transactions.md")]
struct Transactions;

pub use conflict::{Conflict, Owner, last_conflict};
pub use error::{last_error, last_error_of};
pub use ffi::{add_functions, register_with};

/// Opens the store that a URL names.
pub type StoreOpener = fn(&StoreUrl) -> Result<Arc<dyn PageStore>, StoreError>;

/// How the VFS is registered.
#[derive(Debug, Clone)]
pub struct Options {
    /// Opens stores, for example `verso_engine::open`.
    pub opener: StoreOpener,
    /// The name SQLite knows the VFS by.
    pub name: String,
    /// Whether databases that name no VFS are opened by this one.
    pub is_default: bool,
    /// The store of databases whose URI has no `store=`; `None` for `VERSO_STORE`, else
    /// `sqlite:verso.db`.
    pub store: Option<StoreUrl>,
    /// Size of the page cache in bytes. The process has one cache; the first database that
    /// it opens decides.
    pub cache_bytes: u64,
    /// The folder on local disk in which pages of stores that are not embedded are kept for the next
    /// process, of databases whose URI has no `cache_dir=`; `None` for `VERSO_CACHE_DIR`, else none.
    pub cache_dir: Option<PathBuf>,
    /// Most bytes of that folder. Less than 16 MiB counts as 16 MiB. `None` for
    /// `VERSO_CACHE_DIR_SIZE`, else 1 GiB. The first database that a process opens with a folder
    /// decides.
    pub cache_dir_bytes: Option<u64>,
    /// For how long others must see no sign of life of this process before they take over a
    /// writer lease that it holds. Less than 100 ms counts as 100 ms. Whole milliseconds.
    pub lease_time_to_live: Duration,
}

impl Options {
    /// The VFS `verso` with a page cache of 64 MiB, none on disk, and leases that live 5 seconds.
    #[must_use]
    pub fn new(opener: StoreOpener) -> Self {
        Self {
            opener,
            name: "verso".to_owned(),
            is_default: false,
            store: None,
            cache_bytes: 64 << 20,
            cache_dir: None,
            cache_dir_bytes: None,
            lease_time_to_live: Duration::from_secs(5),
        }
    }
}

/// The VFS could not be registered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
    /// The name is empty, has a zero byte, or is taken by another VFS.
    #[error("the VFS name {0:?} is not valid or taken: choose another one")]
    Name(String),
    /// SQLite has no VFS for the files of this platform, on which temporary files depend.
    #[error("this SQLite library has no VFS of its own")]
    NoPlatform,
    /// The SQLite library is too old, or built without something that the VFS depends on.
    #[error("this SQLite library has no function {name}: use a newer one")]
    MissingFunction {
        /// The name of the function.
        name: &'static str,
    },
    /// SQLite refused.
    #[error("SQLite did not register the VFS: result code {0}")]
    Refused(c_int),
}

/// Registers the VFS with the SQLite library that this program is linked with. It stays
/// registered as long as the process lives.
///
/// # Errors
/// If the name is taken or SQLite refuses it.
pub fn register(options: Options) -> Result<(), RegisterError> {
    ffi::register(ffi::HostApi::linked(), options)
}
