//! The writer leases of a connection's transaction. One that begins under a lease takes those
//! of all databases that it uses; an optimistic one at most those that it needs to commit.

use std::sync::Arc;

use verso_pagestore::{DatabaseId, Lease, LeaseError};

use super::contention::Turn;
use super::{Connection, SharedDatabase};
use crate::database::Database;
use crate::error::VfsError;
use crate::lease::{Busy, HeldLease, Started};
use crate::statement::{Activity, Scope};

/// How often the name of a database may move while its lease is taken.
const MOST_MOVES: usize = 10;

impl Connection {
    /// The leases that the transaction holds.
    pub(super) fn leases(&self) -> Vec<Lease> {
        self.leases.lock().iter().map(HeldLease::lease).collect()
    }

    fn holds(&self, id: DatabaseId) -> bool {
        self.leases().iter().any(|lease| lease.database == id)
    }

    /// How the transaction came to its leases.
    fn turn(&self) -> Turn {
        let leases = self.leases.lock();
        if leases.iter().any(HeldLease::has_waited) {
            Turn::Waited
        } else if leases.is_empty() {
            Turn::None
        } else {
            Turn::AtOnce
        }
    }

    /// What came with the lease.
    fn take_start(&self, id: DatabaseId) -> Option<Started> {
        let mut leases = self.leases.lock();
        let held = leases.iter_mut().find(|held| held.lease().database == id);
        held.and_then(HeldLease::take_start)
    }

    /// Whether the transaction is under leases, so that this database must be too.
    pub(super) fn is_leased(&self, database: &SharedDatabase, scope: Scope) -> bool {
        if self.leases.lock().is_empty() {
            return false;
        }
        // BEGIN IMMEDIATE took them as a statement of its own.
        let other = || self.in_scope(database, scope, Database::snapshot_id);
        scope == Scope::Transaction || other().is_some()
    }

    /// Takes the lease, unless the transaction holds it: a database may be attached twice. Whoever
    /// `begins` takes a snapshot next. False if the database was removed.
    fn take(
        &self,
        id: DatabaseId,
        database: &SharedDatabase,
        begins: bool,
        busy: Busy<'_>,
    ) -> Result<bool, VfsError> {
        if self.holds(id) {
            return Ok(true);
        }
        let acquired = database.lock().acquire(id, begins, busy);
        match acquired {
            Ok(lease) => {
                self.leases.lock().push(lease);
                Ok(true)
            }
            Err(VfsError::Lease(LeaseError::Removed { .. })) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// `xLock(SHARED)` of a transaction under leases: takes the lease, and then a snapshot,
    /// which nobody can overtake.
    pub(super) fn begin_leased(
        &self,
        database: &SharedDatabase,
        activity: Activity,
        scope: Scope,
        busy: Busy<'_>,
    ) -> Result<(), VfsError> {
        if activity == Activity::BeginsToWrite {
            self.take_turns_ahead(busy)?;
        }
        for _ in 0..MOST_MOVES {
            let id = database.lock().newest_id()?;
            let is_held = self.take(id, database, true, busy)?;
            let started = self.take_start(id);
            self.contention.lock().begin(self.turn());
            let mut locked = database.lock();
            locked.lock_leased(started, scope)?;
            if is_held && locked.snapshot_id() == Some(id) {
                return Ok(());
            }
            // The name stands for another database now.
            locked.unlock();
        }
        Err(replaced(database))
    }

    /// `BEGIN IMMEDIATE`, which will lock one database after the other in the order in which
    /// this connection attached them: takes the leases of all before, in the order that all
    /// connections share, so that no two of them wait for each other.
    fn take_turns_ahead(&self, busy: Busy<'_>) -> Result<(), VfsError> {
        if self.count() < 2 {
            return Ok(());
        }
        let mut idle = Vec::new();
        for database in self.databases() {
            let id = database.lock().id_to_write()?;
            idle.extend(id.map(|id| (id, database)));
        }
        idle.sort_by_key(|(id, _)| *id);
        // One that was removed meanwhile is found out at its begin.
        idle.iter()
            .try_for_each(|(id, database)| self.take(*id, database, false, busy).map(|_| ()))
    }

    /// Takes the leases in the middle of a transaction. Fails if the database that it is about
    /// to write was overtaken. Whether others were is a matter of the commit: SQLite would take
    /// a refusal here for the end of a wait, and go on waiting.
    pub(super) fn take_turns(
        &self,
        written: &SharedDatabase,
        busy: Busy<'_>,
    ) -> Result<(), VfsError> {
        self.take_leases(self.in_order(), busy, |new, _| {
            let is_new = new.iter().any(|(_, other)| Arc::ptr_eq(other, written));
            if is_new {
                written.lock().must_be_newest()
            } else {
                Ok(())
            }
        })
    }

    /// Takes leases that the transaction does not hold yet, in the order given, and checks
    /// their databases. If that fails, all is as before: the transaction may stay open, and
    /// must not keep others waiting.
    pub(super) fn take_leases<T>(
        &self,
        mut databases: Vec<(DatabaseId, SharedDatabase)>,
        busy: Busy<'_>,
        check: impl FnOnce(&[(DatabaseId, SharedDatabase)], Busy<'_>) -> Result<T, VfsError>,
    ) -> Result<T, VfsError> {
        let before = self.leases();
        databases.retain(|(id, _)| before.iter().all(|lease| lease.database != *id));
        let taken = databases
            .iter()
            .try_for_each(|(id, database)| {
                let is_held = self.take(*id, database, false, busy)?;
                is_held.then_some(()).ok_or_else(|| replaced(database))
            })
            .and_then(|()| check(&databases, busy));
        if taken.is_err() {
            drop(self.remove_leases(|lease| !before.contains(&lease)));
        }
        taken
    }

    /// After a commit of these databases, with which the store took their leases back.
    pub(super) fn end_leases(&self, ended: &[Lease]) {
        let ended = self.remove_leases(|lease| ended.contains(&lease));
        ended.into_iter().for_each(HeldLease::ended);
    }

    /// Gives all leases back, unless the transaction goes on.
    pub(super) fn end_turn(&self) {
        if !self.leases.lock().is_empty() && self.count_written() == 0 {
            drop(self.remove_leases(|_| true));
        }
    }

    /// Takes leases out, to be given back when no lock is held.
    fn remove_leases(&self, is_gone: impl Fn(Lease) -> bool) -> Vec<HeldLease> {
        let mut leases = self.leases.lock();
        leases
            .extract_if(.., |held| is_gone(held.lease()))
            .collect()
    }
}

fn replaced(database: &SharedDatabase) -> VfsError {
    VfsError::Replaced {
        database: database.lock().name().clone(),
    }
}
