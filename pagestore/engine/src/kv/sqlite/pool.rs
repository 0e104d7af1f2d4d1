//! The connections that no transaction uses now.

use std::path::PathBuf;

use parking_lot::Mutex;
use rusqlite::OpenFlags;

use super::SqliteOptions;
use super::connection::Session;
use super::error::translate;
use crate::kv::KvError;

/// Further idle connections are closed: each has its own page cache.
const MOST_IDLE: usize = 16;

/// The idle connections, the last used on top: its page cache is the freshest.
#[derive(Debug)]
pub(super) struct Pool {
    path: PathBuf,
    options: SqliteOptions,
    idle: Mutex<Vec<Session>>,
}

impl Pool {
    pub(super) fn new(path: PathBuf, options: SqliteOptions, first: Session) -> Self {
        Self {
            path,
            options,
            idle: Mutex::new(vec![first]),
        }
    }

    /// A connection with no transaction open.
    pub(super) fn take(&self) -> Result<Session, KvError> {
        self.take_idle().map_or_else(|| self.open(), Ok)
    }

    /// Such a connection, if one is idle.
    pub(super) fn take_idle(&self) -> Option<Session> {
        self.idle.lock().pop()
    }

    /// A new connection.
    pub(super) fn open(&self) -> Result<Session, KvError> {
        // Without the flag that creates: the store exists, and if it was removed, that is
        // an error rather than an empty store.
        Session::open(&self.path, &self.options, OpenFlags::empty())
            .map_err(|error| translate(&self.path, &error))
    }

    /// Takes a connection back, or closes it if its transaction cannot be ended.
    pub(super) fn put(&self, session: Session) {
        if session.end().is_err() {
            return;
        }
        let mut idle = self.idle.lock();
        if idle.len() < MOST_IDLE {
            idle.push(session);
        } else {
            drop(idle);
            drop(session);
        }
    }

    /// Closes the idle connections.
    pub(super) fn close(&self) {
        let idle = std::mem::take(&mut *self.idle.lock());
        drop(idle);
    }
}
