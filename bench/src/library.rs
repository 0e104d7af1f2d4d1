//! Another SQLite library, loaded while the program runs: mvSQLite is one, and libSQL.

use std::collections::HashMap;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::Path;
use std::ptr;

use libloading::Library;

use crate::sql::{Failure, Sql, SqlError};

type Database = *mut c_void;
type Statement = *mut c_void;

const OK: c_int = 0;
const ROW: c_int = 100;
const DONE: c_int = 101;
const INTEGER: c_int = 1;
/// `SQLITE_OPEN_READWRITE` and `SQLITE_OPEN_CREATE`.
const READ_WRITE_CREATE: c_int = 0x2 | 0x4;
const BUSY_MILLISECONDS: c_int = 5000;

/// The functions that are used (<https://www.sqlite.org/c3ref/funclist.html>).
struct Functions {
    open_v2: unsafe extern "C" fn(*const c_char, *mut Database, c_int, *const c_char) -> c_int,
    close_v2: unsafe extern "C" fn(Database) -> c_int,
    busy_timeout: unsafe extern "C" fn(Database, c_int) -> c_int,
    errmsg: unsafe extern "C" fn(Database) -> *const c_char,
    prepare_v2: unsafe extern "C" fn(
        Database,
        *const c_char,
        c_int,
        *mut Statement,
        *mut *const c_char,
    ) -> c_int,
    bind_int64: unsafe extern "C" fn(Statement, c_int, i64) -> c_int,
    step: unsafe extern "C" fn(Statement) -> c_int,
    column_type: unsafe extern "C" fn(Statement, c_int) -> c_int,
    column_int64: unsafe extern "C" fn(Statement, c_int) -> i64,
    reset: unsafe extern "C" fn(Statement) -> c_int,
    finalize: unsafe extern "C" fn(Statement) -> c_int,
}

/// A connection through a loaded library. Used by one thread at a time.
pub(crate) struct Loaded {
    functions: Functions,
    database: Database,
    statements: HashMap<String, Statement>,
}

#[expect(unsafe_code, reason = "a pointer may move to the thread that uses it")]
// SAFETY: SQLite's default threading mode is serialized, and `Loaded` is not `Sync`.
unsafe impl Send for Loaded {}

#[expect(unsafe_code, reason = "a library of C")]
impl Functions {
    fn load(path: &Path) -> Result<Self, libloading::Error> {
        // SAFETY: the user names a SQLite library; the types are those of its documentation. It
        // is never unloaded, for its threads go on.
        unsafe {
            let library = Box::leak(Box::new(Library::new(path)?));
            Ok(Self {
                open_v2: *library.get(b"sqlite3_open_v2\0")?,
                close_v2: *library.get(b"sqlite3_close_v2\0")?,
                busy_timeout: *library.get(b"sqlite3_busy_timeout\0")?,
                errmsg: *library.get(b"sqlite3_errmsg\0")?,
                prepare_v2: *library.get(b"sqlite3_prepare_v2\0")?,
                bind_int64: *library.get(b"sqlite3_bind_int64\0")?,
                step: *library.get(b"sqlite3_step\0")?,
                column_type: *library.get(b"sqlite3_column_type\0")?,
                column_int64: *library.get(b"sqlite3_column_int64\0")?,
                reset: *library.get(b"sqlite3_reset\0")?,
                finalize: *library.get(b"sqlite3_finalize\0")?,
            })
        }
    }
}

#[expect(unsafe_code, reason = "a library of C")]
impl Loaded {
    /// Loads the library and opens a database.
    pub(crate) fn open(library: &Path, name: &str) -> anyhow::Result<Self> {
        let functions = Functions::load(library)?;
        let name = CString::new(name)?;
        let mut database = ptr::null_mut();
        // SAFETY: the name ends with a zero, and the place for the handle is ours.
        let code = unsafe {
            (functions.open_v2)(
                name.as_ptr(),
                &raw mut database,
                READ_WRITE_CREATE,
                ptr::null(),
            )
        };
        let opened = Self {
            functions,
            database,
            statements: HashMap::new(),
        };
        opened.check(code)?;
        // SAFETY: the database is open.
        opened.check(unsafe { (opened.functions.busy_timeout)(database, BUSY_MILLISECONDS) })?;
        Ok(opened)
    }

    fn check(&self, code: c_int) -> Result<(), SqlError> {
        if matches!(code, OK | ROW | DONE) {
            return Ok(());
        }
        // SAFETY: the database is open or null, and the text is copied before anything else runs.
        let message = unsafe { CStr::from_ptr((self.functions.errmsg)(self.database)) };
        Err(SqlError {
            failure: Failure::of(code),
            message: format!("{} ({code})", message.to_string_lossy()),
        })
    }

    fn prepared(&mut self, sql: &str) -> Result<Statement, SqlError> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(*statement);
        }
        let text = CString::new(sql).map_err(|error| SqlError {
            failure: Failure::Other,
            message: error.to_string(),
        })?;
        let mut statement = ptr::null_mut();
        // SAFETY: the database is open, the text ends with a zero, and the place is ours.
        let code = unsafe {
            (self.functions.prepare_v2)(
                self.database,
                text.as_ptr(),
                -1,
                &raw mut statement,
                ptr::null_mut(),
            )
        };
        self.check(code)?;
        self.statements.insert(sql.to_owned(), statement);
        Ok(statement)
    }

    /// Steps to the end.
    fn steps(&self, statement: Statement) -> Result<Option<i64>, SqlError> {
        let mut first = None;
        let mut is_first = true;
        loop {
            // SAFETY: the statement is prepared, and a row is there where one is read.
            let code = unsafe { (self.functions.step)(statement) };
            self.check(code)?;
            if code != ROW {
                return Ok(first);
            }
            // SAFETY: as above.
            if is_first && unsafe { (self.functions.column_type)(statement, 0) } == INTEGER {
                // SAFETY: as above.
                first = Some(unsafe { (self.functions.column_int64)(statement, 0) });
            }
            is_first = false;
        }
    }
}

#[expect(unsafe_code, reason = "a library of C")]
impl Sql for Loaded {
    fn run(&mut self, sql: &str, values: &[i64]) -> Result<Option<i64>, SqlError> {
        let statement = self.prepared(sql)?;
        for (index, value) in (1..).zip(values) {
            // SAFETY: the statement is prepared and not running.
            self.check(unsafe { (self.functions.bind_int64)(statement, index, *value) })?;
        }
        let first = self.steps(statement);
        // SAFETY: the statement is prepared. What it returns is the error of the step.
        unsafe { (self.functions.reset)(statement) };
        first
    }
}

#[expect(unsafe_code, reason = "a library of C")]
impl Drop for Loaded {
    fn drop(&mut self) {
        for statement in self.statements.values() {
            // SAFETY: each was prepared once, and is used no more.
            unsafe { (self.functions.finalize)(*statement) };
        }
        // SAFETY: no statement is left.
        unsafe { (self.functions.close_v2)(self.database) };
    }
}
