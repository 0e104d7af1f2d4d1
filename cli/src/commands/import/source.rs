//! The file that is imported: opened, checked, locked, and read page by page.

use std::fs::{self, File};
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, anyhow, bail};
use bytes::Bytes;
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, ErrorCode, OpenFlags, ffi};
use tempfile::TempDir;
use verso_pagestore::header::LENGTH;
use verso_pagestore::{PageCount, PageSize, StoreUrl};

use crate::connection;
use crate::error::{error_code, sqlite_message};
use crate::header::{self, Header};

/// Length of the header of a WAL: one that is no longer has no content.
const WAL_HEADER_LENGTH: u64 = 32;
/// How many pages the copy of a WAL database takes in one step.
const BACKUP_STEP: i32 = 1024;

/// A SQLite file that is one state of a database for as long as this is held.
pub(crate) struct Source {
    path: PathBuf,
    header: Header,
    page_count: PageCount,
    /// The copy that is read instead of the file, if the file's WAL has content.
    copy: Option<Copy>,
    // These two go in this order: closing any descriptor of a file drops all locks that
    // this process has on it, those of SQLite too.
    guard: Guard,
    file: File,
}

/// What makes sure that the file is read in one state.
enum Guard {
    /// A read transaction of SQLite's.
    Locked(Connection),
    /// In WAL mode without a WAL: nobody uses it, and SQLite would have to make files
    /// beside it to lock it. So it is only watched.
    Watched(Fingerprint),
}

/// What changes whenever somebody writes to a file.
#[derive(PartialEq, Eq)]
struct Fingerprint {
    length: u64,
    modified: Option<SystemTime>,
    has_wal: bool,
}

impl Fingerprint {
    fn take(path: &Path, file: &File) -> anyhow::Result<Self> {
        let metadata = file.metadata().with_context(|| cannot_be_read(path))?;
        Ok(Self {
            length: metadata.len(),
            modified: metadata.modified().ok(),
            has_wal: with_suffix(path, "-wal").exists(),
        })
    }
}

/// A copy with the content of the WAL in its place.
struct Copy {
    file: File,
    page_count: PageCount,
    /// The original's: making the copy changes it.
    schema_cookie: u32,
    _folder: TempDir,
}

impl Source {
    /// Opens and checks a file, and keeps writers out of it where it can.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        let mut file = File::open(path).with_context(|| cannot_be_read(path))?;
        let metadata = file.metadata().with_context(|| cannot_be_read(path))?;
        if !metadata.is_file() {
            bail!("{shown} is not a file: name a SQLite 3 file");
        }
        if metadata.len() == 0 {
            bail!("{shown} is empty: there is nothing to import");
        }
        // Before SQLite looks at it, for the better message; once more under the lock.
        let unlocked = read_header(path, &mut file)?;
        let guard = guard(path, unlocked, &file)?;
        let header = read_header(path, &mut file)?;
        let copy = match &guard {
            Guard::Locked(connection) if header.wal && wal_has_content(path) => {
                Some(copy(path, connection)?)
            }
            Guard::Locked(_) | Guard::Watched(_) => None,
        };
        let page_count = match &copy {
            Some(copy) => copy.page_count,
            None => page_count(path, &header, &file)?,
        };
        Ok(Self {
            path: path.to_owned(),
            header,
            page_count,
            copy,
            guard,
            file,
        })
    }

    /// Fails if the file changed since it was opened. To be called when all was read.
    pub(crate) fn confirm(&self) -> anyhow::Result<()> {
        match &self.guard {
            Guard::Watched(before) if *before != Fingerprint::take(&self.path, &self.file)? => {
                bail!(
                    "{} was changed while it was read: try again",
                    self.path.display()
                )
            }
            Guard::Watched(_) | Guard::Locked(_) => Ok(()),
        }
    }

    /// Size of pages.
    pub(crate) fn page_size(&self) -> PageSize {
        self.header.page_size
    }

    /// How many pages there are to read.
    pub(crate) fn page_count(&self) -> PageCount {
        self.page_count
    }

    /// Fails if the file is the store that it would be imported into.
    pub(crate) fn refuse_store(&self, url: &StoreUrl) -> anyhow::Result<()> {
        let StoreUrl::Sqlite(store) = url else {
            return Ok(());
        };
        let Ok(store) = fs::metadata(store) else {
            return Ok(());
        };
        let file = self
            .file
            .metadata()
            .with_context(|| cannot_be_read(&self.path))?;
        if (file.dev(), file.ino()) == (store.dev(), store.ino()) {
            bail!(
                "{} is the store itself: name a SQLite file of yours",
                self.path.display()
            );
        }
        Ok(())
    }

    /// So many pages from this number on, as the store keeps them.
    pub(crate) fn read(&mut self, first: u32, count: u32) -> anyhow::Result<Bytes> {
        let page_size = self.page_size();
        let length = usize::try_from(PageCount::new(count).bytes(page_size))?;
        let offset = PageCount::new(first - 1).bytes(page_size);
        let mut bytes = vec![0; length];
        let file = self
            .copy
            .as_mut()
            .map_or(&mut self.file, |copy| &mut copy.file);
        file.seek(SeekFrom::Start(offset))
            .and_then(|_| file.read_exact(&mut bytes))
            .with_context(|| cannot_be_read(&self.path))?;
        if first == 1 {
            header::to_store(&mut bytes, self.page_count);
            if let Some(copy) = &self.copy {
                header::put_schema_cookie(&mut bytes, copy.schema_cookie);
            }
        }
        Ok(bytes.into())
    }
}

/// Reads the header of a file; fails if it is not SQLite's.
fn read_header(path: &Path, file: &mut File) -> anyhow::Result<Header> {
    let mut bytes = [0; LENGTH];
    let read = file
        .seek(SeekFrom::Start(0))
        .and_then(|_| file.read_exact(&mut bytes));
    match read {
        Ok(()) => Header::parse(&bytes).ok_or_else(|| not_a_database(path)),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Err(not_a_database(path)),
        Err(error) => Err(error).with_context(|| cannot_be_read(path)),
    }
}

fn not_a_database(path: &Path) -> anyhow::Error {
    anyhow!(
        "{}: file is not a database: it is no SQLite 3 file, or it is encrypted; decrypt it first",
        path.display()
    )
}

/// How many pages a file has, which must be there in full.
fn page_count(path: &Path, header: &Header, file: &File) -> anyhow::Result<PageCount> {
    let shown = path.display();
    let length = file.metadata().with_context(|| cannot_be_read(path))?.len();
    let page_size = u64::from(header.page_size.get());
    let truncated = |expected: u64| {
        anyhow!(
            "{shown} is truncated: it has {length} bytes, and its header says {expected}; take \
             a whole copy of it"
        )
    };
    match header.page_count {
        Some(count) if count.bytes(header.page_size) > length => {
            Err(truncated(count.bytes(header.page_size)))
        }
        Some(count) => Ok(count),
        None if !length.is_multiple_of(page_size) => {
            Err(truncated(length.next_multiple_of(page_size)))
        }
        None => Ok(PageCount::new(u32::try_from(length / page_size)?)),
    }
}

/// Keeps writers out of a file where that leaves no trace, and lets SQLite look at it.
fn guard(path: &Path, header: Header, file: &File) -> anyhow::Result<Guard> {
    let fingerprint = Fingerprint::take(path, file)?;
    // An absolute path cannot be taken for a URI.
    let absolute = std::path::absolute(path).with_context(|| cannot_be_read(path))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    if header.wal && !fingerprint.has_wal {
        let uri = connection::file_uri(&absolute, "?immutable=1");
        let flags = flags | OpenFlags::SQLITE_OPEN_URI;
        read_schema(&uri, flags).map_err(|error| explain(path, header, &error))?;
        return Ok(Guard::Watched(fingerprint));
    }
    let locked = read_schema(&absolute, flags).map_err(|error| explain(path, header, &error))?;
    Ok(Guard::Locked(locked))
}

/// A connection in a read transaction.
fn read_schema(path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, flags)?;
    connection.execute_batch("BEGIN")?;
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    Ok(connection)
}

/// What SQLite has against a file, and what to do about it.
fn explain(path: &Path, header: Header, error: &rusqlite::Error) -> anyhow::Error {
    let shown = path.display();
    let message = sqlite_message(error);
    if error.sqlite_extended_error_code() == Some(ffi::SQLITE_READONLY_ROLLBACK) {
        return anyhow!(
            "{shown} has a hot journal: a program stopped in the middle of a transaction; open \
             it once with sqlite3 to recover it (sqlite3 {shown} 'PRAGMA integrity_check'), then \
             import it"
        );
    }
    let code = error_code(error);
    if code == Some(ErrorCode::NotADatabase) {
        return not_a_database(path);
    }
    if code == Some(ErrorCode::DatabaseBusy) {
        return anyhow!("{shown} is locked by another program ({message}): try again later");
    }
    if code == Some(ErrorCode::DatabaseCorrupt) {
        return anyhow!("{shown} is damaged ({message}): repair it with sqlite3's .recover first");
    }
    if header.wal {
        return anyhow!(
            "{shown} cannot be read ({message}): it is in WAL mode, so SQLite must be able to \
             write to its folder; copy it with its -wal file to a folder of yours"
        );
    }
    anyhow!("{shown} cannot be read: {message}")
}

/// Makes a copy with the content of the WAL in its place.
fn copy(path: &Path, original: &Connection) -> anyhow::Result<Copy> {
    let folder = tempfile::Builder::new()
        .prefix("verso-import-")
        .tempdir()
        .context("no folder for a temporary copy can be made; TMPDIR names another place")?;
    let target = folder.path().join("copy.db");
    let schema_cookie = back_up(original, &target).map_err(|error| {
        anyhow!(
            "{} cannot be copied to {} ({}); it is in WAL mode, so a copy is needed: see that \
             there is room, or choose another place with TMPDIR",
            path.display(),
            target.display(),
            sqlite_message(&error)
        )
    })?;
    let mut file = File::open(&target).context("the temporary copy cannot be read")?;
    let header = read_header(&target, &mut file)?;
    let page_count = page_count(&target, &header, &file)?;
    Ok(Copy {
        file,
        page_count,
        schema_cookie,
        _folder: folder,
    })
}

/// Answers the original's schema cookie.
fn back_up(original: &Connection, target: &Path) -> rusqlite::Result<u32> {
    let mut copy = Connection::open(target)?;
    // The copy is thrown away whatever happens.
    copy.execute_batch("PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF")?;
    let backup = Backup::new(original, &mut copy)?;
    while backup.step(BACKUP_STEP)? != StepResult::Done {}
    drop(backup);
    let cookie: i64 = original.query_row("PRAGMA schema_version", [], |row| row.get(0))?;
    u32::try_from(cookie & 0xffff_ffff)
        .map_err(|_| rusqlite::Error::IntegralValueOutOfRange(0, cookie))
}

fn wal_has_content(path: &Path) -> bool {
    fs::metadata(with_suffix(path, "-wal")).is_ok_and(|wal| wal.len() > WAL_HEADER_LENGTH)
}

fn cannot_be_read(path: &Path) -> String {
    format!("{} cannot be read", path.display())
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
