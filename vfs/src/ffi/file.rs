//! `sqlite3_io_methods`: the callbacks of open files.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::slice;

use libsqlite3_sys as sqlite;

use super::api::HostApi;
use super::{c_text, guard};
use crate::database::{Database, ReadLength};
use crate::error::VfsError;
use crate::journal::Journal;
use crate::pragma::PragmaAnswer;
use crate::process::Process;
use crate::sql::begins_with_keyword;

/// What SQLite allocates for each file, as large as `szOsFile` says.
#[repr(C)]
pub(super) struct RawFile {
    base: sqlite::sqlite3_file,
    /// From `Box::into_raw`, until `xClose`.
    open: *mut OpenFile,
}

/// An open file of ours.
pub(super) struct OpenFile {
    api: HostApi,
    label: String,
    kind: Kind,
}

enum Kind {
    Database(Box<DatabaseFile>),
    Journal(Journal),
}

struct DatabaseFile {
    database: Database,
    /// Where SQLite keeps the connection that this file belongs to; null until it tells.
    connection: *mut *mut sqlite::sqlite3,
    /// The connection that this file is counted for among those that write several.
    counted: Option<usize>,
}

const IO_METHODS: sqlite::sqlite3_io_methods = sqlite::sqlite3_io_methods {
    // Version 1: without shared memory SQLite never opens a write-ahead log.
    iVersion: 1,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: None,
    xShmLock: None,
    xShmBarrier: None,
    xShmUnmap: None,
    xFetch: None,
    xUnfetch: None,
};

static METHODS: sqlite::sqlite3_io_methods = IO_METHODS;

impl OpenFile {
    pub(super) fn database(api: HostApi, database: Database) -> Self {
        let label = format!("database {}", database.name());
        let file = DatabaseFile {
            database,
            connection: std::ptr::null_mut(),
            counted: None,
        };
        Self {
            api,
            label,
            kind: Kind::Database(Box::new(file)),
        }
    }

    pub(super) fn journal(api: HostApi) -> Self {
        Self {
            api,
            label: "journal".to_owned(),
            kind: Kind::Journal(Journal::new()),
        }
    }

    /// Makes `file` an open file.
    ///
    /// # Safety
    /// `file` must point to `szOsFile` writable bytes.
    pub(super) unsafe fn install(self, file: *mut sqlite::sqlite3_file) {
        let open = Box::into_raw(Box::new(self));
        let raw = RawFile {
            base: sqlite::sqlite3_file {
                pMethods: &raw const METHODS,
            },
            open,
        };
        // SAFETY: szOsFile is at least the size of RawFile, and SQLite aligns to 8 bytes.
        unsafe { file.cast::<RawFile>().write(raw) };
    }
}

/// Runs a callback of an open file.
///
/// # Safety
/// `file` must be one that [`OpenFile::install`] made, that is not closed, and that no
/// other thread uses; SQLite serialises the calls for one file.
unsafe fn with(
    file: *mut sqlite::sqlite3_file,
    callback: impl FnOnce(&HostApi, &mut Kind) -> Result<c_int, VfsError>,
) -> c_int {
    // SAFETY: by contract the pointer is from Box::into_raw and not used elsewhere.
    let OpenFile { api, label, kind } = unsafe { &mut *(*file.cast::<RawFile>()).open };
    guard(api, label, || callback(api, kind))
}

unsafe extern "C" fn close(file: *mut sqlite::sqlite3_file) -> c_int {
    // SAFETY: SQLite closes a file once; the box is dropped inside the guard.
    unsafe {
        let raw = file.cast::<RawFile>();
        let open = Box::from_raw((*raw).open);
        (*raw).base.pMethods = std::ptr::null();
        let api = open.api;
        guard(&api, "close", move || {
            drop(open);
            Ok(sqlite::SQLITE_OK)
        })
    }
}

unsafe extern "C" fn read(
    file: *mut sqlite::sqlite3_file,
    buffer: *mut c_void,
    length: c_int,
    offset: i64,
) -> c_int {
    let length = usize::try_from(length).unwrap_or(0);
    // SAFETY: SQLite passes a buffer of `length` bytes.
    let buffer = unsafe { slice::from_raw_parts_mut(buffer.cast::<u8>(), length) };
    // SAFETY: called by SQLite with an open file.
    unsafe {
        with(file, |_, kind| {
            let offset = u64::try_from(offset).unwrap_or(0);
            let read = match kind {
                Kind::Database(file) => file.database.read(buffer, offset)?,
                Kind::Journal(journal) => match journal.read(buffer, offset)? {
                    read if read == buffer.len() => ReadLength::Full,
                    _ => ReadLength::Short,
                },
            };
            Ok(match read {
                ReadLength::Full => sqlite::SQLITE_OK,
                ReadLength::Short => sqlite::SQLITE_IOERR_SHORT_READ,
            })
        })
    }
}

unsafe extern "C" fn write(
    file: *mut sqlite::sqlite3_file,
    data: *const c_void,
    length: c_int,
    offset: i64,
) -> c_int {
    let length = usize::try_from(length).unwrap_or(0);
    // SAFETY: SQLite passes `length` bytes.
    let data = unsafe { slice::from_raw_parts(data.cast::<u8>(), length) };
    // SAFETY: called by SQLite with an open file.
    unsafe {
        with(file, |_, kind| {
            let offset = u64::try_from(offset).unwrap_or(0);
            match kind {
                Kind::Database(file) => file.database.write(data, offset)?,
                Kind::Journal(journal) => journal.write(data, offset)?,
            }
            Ok(sqlite::SQLITE_OK)
        })
    }
}

unsafe extern "C" fn truncate(file: *mut sqlite::sqlite3_file, length: i64) -> c_int {
    // SAFETY: called by SQLite with an open file.
    unsafe {
        with(file, |_, kind| {
            let length = u64::try_from(length).unwrap_or(0);
            match kind {
                Kind::Database(file) => file.database.truncate(length)?,
                Kind::Journal(journal) => journal.truncate(length)?,
            }
            Ok(sqlite::SQLITE_OK)
        })
    }
}

/// The commit is `SQLITE_FCNTL_SYNC`, which comes before; journals need not survive.
unsafe extern "C" fn sync(_: *mut sqlite::sqlite3_file, _: c_int) -> c_int {
    sqlite::SQLITE_OK
}

unsafe extern "C" fn file_size(file: *mut sqlite::sqlite3_file, size: *mut i64) -> c_int {
    // SAFETY: called by SQLite with an open file and a place for the answer.
    unsafe {
        with(file, |_, kind| {
            let length = match kind {
                Kind::Database(file) => file.database.length()?,
                Kind::Journal(journal) => journal.length(),
            };
            *size = i64::try_from(length).unwrap_or(i64::MAX);
            Ok(sqlite::SQLITE_OK)
        })
    }
}

unsafe extern "C" fn lock(file: *mut sqlite::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: called by SQLite with an open file.
    unsafe {
        with(file, |_, kind| {
            let Kind::Database(file) = kind else {
                return Ok(sqlite::SQLITE_OK);
            };
            match level {
                sqlite::SQLITE_LOCK_NONE => {}
                sqlite::SQLITE_LOCK_SHARED => file.database.lock_shared()?,
                _ => file.database.lock_write()?,
            }
            if level == sqlite::SQLITE_LOCK_EXCLUSIVE {
                file.begin_counting();
            }
            Ok(sqlite::SQLITE_OK)
        })
    }
}

unsafe extern "C" fn unlock(file: *mut sqlite::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: called by SQLite with an open file.
    unsafe {
        with(file, |_, kind| {
            if let Kind::Database(file) = kind {
                file.end_counting();
                if level == sqlite::SQLITE_LOCK_NONE {
                    file.database.unlock();
                } else {
                    file.database.unlock_to_shared();
                }
            }
            Ok(sqlite::SQLITE_OK)
        })
    }
}

/// Answers that somebody holds RESERVED, so SQLite never looks for a hot journal.
unsafe extern "C" fn check_reserved_lock(
    _: *mut sqlite::sqlite3_file,
    reserved: *mut c_int,
) -> c_int {
    // SAFETY: SQLite passes a place for the answer.
    unsafe { *reserved = 1 };
    sqlite::SQLITE_OK
}

unsafe extern "C" fn file_control(
    file: *mut sqlite::sqlite3_file,
    operation: c_int,
    argument: *mut c_void,
) -> c_int {
    // SAFETY: called by SQLite with an open file and the operation's own argument.
    unsafe {
        with(file, |api, kind| {
            let Kind::Database(file) = kind else {
                return Ok(sqlite::SQLITE_NOTFOUND);
            };
            match operation {
                sqlite::SQLITE_FCNTL_SYNC => {
                    file.sync(api, !argument.is_null())?;
                    Ok(sqlite::SQLITE_OK)
                }
                sqlite::SQLITE_FCNTL_PDB => {
                    file.connection = argument.cast();
                    Ok(sqlite::SQLITE_OK)
                }
                sqlite::SQLITE_FCNTL_PRAGMA => Ok(file.pragma(api, argument.cast())),
                sqlite::SQLITE_FCNTL_BEGIN_ATOMIC_WRITE => {
                    file.database.begin_batch();
                    Ok(sqlite::SQLITE_OK)
                }
                sqlite::SQLITE_FCNTL_COMMIT_ATOMIC_WRITE => {
                    file.database.end_batch(true);
                    Ok(sqlite::SQLITE_OK)
                }
                sqlite::SQLITE_FCNTL_ROLLBACK_ATOMIC_WRITE => {
                    file.database.end_batch(false);
                    Ok(sqlite::SQLITE_OK)
                }
                _ => Ok(sqlite::SQLITE_NOTFOUND),
            }
        })
    }
}

unsafe extern "C" fn sector_size(_: *mut sqlite::sqlite3_file) -> c_int {
    4096
}

/// What a commit that is one transaction of the store lets SQLite leave out. Never
/// `ATOMIC`: with it some builds count a transaction's change counter once only.
unsafe extern "C" fn device_characteristics(_: *mut sqlite::sqlite3_file) -> c_int {
    sqlite::SQLITE_IOCAP_POWERSAFE_OVERWRITE
        | sqlite::SQLITE_IOCAP_SEQUENTIAL
        | sqlite::SQLITE_IOCAP_SAFE_APPEND
        | sqlite::SQLITE_IOCAP_BATCH_ATOMIC
}

impl DatabaseFile {
    /// The connection that this file belongs to, if SQLite told.
    ///
    /// # Safety
    /// Only inside a callback other than `xClose`: then the connection is alive.
    unsafe fn connection(&self) -> Option<*mut sqlite::sqlite3> {
        // SAFETY: SQLite keeps the place valid as long as the file is open.
        (!self.connection.is_null()).then(|| unsafe { *self.connection })
    }

    fn begin_counting(&mut self) {
        // SAFETY: called by xLock.
        if let Some(connection) = unsafe { self.connection() }
            && self.counted.is_none()
        {
            let address = connection.addr();
            if let Some(process) = Process::existing() {
                process.count_writer(address);
            }
            self.counted = Some(address);
        }
    }

    fn end_counting(&mut self) {
        if let Some(address) = self.counted.take()
            && let Some(process) = Process::existing()
        {
            process.uncount_writer(address);
        }
    }

    /// `SQLITE_FCNTL_SYNC`. A super-journal tells that other databases commit with this one;
    /// where SQLite makes none, the count of those that are being committed to does.
    fn sync(&mut self, api: &HostApi, has_super_journal: bool) -> Result<(), VfsError> {
        let several = self.counted.is_some_and(|address| {
            Process::existing().is_some_and(|process| process.writers(address) > 1)
        });
        if self.database.is_committing() && (has_super_journal || several) {
            return Err(VfsError::SeveralDatabases);
        }
        let result = self.database.sync();
        match result {
            Err(error) if error.code() == sqlite::SQLITE_BUSY_SNAPSHOT && self.releases(api) => {
                Err(VfsError::Release(Box::new(error)))
            }
            result => result,
        }
    }

    /// Whether the commit is the RELEASE of an outermost savepoint.
    fn releases(&self, api: &HostApi) -> bool {
        // SAFETY: called by xFileControl, so the connection is alive and is the caller.
        unsafe {
            self.connection().is_some_and(|connection| {
                api.is_running(connection, |text| begins_with_keyword(text, b"RELEASE"))
            })
        }
    }

    /// `SQLITE_FCNTL_PRAGMA`: a place for the answer, the pragma's name, and its value.
    ///
    /// # Safety
    /// `arguments` must be what SQLite passes.
    unsafe fn pragma(&mut self, api: &HostApi, arguments: *mut *mut c_char) -> c_int {
        // SAFETY: SQLite passes three pointers; the last two are C strings or null.
        let (name, value) = unsafe { (c_text(*arguments.add(1)), c_text(*arguments.add(2))) };
        let name = name.and_then(|name| name.to_str().ok()).unwrap_or_default();
        let value = value.and_then(|value: &CStr| value.to_str().ok());
        // SAFETY: called by xFileControl, so the connection is alive and is the caller.
        let in_transaction = unsafe {
            self.connection()
                .is_some_and(|connection| !api.is_autocommit(connection))
        };
        match self.database.settings.pragma(name, value, in_transaction) {
            PragmaAnswer::PassOn => sqlite::SQLITE_NOTFOUND,
            PragmaAnswer::Row(text) => {
                // SAFETY: the first pointer is the place for the answer, which SQLite frees.
                unsafe { *arguments = api.allocate_text(&text) };
                sqlite::SQLITE_OK
            }
        }
    }
}

impl Drop for DatabaseFile {
    fn drop(&mut self) {
        self.end_counting();
    }
}
