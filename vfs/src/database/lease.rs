//! What a database has to say about the writer lease of its transaction.

use std::time::Instant;

use verso_pagestore::{DatabaseId, LeaseStanding};

use super::{Begin, Database, Known, Staged, State};
use crate::error::VfsError;
use crate::lease::{self, Beginning, Busy, HeldLease, Started};
use crate::open::Follow;
use crate::statement::Scope;

impl Database {
    /// Takes the lease of a database that the name stands for, or has stood for. With it may come
    /// what a transaction starts with that `begins` at once.
    pub(crate) fn acquire(
        &self,
        database: DatabaseId,
        begins: bool,
        busy: Busy<'_>,
    ) -> Result<HeldLease, VfsError> {
        let (client, began) = (self.store.share()?, Instant::now());
        let process = self.store.current_process();
        let beginning = begins.then(|| Beginning {
            name: self.name.clone(),
            since: self.since,
        });
        let time_to_live = self.lease_time_to_live;
        let lease = lease::acquire(process, &client, database, time_to_live, beginning, busy)?;
        if lease.as_ref().is_none_or(HeldLease::has_waited) {
            client.stats.waited(began.elapsed());
        }
        lease.ok_or_else(|| VfsError::Waited {
            database: self.name.clone(),
        })
    }

    /// `xLock(SHARED)` under the lease: on the state that came with it, if one did.
    pub(crate) fn lock_leased(
        &mut self,
        started: Option<Started>,
        scope: Scope,
    ) -> Result<(), VfsError> {
        // The changes that it tells are those since then.
        let fits = |started: &Started| {
            matches!(self.state, State::Idle)
                && self.store.is_current()
                && started.since == self.since
        };
        match started.filter(fits) {
            Some(Started { start, .. }) => {
                self.opened_on = None;
                let snapshot = self.start_on(start)?;
                self.read_on(snapshot, scope);
                Ok(())
            }
            None => self.lock_shared(Begin::Newest, scope),
        }
    }

    /// The database that the name stood for when that was last looked up.
    pub(crate) fn newest_id(&mut self) -> Result<DatabaseId, VfsError> {
        self.store.renew()?;
        match self.since {
            Some(since) => Ok(since.database),
            None => Ok(self.snapshot()?.database),
        }
    }

    /// The database that a transaction would write, if it began now; `None` if it has begun,
    /// or if the connection cannot write.
    pub(crate) fn id_to_write(&mut self) -> Result<Option<DatabaseId>, VfsError> {
        if self.is_read_only() || !matches!(self.state, State::Idle) {
            return Ok(None);
        }
        self.newest_id().map(Some)
    }

    /// The database that the transaction reads or writes; `None` without a transaction, or if
    /// nobody can overtake it.
    pub(crate) fn snapshot_id(&self) -> Option<DatabaseId> {
        if self.follow != Follow::Newest {
            return None;
        }
        match &self.state {
            State::Reading(snapshot) => Some(snapshot.database),
            State::Writing(write) | State::Staged(Staged { write, .. }) => {
                Some(write.snapshot.database)
            }
            State::Idle | State::Overtaken(_) | State::Committed(_) => None,
        }
    }

    /// Whether somebody held the lease when the snapshot was taken.
    pub(crate) fn meets_lease(&self) -> bool {
        let State::Reading(snapshot) = &self.state else {
            return false;
        };
        let is_held = matches!(snapshot.lease, LeaseStanding::Held { .. });
        is_held && self.follow == Follow::Newest && !self.read_only
    }

    /// Fails if the snapshot of a transaction that has not written yet is not the newest.
    pub(crate) fn must_be_newest(&mut self) -> Result<(), VfsError> {
        self.known = Known::Overtaken;
        if let State::Reading(snapshot) = &self.state {
            let newest = self.store.pages()?.begin(&self.name, self.since)?.snapshot;
            if (newest.database, newest.version) != (snapshot.database, snapshot.version) {
                return Err(VfsError::Overtaken);
            }
        }
        Ok(())
    }
}
