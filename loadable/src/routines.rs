//! `sqlite3_api_routines`: the functions that a host hands to its extensions.
//!
//! It is a structure of function pointers, to which each version of SQLite appends
//! (`sqlite3ext.h`). So a function is found by its place, and only in hosts that are new
//! enough to have the place.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::NonNull;

use crate::text;

/// Name, place, and the first `SQLITE_VERSION_NUMBER` that has it, if that is newer than
/// the oldest one supported.
const PLACES: [(&str, usize, c_int); 35] = [
    ("sqlite3_column_count", 22, 0),
    ("sqlite3_get_autocommit", 60, 0),
    ("sqlite3_last_insert_rowid", 65, 0),
    ("sqlite3_libversion_number", 67, 0),
    ("sqlite3_vfs_find", 141, 0),
    ("sqlite3_vfs_register", 142, 0),
    ("sqlite3_mutex_alloc", 130, 0),
    ("sqlite3_mutex_free", 132, 0),
    ("sqlite3_threadsafe", 144, 0),
    ("sqlite3_next_stmt", 152, 0),
    ("sqlite3_sql", 153, 0),
    ("sqlite3_log", 167, 0),
    ("sqlite3_stmt_status", 170, 0),
    ("sqlite3_db_filename", 180, 0),
    ("sqlite3_stmt_busy", 184, 0),
    ("sqlite3_stmt_readonly", 185, 0),
    ("sqlite3_uri_boolean", 187, 0),
    ("sqlite3_uri_parameter", 189, 0),
    ("sqlite3_auto_extension", 192, 0),
    ("sqlite3_uri_key", 245, 0),
    ("sqlite3_malloc64", 197, 0),
    ("sqlite3_set_last_insert_rowid", 216, 0),
    ("sqlite3_txn_state", 252, 0),
    ("sqlite3_create_function_v2", 162, 0),
    ("sqlite3_context_db_handle", 149, 0),
    ("sqlite3_value_text", 109, 0),
    ("sqlite3_value_bytes", 103, 0),
    ("sqlite3_vtab_config", 177, 0),
    ("sqlite3_result_text", 85, 0),
    ("sqlite3_result_error", 80, 0),
    ("sqlite3_file_control", 127, 0),
    ("sqlite3_create_module_v2", 119, 0),
    ("sqlite3_declare_vtab", 50, 0),
    ("sqlite3_result_int64", 83, 0),
    ("sqlite3_db_name", 264, 3_039_000),
];

/// `SQLITE_MUTEX_FAST`
const MUTEX_FAST: c_int = 0;

type AnyFunction = Option<unsafe extern "C" fn()>;

/// The table of a host.
#[derive(Clone, Copy)]
pub(crate) struct Routines(*const AnyFunction);

impl std::panic::UnwindSafe for Routines {}

impl Routines {
    /// # Safety
    /// `table` must be an `sqlite3_api_routines` that stays as it is.
    pub(crate) const unsafe fn new(table: *const c_void) -> Self {
        Self(table.cast())
    }

    /// A function by its name.
    pub(crate) fn find(self, name: &CStr) -> Option<NonNull<c_void>> {
        let (_, place, since) = PLACES.iter().find(|(known, ..)| *known == text(name))?;
        if *since > self.version_number() {
            return stand_in(name);
        }
        self.at(*place)
    }

    fn at(self, place: usize) -> Option<NonNull<c_void>> {
        // SAFETY: by contract the host's table, and the caller knows that it is so long.
        let function = unsafe { self.0.add(place).read() }?;
        NonNull::new(function as *mut c_void)
    }
}

/// What takes the place of a function that the host is too old for.
fn stand_in(name: &CStr) -> Option<NonNull<c_void>> {
    (name == c"sqlite3_db_name").then_some(())?;
    NonNull::new(first_names as *mut c_void)
}

/// For `sqlite3_db_name`: the names of the databases that every connection has. Of those that
/// are attached, the VFS knows its own.
unsafe extern "C" fn first_names(_: *mut c_void, index: c_int) -> *const c_char {
    match index {
        0 => c"main".as_ptr(),
        1 => c"temp".as_ptr(),
        _ => std::ptr::null(),
    }
}

/// Calls to a few functions of the host. All of them are in every version that has such a
/// table at all, but for those of `PLACES` with a first version.
impl Routines {
    pub(crate) fn version_number(self) -> c_int {
        let place = place_of("sqlite3_libversion_number");
        self.at(place).map_or(0, |function| {
            // SAFETY: the type of the function at this place.
            let function: unsafe extern "C" fn() -> c_int =
                unsafe { std::mem::transmute(function) };
            // SAFETY: always safe to call.
            unsafe { function() }
        })
    }

    pub(crate) fn is_threadsafe(self) -> bool {
        let place = place_of("sqlite3_threadsafe");
        self.at(place).is_some_and(|function| {
            // SAFETY: the type of the function at this place.
            let function: unsafe extern "C" fn() -> c_int =
                unsafe { std::mem::transmute(function) };
            // SAFETY: always safe to call.
            unsafe { function() != 0 }
        })
    }

    /// Whether the library makes real mutexes. One that is configured to be used by a single
    /// thread hands out the same one each time.
    pub(crate) fn has_mutexes(self) -> bool {
        let places = (
            self.at(place_of("sqlite3_mutex_alloc")),
            self.at(place_of("sqlite3_mutex_free")),
        );
        let (Some(alloc), Some(free)) = places else {
            return false;
        };
        // SAFETY: the types of the functions at these places; what was made is freed once.
        unsafe {
            let alloc: unsafe extern "C" fn(c_int) -> *mut c_void = std::mem::transmute(alloc);
            let free: unsafe extern "C" fn(*mut c_void) = std::mem::transmute(free);
            let (first, second) = (alloc(MUTEX_FAST), alloc(MUTEX_FAST));
            free(first);
            free(second);
            !first.is_null() && first != second
        }
    }

    pub(crate) fn has_vfs(self, name: &CStr) -> bool {
        let place = place_of("sqlite3_vfs_find");
        self.at(place).is_some_and(|function| {
            // SAFETY: the type of the function at this place.
            let function: unsafe extern "C" fn(*const c_char) -> *mut c_void =
                unsafe { std::mem::transmute(function) };
            // SAFETY: the name is a C string.
            !unsafe { function(name.as_ptr()) }.is_null()
        })
    }

    /// A copy of a text in memory that the host frees; null if there is none left.
    pub(crate) fn copy(self, text: &CStr) -> *mut c_char {
        let bytes = text.to_bytes_with_nul();
        let place = place_of("sqlite3_malloc64");
        let copy = self.at(place).map_or(std::ptr::null_mut(), |function| {
            // SAFETY: the type of the function at this place.
            let function: unsafe extern "C" fn(u64) -> *mut c_void =
                unsafe { std::mem::transmute(function) };
            // SAFETY: any size may be asked for.
            unsafe { function(bytes.len() as u64) }.cast::<c_char>()
        });
        if !copy.is_null() {
            // SAFETY: the new allocation has room for exactly these bytes.
            unsafe { copy.copy_from_nonoverlapping(bytes.as_ptr().cast(), bytes.len()) };
        }
        copy
    }
}

fn place_of(name: &str) -> usize {
    let known = PLACES.iter().find(|(known, ..)| *known == name);
    known.map_or(usize::MAX, |(_, place, _)| *place)
}
