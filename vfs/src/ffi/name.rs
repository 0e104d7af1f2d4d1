//! Which names are databases, and which belong to their journals.

use std::ffi::CStr;

use verso_pagestore::{DatabaseName, NameError};

/// The longest name that `xFullPathname` lets through: that of a database, and what SQLite
/// appends for journals.
pub(super) const MAX_PATH: usize = DatabaseName::MAX_LENGTH + 64;

/// The database that SQLite names.
pub(super) fn database(name: Option<&CStr>) -> Result<DatabaseName, NameError> {
    DatabaseName::from_utf8(name.unwrap_or_default().to_bytes())
}

/// Whether a name is that of a journal or write-ahead log. None exists for others to see.
pub(super) fn is_journal(name: &CStr) -> bool {
    let name = name.to_bytes();
    name.ends_with(b"-journal") || name.ends_with(b"-wal") || name.ends_with(b"-shm")
}
