//! The file itself: how it is recognised and created.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags, ffi};

use super::SqliteOptions;
use super::connection::{PLATFORM_VFS, Session};
use super::error::{primary_code, translate};
use crate::kv::KvError;

/// Marks the file as a store, in SQLite's header: "Vrs0".
const APPLICATION_ID: i32 = 0x5672_7330;

/// The layout of the tables.
const FORMAT: i32 = 2;

/// How long another process may take to create the store.
const CREATION_TIME: Duration = Duration::from_secs(5);

/// Opens the file, and makes a store of it if it does not exist or is empty.
pub(super) fn open_or_create(path: &Path, options: &SqliteOptions) -> Result<Session, KvError> {
    refuse_others(path)?;
    let session = Session::open(path, options, OpenFlags::SQLITE_OPEN_CREATE)
        .map_err(|error| explain(path, &error))?;
    let failed = |error: rusqlite::Error| translate(path, &error);
    if session.connection().is_readonly("main").map_err(failed)? {
        let path = path.display();
        return Err(KvError::Unavailable(format!(
            "{path}: no permission to write to it"
        )));
    }
    if application_id(session.connection()).map_err(failed)? != APPLICATION_ID {
        create(&session, path, options)?;
    }
    let format: i32 = session.value("PRAGMA user_version", ()).map_err(failed)?;
    if format != FORMAT {
        let advice = if format > FORMAT {
            "use a newer verso"
        } else {
            "export its databases with the verso that made it, and import them into a new store"
        };
        return Err(KvError::Unavailable(format!(
            "{}: its tables have format {format}, and this build reads format {FORMAT}: {advice}",
            path.display()
        )));
    }
    use_write_ahead_log(&session, path, options)?;
    Ok(session)
}

/// Refuses a file that is not a store, without changing it or the files beside it.
fn refuse_others(path: &Path) -> Result<(), KvError> {
    let deadline = Instant::now() + CREATION_TIME;
    let mut looks = 0;
    loop {
        // A store is created with a rollback journal, which comes first and goes last:
        // while there is one, what is here may be half of a store. Only a second look
        // without one is sure not to have met a creation in between.
        if !journal_of(path).exists() {
            looks += 1;
        }
        let Some(reason) = what_else(path)? else {
            return Ok(());
        };
        if looks == 2 || Instant::now() > deadline {
            return Err(KvError::NotAStore(format!("{reason}; choose another file")));
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// What the file is, if it is neither a store nor empty.
fn what_else(path: &Path) -> Result<Option<String>, KvError> {
    let not_sqlite = || Ok(Some("it is not an SQLite file".into()));
    match std::fs::metadata(path) {
        // Merely opening a pipe or a device may wait, or do something.
        Ok(metadata) if !metadata.is_file() => {
            let kind = if metadata.is_dir() {
                "it is a directory: name a file in it"
            } else {
                "it is no regular file: choose another path"
            };
            return Err(KvError::Unavailable(format!("{}: {kind}", path.display())));
        }
        // SQLite takes a file of less than the smallest page for an empty database.
        Ok(metadata) if (1..512).contains(&metadata.len()) => return not_sqlite(),
        Ok(metadata) if metadata.len() > 0 => {}
        // Missing, empty or out of reach: opening it will tell.
        _ => return Ok(None),
    }
    match peek(path) {
        Ok(APPLICATION_ID) => Ok(None),
        Ok(_) => Ok(Some("it is an SQLite database of something else".into())),
        Err(error) if primary_code(&error) == Some(ffi::SQLITE_NOTADB) => not_sqlite(),
        Err(error) => Err(explain(path, &error)),
    }
}

/// Reads the application id and nothing else. "Immutable" keeps SQLite from taking locks,
/// running recovery or making files, and the writable schema from comparing the file's
/// size, which a checkpoint may be changing. Opening the file without SQLite would not do:
/// closing it again would drop the locks of this process's connections to it.
fn peek(path: &Path) -> Result<i32, rusqlite::Error> {
    // Private, or a host with shared caches would wait for itself: SQLite holds a mutex for
    // them while it opens the database that this store is opened for.
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_PRIVATE_CACHE
        | OpenFlags::SQLITE_OPEN_URI;
    let connection = Connection::open_with_flags_and_vfs(immutable_uri(path), flags, PLATFORM_VFS)?;
    connection.execute_batch("PRAGMA writable_schema = ON")?;
    application_id(&connection)
}

fn application_id(connection: &Connection) -> Result<i32, rusqlite::Error> {
    connection.query_row("PRAGMA application_id", (), |row| row.get(0))
}

/// See <https://www.sqlite.org/uri.html>.
fn immutable_uri(path: &Path) -> String {
    let mut uri = String::from("file:");
    if cfg!(windows) {
        uri.push('/');
    }
    for &byte in path.as_os_str().as_encoded_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.:".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(uri, "%{byte:02x}");
        }
    }
    uri.push_str("?immutable=1");
    uri
}

fn journal_of(path: &Path) -> PathBuf {
    let mut journal = path.as_os_str().to_owned();
    journal.push("-journal");
    journal.into()
}

/// Makes a store of an empty database, unless another process was faster.
fn create(session: &Session, path: &Path, options: &SqliteOptions) -> Result<(), KvError> {
    let failed = |error: rusqlite::Error| translate(path, &error);
    let connection = session.connection();
    connection
        .execute_batch(&format!(
            "PRAGMA page_size = {}; BEGIN IMMEDIATE",
            options.page_size
        ))
        .map_err(failed)?;
    let created = create_tables(session, path);
    match &created {
        Ok(()) => connection.execute_batch("COMMIT").map_err(failed)?,
        // The connection is closed next, which rolls back as well.
        Err(_) => session.end().map_err(failed)?,
    }
    created
}

fn create_tables(session: &Session, path: &Path) -> Result<(), KvError> {
    let failed = |error: rusqlite::Error| translate(path, &error);
    if application_id(session.connection()).map_err(failed)? == APPLICATION_ID {
        return Ok(());
    }
    let tables: i64 = session
        .value("SELECT count(*) FROM sqlite_schema", ())
        .map_err(failed)?;
    if tables > 0 {
        return Err(KvError::NotAStore(
            "it is an SQLite database of something else; choose another file".into(),
        ));
    }
    session
        .connection()
        .execute_batch(&format!(
            "CREATE TABLE kv (key BLOB PRIMARY KEY NOT NULL, value BLOB NOT NULL);
             CREATE TABLE commits (version INTEGER PRIMARY KEY, flushed INTEGER NOT NULL, \
                 chain INTEGER NOT NULL, writes BLOB NOT NULL, pairs BLOB);
             INSERT INTO commits VALUES (1, 1, random(), x'', NULL);
             PRAGMA application_id = {APPLICATION_ID};
             PRAGMA user_version = {FORMAT};"
        ))
        .map_err(failed)
}

/// Switches to WAL mode. SQLite does not always wait for the lock that this takes.
fn use_write_ahead_log(
    session: &Session,
    path: &Path,
    options: &SqliteOptions,
) -> Result<(), KvError> {
    let deadline = Instant::now() + options.busy_timeout;
    loop {
        let mode: Result<String, _> = session.value("PRAGMA journal_mode = WAL", ());
        match mode.map_err(|error| translate(path, &error)) {
            Ok(mode) if mode == "wal" => return Ok(()),
            Err(KvError::Busy(_)) if Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(1));
            }
            Ok(mode) => {
                return Err(KvError::Unavailable(format!(
                    "{}: its file system does not support a write-ahead log (journal mode \
                     {mode}); put it on a local disk",
                    path.display()
                )));
            }
            Err(error) => return Err(error),
        }
    }
}

/// Why a file cannot be opened, in more words than SQLite's.
fn explain(path: &Path, error: &rusqlite::Error) -> KvError {
    let reason = match path.parent().map(std::fs::metadata) {
        Some(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => {
            format!("its directory: {error}; create it, or choose another path")
        }
        Some(Err(error)) => format!("its directory: {error}"),
        Some(Ok(parent)) if !parent.is_dir() => {
            "its parent is not a directory: choose another path".to_owned()
        }
        _ => match std::fs::metadata(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => error.to_string(),
            _ if primary_code(error) == Some(ffi::SQLITE_CANTOPEN) => {
                "a file could not be opened or made there: see to the permissions of its directory, \
                 or choose another path"
                    .to_owned()
            }
            _ => return translate(path, error),
        },
    };
    KvError::Unavailable(format!("{}: {reason}", path.display()))
}
