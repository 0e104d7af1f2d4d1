//! The commit of a connection's transaction, over one database or several.

use std::sync::Arc;

use verso_pagestore::{CommitError, CommitOutcome, Durability};

use super::{Connection, SharedDatabase};
use crate::cache::PageCache;
use crate::conflict;
use crate::error::VfsError;
use crate::ffi::BusyHandler;
use crate::joint::Joint;
use crate::lease::Busy;
use crate::transaction::Transaction;

/// What becomes of a commit while somebody else holds the writer lease of a database that it
/// changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WhileLeased {
    /// It waits for its own turn.
    Wait,
    /// It loses: it will be run again, and waits before it reads.
    Lose,
}

/// What a commit came to, and whether an attempt at it may still be under way: a node that does
/// not answer may go on.
struct Asked {
    result: Result<CommitOutcome, CommitError>,
    may_go_on: bool,
}

/// Asks the store to commit, and again with the same request as long as nobody knows what
/// became of it and the application has patience.
fn ask(transaction: &Transaction, cache: &PageCache, busy: Busy<'_>) -> Asked {
    let mut result = transaction.commit(cache);
    let mut may_go_on = false;
    while matches!(result, Err(CommitError::Unknown { .. })) && busy() {
        may_go_on = true;
        result = match transaction.commit(cache) {
            // What failed is this attempt. An earlier one may have been done all the same.
            Err(CommitError::Store(error)) => Err(CommitError::Unknown {
                reason: error.to_string(),
            }),
            known => known,
        };
    }
    Asked { result, may_go_on }
}

impl Connection {
    /// `SQLITE_FCNTL_SYNC` of a transaction that writes one database of ours, and nothing
    /// else.
    pub(crate) fn commit(
        &self,
        database: &SharedDatabase,
        cache: &PageCache,
        busy: Busy<'_>,
        while_leased: WhileLeased,
    ) -> Result<(), VfsError> {
        let Some((part, durability)) = database.lock().stage()? else {
            return Ok(());
        };
        let sent = Transaction::new(part, durability).and_then(|mut transaction| {
            if !transaction.changes_anything() {
                return Ok(None);
            }
            let outcome = self.send(&mut transaction, cache, busy, while_leased)?;
            Ok(Some((outcome, transaction.id())))
        });
        database.lock().committed(sent)
    }

    /// `SQLITE_FCNTL_SYNC` of a transaction over several databases, that commits when its
    /// super-journal is deleted.
    pub(crate) fn stage(
        self: &Arc<Self>,
        database: &SharedDatabase,
        joint: &Arc<Joint>,
        handler: BusyHandler,
    ) -> Result<(), VfsError> {
        let mut database = database.lock();
        let Some((part, durability)) = database.stage_in(joint)? else {
            return Ok(());
        };
        let joined = joint.join(self, handler, part, durability);
        database.joined(joint, joined)
    }

    /// `SQLITE_FCNTL_SYNC` of a transaction over several databases, of which nobody tells
    /// when it commits: it is checked now, under the leases of all its databases. It may have a
    /// super-journal on another VFS.
    pub(crate) fn stage_and_prepare(
        self: &Arc<Self>,
        database: &SharedDatabase,
        super_journal: Option<&str>,
        handler: BusyHandler,
        busy: Busy<'_>,
    ) -> Result<(), VfsError> {
        let joint = self.joint();
        if let Some(name) = super_journal {
            database.lock().process().joints.adopt(name, &joint);
        }
        let Some((part, durability)) = database.lock().stage_in(&joint)? else {
            return Ok(());
        };
        let joined = joint
            .join(self, handler, part, durability)
            .and_then(|()| joint.prepare(busy));
        database.lock().joined(&joint, joined)
    }

    /// The transaction over several databases that is under way, or a new one.
    fn joint(&self) -> Arc<Joint> {
        let mut joint = self.joint.lock();
        joint.upgrade().unwrap_or_else(|| {
            let new = Joint::new(false);
            *joint = Arc::downgrade(&new);
            new
        })
    }

    /// `SQLITE_FCNTL_COMMIT_PHASETWO`: SQLite's commit is over, so the prepared transaction
    /// becomes visible.
    pub(crate) fn publish(&self, cache: &PageCache, busy: Busy<'_>) -> Result<(), VfsError> {
        let joint = self.joint.lock().upgrade();
        joint.map_or(Ok(()), |joint| {
            joint.commit(cache, busy).map_err(VfsError::unpublished)
        })
    }

    /// Commits a transaction, if nobody else holds the writer lease of a database that it
    /// changes.
    pub(crate) fn send(
        &self,
        transaction: &mut Transaction,
        cache: &PageCache,
        busy: Busy<'_>,
        while_leased: WhileLeased,
    ) -> Result<CommitOutcome, VfsError> {
        self.add_readers(transaction)?;
        transaction.set_leases(&self.leases());
        let mut asked = ask(transaction, cache, busy);
        if matches!(asked.result, Err(CommitError::LeaseLost { .. })) && transaction.is_prepared {
            // SQLite has committed already. The check for conflicts alone keeps it right.
            transaction.set_leases(&[]);
            asked = ask(transaction, cache, busy);
        }
        let committed = match (asked.result, while_leased) {
            (Err(CommitError::Leased { .. }), _) if asked.may_go_on => self
                .send_in_turn(transaction, cache, busy)
                .map_err(VfsError::after_an_unknown_attempt),
            (Err(CommitError::Leased { .. }), WhileLeased::Lose) => Err(VfsError::Leased),
            (Err(CommitError::Leased { .. }), WhileLeased::Wait) => {
                self.send_in_turn(transaction, cache, busy)
            }
            (committed, _) => committed.map_err(|error| self.explain(error)),
        };
        if committed.is_ok() {
            self.end_leases(&transaction.leases());
        } else {
            // On what lost once, the next attempt would lose again.
            for database in self.databases() {
                database.lock().begin_afresh();
            }
        }
        committed
    }

    /// Commits a transaction under the leases of what it writes.
    fn send_in_turn(
        &self,
        transaction: &mut Transaction,
        cache: &PageCache,
        busy: Busy<'_>,
    ) -> Result<CommitOutcome, VfsError> {
        let mut written = self.in_order();
        written.retain(|(_, database)| database.lock().is_writing());
        self.take_leases(written, busy, |_, busy| {
            transaction.set_leases(&self.leases());
            let asked = ask(transaction, cache, busy);
            asked.result.map_err(|error| self.explain(error))
        })
    }

    /// Checks a transaction under the leases of all its databases, so that what was checked
    /// stays true until they end.
    pub(crate) fn prepare(
        &self,
        transaction: &mut Transaction,
        busy: Busy<'_>,
    ) -> Result<(), VfsError> {
        self.add_readers(transaction)?;
        transaction.is_prepared = true;
        self.take_leases(self.in_order(), busy, |_, _| {
            transaction.set_leases(&self.leases());
            let valid = transaction.validate();
            valid.map_err(|error| self.explain(error))
        })
    }

    /// Makes sure before SQLite's commit that the transaction will commit, as far as it has
    /// come: takes the leases of its databases, and checks that nothing it depends on has
    /// changed.
    pub(crate) fn secure(&self, busy: Busy<'_>) -> Result<(), VfsError> {
        let mut parts = Vec::new();
        for database in self.databases() {
            parts.extend(database.lock().as_reader()?);
        }
        let mut parts = parts.into_iter();
        let Some(first) = parts.next() else {
            return Ok(());
        };
        let mut transaction = Transaction::new(first, Durability::Off)?;
        parts.try_for_each(|part| transaction.add(part, Durability::Off))?;
        self.prepare(&mut transaction, busy)
    }

    /// Adds what the transaction only read in other databases.
    fn add_readers(&self, transaction: &mut Transaction) -> Result<(), VfsError> {
        for database in self.databases() {
            let database = database.lock();
            if let Some(part) = database.as_reader()? {
                transaction.add(part, Durability::Off)?;
            }
        }
        Ok(())
    }

    /// Says which database a refusal is about, and what of it.
    fn explain(&self, error: CommitError) -> VfsError {
        let databases = self.databases();
        if let CommitError::LeaseLost { database: id } = &error {
            let mut databases = databases.iter();
            let lost = databases.find_map(|database| {
                let database = database.lock();
                let is_this = database.snapshot_id() == Some(*id);
                is_this.then(|| database.name().clone())
            });
            return lost.map_or(error.into(), |database| VfsError::LeaseLost { database });
        }
        let CommitError::Conflict(found) = &error else {
            return error.into();
        };
        let explained = databases
            .iter()
            .find_map(|database| database.lock().explain(found));
        let Some(conflict) = explained else {
            return error.into();
        };
        conflict::tell(&conflict);
        VfsError::Conflict(Box::new(conflict))
    }
}
