//! What is opened, created and refused.

use std::fs;
use std::path::Path;

use rusqlite::Connection;
use verso_engine::kv::sqlite::{SqliteKv, SqliteOptions};
use verso_engine::kv::{Kv, KvError};
use verso_pagestore::Durability;

use crate::support::{get, open, put};

/// All files of a directory with their contents.
fn contents(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            (
                entry.file_name().into_string().unwrap(),
                fs::read(entry.path()).unwrap(),
            )
        })
        .collect();
    files.sort();
    files
}

fn refused(directory: &Path, name: &str) -> String {
    let before = contents(directory);
    let error = SqliteKv::open(&directory.join(name)).expect_err(name);
    assert_eq!(contents(directory), before, "nothing may change");
    let KvError::NotAStore(text) = error else {
        panic!("{name}: {error:?}")
    };
    assert!(text.contains("choose another file"), "{text}");
    text
}

#[test]
fn files_that_are_no_sqlite_files_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let long: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    for (name, content) in [
        ("one", &b"x"[..]),
        ("text", &b"hello\n".repeat(200)),
        ("zeros", &[0; 4096]),
        ("long", &long),
    ] {
        fs::write(directory.path().join(name), content).unwrap();
        let text = refused(directory.path(), name);
        assert!(text.contains("not an SQLite file"), "{text}");
    }
}

#[test]
fn databases_of_others_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let connection = Connection::open(directory.path().join("rollback")).unwrap();
    connection
        .execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES (1)")
        .unwrap();
    drop(connection);
    assert!(refused(directory.path(), "rollback").contains("something else"));

    let connection = Connection::open(directory.path().join("empty but used")).unwrap();
    connection
        .execute_batch("CREATE TABLE t (a); DROP TABLE t")
        .unwrap();
    drop(connection);
    refused(directory.path(), "empty but used");

    let connection = Connection::open(directory.path().join("wal")).unwrap();
    connection
        .execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (a); INSERT INTO t VALUES (1)")
        .unwrap();
    refused(directory.path(), "wal");
    // As a crash leaves it: the log holds what the file does not.
    let crashed = tempfile::tempdir().unwrap();
    for (name, content) in contents(directory.path()) {
        if name.starts_with("wal") && !name.ends_with("shm") {
            fs::write(crashed.path().join(name), content).unwrap();
        }
    }
    refused(crashed.path(), "wal");
    assert_eq!(contents(crashed.path()).len(), 2);
}

#[test]
fn what_cannot_be_opened_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let reason = |path: &Path| match SqliteKv::open(path) {
        Err(KvError::Unavailable(reason)) => {
            assert!(reason.contains(path.to_str().unwrap()), "{reason}");
            reason
        }
        other => panic!("{other:?}"),
    };
    assert!(reason(directory.path()).contains("it is a directory"));
    let missing = reason(&directory.path().join("no such directory/store.db"));
    assert!(missing.contains("its directory"), "{missing}");
    fs::write(directory.path().join("file"), "").unwrap();
    let below_a_file = reason(&directory.path().join("file/store.db"));
    assert!(below_a_file.contains("not a directory"), "{below_a_file}");
}

#[test]
fn missing_and_empty_files_become_stores() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("empty"), "").unwrap();
    for name in ["empty", "missing", "a b%20c?x=y#z", "größe 🦀"] {
        let path = directory.path().join(name);
        put(&open(&path), b"a", name.as_bytes(), Durability::Full).unwrap();
        assert_eq!(get(&open(&path), b"a"), Some(name.as_bytes().to_vec()));
        assert!(path.exists());
    }
}

#[test]
fn another_format_is_refused() {
    for (format, advice) in [(1, "with the verso that made it"), (3, "use a newer verso")] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.db");
        drop(open(&path));
        Connection::open(&path)
            .unwrap()
            .execute_batch(&format!("PRAGMA user_version = {format}"))
            .unwrap();
        let error = SqliteKv::open(&path).unwrap_err();
        let KvError::Unavailable(text) = &error else {
            panic!("{error:?}");
        };
        assert!(text.contains(&format!("format {format},")), "{text}");
        assert!(text.contains(advice), "{text}");
    }
}

#[test]
fn a_damaged_store_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    let kv = open(&path);
    for key in 0..2000_u32 {
        put(&kv, &key.to_be_bytes(), &[1; 200], Durability::Off).unwrap();
    }
    drop(kv);
    let mut bytes = fs::read(&path).unwrap();
    bytes[4096..].fill(0x5a);
    fs::write(&path, bytes).unwrap();
    let result = SqliteKv::open(&path).and_then(|kv| {
        let mut transaction = kv.begin()?;
        verso_engine::kv::KvTransaction::read_version(&mut transaction)
    });
    assert!(matches!(result, Err(KvError::Damaged(_))), "{result:?}");
}

#[test]
fn a_store_that_stays_locked_is_busy() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    let options = SqliteOptions {
        busy_timeout: std::time::Duration::from_millis(50),
        ..Default::default()
    };
    let kv = SqliteKv::open_with(&path, options).unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let refused = put(&kv, b"a", b"1", Durability::Off);
    assert!(matches!(refused, Err(KvError::Busy(_))), "{refused:?}");
    assert_eq!(get(&kv, b"a"), None, "readers do not wait for a writer");
    other.execute_batch("ROLLBACK").unwrap();
    put(&kv, b"a", b"1", Durability::Off).unwrap();
}

#[test]
fn a_store_that_disappears_is_no_empty_store() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    let kv = open(&path);
    kv.suspend();
    fs::remove_file(&path).unwrap();
    kv.resume();
    let gone = put(&kv, b"a", b"1", Durability::Off);
    assert!(matches!(gone, Err(KvError::Unavailable(_))), "{gone:?}");
    assert!(!path.exists());
}
