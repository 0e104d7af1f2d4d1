//! The functions of the SQLite library that the VFS was registered with.
//!
//! A small table, so that a loadable extension can fill it from the host's
//! `sqlite3_api_routines`, and a linked program from its own symbols.

use std::ffi::{CStr, CString, c_char, c_int, c_void};

use libsqlite3_sys as sqlite;

/// Functions of one SQLite library. All of them stay valid as long as the process lives.
#[derive(Clone, Copy)]
pub(crate) struct HostApi {
    vfs_find: unsafe extern "C" fn(*const c_char) -> *mut sqlite::sqlite3_vfs,
    vfs_register: unsafe extern "C" fn(*mut sqlite::sqlite3_vfs, c_int) -> c_int,
    log: unsafe extern "C" fn(c_int, *const c_char, ...),
    malloc64: unsafe extern "C" fn(u64) -> *mut c_void,
    uri_parameter: unsafe extern "C" fn(*const c_char, *const c_char) -> *const c_char,
    uri_boolean: unsafe extern "C" fn(*const c_char, *const c_char, c_int) -> c_int,
    get_autocommit: unsafe extern "C" fn(*mut sqlite::sqlite3) -> c_int,
    next_stmt: unsafe extern "C" fn(
        *mut sqlite::sqlite3,
        *mut sqlite::sqlite3_stmt,
    ) -> *mut sqlite::sqlite3_stmt,
    stmt_busy: unsafe extern "C" fn(*mut sqlite::sqlite3_stmt) -> c_int,
    sql: unsafe extern "C" fn(*mut sqlite::sqlite3_stmt) -> *const c_char,
    libversion_number: unsafe extern "C" fn() -> c_int,
}

impl HostApi {
    /// The library that this program is linked with.
    pub(crate) fn linked() -> Self {
        Self {
            vfs_find: sqlite::sqlite3_vfs_find,
            vfs_register: sqlite::sqlite3_vfs_register,
            log: sqlite::sqlite3_log,
            malloc64: sqlite::sqlite3_malloc64,
            uri_parameter: sqlite::sqlite3_uri_parameter,
            uri_boolean: sqlite::sqlite3_uri_boolean,
            get_autocommit: sqlite::sqlite3_get_autocommit,
            next_stmt: sqlite::sqlite3_next_stmt,
            stmt_busy: sqlite::sqlite3_stmt_busy,
            sql: sqlite::sqlite3_sql,
            libversion_number: sqlite::sqlite3_libversion_number,
        }
    }

    /// The VFS of this name, or the default one.
    pub(super) fn vfs_find(&self, name: Option<&CStr>) -> *mut sqlite::sqlite3_vfs {
        // SAFETY: the name is a C string or null, as sqlite3_vfs_find takes it.
        unsafe { (self.vfs_find)(name.map_or(std::ptr::null(), CStr::as_ptr)) }
    }

    /// Registers a VFS.
    ///
    /// # Safety
    /// `vfs` and all that it points to must stay valid as long as the process lives.
    pub(super) unsafe fn vfs_register(&self, vfs: *mut sqlite::sqlite3_vfs) -> c_int {
        // SAFETY: passed on to the caller.
        unsafe { (self.vfs_register)(vfs, 0) }
    }

    /// Writes to the log that `sqlite3_config(SQLITE_CONFIG_LOG)` set.
    pub(super) fn log(&self, code: c_int, message: &CStr) {
        // SAFETY: "%s" takes the one C string that follows.
        unsafe { (self.log)(code, c"%s".as_ptr(), message.as_ptr()) }
    }

    /// A copy of the text in memory that SQLite will free; null if there is none left.
    pub(super) fn allocate_text(&self, text: &CStr) -> *mut c_char {
        let bytes = text.to_bytes_with_nul();
        // SAFETY: any size may be asked for.
        let copy = unsafe { (self.malloc64)(bytes.len() as u64) }.cast::<c_char>();
        if !copy.is_null() {
            // SAFETY: the new allocation has room for exactly these bytes.
            unsafe { copy.copy_from_nonoverlapping(bytes.as_ptr().cast(), bytes.len()) };
        }
        copy
    }

    /// A parameter of a database's URI.
    ///
    /// # Safety
    /// `name` must be the name that SQLite passed to `xOpen` for a main database.
    pub(super) unsafe fn uri_parameter(&self, name: *const c_char, key: &CStr) -> Option<CString> {
        // SAFETY: such names carry their parameters behind them; the result is a C string
        // that lives as long as the name, and is copied at once.
        unsafe { super::c_text((self.uri_parameter)(name, key.as_ptr())).map(CStr::to_owned) }
    }

    /// A boolean parameter of a database's URI; false if it is absent.
    ///
    /// # Safety
    /// As for [`HostApi::uri_parameter`].
    pub(super) unsafe fn uri_boolean(&self, name: *const c_char, key: &CStr) -> bool {
        // SAFETY: passed on to the caller.
        unsafe { (self.uri_boolean)(name, key.as_ptr(), 0) != 0 }
    }

    /// Whether a connection is in autocommit mode, that is, in no transaction of `BEGIN`.
    ///
    /// # Safety
    /// The connection must be open, and the caller must be called by it.
    pub(super) unsafe fn is_autocommit(&self, connection: *mut sqlite::sqlite3) -> bool {
        // SAFETY: passed on to the caller.
        unsafe { (self.get_autocommit)(connection) != 0 }
    }

    /// Whether a statement that the connection is running has a text of this kind.
    ///
    /// # Safety
    /// As for [`HostApi::is_autocommit`].
    pub(super) unsafe fn is_running(
        &self,
        connection: *mut sqlite::sqlite3,
        is_wanted: impl Fn(&[u8]) -> bool,
    ) -> bool {
        // SAFETY: the connection is open and its mutex is held by the caller's caller, so its
        // statements stay as they are; the text of a statement is a C string or null.
        unsafe {
            let mut statement = (self.next_stmt)(connection, std::ptr::null_mut());
            while !statement.is_null() {
                if (self.stmt_busy)(statement) != 0
                    && super::c_text((self.sql)(statement))
                        .is_some_and(|text| is_wanted(text.to_bytes()))
                {
                    return true;
                }
                statement = (self.next_stmt)(connection, statement);
            }
        }
        false
    }

    /// `SQLITE_VERSION_NUMBER` of the library.
    pub(super) fn version_number(&self) -> u32 {
        // SAFETY: always safe to call.
        u32::try_from(unsafe { (self.libversion_number)() }).unwrap_or(0)
    }
}
