//! Goal: the extension in a program with rusqlite and a SQLite of its own, as
//! docs/hosts/rusqlite.md has it.
//! Method: this program uses no crate of Verso, so it has only what it loads. It starts itself
//! again as a writer for the test with several processes.
#![expect(unsafe_code, reason = "loading a library runs what is in it")]

mod common;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use common::{folder, library};
use rusqlite::functions::FunctionFlags;
use rusqlite::{Connection, LoadExtensionGuard, Result, ffi};
use tempfile::TempDir;

fn load() -> Result<()> {
    let loader = Connection::open_in_memory()?;
    // SAFETY: the library is what its name says.
    unsafe {
        let _allowed = LoadExtensionGuard::new(&loader)?;
        loader.load_extension(library(), None::<&str>)
    }
}

fn open(uri: &str) -> Result<Connection> {
    let db = Connection::open(uri)?;
    db.busy_timeout(Duration::from_mins(1))?;
    Ok(db)
}

fn transact<F>(db: &Connection, work: F) -> Result<()>
where
    F: Fn(&Connection) -> Result<()>,
{
    for attempt in 0.. {
        db.execute_batch(if attempt < 3 {
            "BEGIN"
        } else {
            "BEGIN IMMEDIATE"
        })?;
        let Err(error) = work(db).and_then(|()| db.execute_batch("COMMIT")) else {
            break;
        };
        if !db.is_autocommit() {
            db.execute_batch("ROLLBACK")?;
        }
        if extended_code(&error) != Some(ffi::SQLITE_BUSY_SNAPSHOT) {
            return Err(error);
        }
    }
    Ok(())
}

fn extended_code(error: &rusqlite::Error) -> Option<i32> {
    error.sqlite_error().map(|error| error.extended_code)
}

/// A store in a folder of its own, with `app.db`: one row, 0.
struct Store(TempDir);

impl Store {
    fn new() -> Result<Self> {
        load()?;
        let store = Self(folder());
        store
            .open()?
            .execute_batch("CREATE TABLE t (n INTEGER); INSERT INTO t VALUES (0)")?;
        Ok(store)
    }

    fn uri(&self) -> String {
        let path = self.0.path().join("store.db");
        format!("file:app.db?vfs=verso&store=sqlite:{}", path.display())
    }

    fn open(&self) -> Result<Connection> {
        open(&self.uri())
    }
}

fn number(db: &Connection) -> Result<i64> {
    db.query_one("SELECT sum(n) FROM t", [], |row| row.get(0))
}

fn add(db: &Connection) -> Result<()> {
    let n = number(db)?;
    db.execute("UPDATE t SET n = ?", [n + 1]).map(drop)
}

#[test]
fn it_makes_a_database() -> Result<()> {
    let store = Store::new()?;
    let db = store.open()?;
    db.execute("INSERT INTO t VALUES (?)", [7])?;
    assert_eq!(number(&store.open()?)?, 7);
    let name: String = db.query_one("SELECT verso_info() ->> 'name'", [], |row| row.get(0))?;
    assert_eq!(name, "app.db");
    assert!(store.0.path().join("store.db").exists());
    assert!(!Path::new("app.db").exists());
    Ok(())
}

#[test]
fn transactions_are_all_or_nothing() -> Result<()> {
    let store = Store::new()?;
    let mut db = store.open()?;
    let transaction = db.transaction()?;
    transaction.execute("INSERT INTO t VALUES (100)", [])?;
    drop(transaction);
    assert_eq!(number(&db)?, 0);
    let transaction = db.transaction()?;
    transaction.execute("INSERT INTO t VALUES (1)", [])?;
    transaction.execute("INSERT INTO t VALUES (2)", [])?;
    transaction.commit()?;
    assert_eq!(number(&store.open()?)?, 3);
    Ok(())
}

/// The other connection commits while the statement runs.
#[test]
fn a_statement_that_conflicts_runs_again() -> Result<()> {
    let store = Store::new()?;
    let (db, other) = (store.open()?, store.open()?);
    let runs = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&runs);
    db.create_scalar_function("meanwhile", 1, FunctionFlags::SQLITE_UTF8, move |call| {
        if counted.fetch_add(1, Ordering::Relaxed) == 0 {
            other.execute("UPDATE t SET n = 10", [])?;
        }
        call.get::<i64>(0)
    })?;
    db.execute("UPDATE t SET n = meanwhile(n) + 1", [])?;
    assert_eq!(runs.load(Ordering::Relaxed), 2);
    assert_eq!(number(&db)?, 11);
    Ok(())
}

#[test]
fn a_transaction_that_conflicts_is_told_so() -> Result<()> {
    let store = Store::new()?;
    let (mut db, other) = (store.open()?, store.open()?);
    let transaction = db.transaction()?;
    add(&transaction)?;
    other.execute("UPDATE t SET n = 10", [])?;
    let error = transaction.commit().expect_err("a conflict");
    assert_eq!(extended_code(&error), Some(ffi::SQLITE_BUSY_SNAPSHOT));
    assert!(db.is_autocommit());

    let attempts = AtomicU32::new(0);
    transact(&db, |db| {
        let n = number(db)?;
        if attempts.fetch_add(1, Ordering::Relaxed) == 0 {
            other.execute("UPDATE t SET n = 20", [])?;
        }
        db.execute("UPDATE t SET n = ?", [n + 1]).map(drop)
    })?;
    assert_eq!(attempts.load(Ordering::Relaxed), 2);
    assert_eq!(number(&other)?, 21);
    Ok(())
}

#[test]
fn the_past_can_be_read() -> Result<()> {
    let store = Store::new()?;
    let db = store.open()?;
    let version: String = db.query_one("SELECT verso_version()", [], |row| row.get(0))?;
    db.execute("UPDATE t SET n = 1", [])?;
    let past = open(&format!("{}&at={version}", store.uri()))?;
    assert_eq!((number(&past)?, number(&db)?), (0, 1));
    let error = past
        .execute("UPDATE t SET n = 2", [])
        .expect_err("read only");
    assert_eq!(
        error.sqlite_error_code(),
        Some(rusqlite::ErrorCode::ReadOnly)
    );
    Ok(())
}

/// What a started writer is told by.
const WRITER: &str = "VERSO_TEST_WRITER";

#[test]
fn processes_write_at_once() -> Result<()> {
    if let Ok(uri) = std::env::var(WRITER) {
        return write(&uri);
    }
    let store = Store::new()?;
    let writers = [start_writer(&store), start_writer(&store)];
    for writer in writers {
        let output = writer.wait_with_output().expect("it ends");
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{printed}");
        assert!(printed.contains("1 passed"), "{printed}");
    }
    assert_eq!(number(&store.open()?)?, 400);
    Ok(())
}

fn start_writer(store: &Store) -> Child {
    Command::new(std::env::current_exe().expect("the test program has a path"))
        .args(["--exact", "processes_write_at_once"])
        .env(WRITER, store.uri())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts")
}

fn write(uri: &str) -> Result<()> {
    load()?;
    let db = open(uri)?;
    db.pragma_update(None, "synchronous", "OFF")?;
    for _ in 0..100 {
        db.execute("UPDATE t SET n = n + 1", [])?;
        transact(&db, add)?;
    }
    Ok(())
}
