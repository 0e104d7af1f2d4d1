//! SQLite's errors, translated.

use std::ffi::c_int;
use std::path::Path;

use rusqlite::ffi;

use crate::kv::KvError;

/// What an error of SQLite means for a transaction. Nothing was written.
pub(super) fn translate(path: &Path, error: &rusqlite::Error) -> KvError {
    let text = describe(path, error);
    match primary_code(error) {
        Some(ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED | ffi::SQLITE_PROTOCOL) => KvError::Busy(text),
        Some(ffi::SQLITE_FULL) => KvError::Full,
        Some(ffi::SQLITE_CANTOPEN | ffi::SQLITE_PERM) => KvError::Unavailable(text),
        Some(ffi::SQLITE_READONLY) => {
            let missing = "no permission to write to its file and folder, which even reading needs";
            KvError::Unavailable(missing.to_owned())
        }
        Some(ffi::SQLITE_CORRUPT) => KvError::Damaged(text),
        Some(ffi::SQLITE_NOTADB) => KvError::NotAStore(text),
        _ => KvError::Io(text),
    }
}

/// What an error of `COMMIT` means.
///
/// SQLite writes the frames of a commit, syncs them, then shows them to readers. An error
/// before the last frame is written means that the commit did not take place. After that it
/// may come back: recovery takes every whole commit that it finds in the log.
pub(super) fn translate_commit(path: &Path, error: &rusqlite::Error) -> KvError {
    let unwritten = error.sqlite_extended_error_code() == Some(ffi::SQLITE_IOERR_WRITE)
        || matches!(
            primary_code(error),
            Some(
                ffi::SQLITE_BUSY
                    | ffi::SQLITE_LOCKED
                    | ffi::SQLITE_FULL
                    | ffi::SQLITE_READONLY
                    | ffi::SQLITE_CANTOPEN
                    | ffi::SQLITE_CORRUPT
            )
        );
    if unwritten {
        translate(path, error)
    } else {
        KvError::CommitUnknown(describe(path, error))
    }
}

/// With SQLite's extended code, which tells the failures of a disk apart. Without the path: who may
/// know it knows it from the URL of the store.
fn describe(path: &Path, error: &rusqlite::Error) -> String {
    let text = error.to_string();
    let text = text.replace(&path.display().to_string(), "its file");
    match error.sqlite_extended_error_code() {
        Some(code) => format!("{text} (SQLite error {code})"),
        None => text,
    }
}

/// The error's code without its details.
pub(super) fn primary_code(error: &rusqlite::Error) -> Option<c_int> {
    error.sqlite_extended_error_code().map(|code| code & 0xff)
}
