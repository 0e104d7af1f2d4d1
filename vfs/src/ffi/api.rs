//! The functions of the SQLite library that the VFS was registered with.
//!
//! A small table, filled from the symbols that this program is linked with, or from those
//! that another SQLite library in the process has by the same names.

use std::ffi::{CStr, CString, c_char, c_int, c_uchar, c_void};
use std::ptr::NonNull;

use libsqlite3_sys as sqlite;

use crate::RegisterError;
use crate::statement::Running;

/// An SQL function.
type Function =
    unsafe extern "C" fn(*mut sqlite::sqlite3_context, c_int, *mut *mut sqlite::sqlite3_value);

/// What `sqlite3_auto_extension` calls for each new connection.
type EntryPoint = unsafe extern "C" fn(
    *mut sqlite::sqlite3,
    *mut *mut c_char,
    *const sqlite::sqlite3_api_routines,
) -> c_int;

/// Defines [`HostApi`] from one line per function: its field, its symbol, and its type.
macro_rules! host_api {
    ($($field:ident = $symbol:ident: $type:ty;)*) => {
        /// Functions of one SQLite library. All of them stay valid as long as the process
        /// lives.
        #[derive(Clone, Copy)]
        pub(crate) struct HostApi {
            $($field: $type,)*
        }

        impl HostApi {
            /// The library that this program is linked with.
            pub(crate) fn linked() -> Self {
                Self {
                    $($field: sqlite::$symbol,)*
                }
            }

            /// The library that `lookup` finds functions of by their names.
            ///
            /// # Safety
            /// What `lookup` finds must be the function of that name of an SQLite library,
            /// one and the same for all names, that stays loaded as long as the process
            /// lives.
            pub(super) unsafe fn found(
                mut lookup: impl FnMut(&CStr) -> Option<NonNull<c_void>>,
            ) -> Result<Self, RegisterError> {
                Ok(Self {
                    $($field: {
                        let found = find(&mut lookup, concat!(stringify!($symbol), "\0"))?;
                        // SAFETY: by contract the function of this name, which has this type
                        // in every version of SQLite that has it.
                        unsafe { std::mem::transmute::<NonNull<c_void>, $type>(found) }
                    },)*
                })
            }
        }
    };
}

host_api! {
    vfs_find = sqlite3_vfs_find:
        unsafe extern "C" fn(*const c_char) -> *mut sqlite::sqlite3_vfs;
    vfs_register = sqlite3_vfs_register:
        unsafe extern "C" fn(*mut sqlite::sqlite3_vfs, c_int) -> c_int;
    log = sqlite3_log: unsafe extern "C" fn(c_int, *const c_char, ...);
    malloc64 = sqlite3_malloc64: unsafe extern "C" fn(u64) -> *mut c_void;
    uri_parameter = sqlite3_uri_parameter:
        unsafe extern "C" fn(*const c_char, *const c_char) -> *const c_char;
    uri_key = sqlite3_uri_key: unsafe extern "C" fn(*const c_char, c_int) -> *const c_char;
    uri_boolean = sqlite3_uri_boolean:
        unsafe extern "C" fn(*const c_char, *const c_char, c_int) -> c_int;
    get_autocommit = sqlite3_get_autocommit: unsafe extern "C" fn(*mut sqlite::sqlite3) -> c_int;
    next_stmt = sqlite3_next_stmt:
        unsafe extern "C" fn(
            *mut sqlite::sqlite3,
            *mut sqlite::sqlite3_stmt,
        ) -> *mut sqlite::sqlite3_stmt;
    stmt_busy = sqlite3_stmt_busy: unsafe extern "C" fn(*mut sqlite::sqlite3_stmt) -> c_int;
    stmt_readonly = sqlite3_stmt_readonly:
        unsafe extern "C" fn(*mut sqlite::sqlite3_stmt) -> c_int;
    stmt_status = sqlite3_stmt_status:
        unsafe extern "C" fn(*mut sqlite::sqlite3_stmt, c_int, c_int) -> c_int;
    column_count = sqlite3_column_count: unsafe extern "C" fn(*mut sqlite::sqlite3_stmt) -> c_int;
    last_insert_rowid = sqlite3_last_insert_rowid:
        unsafe extern "C" fn(*mut sqlite::sqlite3) -> i64;
    set_last_insert_rowid = sqlite3_set_last_insert_rowid:
        unsafe extern "C" fn(*mut sqlite::sqlite3, i64);
    txn_state = sqlite3_txn_state:
        unsafe extern "C" fn(*mut sqlite::sqlite3, *const c_char) -> c_int;
    db_name = sqlite3_db_name: unsafe extern "C" fn(*mut sqlite::sqlite3, c_int) -> *const c_char;
    db_filename = sqlite3_db_filename:
        unsafe extern "C" fn(*mut sqlite::sqlite3, *const c_char) -> *const c_char;
    auto_extension = sqlite3_auto_extension:
        unsafe extern "C" fn(Option<EntryPoint>) -> c_int;
    create_function_v2 = sqlite3_create_function_v2:
        unsafe extern "C" fn(
            *mut sqlite::sqlite3,
            *const c_char,
            c_int,
            c_int,
            *mut c_void,
            Option<Function>,
            Option<Function>,
            Option<unsafe extern "C" fn(*mut sqlite::sqlite3_context)>,
            Option<unsafe extern "C" fn(*mut c_void)>,
        ) -> c_int;
    create_module_v2 = sqlite3_create_module_v2:
        unsafe extern "C" fn(
            *mut sqlite::sqlite3,
            *const c_char,
            *const sqlite::sqlite3_module,
            *mut c_void,
            Option<unsafe extern "C" fn(*mut c_void)>,
        ) -> c_int;
    declare_vtab = sqlite3_declare_vtab:
        unsafe extern "C" fn(*mut sqlite::sqlite3, *const c_char) -> c_int;
    vtab_config = sqlite3_vtab_config:
        unsafe extern "C" fn(*mut sqlite::sqlite3, c_int, ...) -> c_int;
    result_int64 = sqlite3_result_int64: unsafe extern "C" fn(*mut sqlite::sqlite3_context, i64);
    context_db_handle = sqlite3_context_db_handle:
        unsafe extern "C" fn(*mut sqlite::sqlite3_context) -> *mut sqlite::sqlite3;
    value_text = sqlite3_value_text:
        unsafe extern "C" fn(*mut sqlite::sqlite3_value) -> *const c_uchar;
    value_bytes = sqlite3_value_bytes: unsafe extern "C" fn(*mut sqlite::sqlite3_value) -> c_int;
    result_text = sqlite3_result_text:
        unsafe extern "C" fn(
            *mut sqlite::sqlite3_context,
            *const c_char,
            c_int,
            Option<unsafe extern "C" fn(*mut c_void)>,
        );
    result_error = sqlite3_result_error:
        unsafe extern "C" fn(*mut sqlite::sqlite3_context, *const c_char, c_int);
    file_control = sqlite3_file_control:
        unsafe extern "C" fn(*mut sqlite::sqlite3, *const c_char, c_int, *mut c_void) -> c_int;
    sql = sqlite3_sql: unsafe extern "C" fn(*mut sqlite::sqlite3_stmt) -> *const c_char;
    libversion_number = sqlite3_libversion_number: unsafe extern "C" fn() -> c_int;
}

/// The function of a name that ends with a zero byte.
fn find(
    lookup: &mut impl FnMut(&CStr) -> Option<NonNull<c_void>>,
    name: &'static str,
) -> Result<NonNull<c_void>, RegisterError> {
    let text = CStr::from_bytes_with_nul(name.as_bytes()).expect("the macro ends it with a zero");
    lookup(text).ok_or(RegisterError::MissingFunction {
        name: name.trim_end_matches('\0'),
    })
}

impl HostApi {
    /// Whether it is the library that `lookup` finds functions of.
    pub(super) fn is_found_by(
        &self,
        mut lookup: impl FnMut(&CStr) -> Option<NonNull<c_void>>,
    ) -> bool {
        let own = self.create_function_v2 as *const c_void;
        lookup(c"sqlite3_create_function_v2")
            .is_some_and(|found| found.as_ptr().cast_const() == own)
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
    pub(super) unsafe fn vfs_register(
        &self,
        vfs: *mut sqlite::sqlite3_vfs,
        is_default: bool,
    ) -> c_int {
        // SAFETY: passed on to the caller.
        unsafe { (self.vfs_register)(vfs, is_default.into()) }
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

    /// The names of all parameters of a database's URI.
    ///
    /// # Safety
    /// As for [`HostApi::uri_parameter`].
    pub(super) unsafe fn uri_keys(&self, name: *const c_char) -> Vec<String> {
        // SAFETY: passed on to the caller; behind the last one the answer is null.
        let key = |index| unsafe { super::c_text((self.uri_key)(name, index)) };
        let keys = (0..).map_while(key);
        keys.map(|key| key.to_string_lossy().into_owned()).collect()
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

    /// The statements that the connection is running.
    ///
    /// # Safety
    /// As for [`HostApi::is_autocommit`], and the answer must not outlive the callback.
    pub(super) unsafe fn running<'a>(self, connection: *mut sqlite::sqlite3) -> Vec<Running<'a>> {
        let mut running = Vec::new();
        // SAFETY: the connection is open and its mutex is held by the caller's caller, so its
        // statements stay as they are; the text of a statement is a C string or null.
        unsafe {
            let mut statement = (self.next_stmt)(connection, std::ptr::null_mut());
            while !statement.is_null() {
                if (self.stmt_busy)(statement) != 0 {
                    running.push(Running {
                        text: super::c_text((self.sql)(statement)).map(CStr::to_bytes),
                        is_read_only: (self.stmt_readonly)(statement) != 0,
                        has_columns: (self.column_count)(statement) != 0,
                        steps: (self.stmt_status)(statement, sqlite::SQLITE_STMTSTATUS_VM_STEP, 0),
                    });
                }
                statement = (self.next_stmt)(connection, statement);
            }
        }
        running
    }

    /// How many files the connection's transaction writes. Temporary files and databases in
    /// memory, which have no names, do not count.
    ///
    /// # Safety
    /// As for [`HostApi::is_autocommit`].
    pub(super) unsafe fn written_files(&self, connection: *mut sqlite::sqlite3) -> usize {
        let is_written = |schema: &*const c_char| {
            // SAFETY: the connection is open, and the schema's name is its own.
            unsafe { (self.txn_state)(connection, *schema) == sqlite::SQLITE_TXN_WRITE }
        };
        // SAFETY: passed on to the caller.
        unsafe { self.named_files(connection) }
            .filter(is_written)
            .count()
    }

    /// The schemas of a connection that are files with names.
    ///
    /// # Safety
    /// As for [`HostApi::is_autocommit`], and the answer must not outlive the callback.
    pub(super) unsafe fn named_files(
        &self,
        connection: *mut sqlite::sqlite3,
    ) -> impl Iterator<Item = *const c_char> {
        let is_named = move |schema: &*const c_char| {
            // SAFETY: the connection is open, and the schema's name is its own.
            unsafe { super::c_text((self.db_filename)(connection, *schema)) }
                .is_some_and(|name| !name.is_empty())
        };
        // SAFETY: the connection is open; behind its last schema the answer is null.
        let schemas = (0..).map(move |index| unsafe { (self.db_name)(connection, index) });
        schemas
            .take_while(|schema| !schema.is_null())
            .filter(is_named)
    }

    /// `sqlite3_last_insert_rowid`.
    ///
    /// # Safety
    /// As for [`HostApi::is_autocommit`].
    pub(super) unsafe fn last_insert_rowid(&self, connection: *mut sqlite::sqlite3) -> i64 {
        // SAFETY: passed on to the caller.
        unsafe { (self.last_insert_rowid)(connection) }
    }

    /// `sqlite3_set_last_insert_rowid`.
    ///
    /// # Safety
    /// As for [`HostApi::is_autocommit`].
    pub(super) unsafe fn set_last_insert_rowid(
        &self,
        connection: *mut sqlite::sqlite3,
        rowid: i64,
    ) {
        // SAFETY: passed on to the caller.
        unsafe { (self.set_last_insert_rowid)(connection, rowid) }
    }

    /// `sqlite3_auto_extension`.
    pub(super) fn auto_extension(&self, entry: EntryPoint) -> c_int {
        // SAFETY: SQLite only keeps the pointer, and calls it as the entry point that it is.
        unsafe { (self.auto_extension)(Some(entry)) }
    }

    /// Adds an SQL function to a connection.
    ///
    /// # Safety
    /// The connection must be open.
    pub(super) unsafe fn create_function(
        &self,
        connection: *mut sqlite::sqlite3,
        name: &CStr,
        arguments: c_int,
        flags: c_int,
        function: Function,
    ) -> c_int {
        // SAFETY: passed on to the caller; the function needs no data of its own.
        unsafe {
            (self.create_function_v2)(
                connection,
                name.as_ptr(),
                arguments,
                flags,
                std::ptr::null_mut(),
                Some(function),
                None,
                None,
                None,
            )
        }
    }

    /// Adds a virtual table's module to a connection.
    ///
    /// # Safety
    /// The connection must be open, and module and data stay as long as the process lives.
    pub(super) unsafe fn create_module(
        &self,
        connection: *mut sqlite::sqlite3,
        name: &CStr,
        module: &'static sqlite::sqlite3_module,
        data: *mut c_void,
    ) -> c_int {
        // SAFETY: passed on to the caller.
        unsafe { (self.create_module_v2)(connection, name.as_ptr(), module, data, None) }
    }

    /// Declares the columns of a virtual table.
    ///
    /// # Safety
    /// Only inside `xConnect` of this connection.
    pub(super) unsafe fn declare_table(
        &self,
        connection: *mut sqlite::sqlite3,
        schema: &CStr,
    ) -> c_int {
        // SAFETY: passed on to the caller.
        unsafe { (self.declare_vtab)(connection, schema.as_ptr()) }
    }

    /// Keeps a virtual table out of schemas that somebody else may have written.
    ///
    /// # Safety
    /// As for [`HostApi::declare_table`].
    pub(super) unsafe fn declare_direct(&self, connection: *mut sqlite::sqlite3) -> c_int {
        // SAFETY: passed on to the caller; this option takes no arguments.
        unsafe { (self.vtab_config)(connection, sqlite::SQLITE_VTAB_DIRECTONLY) }
    }

    /// Answers an integer.
    ///
    /// # Safety
    /// The context must be that of the call.
    pub(super) unsafe fn result_integer(&self, context: *mut sqlite::sqlite3_context, number: i64) {
        // SAFETY: passed on to the caller.
        unsafe { (self.result_int64)(context, number) }
    }

    /// The connection that calls a function.
    ///
    /// # Safety
    /// The context must be that of the call.
    pub(super) unsafe fn context_connection(
        &self,
        context: *mut sqlite::sqlite3_context,
    ) -> *mut sqlite::sqlite3 {
        // SAFETY: passed on to the caller.
        unsafe { (self.context_db_handle)(context) }
    }

    /// An argument as text, with the zero behind it; `None` for NULL.
    ///
    /// # Safety
    /// The value must be an argument of the present call, and the text be used during it.
    pub(super) unsafe fn value_text<'a>(
        &self,
        value: *mut sqlite::sqlite3_value,
    ) -> Option<&'a [u8]> {
        // SAFETY: passed on to the caller; SQLite's texts have so many bytes and then a zero.
        unsafe {
            let text = (self.value_text)(value);
            let length = usize::try_from((self.value_bytes)(value)).unwrap_or(0);
            (!text.is_null()).then(|| std::slice::from_raw_parts(text, length + 1))
        }
    }

    /// Answers a text.
    ///
    /// # Safety
    /// The context must be that of the call.
    pub(super) unsafe fn result_text(&self, context: *mut sqlite::sqlite3_context, text: &str) {
        let length = c_int::try_from(text.len()).unwrap_or(c_int::MAX);
        // SAFETY: passed on to the caller; SQLite copies so many bytes at once.
        unsafe {
            (self.result_text)(
                context,
                text.as_ptr().cast(),
                length,
                sqlite::SQLITE_TRANSIENT(),
            );
        }
    }

    /// Answers an error.
    ///
    /// # Safety
    /// The context must be that of the call.
    pub(super) unsafe fn result_error(
        &self,
        context: *mut sqlite::sqlite3_context,
        message: &CStr,
    ) {
        // SAFETY: passed on to the caller; SQLite copies the text up to its zero.
        unsafe { (self.result_error)(context, message.as_ptr(), -1) }
    }

    /// `sqlite3_file_control`.
    ///
    /// # Safety
    /// The connection must be open, the argument that of the operation, and the caller no
    /// callback of a VFS.
    pub(super) unsafe fn file_control(
        &self,
        connection: *mut sqlite::sqlite3,
        schema: &CStr,
        operation: c_int,
        argument: *mut c_void,
    ) -> c_int {
        // SAFETY: passed on to the caller.
        unsafe { (self.file_control)(connection, schema.as_ptr(), operation, argument) }
    }

    /// `SQLITE_VERSION_NUMBER` of the library.
    pub(super) fn version_number(&self) -> u32 {
        // SAFETY: always safe to call.
        u32::try_from(unsafe { (self.libversion_number)() }).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_lacks_a_function_is_refused_by_the_functions_name() {
        // Nothing is called, so any address will do.
        let lookup = |name: &CStr| (name != c"sqlite3_stmt_busy").then_some(NonNull::dangling());
        // SAFETY: the functions that are found are never called.
        let found = unsafe { HostApi::found(lookup) };
        let name = "sqlite3_stmt_busy";
        assert_eq!(found.err(), Some(RegisterError::MissingFunction { name }));
    }
}
