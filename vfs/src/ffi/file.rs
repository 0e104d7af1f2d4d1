//! `sqlite3_io_methods`: the callbacks of open files.

use std::borrow::Cow;
use std::ffi::{c_int, c_void};
use std::slice;

use libsqlite3_sys as sqlite;

use super::api::HostApi;
use super::database_file::DatabaseFile;
use super::guard;
use super::super_journal::SuperJournal;
use crate::database::{Database, ReadLength};
use crate::error::VfsError;
use crate::journal::Journal;

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
    label: Cow<'static, str>,
    kind: Kind,
}

enum Kind {
    Database(Box<DatabaseFile>),
    Journal(Journal),
    SuperJournal(SuperJournal),
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
        Self {
            api,
            label: format!("database {}", database.name()).into(),
            kind: Kind::Database(Box::new(DatabaseFile::new(api, database))),
        }
    }

    pub(super) fn super_journal(api: HostApi, journal: SuperJournal) -> Self {
        Self {
            api,
            label: "super-journal".into(),
            kind: Kind::SuperJournal(journal),
        }
    }

    pub(super) fn journal(api: HostApi) -> Self {
        Self {
            api,
            label: "journal".into(),
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
    callback: impl FnOnce(&mut Kind) -> Result<c_int, VfsError>,
) -> c_int {
    // SAFETY: by contract the pointer is from Box::into_raw and not used elsewhere.
    let OpenFile { api, label, kind } = unsafe { &mut *(*file.cast::<RawFile>()).open };
    guard(api, label, || callback(kind))
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
        with(file, |kind| {
            let offset = u64::try_from(offset).unwrap_or(0);
            let read = match kind {
                Kind::Database(file) => file.database().read(buffer, offset)?,
                Kind::Journal(journal) => match journal.read(buffer, offset)? {
                    read if read == buffer.len() => ReadLength::Full,
                    _ => ReadLength::Short,
                },
                Kind::SuperJournal(journal) => journal.read(buffer, offset),
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
        with(file, |kind| {
            let offset = u64::try_from(offset).unwrap_or(0);
            match kind {
                Kind::Database(file) => file.database().write(data, offset)?,
                Kind::Journal(journal) => journal.write(data, offset)?,
                Kind::SuperJournal(journal) => journal.write(data, offset)?,
            }
            Ok(sqlite::SQLITE_OK)
        })
    }
}

unsafe extern "C" fn truncate(file: *mut sqlite::sqlite3_file, length: i64) -> c_int {
    // SAFETY: called by SQLite with an open file.
    unsafe {
        with(file, |kind| {
            let length = u64::try_from(length).unwrap_or(0);
            match kind {
                Kind::Database(file) => file.database().truncate(length)?,
                Kind::Journal(journal) => journal.truncate(length)?,
                Kind::SuperJournal(_) => {}
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
        with(file, |kind| {
            let length = match kind {
                Kind::Database(file) => file.database().length()?,
                Kind::Journal(journal) => journal.length(),
                Kind::SuperJournal(journal) => journal.length(),
            };
            *size = i64::try_from(length).unwrap_or(i64::MAX);
            Ok(sqlite::SQLITE_OK)
        })
    }
}

unsafe extern "C" fn lock(file: *mut sqlite::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: called by SQLite with an open file, by the connection that uses it.
    unsafe {
        with(file, |kind| {
            if let Kind::Database(file) = kind {
                file.lock(level)?;
            }
            Ok(sqlite::SQLITE_OK)
        })
    }
}

unsafe extern "C" fn unlock(file: *mut sqlite::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: called by SQLite with an open file.
    unsafe {
        with(file, |kind| {
            if let Kind::Database(file) = kind {
                file.unlock(level);
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
        with(file, |kind| match kind {
            Kind::Database(file) => file.control(operation, argument),
            Kind::Journal(_) | Kind::SuperJournal(_) => Ok(sqlite::SQLITE_NOTFOUND),
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
