//! The table-valued functions: `verso_log`, `verso_databases` and `verso_conflicts`.
//!
//! Each is an eponymous-only virtual table (<https://www.sqlite.org/vtab.html#epovtab>) with one
//! hidden column, its argument: the schema of a database.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use libsqlite3_sys as sqlite;

use super::api::HostApi;
use super::functions::{LIBRARY, database_of, schema};
use crate::rows::{self, Rows, Value};

/// A table-valued function. Its last column is the hidden one.
struct Table {
    name: &'static CStr,
    schema: &'static CStr,
    argument: c_int,
    /// Whether it tells of more than the database, which no schema may ask for that somebody else
    /// may have written.
    is_direct: bool,
    rows: fn(crate::connection::SharedDatabase) -> Rows,
}

static TABLES: [Table; 3] = [
    Table {
        name: c"verso_log",
        schema: c"CREATE TABLE x (version TEXT, time TEXT, pages INTEGER, size INTEGER, \
                  commit_id TEXT, schema TEXT HIDDEN)",
        argument: 5,
        is_direct: false,
        rows: rows::log,
    },
    Table {
        name: c"verso_databases",
        schema: c"CREATE TABLE x (name TEXT, id TEXT, schema TEXT HIDDEN)",
        argument: 2,
        is_direct: true,
        rows: rows::databases,
    },
    Table {
        name: c"verso_conflicts",
        schema: c"CREATE TABLE x (database TEXT, page INTEGER, owner TEXT, winner TEXT, \
                  schema TEXT HIDDEN)",
        argument: 4,
        is_direct: true,
        rows: rows::conflicts,
    },
];

#[repr(C)]
struct RawTable {
    base: sqlite::sqlite3_vtab,
    table: &'static Table,
    connection: *mut sqlite::sqlite3,
}

#[repr(C)]
struct RawCursor {
    base: sqlite::sqlite3_vtab_cursor,
    rows: Option<Rows>,
    current: Option<Vec<Value>>,
    number: i64,
    /// The argument, which is the value of the hidden column.
    schema: String,
}

static MODULE: sqlite::sqlite3_module = sqlite::sqlite3_module {
    iVersion: 0,
    xCreate: None,
    xConnect: Some(connect),
    xBestIndex: Some(best_index),
    xDisconnect: Some(disconnect),
    xDestroy: None,
    xOpen: Some(open),
    xClose: Some(close),
    xFilter: Some(filter),
    xNext: Some(next),
    xEof: Some(eof),
    xColumn: Some(column),
    xRowid: Some(rowid),
    xUpdate: None,
    xBegin: None,
    xSync: None,
    xCommit: None,
    xRollback: None,
    xFindFunction: None,
    xRename: None,
    xSavepoint: None,
    xRelease: None,
    xRollbackTo: None,
    xShadowName: None,
    xIntegrity: None,
};

/// Adds the tables to a connection.
///
/// # Safety
/// The connection must be open, and of this library.
pub(super) unsafe fn add(api: &HostApi, connection: *mut sqlite::sqlite3) -> c_int {
    let mut tables = TABLES.iter();
    let failure = tables.find_map(|table| {
        let data = ptr::from_ref(table).cast_mut().cast();
        // SAFETY: passed on to the caller; module and table are static.
        let code = unsafe { api.create_module(connection, table.name, &MODULE, data) };
        (code != sqlite::SQLITE_OK).then_some(code)
    });
    failure.unwrap_or(sqlite::SQLITE_OK)
}

unsafe extern "C" fn connect(
    connection: *mut sqlite::sqlite3,
    data: *mut c_void,
    _: c_int,
    _: *const *const c_char,
    result: *mut *mut sqlite::sqlite3_vtab,
    _: *mut *mut c_char,
) -> c_int {
    let Some(api) = LIBRARY.get() else {
        return sqlite::SQLITE_ERROR;
    };
    // SAFETY: SQLite passes what `add` gave it, an open connection, and a place.
    unsafe {
        let table: &'static Table = &*data.cast::<Table>();
        let mut code = api.declare_table(connection, table.schema);
        if code == sqlite::SQLITE_OK && table.is_direct {
            code = api.declare_direct(connection);
        }
        if code == sqlite::SQLITE_OK {
            let raw = Box::new(RawTable {
                base: std::mem::zeroed(),
                table,
                connection,
            });
            *result = Box::into_raw(raw).cast();
        }
        code
    }
}

unsafe extern "C" fn disconnect(table: *mut sqlite::sqlite3_vtab) -> c_int {
    // SAFETY: made by `connect`, and given back once.
    drop(unsafe { Box::from_raw(table.cast::<RawTable>()) });
    sqlite::SQLITE_OK
}

/// The only question is whether there is an argument. If it is compared twice, the second
/// comparison is SQLite's business.
unsafe extern "C" fn best_index(
    table: *mut sqlite::sqlite3_vtab,
    info: *mut sqlite::sqlite3_index_info,
) -> c_int {
    // SAFETY: SQLite passes a table of ours, and an index info with so many constraints.
    unsafe {
        let argument = (*table.cast::<RawTable>()).table.argument;
        let info = &mut *info;
        info.estimatedCost = 1e6;
        for index in 0..usize::try_from(info.nConstraint).unwrap_or(0) {
            let constraint = &*info.aConstraint.add(index);
            let is_equal = c_int::from(constraint.op) == sqlite::SQLITE_INDEX_CONSTRAINT_EQ;
            if constraint.iColumn != argument || !is_equal {
                continue;
            }
            if constraint.usable == 0 {
                return sqlite::SQLITE_CONSTRAINT;
            }
            if info.idxNum == 1 {
                continue;
            }
            let usage = &mut *info.aConstraintUsage.add(index);
            usage.argvIndex = 1;
            usage.omit = 1;
            info.idxNum = 1;
        }
    }
    sqlite::SQLITE_OK
}

unsafe extern "C" fn open(
    _: *mut sqlite::sqlite3_vtab,
    result: *mut *mut sqlite::sqlite3_vtab_cursor,
) -> c_int {
    // SAFETY: SQLite passes a place, and sets the base's table itself.
    unsafe {
        let cursor = Box::new(RawCursor {
            base: std::mem::zeroed(),
            rows: None,
            current: None,
            number: 0,
            schema: String::new(),
        });
        *result = Box::into_raw(cursor).cast();
    }
    sqlite::SQLITE_OK
}

unsafe extern "C" fn close(cursor: *mut sqlite::sqlite3_vtab_cursor) -> c_int {
    // SAFETY: made by `open`, and given back once.
    drop(unsafe { Box::from_raw(cursor.cast::<RawCursor>()) });
    sqlite::SQLITE_OK
}

unsafe extern "C" fn filter(
    cursor: *mut sqlite::sqlite3_vtab_cursor,
    _: c_int,
    _: *const c_char,
    count: c_int,
    arguments: *mut *mut sqlite::sqlite3_value,
) -> c_int {
    let Some(api) = LIBRARY.get() else {
        return sqlite::SQLITE_ERROR;
    };
    // SAFETY: SQLite passes a cursor of ours, its table, and as many arguments as it says.
    unsafe {
        let cursor = cursor.cast::<RawCursor>();
        let table = &*(*cursor).base.pVtab.cast::<RawTable>();
        let found = schema(api, count, arguments)
            .and_then(|schema| Ok((schema, database_of(api, table.connection, schema)?)));
        match found {
            Ok((schema, database)) => {
                (*cursor).schema = schema.to_string_lossy().into_owned();
                (*cursor).rows = Some((table.table.rows)(database));
            }
            Err(message) => return fail(api, cursor, &message),
        }
        (*cursor).number = 0;
        advance(api, cursor)
    }
}

unsafe extern "C" fn next(cursor: *mut sqlite::sqlite3_vtab_cursor) -> c_int {
    let Some(api) = LIBRARY.get() else {
        return sqlite::SQLITE_ERROR;
    };
    // SAFETY: SQLite passes a cursor of ours.
    unsafe { advance(api, cursor.cast()) }
}

/// # Safety
/// The cursor must be an open one of ours.
unsafe fn advance(api: &HostApi, cursor: *mut RawCursor) -> c_int {
    // SAFETY: passed on to the caller.
    let open = unsafe { &mut *cursor };
    let row = catch_unwind(AssertUnwindSafe(|| {
        open.rows.as_mut().and_then(Iterator::next)
    }));
    match row {
        Ok(None) => open.current = None,
        Ok(Some(Ok(row))) => {
            open.current = Some(row);
            open.number += 1;
        }
        // SAFETY: passed on to the caller.
        Ok(Some(Err(message))) => return unsafe { fail(api, cursor, &message) },
        // SAFETY: passed on to the caller.
        Err(_) => return unsafe { fail(api, cursor, "internal error") },
    }
    sqlite::SQLITE_OK
}

/// # Safety
/// The cursor must be an open one of ours.
unsafe fn fail(api: &HostApi, cursor: *mut RawCursor, message: &str) -> c_int {
    let text = CString::new(message.replace('\0', " ")).unwrap_or_default();
    // SAFETY: passed on to the caller; SQLite frees the message, and left none there.
    unsafe { (*(*cursor).base.pVtab).zErrMsg = api.allocate_text(&text) };
    sqlite::SQLITE_ERROR
}

unsafe extern "C" fn eof(cursor: *mut sqlite::sqlite3_vtab_cursor) -> c_int {
    // SAFETY: SQLite passes a cursor of ours.
    let cursor = unsafe { &*cursor.cast::<RawCursor>() };
    cursor.current.is_none().into()
}

unsafe extern "C" fn column(
    cursor: *mut sqlite::sqlite3_vtab_cursor,
    context: *mut sqlite::sqlite3_context,
    index: c_int,
) -> c_int {
    let Some(api) = LIBRARY.get() else {
        return sqlite::SQLITE_ERROR;
    };
    // SAFETY: SQLite passes a cursor of ours.
    let cursor = unsafe { &*cursor.cast::<RawCursor>() };
    let row = cursor.current.as_deref().unwrap_or_default();
    // SAFETY: the context is that of this call.
    unsafe {
        match usize::try_from(index).ok().and_then(|index| row.get(index)) {
            Some(Value::Integer(number)) => api.result_integer(context, *number),
            Some(Value::Text(text)) => api.result_text(context, text),
            None => api.result_text(context, &cursor.schema),
        }
    }
    sqlite::SQLITE_OK
}

unsafe extern "C" fn rowid(cursor: *mut sqlite::sqlite3_vtab_cursor, result: *mut i64) -> c_int {
    // SAFETY: SQLite passes a cursor of ours, and a place.
    unsafe { *result = (*cursor.cast::<RawCursor>()).number };
    sqlite::SQLITE_OK
}
