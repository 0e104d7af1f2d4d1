//! What the tests of Verso share: stores in temporary folders, connections through the
//! VFS, and comparison of databases.
#![expect(
    clippy::missing_panics_doc,
    reason = "helpers of tests panic to fail the test"
)]

use std::path::{Path, PathBuf};
use std::sync::Once;

use rusqlite::{Connection, OpenFlags};
use tempfile::TempDir;

static REGISTERED: Once = Once::new();

/// Registers the VFS once per test process.
pub fn register() {
    REGISTERED.call_once(|| {
        verso_vfs::register(verso_vfs::Options::new(verso_engine::open)).expect("a free VFS name");
    });
}

/// An embedded store in a temporary folder, removed with this value.
pub struct TestStore {
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
        Self {
            folder: tempfile::tempdir().expect("a temporary folder"),
        }
    }

    /// The store's file.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("store.db")
    }

    /// The folder that the store is in.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The store's URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("sqlite:{}", self.path().display())
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

/// The URI of a database in the store at `path`.
#[must_use]
pub fn uri(path: &Path, name: &str, parameters: &str) -> String {
    format!(
        "file:{name}?vfs=verso&store=sqlite:{}{parameters}",
        path.display()
    )
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
pub mod history;
pub mod random;
pub mod scale;
pub mod sessions;
pub mod workers;
