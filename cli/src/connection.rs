//! SQLite connections to databases of a store.

use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use verso_pagestore::{DatabaseName, Moment, StoreUrl};

use crate::error::sql_error;

/// The name SQLite knows our VFS by.
const VFS: &str = "verso";

/// What a connection may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Everything; a database that does not exist is made.
    Create,
    /// Everything, on a database that exists.
    ReadWrite,
    /// Read the newest state.
    Read,
    /// Read a state of the past.
    ReadPast(Moment),
}

impl Access {
    fn flags(self) -> OpenFlags {
        let common = OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        match self {
            Self::Create => {
                common | OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE
            }
            Self::ReadWrite => common | OpenFlags::SQLITE_OPEN_READ_WRITE,
            Self::Read | Self::ReadPast(_) => common | OpenFlags::SQLITE_OPEN_READ_ONLY,
        }
    }
}

/// Makes our VFS known to SQLite, with this store as the one of all databases. Once a process.
pub(crate) fn register(store: &StoreUrl) -> anyhow::Result<()> {
    let mut options = verso_vfs::Options::new(verso_open::open);
    VFS.clone_into(&mut options.name);
    options.store = Some(store.clone());
    verso_vfs::register(options).context("the VFS cannot be registered with SQLite")
}

/// Opens a database. [`register`] must have been called.
///
/// Foreign keys are off, as in the `sqlite3` shell.
pub(crate) fn open(database: &DatabaseName, access: Access) -> anyhow::Result<Connection> {
    let connection =
        Connection::open_with_flags_and_vfs(uri(database, access), access.flags(), VFS)
            .map_err(sql_error)?;
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, false)
        .map_err(sql_error)?;
    Ok(connection)
}

/// The URI of a database, as <https://www.sqlite.org/uri.html>.
fn uri(database: &DatabaseName, access: Access) -> String {
    let mut uri = "file:".to_owned();
    percent_encode(database.as_str().as_bytes(), &mut uri);
    if let Access::ReadPast(moment) = access {
        uri.push_str("?at=");
        percent_encode(moment.to_string().as_bytes(), &mut uri);
    }
    uri
}

/// The URI of a file that is not in a store, with this query behind it.
pub(crate) fn file_uri(path: &Path, query: &str) -> PathBuf {
    let mut uri = "file:".to_owned();
    percent_encode(path.as_os_str().as_bytes(), &mut uri);
    (uri + query).into()
}

/// Encodes everything but what RFC 3986 calls unreserved. `/` too: a name that begins
/// with two of them would read as a host.
fn percent_encode(text: &[u8], uri: &mut String) {
    for &byte in text {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                uri.push(char::from(byte));
            }
            _ => {
                // Writing to a String cannot fail.
                let _ = write!(uri, "%{byte:02X}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use verso_pagestore::UnixMillis;

    use super::*;

    #[test]
    fn names_survive_the_uri() {
        let name = DatabaseName::new("//a b?c#d%/é").unwrap();
        assert_eq!(
            uri(&name, Access::Read),
            "file:%2F%2Fa%20b%3Fc%23d%25%2F%C3%A9"
        );
        let past = Access::ReadPast(Moment::Time(UnixMillis::new(1_500)));
        let name = DatabaseName::new("app").unwrap();
        assert_eq!(uri(&name, past), "file:app?at=1970-01-01T00%3A00%3A01.500Z");
    }
}
