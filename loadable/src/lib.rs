//! Verso as an extension that a stock SQLite loads: `.load libverso` in the shell,
//! `sqlite3_load_extension` elsewhere (<https://www.sqlite.org/loadext.html>).
//!
//! The library uses the host's SQLite through the table that it is given, and nothing else of
//! it. The embedded store has an SQLite of its own inside, which nobody outside sees.

#![expect(unsafe_code, reason = "an interface for C")]

mod logging;
mod routines;

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::panic::catch_unwind;

use libsqlite3_sys as sqlite;
use parking_lot::Mutex;
use verso_vfs::Options;

use routines::Routines;

/// The oldest SQLite that has what the VFS needs: `SQLITE_VERSION_NUMBER`.
const OLDEST: c_int = 3_037_000;

/// Makes the VFS the default one, for applications that cannot name it.
const DEFAULT_VFS: &str = "VERSO_DEFAULT_VFS";

/// Connections of several threads may load at once.
static LOADING: Mutex<()> = Mutex::new(());

/// The entry point. Registers the VFS `verso` with the library that loads this one. Loading it
/// again changes nothing.
///
/// # Safety
/// To be called by SQLite, as the entry point of an extension.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sqlite3_verso_init(
    connection: *mut sqlite::sqlite3,
    message: *mut *mut c_char,
    table: *const c_void,
) -> c_int {
    // So a program calls that links this library instead of loading it. Without SQLite's
    // functions not even a message can be given.
    if table.is_null() {
        return sqlite::SQLITE_ERROR;
    }
    // SAFETY: SQLite passes its table of functions, which stays.
    let routines = unsafe { Routines::new(table) };
    let result = catch_unwind(|| {
        let _one = LOADING.lock();
        load(routines)?;
        if connection.is_null() {
            return Err("the entry point was called without a connection".to_owned());
        }
        // SAFETY: the connection that loads is open, and of the library with this table.
        unsafe { verso_vfs::add_functions(connection.cast(), |name| routines.find(name)) }
            .map_err(|code| format!("the SQL functions were refused: result code {code}"))
    });
    let error = match result {
        // The VFS stays registered when the connection closes, and so must its code.
        Ok(Ok(())) => return sqlite::SQLITE_OK_LOAD_PERMANENTLY,
        Ok(Err(error)) => error,
        Err(_) => "internal error".to_owned(),
    };
    if !message.is_null() {
        let text = CString::new(format!("verso: {error}")).unwrap_or_default();
        // SAFETY: SQLite passes a place for the text, and frees it.
        unsafe { *message = routines.copy(&text) };
    }
    sqlite::SQLITE_ERROR
}

fn load(routines: Routines) -> Result<(), String> {
    let version = routines.version_number();
    if version < OLDEST {
        return Err(format!(
            "this is SQLite {}, and Verso needs 3.37 or newer: use a newer SQLite",
            shown(version)
        ));
    }
    if !routines.is_threadsafe() {
        return Err(
            "this SQLite was built without threads (SQLITE_THREADSAFE=0): use one with them"
                .to_owned(),
        );
    }
    if !routines.has_mutexes() {
        return Err(
            "this SQLite runs without threads (SQLITE_CONFIG_SINGLETHREAD): have the application \
             leave that out"
                .to_owned(),
        );
    }
    let is_default = is_on(DEFAULT_VFS)?;
    logging::start()?;
    // Another connection, or another copy of this library, was faster.
    if routines.has_vfs(c"verso") {
        return Ok(());
    }
    let options = Options {
        is_default,
        ..Options::new(verso_open::open)
    };
    // SAFETY: the functions are those of the host's table, whose library outlives this one,
    // and this one stays loaded.
    unsafe { verso_vfs::register_with(|name| routines.find(name), options) }
        .map_err(|error| error.to_string())
}

/// A version number as SQLite writes it.
fn shown(version: c_int) -> String {
    let (major, minor, patch) = (version / 1_000_000, version / 1000 % 1000, version % 1000);
    format!("{major}.{minor}.{patch}")
}

/// Whether an environment variable switches something on.
fn is_on(variable: &str) -> Result<bool, String> {
    let value = std::env::var_os(variable).unwrap_or_default();
    let value = value.to_string_lossy();
    match value.to_ascii_lowercase().as_str() {
        "1" | "on" | "yes" | "true" => Ok(true),
        "" | "0" | "off" | "no" | "false" => Ok(false),
        _ => Err(format!(
            "the environment variable {variable} is '{value}': set it to 1, or to 0"
        )),
    }
}

/// The name of a function as text.
fn text(name: &CStr) -> &str {
    name.to_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many places a table has here; all that are looked at lie before its end.
    const PLACES: usize = 300;

    type Table = [Option<unsafe extern "C" fn()>; PLACES];

    /// As SQLite's own, of memory that the test leaks.
    unsafe extern "C" fn malloc64(size: u64) -> *mut c_void {
        let size = usize::try_from(size).expect("a small text");
        Box::leak(vec![0_u8; size].into_boxed_slice())
            .as_mut_ptr()
            .cast()
    }

    unsafe extern "C" fn old() -> c_int {
        3_036_000
    }

    unsafe extern "C" fn recent() -> c_int {
        3_050_004
    }

    unsafe extern "C" fn no_threads() -> c_int {
        0
    }

    /// What the entry point says to a host with these functions.
    fn refusal(version: unsafe extern "C" fn() -> c_int) -> String {
        let mut table: Table = [None; PLACES];
        // SAFETY: functions of any type have pointers of one size, and are called as what they
        // are.
        unsafe {
            table[67] = std::mem::transmute::<*const (), Option<_>>(version as *const ());
            table[144] = std::mem::transmute::<*const (), Option<_>>(no_threads as *const ());
            table[197] = std::mem::transmute::<*const (), Option<_>>(malloc64 as *const ());
        }
        let mut message = std::ptr::null_mut();
        // SAFETY: the table has what the entry point asks such hosts for.
        unsafe {
            let table = (&raw const table).cast();
            let code = sqlite3_verso_init(std::ptr::null_mut(), &raw mut message, table);
            assert_eq!(code, sqlite::SQLITE_ERROR);
            CStr::from_ptr(message).to_string_lossy().into_owned()
        }
    }

    #[test]
    fn hosts_that_cannot_serve_are_told_why() {
        assert_eq!(
            refusal(old),
            "verso: this is SQLite 3.36.0, and Verso needs 3.37 or newer: use a newer SQLite"
        );
        let told = refusal(recent);
        assert!(told.contains("built without threads"), "{told}");
    }
}
