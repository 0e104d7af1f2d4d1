//! `sqlite3_vfs`: registration, and the callbacks that are not about one open file.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::fmt;
use std::ptr::{self, NonNull};
use std::time::Duration;

use libsqlite3_sys as sqlite;

use super::api::HostApi;
use super::file::{OpenFile, RawFile};
use super::super_journal::{self, Deletion};
use super::{c_text, fork, functions, guard, name};
use crate::database::Database;
use crate::error::VfsError;
use crate::open::{OpenFlags, Parameters, check_parameters, open as open_database};
use crate::{Options, RegisterError};

/// Files that are the platform's business: they are private to their connection.
const PLATFORM_FILES: c_int = sqlite::SQLITE_OPEN_TEMP_DB
    | sqlite::SQLITE_OPEN_TRANSIENT_DB
    | sqlite::SQLITE_OPEN_TEMP_JOURNAL
    | sqlite::SQLITE_OPEN_SUBJOURNAL;

/// What `pAppData` points to. It lives as long as the process: SQLite keeps no count of
/// connections that use a VFS.
struct Registered {
    api: HostApi,
    options: Options,
    /// The platform's VFS: temporary files, time, randomness and libraries are its business.
    platform: *mut sqlite::sqlite3_vfs,
}

/// Registers the VFS with another SQLite library of this process than the one that this
/// program is linked with, such as the one that a scripting language brings. It stays
/// registered as long as the process lives.
///
/// `lookup` finds a function of that library by its name, for example with `dlsym`. It is
/// asked for each function that the VFS needs before this returns, and not later.
///
/// # Errors
/// If the library lacks a function, the name is taken, or SQLite refuses it.
///
/// # Safety
/// What `lookup` finds must be the function of that name (`sqlite3_vfs_find` and so on, as
/// `sqlite3.h` declares it) of an SQLite library. All must be of one library, which must stay
/// loaded as long as the process lives, as must the code of this crate.
pub unsafe fn register_with(
    lookup: impl FnMut(&CStr) -> Option<NonNull<c_void>>,
    options: Options,
) -> Result<(), RegisterError> {
    // SAFETY: passed on to the caller.
    register(unsafe { HostApi::found(lookup) }?, options)
}

/// Registers a VFS with a SQLite library.
pub(crate) fn register(api: HostApi, options: Options) -> Result<(), RegisterError> {
    let text = options.name.clone();
    let name = CString::new(text.as_str()).map_err(|_| RegisterError::Name(text.clone()))?;
    if text.is_empty() || !api.vfs_find(Some(&name)).is_null() {
        return Err(RegisterError::Name(text));
    }
    let platform = api.vfs_find(None);
    if platform.is_null() {
        return Err(RegisterError::NoPlatform);
    }
    fork::install();
    let is_default = options.is_default;
    let registered = Box::leak(Box::new(Registered {
        api,
        options,
        platform,
    }));
    // SAFETY: a VFS that SQLite found is valid as long as the process lives.
    let vfs = unsafe { describe(name, registered, &*platform) };
    // SAFETY: the VFS and all that it points to are leaked.
    match unsafe { api.vfs_register(Box::leak(Box::new(vfs)), is_default) } {
        sqlite::SQLITE_OK => {
            functions::install(api);
            Ok(())
        }
        code => Err(RegisterError::Refused(code)),
    }
}

fn describe(
    name: CString,
    registered: &'static mut Registered,
    platform: &sqlite::sqlite3_vfs,
) -> sqlite::sqlite3_vfs {
    // Temporary files are the platform's own objects in the same place.
    let own = c_int::try_from(size_of::<RawFile>()).expect("two pointers are few bytes");
    let size = (own.max(platform.szOsFile) + 7) / 8 * 8;
    sqlite::sqlite3_vfs {
        iVersion: 2,
        szOsFile: size,
        mxPathname: c_int::try_from(name::MAX_PATH).expect("it is some hundred bytes"),
        pNext: ptr::null_mut(),
        zName: name.into_raw(),
        pAppData: ptr::from_mut(registered).cast(),
        xOpen: Some(open),
        xDelete: Some(delete),
        xAccess: Some(access),
        xFullPathname: Some(full_pathname),
        xDlOpen: Some(dl_open),
        xDlError: Some(dl_error),
        xDlSym: Some(dl_sym),
        xDlClose: Some(dl_close),
        xRandomness: Some(randomness),
        xSleep: Some(sleep),
        xCurrentTime: Some(current_time),
        xGetLastError: Some(get_last_error),
        xCurrentTimeInt64: Some(current_time_int64),
        xSetSystemCall: None,
        xGetSystemCall: None,
        xNextSystemCall: None,
    }
}

/// What [`register`] registered.
///
/// # Safety
/// `vfs` must be one that [`register`] made.
unsafe fn registered<'a>(vfs: *mut sqlite::sqlite3_vfs) -> &'a Registered {
    // SAFETY: pAppData is a leaked Registered that nobody changes.
    unsafe { &*(*vfs).pAppData.cast::<Registered>() }
}

unsafe extern "C" fn open(
    vfs: *mut sqlite::sqlite3_vfs,
    name: *const c_char,
    file: *mut sqlite::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: called by SQLite with our VFS, room for a file, and a name that carries its
    // URI parameters if it is that of a main database.
    unsafe {
        // A file without methods is one that SQLite will not close.
        (*file).pMethods = ptr::null();
        let registered = registered(vfs);
        guard(&registered.api, Opened(c_text(name)), || {
            if flags & sqlite::SQLITE_OPEN_MAIN_DB != 0 {
                let database = open_main(registered, name, flags)?;
                if !out_flags.is_null() {
                    *out_flags = shown_flags(flags, database.is_read_only());
                }
                OpenFile::database(registered.api, database).install(file);
                Ok(sqlite::SQLITE_OK)
            } else if flags & sqlite::SQLITE_OPEN_MAIN_JOURNAL != 0 {
                if !out_flags.is_null() {
                    *out_flags = flags;
                }
                OpenFile::journal(registered.api).install(file);
                Ok(sqlite::SQLITE_OK)
            } else if flags & sqlite::SQLITE_OPEN_SUPER_JOURNAL != 0 {
                match super_journal::open(c_text(name), flags)? {
                    Some(journal) => {
                        if !out_flags.is_null() {
                            *out_flags = flags;
                        }
                        OpenFile::super_journal(registered.api, journal).install(file);
                        Ok(sqlite::SQLITE_OK)
                    }
                    None => Ok(open_on_platform(
                        registered.platform,
                        name,
                        file,
                        flags,
                        out_flags,
                    )),
                }
            } else if flags & PLATFORM_FILES != 0 {
                Ok(open_on_platform(
                    registered.platform,
                    name,
                    file,
                    flags,
                    out_flags,
                ))
            } else {
                // SQLite asks for one only where exclusive locking slipped past.
                Err(VfsError::WriteAheadLog)
            }
        })
    }
}

/// What is opened, for messages.
struct Opened<'a>(Option<&'a CStr>);

impl fmt::Display for Opened<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(name) => write!(formatter, "database {}", name.to_string_lossy()),
            None => formatter.write_str("temporary file"),
        }
    }
}

/// The open flags that SQLite is told: those it asked for, or read-only.
fn shown_flags(flags: c_int, read_only: bool) -> c_int {
    if read_only {
        let writing = sqlite::SQLITE_OPEN_READWRITE | sqlite::SQLITE_OPEN_CREATE;
        (flags & !writing) | sqlite::SQLITE_OPEN_READONLY
    } else {
        flags
    }
}

/// Opens a main or attached database.
///
/// # Safety
/// `name` must be the name that SQLite passed to `xOpen` for it.
unsafe fn open_main(
    registered: &Registered,
    name: *const c_char,
    flags: c_int,
) -> Result<Database, VfsError> {
    let Registered { api, options, .. } = registered;
    // SAFETY: passed on to the caller.
    let (text, parameters) = unsafe { (c_text(name), parameters(api, name)?) };
    let flags = OpenFlags {
        create: flags & sqlite::SQLITE_OPEN_CREATE != 0,
        read_only: flags & sqlite::SQLITE_OPEN_READONLY != 0,
    };
    let opened = open_database(options, name::database(text)?, flags, &parameters);
    let opened = opened.map_err(VfsError::at_open)?;
    Ok(Database::new(opened, api.version_number()))
}

/// The URI parameters of a database.
///
/// # Safety
/// As for [`open_main`].
unsafe fn parameters(api: &HostApi, name: *const c_char) -> Result<Parameters, VfsError> {
    // SAFETY: passed on to the caller.
    check_parameters(&unsafe { api.uri_keys(name) })?;
    let text = |key, place| {
        // SAFETY: passed on to the caller.
        let value = unsafe { api.uri_parameter(name, key) };
        value
            .map(CString::into_string)
            .transpose()
            .map_err(|error| {
                let lossy = error.into_cstring().to_string_lossy().into_owned();
                VfsError::NotUtf8(lossy).set_by(place)
            })
    };
    // SAFETY: passed on to the caller.
    let boolean = |key| unsafe { api.uri_boolean(name, key) };
    Ok(Parameters {
        store: text(c"store", "store= of the URI")?,
        writers: text(c"writers", "writers= of the URI")?,
        freshness: text(c"freshness", "freshness= of the URI")?,
        at: text(c"at", "at= of the URI")?,
        immutable: boolean(c"immutable"),
        no_lock: boolean(c"nolock"),
        cache: text(c"cache", "cache= of the URI")?,
        cache_dir: text(c"cache_dir", "cache_dir= of the URI")?,
        cache_dir_size: text(c"cache_dir_size", "cache_dir_size= of the URI")?,
    })
}

/// # Safety
/// The arguments must be those of `xOpen`.
unsafe fn open_on_platform(
    platform: *mut sqlite::sqlite3_vfs,
    name: *const c_char,
    file: *mut sqlite::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: szOsFile is at least that of the platform's VFS; its methods take it from here.
    unsafe {
        match (*platform).xOpen {
            Some(open) => open(platform, name, file, flags, out_flags),
            None => sqlite::SQLITE_CANTOPEN,
        }
    }
}

/// The commit of a transaction over several databases is the deletion of its super-journal.
/// Other journals vanish with the file that holds them, and databases are not removed by
/// SQLite.
unsafe extern "C" fn delete(
    vfs: *mut sqlite::sqlite3_vfs,
    path: *const c_char,
    sync: c_int,
) -> c_int {
    // SAFETY: called by SQLite with our VFS and a C string.
    let (registered, path) = unsafe { (registered(vfs), c_text(path).unwrap_or_default()) };
    guard(&registered.api, "super-journal", || {
        // SAFETY: inside a callback of the connection whose transaction it may be.
        let answer = unsafe { super_journal::delete(path, sync != 0)? };
        let Deletion::OnPlatform { is_committed } = answer else {
            return Ok(sqlite::SQLITE_OK);
        };
        // SAFETY: the platform's VFS takes a C string.
        let code = unsafe { delete_on_platform(registered.platform, path, sync) };
        // Once our databases have committed, the local ones must, whatever is left behind.
        Ok(if is_committed {
            sqlite::SQLITE_OK
        } else {
            code
        })
    })
}

/// Removes a file, if it exists.
///
/// # Safety
/// `platform` must be a registered VFS.
unsafe fn delete_on_platform(
    platform: *mut sqlite::sqlite3_vfs,
    path: &CStr,
    sync: c_int,
) -> c_int {
    // SAFETY: by contract; the VFS takes a C string.
    unsafe {
        match (*platform).xDelete {
            Some(delete) => match delete(platform, path.as_ptr(), sync) {
                sqlite::SQLITE_IOERR_DELETE_NOENT => sqlite::SQLITE_OK,
                code => code,
            },
            None => sqlite::SQLITE_OK,
        }
    }
}

/// A super-journal exists until every database of its transaction has rolled back, or
/// those that still have to would take it for committed.
unsafe extern "C" fn access(
    vfs: *mut sqlite::sqlite3_vfs,
    path: *const c_char,
    flags: c_int,
    result: *mut c_int,
) -> c_int {
    // SAFETY: called by SQLite with our VFS, a C string, and a place for the answer.
    unsafe {
        *result = 0;
        let registered = registered(vfs);
        let Some(path) = c_text(path) else {
            return sqlite::SQLITE_OK;
        };
        if super_journal::exists(path) {
            *result = 1;
            return sqlite::SQLITE_OK;
        }
        // Whoever rolls back looks for the journals of other files of the transaction, and takes
        // the super-journal away when none of them is left.
        if name::is_log(path) || name::is_ours(path) {
            return sqlite::SQLITE_OK;
        }
        match (*registered.platform).xAccess {
            Some(access) => access(registered.platform, path.as_ptr(), flags, result),
            None => sqlite::SQLITE_OK,
        }
    }
}

/// Waits. A thread that waits for a writer lease wakes up when it has got it.
unsafe extern "C" fn sleep(vfs: *mut sqlite::sqlite3_vfs, microseconds: c_int) -> c_int {
    let duration = Duration::from_micros(u64::try_from(microseconds).unwrap_or(0));
    let has_slept = std::panic::catch_unwind(|| crate::lease::sleep(duration)).unwrap_or(false);
    if has_slept {
        return microseconds;
    }
    // SAFETY: called by SQLite with our VFS; the platform's takes the same arguments.
    unsafe {
        let platform = registered(vfs).platform;
        match (*platform).xSleep {
            Some(sleep) => sleep(platform, microseconds),
            None => 0,
        }
    }
}

/// Names are opaque: the full name of a database is its name.
unsafe extern "C" fn full_pathname(
    vfs: *mut sqlite::sqlite3_vfs,
    path: *const c_char,
    size: c_int,
    out: *mut c_char,
) -> c_int {
    // SAFETY: called by SQLite with our VFS, a C string, and room for `size` bytes.
    unsafe {
        let registered = registered(vfs);
        guard(&registered.api, "database name", || {
            let name = name::database(c_text(path))?;
            let bytes = name.as_str().as_bytes();
            if bytes.len() >= usize::try_from(size).unwrap_or(0) {
                return Ok(sqlite::SQLITE_CANTOPEN);
            }
            out.copy_from_nonoverlapping(bytes.as_ptr().cast(), bytes.len());
            *out.add(bytes.len()) = 0;
            Ok(sqlite::SQLITE_OK)
        })
    }
}

/// Defines a callback that hands its arguments to the platform's VFS.
macro_rules! on_platform {
    ($name:ident, $method:ident, ($($argument:ident: $type:ty),*) -> $result:ty, $absent:expr) => {
        unsafe extern "C" fn $name(vfs: *mut sqlite::sqlite3_vfs $(, $argument: $type)*) -> $result {
            // SAFETY: called by SQLite with our VFS; the platform's takes the same arguments.
            unsafe {
                let platform = registered(vfs).platform;
                match (*platform).$method {
                    Some(method) => method(platform $(, $argument)*),
                    None => $absent,
                }
            }
        }
    };
}

type Symbol = Option<unsafe extern "C" fn(*mut sqlite::sqlite3_vfs, *mut c_void, *const c_char)>;

on_platform!(dl_open, xDlOpen, (path: *const c_char) -> *mut c_void, ptr::null_mut());
on_platform!(dl_error, xDlError, (size: c_int, text: *mut c_char) -> (), ());
on_platform!(dl_sym, xDlSym, (library: *mut c_void, symbol: *const c_char) -> Symbol, None);
on_platform!(dl_close, xDlClose, (library: *mut c_void) -> (), ());
on_platform!(randomness, xRandomness, (size: c_int, out: *mut c_char) -> c_int, 0);
on_platform!(current_time, xCurrentTime, (time: *mut f64) -> c_int, sqlite::SQLITE_ERROR);
on_platform!(get_last_error, xGetLastError, (size: c_int, text: *mut c_char) -> c_int, 0);
on_platform!(current_time_int64, xCurrentTimeInt64, (time: *mut i64) -> c_int, sqlite::SQLITE_ERROR);
