//! Which names are databases, and which belong to their journals.

use std::ffi::CStr;

use verso_pagestore::DatabaseName;

use crate::error::VfsError;
use crate::process::Process;

/// The longest name that `xFullPathname` lets through: that of a database, and what SQLite
/// appends for journals.
pub(super) const MAX_PATH: usize = DatabaseName::MAX_LENGTH + 64;

/// The database that SQLite names. SQLite takes the "file:" off a URI before it asks, so a name
/// that begins like one is a URI that nobody has read.
pub(super) fn database(name: Option<&CStr>) -> Result<DatabaseName, VfsError> {
    let name = DatabaseName::from_utf8(name.unwrap_or_default().to_bytes())?;
    if name.as_str().starts_with("file:") {
        return Err(VfsError::UriAsName(name.to_string()));
    }
    Ok(name)
}

/// Whether a name is that of a write-ahead log or its index. No database of ours has one.
pub(super) fn is_log(name: &CStr) -> bool {
    let name = name.to_bytes();
    name.ends_with(b"-wal") || name.ends_with(b"-shm")
}

/// Whether a journal belongs to a database that this process has open.
pub(super) fn is_ours(journal: &CStr) -> bool {
    let journal = journal.to_string_lossy();
    let name = journal.strip_suffix("-journal");
    Process::existing()
        .zip(name)
        .is_some_and(|(process, name)| process.connections.have_open(name))
}

/// Whether a name is that of a super-journal: "-mj", six hex digits, "9", two hex digits.
pub(super) fn is_super_journal(name: &CStr) -> bool {
    let name = name.to_bytes();
    name.split_last_chunk::<12>().is_some_and(|(_, suffix)| {
        let digits = suffix.strip_prefix(b"-mj").unwrap_or_default();
        digits.len() == 9
            && digits.iter().all(u8::is_ascii_hexdigit)
            && digits.get(6) == Some(&b'9')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn super_journals_are_known_by_their_names() {
        assert!(is_super_journal(c"app.db-mj0A1B2C9FF"));
        for name in [
            c"app.db",
            c"app.db-mj0A1B2C8FF",
            c"app.db-mj0A1B2C9F",
            c"-journal",
        ] {
            assert!(!is_super_journal(name), "{name:?}");
        }
    }
}
