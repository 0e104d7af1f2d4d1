//! What the tests of Verso share: stores in temporary folders, connections through the
//! VFS, and comparison of databases.
#![expect(
    clippy::missing_panics_doc,
    reason = "helpers of tests panic to fail the test"
)]

use std::path::{Path, PathBuf};
use std::sync::{Once, OnceLock};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use tempfile::TempDir;
use verso_engine::kv::sqlite::{SqliteKv, SqliteOptions};
use verso_engine::kv::{Kv, KvTransaction};
use verso_pagestore::Durability;

/// The file of a test store, in its folder.
const STORE: &str = "store.db";

static REGISTERED: Once = Once::new();

/// How the time to live of writer leases reaches worker processes, in milliseconds.
const LEASE_VARIABLE: &str = "VERSO_TEST_LEASE_MS";
static LEASE_TIME_TO_LIVE: OnceLock<Duration> = OnceLock::new();

/// How small the page cache of a worker process is, in bytes.
pub const CACHE_VARIABLE: &str = "VERSO_TEST_CACHE_BYTES";

/// Registers the VFS once per test process.
pub fn register() {
    REGISTERED.call_once(|| {
        verso_vfs::register(options(lease_time_to_live())).expect("a free VFS name");
    });
}

/// The VFS on embedded stores, with leases that live so long, or as long as by default.
fn options(lease_time_to_live: Option<Duration>) -> verso_vfs::Options {
    let mut options = verso_vfs::Options::new(verso_open::open);
    options.lease_time_to_live = lease_time_to_live.unwrap_or(options.lease_time_to_live);
    if let Ok(bytes) = std::env::var(CACHE_VARIABLE) {
        options.cache_bytes = bytes.parse().expect("bytes are a number");
    }
    options
}

/// The time to live that this process, or the one that started it, has chosen.
fn lease_time_to_live() -> Option<Duration> {
    let inherited = || {
        let milliseconds = std::env::var(LEASE_VARIABLE).ok()?;
        let milliseconds = milliseconds.parse().expect("milliseconds are a number");
        Some(Duration::from_millis(milliseconds))
    };
    LEASE_TIME_TO_LIVE.get().copied().or_else(inherited)
}

/// A store in a temporary folder, removed with this value. It is in a cluster, and used through nodes,
/// if the environment asks for that, see [`nodes`].
pub struct TestStore {
    // In this order: nodes end before their files.
    _nodes: Vec<nodes::Node>,
    folder: TempDir,
}

impl Default for TestStore {
    fn default() -> Self {
        Self::new()
    }
}

impl TestStore {
    /// A new empty store.
    #[must_use]
    pub fn new() -> Self {
        register();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join(STORE);
        Self {
            _nodes: nodes::serve(&path, &nodes::direct_url(&path)),
            folder,
        }
    }

    /// A new empty store in a file, never in a cluster: for what looks into the file.
    #[must_use]
    pub fn in_a_file() -> Self {
        register();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join(STORE);
        Self {
            _nodes: nodes::serve(&path, &nodes::embedded_url(&path)),
            folder,
        }
    }

    /// A new empty store that is in a file and never served by nodes: for what only the embedded store does.
    #[must_use]
    pub fn embedded() -> Self {
        register();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join(STORE);
        nodes::write_down(&path, &nodes::embedded_url(&path));
        Self {
            _nodes: Vec::new(),
            folder,
        }
    }

    /// A new empty store, and writer leases that live so long, in this process and in its
    /// workers. To be used by all tests of a program, or by none.
    #[must_use]
    pub fn with_leases_of(time_to_live: Duration) -> Self {
        choose_leases_of(time_to_live);
        Self::new()
    }

    /// As [`in_a_file`](Self::in_a_file), with leases that live so long.
    #[must_use]
    pub fn in_a_file_with_leases_of(time_to_live: Duration) -> Self {
        choose_leases_of(time_to_live);
        Self::in_a_file()
    }

    /// The store's file, or what stands for it: tests share a store by this path.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.folder.path().join(STORE)
    }

    /// Puts the pairs of the newest commits of a store in a file where SQL finds them, in the table
    /// `kv`. Who closes the store does that as well, but a node keeps it open.
    ///
    /// # Panics
    /// If the store cannot be opened, or does not take a commit.
    pub fn settle(&self) {
        let options = SqliteOptions {
            longest_tail: 1,
            ..SqliteOptions::default()
        };
        let kv = SqliteKv::open_with(&self.path(), options).expect("a store in a file");
        let mut transaction = kv.begin().expect("a transaction");
        transaction.clear(b"never set");
        transaction.commit(Durability::Off).expect("a commit");
    }

    /// The folder that the store is in.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The store's URL.
    #[must_use]
    pub fn url(&self) -> String {
        nodes::url(&self.path())
    }

    /// The URI of a database of this store, with more parameters such as `&mode=ro`.
    #[must_use]
    pub fn uri(&self, name: &str, parameters: &str) -> String {
        uri(&self.path(), name, parameters)
    }

    /// Opens a database through the VFS.
    #[must_use]
    pub fn connect(&self, name: &str) -> Connection {
        self.try_connect(name, "").expect("the database opens")
    }

    /// Opens a database through the VFS with more URI parameters.
    ///
    /// # Errors
    /// If SQLite cannot open it.
    pub fn try_connect(&self, name: &str, parameters: &str) -> rusqlite::Result<Connection> {
        open(&self.uri(name, parameters))
    }
}

fn choose_leases_of(time_to_live: Duration) {
    let chosen = *LEASE_TIME_TO_LIVE.get_or_init(|| time_to_live);
    assert_eq!(chosen, time_to_live, "a process registers the VFS once");
}

/// The URI of a database in the store at `path`.
#[must_use]
pub fn uri(path: &Path, name: &str, parameters: &str) -> String {
    let store = nodes::url(path);
    format!("file:{name}?vfs=verso&store={store}{parameters}")
}

/// Opens a URI with rusqlite's default flags.
///
/// # Errors
/// If SQLite cannot open it.
pub fn open(uri: &str) -> rusqlite::Result<Connection> {
    register();
    Connection::open_with_flags(uri, OpenFlags::default())
}

/// The extended result code of a failure.
#[must_use]
pub fn code(error: &rusqlite::Error) -> i32 {
    if let rusqlite::Error::SqlInputError { error, .. } = error {
        return error.extended_code;
    }
    error.sqlite_error().map_or(0, |error| error.extended_code)
}

/// A single integer from a query without parameters.
#[must_use]
pub fn integer(db: &Connection, sql: &str) -> i64 {
    db.query_row(sql, [], |row| row.get(0))
        .unwrap_or_else(|error| panic!("{sql}: {error}"))
}

/// A single text from a query without parameters.
#[must_use]
pub fn text(db: &Connection, sql: &str) -> String {
    db.query_row(sql, [], |row| row.get(0))
        .unwrap_or_else(|error| panic!("{sql}: {error}"))
}

pub mod dump;
#[cfg(unix)]
mod ffi;
pub mod history;
pub mod nodes;
pub mod python;
pub mod random;
pub mod scale;
pub mod sessions;
#[cfg(unix)]
pub mod signals;
pub mod workers;
