//! The SQL functions: `verso_version`, `verso_info`, `verso_stats` and `verso_last_error`, and
//! those that are tables, on every connection of the SQLite library that the VFS was registered with.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::{self, NonNull};
use std::sync::{Arc, OnceLock};

use libsqlite3_sys as sqlite;
use parking_lot::Mutex;

use super::api::HostApi;
use super::tables;
use crate::connection::SharedDatabase;
use crate::database::Database;
use crate::error::last_error;

/// Asks an open file for its database: the argument is a place for an [`Arc`] as
/// [`Arc::into_raw`] makes it. Numbers of this size are no file's own business
/// (<https://www.sqlite.org/c3ref/c_fcntl_begin_atomic_write.html>).
pub(super) const FCNTL_DATABASE: c_int = 0x7665_7273;

/// The library whose connections get the functions: the first that the VFS was registered
/// with. `sqlite3_auto_extension` passes nothing on that would tell several apart.
pub(super) static LIBRARY: OnceLock<HostApi> = OnceLock::new();

type Context = *mut sqlite::sqlite3_context;
type Arguments = *mut *mut sqlite::sqlite3_value;
type Function = unsafe extern "C" fn(Context, c_int, Arguments);

/// Name, number of arguments, flags, and the function. All of them look at the world, so none
/// is deterministic. Those that tell of more than the database itself must not be called by a
/// schema that somebody else may have written. A version does no harm there.
const FUNCTIONS: [(&CStr, c_int, c_int, Function); 7] = [
    (c"verso_version", 0, HARMLESS, version),
    (c"verso_version", 1, HARMLESS, version),
    (c"verso_info", 0, DIRECT, info),
    (c"verso_info", 1, DIRECT, info),
    (c"verso_stats", 0, DIRECT, stats),
    (c"verso_stats", 1, DIRECT, stats),
    (c"verso_last_error", 0, DIRECT, last),
];

const HARMLESS: c_int = sqlite::SQLITE_UTF8 | sqlite::SQLITE_INNOCUOUS;
const DIRECT: c_int = sqlite::SQLITE_UTF8 | sqlite::SQLITE_DIRECTONLY;

/// Gives the functions to every connection that is opened from now on.
pub(super) fn install(api: HostApi) {
    if LIBRARY.set(api).is_ok() {
        // Without memory for it, connections lack the functions, and nothing else is wrong.
        let _ = api.auto_extension(add_to_connection);
    }
}

/// Gives the SQL functions of Verso to a connection that was opened before the VFS was
/// registered. Those that are opened later have them by themselves. If the VFS is registered
/// with several SQLite libraries, the first has functions, and this does nothing for the others.
///
/// # Errors
/// SQLite's result code, if it has no memory for them.
///
/// # Safety
/// `connection` must be an open `sqlite3*` of the library that `lookup` finds functions of, as
/// for [`register_with`](crate::register_with).
pub unsafe fn add_functions(
    connection: *mut c_void,
    lookup: impl FnMut(&CStr) -> Option<NonNull<c_void>>,
) -> Result<(), c_int> {
    if LIBRARY.get().is_none_or(|api| !api.is_found_by(lookup)) {
        return Ok(());
    }
    // SAFETY: of the library, as was just seen; the rest is passed on to the caller.
    match unsafe { add_to_connection(connection.cast(), ptr::null_mut(), ptr::null()) } {
        sqlite::SQLITE_OK => Ok(()),
        code => Err(code),
    }
}

/// Gives the functions to a connection, as `sqlite3_auto_extension` calls it.
///
/// # Safety
/// `connection` must be open, and of the library that [`install`] was told of.
unsafe extern "C" fn add_to_connection(
    connection: *mut sqlite::sqlite3,
    _: *mut *mut c_char,
    _: *const sqlite::sqlite3_api_routines,
) -> c_int {
    let Some(api) = LIBRARY.get() else {
        return sqlite::SQLITE_OK;
    };
    for (name, arguments, flags, function) in FUNCTIONS {
        // SAFETY: passed on to the caller.
        let code = unsafe { api.create_function(connection, name, arguments, flags, function) };
        if code != sqlite::SQLITE_OK {
            return code;
        }
    }
    // SAFETY: passed on to the caller.
    unsafe { tables::add(api, connection) }
}

/// Runs a function, whose answer is a text or nothing.
///
/// # Safety
/// To be called by SQLite for a function of [`FUNCTIONS`].
unsafe fn answer(
    context: Context,
    count: c_int,
    arguments: Arguments,
    function: impl FnOnce(&HostApi, &CStr) -> Result<Option<String>, String>,
) {
    let Some(api) = LIBRARY.get() else { return };
    // SAFETY: SQLite passes so many values, which stay as they are during the call.
    let schema = unsafe { schema(api, count, arguments) };
    let result = catch_unwind(AssertUnwindSafe(|| function(api, schema?)));
    // SAFETY: the context is that of this call.
    unsafe {
        match result.unwrap_or_else(|_| Err("internal error".to_owned())) {
            Ok(Some(text)) => api.result_text(context, &text),
            Ok(None) => {}
            Err(message) => {
                let message = CString::new(message.replace('\0', " ")).unwrap_or_default();
                api.result_error(context, &message);
            }
        }
    }
}

/// Runs a function about one of the connection's databases.
///
/// # Safety
/// As for [`answer`].
unsafe fn about_database(
    context: Context,
    count: c_int,
    arguments: Arguments,
    function: impl FnOnce(&mut Database) -> Result<String, String>,
) {
    // SAFETY: passed on to the caller.
    unsafe {
        answer(context, count, arguments, |api, schema| {
            let database = database_of(api, api.context_connection(context), schema)?;
            function(&mut database.lock()).map(Some)
        });
    }
}

/// The schema that a function is called with, if it may be the name of one.
///
/// # Safety
/// The arguments must be so many of the present call, and the answer be used during it.
pub(super) unsafe fn schema<'a>(
    api: &HostApi,
    count: c_int,
    arguments: Arguments,
) -> Result<&'a CStr, String> {
    if count == 0 {
        return Ok(c"main");
    }
    // SAFETY: there is a first argument, and the rest is passed on to the caller.
    match unsafe { api.value_text(arguments.read()) } {
        Some(text) => {
            // SQLite would look no further than an inner zero.
            CStr::from_bytes_with_nul(text).map_err(|_| not_ours(text))
        }
        None => Err(not_ours(b"NULL")),
    }
}

/// How much of what is no schema a message shows.
const LONGEST_SHOWN: usize = 100;

/// What to say about a schema that is no database of ours.
fn not_ours(schema: &[u8]) -> String {
    let schema = String::from_utf8_lossy(schema.strip_suffix(b"\0").unwrap_or(schema));
    let mut shown: String = schema.escape_debug().take(LONGEST_SHOWN).collect();
    if schema.is_empty() {
        shown.push_str("''");
    }
    format!(
        "{shown} is no Verso database of this connection: name the schema of one, such as 'main'"
    )
}

/// The database behind a schema of a connection, or why there is none.
///
/// # Safety
/// The connection must be open, and the caller called by it outside of the VFS.
pub(super) unsafe fn database_of(
    api: &HostApi,
    connection: *mut sqlite::sqlite3,
    schema: &CStr,
) -> Result<SharedDatabase, String> {
    let mut place: *const Mutex<Database> = ptr::null();
    // SAFETY: only files of ours know the operation; they write an Arc that is handed over.
    unsafe {
        let argument = (&raw mut place).cast();
        let code = api.file_control(connection, schema, FCNTL_DATABASE, argument);
        if code == sqlite::SQLITE_OK && !place.is_null() {
            Ok(Arc::from_raw(place))
        } else {
            Err(not_ours(schema.to_bytes()))
        }
    }
}

unsafe extern "C" fn version(context: Context, count: c_int, arguments: Arguments) {
    // SAFETY: called by SQLite.
    unsafe {
        about_database(context, count, arguments, |database| {
            let snapshot = database.present().map_err(|error| error.to_string())?;
            Ok(snapshot.version.to_string())
        });
    }
}

unsafe extern "C" fn info(context: Context, count: c_int, arguments: Arguments) {
    // SAFETY: called by SQLite.
    unsafe {
        about_database(context, count, arguments, |database| {
            database.describe().map_err(|error| error.to_string())
        });
    }
}

unsafe extern "C" fn stats(context: Context, count: c_int, arguments: Arguments) {
    // SAFETY: called by SQLite.
    unsafe {
        about_database(context, count, arguments, |database| {
            Ok(database.statistics())
        });
    }
}

unsafe extern "C" fn last(context: Context, count: c_int, arguments: Arguments) {
    // SAFETY: called by SQLite.
    unsafe { answer(context, count, arguments, |_, _| Ok(last_error())) }
}
