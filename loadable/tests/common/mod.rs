//! What the tests of the hosts share: the library that they load, and a folder to work in.

use std::path::PathBuf;

use tempfile::TempDir;

/// The library, which cargo puts beside the test programs, as SQLite's functions take it.
pub(crate) fn library() -> PathBuf {
    let program = std::env::current_exe().expect("the test program has a path");
    let library = program.with_file_name(format!("libverso{}", std::env::consts::DLL_SUFFIX));
    assert!(library.exists(), "{} is missing", library.display());
    library.with_extension("")
}

pub(crate) fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}
