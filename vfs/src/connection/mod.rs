//! The databases that one SQLite connection has open: one transaction spans all of them.

mod commit;
mod contention;
mod leases;

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use verso_pagestore::{DatabaseId, DatabaseName};

use crate::database::{Begin, Database, ReadMoment};
use crate::error::VfsError;
use crate::joint::Joint;
use crate::lease::{Busy, HeldLease};
use crate::pragma::Writers;
use crate::statement::{Activity, Scope};
pub(crate) use commit::WhileLeased;
use contention::{Contention, Turn, WhenLeased};

/// So often a statement looks whether the lease is free before it queues. SQLite's busy handler makes
/// that some 50 ms.
const MOST_WAITS: usize = 6;

/// An open database, which its file and its connection share.
pub(crate) type SharedDatabase = Arc<Mutex<Database>>;

/// A connection. No two of its databases are ever locked at once.
#[derive(Default)]
pub(crate) struct Connection {
    databases: Mutex<Vec<(DatabaseName, Weak<Mutex<Database>>)>>,
    /// The writer leases that the transaction holds.
    leases: Mutex<Vec<HeldLease>>,
    contention: Mutex<Contention>,
    /// The transaction over several databases that has no super-journal of ours.
    joint: Mutex<Weak<Joint>>,
}

impl Connection {
    fn databases(&self) -> Vec<SharedDatabase> {
        let databases = self.databases.lock();
        databases
            .iter()
            .filter_map(|(_, database)| database.upgrade())
            .collect()
    }

    fn remove(&self, database: &SharedDatabase) {
        let gone = Arc::as_ptr(database);
        let mut databases = self.databases.lock();
        databases.retain(|(_, other)| !std::ptr::eq(other.as_ptr(), gone));
    }

    /// How many databases the connection has used.
    pub(crate) fn count(&self) -> usize {
        self.databases.lock().len()
    }

    /// How many databases the transaction writes.
    pub(crate) fn count_written(&self) -> usize {
        let databases = self.databases().into_iter();
        databases
            .filter(|database| database.lock().is_writing())
            .count()
    }

    /// `xLock(SHARED)`: takes a snapshot, under the writer lease if the transaction is to have
    /// it.
    pub(crate) fn begin(
        &self,
        database: &SharedDatabase,
        activity: Activity,
        scope: Scope,
        busy: Busy<'_>,
    ) -> Result<(), VfsError> {
        let begun = if self.takes_lease(database, activity, scope) {
            self.begin_leased(database, activity, scope, busy)
        } else {
            self.contention.lock().begin(Turn::None);
            let moment = self.moment(database, scope);
            let begin = moment.map_or(Begin::Fresh, Begin::At);
            self.begin_unleased(database, activity, begin, scope, busy)
        };
        if begun.is_err() {
            self.end_turn();
        }
        begun
    }

    /// Takes a snapshot without a lease, but for a statement that has lost and meets a lease: it
    /// would lose again, so it waits before it runs.
    fn begin_unleased(
        &self,
        database: &SharedDatabase,
        activity: Activity,
        begin: Begin,
        scope: Scope,
        busy: Busy<'_>,
    ) -> Result<(), VfsError> {
        let when_leased = match activity {
            Activity::Repeatable => self.contention.lock().when_leased(),
            Activity::Reading
            | Activity::BeginsToWrite
            | Activity::Unrepeatable
            | Activity::Writing => WhenLeased::Run,
        };
        for _ in 0..MOST_WAITS {
            let mut locked = database.lock();
            locked.lock_shared(begin, scope)?;
            if when_leased == WhenLeased::Run || !locked.meets_lease() {
                return Ok(());
            }
            locked.unlock();
            drop(locked);
            if when_leased == WhenLeased::Queue || !busy() {
                break;
            }
        }
        self.begin_leased(database, activity, scope, busy)
    }

    /// `xLock(RESERVED)`: begins to write.
    pub(crate) fn begin_to_write(
        &self,
        database: &SharedDatabase,
        activity: Activity,
        scope: Scope,
        busy: Busy<'_>,
    ) -> Result<(), VfsError> {
        // Without a statement that writes, it is a copy by the backup API.
        let activity = if activity == Activity::Reading {
            Activity::Writing
        } else {
            activity
        };
        if self.takes_lease(database, activity, scope) {
            self.take_turns(database, busy)?;
        }
        database.lock().lock_write()
    }

    /// Whether the transaction is to begin under the writer lease.
    fn takes_lease(&self, database: &SharedDatabase, activity: Activity, scope: Scope) -> bool {
        let (is_pinned, is_read_only) = {
            let database = database.lock();
            (database.is_pinned(), database.is_read_only())
        };
        let wants_it = match activity {
            Activity::Reading => false,
            Activity::BeginsToWrite | Activity::Unrepeatable => true,
            Activity::Repeatable => self.contention.lock().needs_lease() || self.is_queued(),
            Activity::Writing => self.is_queued(),
        };
        // One that cannot be written takes it only beside one that can.
        let by_itself = wants_it && (!is_read_only || self.can_write());
        !is_pinned && (by_itself || self.is_leased(database, scope))
    }

    fn can_write(&self) -> bool {
        let databases = self.databases();
        let mut databases = databases.iter();
        databases.any(|database| !database.lock().is_read_only())
    }

    /// Whether any of its databases asks for it.
    fn is_queued(&self) -> bool {
        let databases = self.databases();
        let mut writers = databases
            .iter()
            .map(|database| database.lock().settings.writers);
        writers.any(|writers| writers == Writers::Queued)
    }

    /// A statement that SQLite can run again has lost. Says whether it may be.
    pub(crate) fn lose(&self, error: &VfsError) -> bool {
        self.contention.lock().lose(error)
    }

    /// `xUnlock`.
    pub(crate) fn unlocked(&self, has_ended_unrefused: bool) {
        if has_ended_unrefused {
            self.contention.lock().end();
        }
        self.end_turn();
    }

    /// The moment at which the transaction reads other databases.
    fn moment(&self, database: &SharedDatabase, scope: Scope) -> Option<ReadMoment> {
        self.in_scope(database, scope, Database::moment)
    }

    /// What another database of the same transaction answers, if there is one that does.
    fn in_scope<T>(
        &self,
        database: &SharedDatabase,
        scope: Scope,
        ask: impl Fn(&Database) -> Option<T>,
    ) -> Option<T> {
        if scope == Scope::Several || self.count() <= 1 {
            return None;
        }
        let databases = self.databases().into_iter();
        let mut others = databases.filter(|other| !Arc::ptr_eq(other, database));
        others.find_map(|other| {
            let other = other.lock();
            if other.scope() == scope {
                ask(&other)
            } else {
                None
            }
        })
    }

    /// The databases of the transaction, by their ids.
    fn in_order(&self) -> Vec<(DatabaseId, SharedDatabase)> {
        let ids = self.databases().into_iter().filter_map(|database| {
            let id = database.lock().snapshot_id()?;
            Some((id, database))
        });
        let mut ids: Vec<_> = ids.collect();
        ids.sort_by_key(|(id, _)| *id);
        ids
    }
}

/// The connections of a process, by their addresses.
#[derive(Default)]
pub(crate) struct Connections(Mutex<HashMap<usize, Arc<Connection>>>);

impl Connections {
    /// The connection at this address, which has this database open.
    pub(crate) fn enter(&self, address: usize, database: &SharedDatabase) -> Arc<Connection> {
        let name = database.lock().name().clone();
        let connection = Arc::clone(self.0.lock().entry(address).or_default());
        let member = (name, Arc::downgrade(database));
        connection.databases.lock().push(member);
        connection
    }

    /// Whether any connection has a database of this name open.
    pub(crate) fn have_open(&self, name: &str) -> bool {
        let connections = self.0.lock();
        connections.values().any(|connection| {
            let databases = connection.databases.lock();
            databases.iter().any(|(known, _)| known.as_str() == name)
        })
    }

    /// The connection has closed this database.
    pub(crate) fn leave(&self, address: usize, database: &SharedDatabase) {
        let mut connections = self.0.lock();
        if let Some(connection) = connections.get(&address) {
            connection.remove(database);
            if connection.databases.lock().is_empty() {
                connections.remove(&address);
            }
        }
    }
}
