//! One connection to the file.

use std::ffi::CStr;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::types::FromSql;
use rusqlite::{Connection, OpenFlags, Params};
use verso_pagestore::Durability;

use super::SqliteOptions;

/// SQLite's own file access by name: the default of the process may be the VFS that
/// stands on this very store.
pub(super) const PLATFORM_VFS: &CStr = if cfg!(windows) { c"win32" } else { c"unix" };

const SHORTEST_SLEEP: Duration = Duration::from_micros(50);
const LONGEST_SLEEP: Duration = Duration::from_millis(2);

/// The write-ahead log is cut back to this size after it was larger.
const LOG_SIZE_LIMIT: u32 = 64 << 20;

/// Room for every statement of this backend.
const CACHED_STATEMENTS: usize = 32;

/// After so many commits without a sync, or so many bytes in them, the write-ahead log is
/// copied to the file.
const UNSYNCED_COMMITS: usize = 1024;
const UNSYNCED_BYTES: usize = 32 << 20;

/// The log is copied to the file when it has so many pages. Where each commit syncs, that is SQLite's
/// default: a sync costs more while the log grows than once it is written from its begin again. Where
/// none does, a copy takes the only syncs that a commit waits for.
const AUTOCHECKPOINT: u32 = 1000;
const UNSYNCED_AUTOCHECKPOINT: u32 = 4000;

/// A connection, and what is known of its state.
#[derive(Debug)]
pub(super) struct Session {
    connection: Connection,
    durability: Durability,
    unsynced_commits: usize,
    unsynced_bytes: usize,
}

impl Session {
    /// Opens a connection with these flags and the settings that every connection has.
    pub(super) fn open(
        path: &Path,
        options: &SqliteOptions,
        create: OpenFlags,
    ) -> Result<Self, rusqlite::Error> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_PRIVATE_CACHE
            | create;
        let mut connection = Connection::open_with_flags_and_vfs(path, flags, PLATFORM_VFS)?;
        connection.busy_handler(Some(busy_handler(options.busy_timeout)))?;
        connection.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
        connection.execute_batch(&format!(
            "PRAGMA cache_size = -{}; PRAGMA journal_size_limit = {LOG_SIZE_LIMIT}; \
             PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = {AUTOCHECKPOINT}",
            options.cache_bytes / 1024,
        ))?;
        Ok(Self {
            connection,
            durability: Durability::Full,
            unsynced_commits: 0,
            unsynced_bytes: 0,
        })
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Runs a statement that returns no rows.
    pub(super) fn execute(&self, sql: &str, values: impl Params) -> Result<(), rusqlite::Error> {
        self.change(sql, values).map(drop)
    }

    /// Runs a statement that returns no rows. The answer is how many it has changed.
    pub(super) fn change(&self, sql: &str, values: impl Params) -> Result<usize, rusqlite::Error> {
        self.connection.prepare_cached(sql)?.execute(values)
    }

    /// The single value of a statement's first row.
    pub(super) fn value<T: FromSql>(
        &self,
        sql: &str,
        values: impl Params,
    ) -> Result<T, rusqlite::Error> {
        self.connection
            .prepare_cached(sql)?
            .query_row(values, |row| row.get(0))
    }

    /// Makes commits from now on survive what `durability` says.
    ///
    /// Without syncs SQLite must not copy its log to the file: a power loss could then damage
    /// what others committed durably. The log itself is safe without them, since its frames
    /// have checksums.
    pub(super) fn set_durability(&mut self, durability: Durability) -> Result<(), rusqlite::Error> {
        if self.durability != durability {
            let (synchronous, autocheckpoint) = match durability {
                Durability::Off => ("OFF", 0),
                Durability::Normal => ("NORMAL", UNSYNCED_AUTOCHECKPOINT),
                Durability::Full => ("FULL", AUTOCHECKPOINT),
            };
            self.connection.execute_batch(&format!(
                "PRAGMA synchronous = {synchronous}; PRAGMA wal_autocheckpoint = {autocheckpoint}"
            ))?;
            self.durability = durability;
        }
        Ok(())
    }

    /// After commits of so many bytes: where they were not synced, copies the log to the file
    /// now and then, with the syncs that this takes.
    pub(super) fn committed(&mut self, commits: usize, bytes: usize) {
        if self.durability != Durability::Off {
            return;
        }
        self.unsynced_commits += commits;
        self.unsynced_bytes += bytes;
        if self.unsynced_commits >= UNSYNCED_COMMITS || self.unsynced_bytes >= UNSYNCED_BYTES {
            (self.unsynced_commits, self.unsynced_bytes) = (0, 0);
            let copied = self.set_durability(Durability::Normal).and_then(|()| {
                self.value("PRAGMA wal_checkpoint(PASSIVE)", ())
                    .map(|_: i64| ())
            });
            if let Err(error) = copied {
                // The commits are safe in the log; the next ones try again.
                tracing::debug!(%error, "the write-ahead log was not copied");
            }
        }
    }

    /// From now on, what somebody else has locked is an error at once.
    pub(super) fn wait_for_nobody(&mut self) -> Result<(), rusqlite::Error> {
        self.connection.busy_handler(None::<fn(i32) -> bool>)
    }

    /// Ends the transaction, if one is open. After an error the connection is of no use.
    pub(super) fn end(&self) -> Result<(), rusqlite::Error> {
        if self.connection.is_autocommit() {
            Ok(())
        } else {
            self.execute("ROLLBACK", ())
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // The last connection copies the log to the file when it closes. That takes syncs too,
        // and if they cannot be asked for, there is nobody to tell.
        if self.durability == Durability::Off {
            let _ = self.set_durability(Durability::Normal);
        }
    }
}

/// Waits in short steps: a commit of another process takes a fraction of a millisecond
/// where SQLite's own busy handler soon sleeps for 100 ms.
fn busy_handler(timeout: Duration) -> impl FnMut(i32) -> bool + Send + 'static {
    let mut since = Instant::now();
    let mut sleep = SHORTEST_SLEEP;
    move |calls| {
        if calls == 0 {
            since = Instant::now();
            sleep = SHORTEST_SLEEP;
        } else if since.elapsed() >= timeout {
            return false;
        }
        thread::sleep(sleep);
        sleep = (sleep * 2).min(LONGEST_SLEEP);
        true
    }
}
