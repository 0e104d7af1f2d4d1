//! SQLite's own file access with syncs that take longer, as those of a real disk do: group commit
//! is worth nothing where a sync is free. It lies below plain SQLite and below embedded stores.

use std::ffi::c_int;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use rusqlite::ffi;

/// What opens the files, and how long each sync takes beside its own time.
struct Shim {
    open: OpenFunction,
    delay: Duration,
}

type OpenFunction = unsafe extern "C" fn(
    *mut ffi::sqlite3_vfs,
    ffi::sqlite3_filename,
    *mut ffi::sqlite3_file,
    c_int,
    *mut c_int,
) -> c_int;

static SHIM: OnceLock<Shim> = OnceLock::new();

/// Methods of a file, all but one of them SQLite's own.
#[repr(C)]
struct Methods {
    /// First, so that a pointer to it is one to all.
    ours: ffi::sqlite3_io_methods,
    theirs: *const ffi::sqlite3_io_methods,
}

/// Addresses of those that were made: one for each kind of file, and never freed.
static MADE: Mutex<Vec<usize>> = Mutex::new(Vec::new());

/// Makes every sync of this process take so much longer. Must come before anything is opened.
#[expect(unsafe_code, reason = "SQLite's interface to file systems")]
pub(crate) fn register(delay: Duration) -> anyhow::Result<()> {
    // SAFETY: SQLite is linked; the default VFS lives as long as the process.
    let platform = unsafe {
        ffi::sqlite3_initialize();
        ffi::sqlite3_vfs_find(std::ptr::null())
    };
    // SAFETY: it is a VFS or null.
    let platform = unsafe { platform.as_mut() }.context("SQLite has no VFS")?;
    let open = platform.xOpen.context("SQLite's VFS opens nothing")?;
    ensure!(
        SHIM.set(Shim { open, delay }).is_ok(),
        "syncs are slowed already"
    );
    // The methods use nothing of the VFS that a copy has not. It keeps the name, which some ask
    // for, and the one without the delay is taken away.
    let slowed = Box::leak(Box::new(ffi::sqlite3_vfs {
        pNext: std::ptr::null_mut(),
        xOpen: Some(open_slowed),
        ..*platform
    }));
    // SAFETY: both live as long as the process.
    let code = unsafe {
        ffi::sqlite3_vfs_unregister(platform);
        ffi::sqlite3_vfs_register(slowed, 1)
    };
    ensure!(code == ffi::SQLITE_OK, "the VFS was not registered: {code}");
    Ok(())
}

/// Opens a file and, if it is one that stays, replaces its methods.
#[expect(unsafe_code, reason = "called by SQLite")]
unsafe extern "C" fn open_slowed(
    vfs: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    let Some(shim) = SHIM.get() else {
        return ffi::SQLITE_CANTOPEN;
    };
    // SAFETY: SQLite's arguments go to SQLite's function. The copied VFS serves it as the first.
    let code = unsafe { (shim.open)(vfs, name, file, flags, out_flags) };
    if code != ffi::SQLITE_OK || flags & ffi::SQLITE_OPEN_DELETEONCLOSE != 0 {
        return code;
    }
    // SAFETY: the file was opened, so it has methods, and nobody else uses it yet.
    unsafe { (*file).pMethods = slowed((*file).pMethods) };
    code
}

/// The same methods with a slow sync.
#[expect(unsafe_code, reason = "SQLite's interface to file systems")]
fn slowed(theirs: *const ffi::sqlite3_io_methods) -> *const ffi::sqlite3_io_methods {
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    for address in made.iter() {
        let known = *address as *const Methods;
        // SAFETY: it was leaked below.
        if unsafe { (*known).theirs } == theirs {
            return known.cast();
        }
    }
    // SAFETY: SQLite's methods live as long as the process.
    let mut ours = unsafe { *theirs };
    ours.xSync = Some(sync_slowed);
    let methods: *const Methods = Box::leak(Box::new(Methods { ours, theirs }));
    made.push(methods as usize);
    methods.cast()
}

#[expect(unsafe_code, reason = "called by SQLite")]
unsafe extern "C" fn sync_slowed(file: *mut ffi::sqlite3_file, flags: c_int) -> c_int {
    if let Some(shim) = SHIM.get() {
        std::thread::sleep(shim.delay);
    }
    // SAFETY: only files with the methods that `slowed` made come here.
    let sync = unsafe { (*(*(*file).pMethods.cast::<Methods>()).theirs).xSync };
    match sync {
        // SAFETY: SQLite's arguments go to SQLite's function.
        Some(sync) => unsafe { sync(file, flags) },
        None => ffi::SQLITE_OK,
    }
}
