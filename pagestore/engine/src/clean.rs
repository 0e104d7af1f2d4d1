//! What a publication that came to a halt has left, and its removal.
//!
//! The page records of a publication are above the head, and the next commit would make them
//! visible. So they are removed before anybody else gets the lease.

use verso_pagestore::{
    CommitId, CommitRequest, DatabaseId, Durability, PageNumber, Participant, RoaringBitmap,
    StoreError,
};

use crate::kv::{Isolation, Kv, KvTransaction, RunError, look, run};
use crate::lease::Publishing;
use crate::log::DecodeError;
use crate::publish::{Halt, Step, own_lease};
use crate::{Engine, keys};

/// So many pages are cleared in one transaction, at some 200 bytes each.
const PAGES_AT_ONCE: usize = 5000;

/// What becomes of the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Afterwards {
    /// Its holder keeps it.
    Keep,
    /// It is free, or the first in the queue has it.
    Release,
}

impl<K: Kv> Engine<K> {
    /// Removes what a publication has left. It must be the caller's: nobody else goes on with it,
    /// or cleans up after it, without a change to the lease record.
    pub(crate) fn clean(
        &self,
        database: DatabaseId,
        publishing: Publishing,
        afterwards: Afterwards,
    ) -> Result<(), Halt> {
        let pages = self.finish_step(look(&self.kv, |transaction| {
            self.published_pages(transaction, database)
        }))?;
        let mut pages = pages.iter().peekable();
        while pages.peek().is_some() {
            let some: Vec<_> = pages.by_ref().take(PAGES_AT_ONCE).collect();
            let result = run(&self.kv, Durability::Off, |transaction| -> Step<()> {
                self.show_progress(transaction, database, publishing)?;
                let head = self.head::<Halt>(transaction, database)?;
                for page in some.iter().copied().filter_map(PageNumber::new) {
                    transaction.clear_range(&keys::page_after(database, page, head.version));
                }
                Ok(())
            });
            self.finish_step(result)?;
        }
        let result = run(&self.kv, Durability::Off, |transaction| -> Step<()> {
            let record = self.verified(transaction, database, publishing)?;
            transaction.clear_range(&keys::staged(database, publishing.commit));
            transaction.clear(&keys::publication(database));
            match afterwards {
                Afterwards::Keep => {
                    transaction.set(&keys::lease(database), &record.published().encode());
                }
                Afterwards::Release => {
                    self.end_holding::<Halt>(transaction, database, &record)?;
                }
            }
            Ok(())
        });
        self.finish_step(result.map(|_| ()))
    }

    /// Removes what a commit has left that will never be, as far as that is possible now. Else it
    /// is the task of whoever takes the lease over.
    pub(crate) fn abandon(&self, request: &CommitRequest) {
        for participant in request.participants.iter().filter(|it| it.change.is_some()) {
            let database = participant.snapshot.database;
            if let Err(error) = self.abandon_part(request.id, participant) {
                tracing::warn!(commit = %request.id, %database, ?error, "its pages were left");
            }
        }
    }

    fn abandon_part(&self, id: CommitId, participant: &Participant) -> Result<(), Halt> {
        let database = participant.snapshot.database;
        let (holder, afterwards) = match &participant.lease {
            Some(lease) => (lease.id, Afterwards::Keep),
            None => (own_lease(id), Afterwards::Release),
        };
        let result = run(&self.kv, Durability::Off, |transaction| -> Step<_> {
            let record = self.lease_record::<Halt>(transaction, database)?;
            let is_published = |publishing: Publishing| publishing.commit == id;
            if !record.is_held_by(holder) || !record.publishing().is_some_and(is_published) {
                transaction.clear_range(&keys::staged(database, id));
                return Ok(None);
            }
            let record = record.gives_up();
            transaction.set(&keys::lease(database), &record.encode());
            Ok(record.removing())
        });
        match self.finish_step(result)? {
            (Some(publishing), _) => self.clean(database, publishing, afterwards),
            (None, _) => Ok(()),
        }
    }

    /// The pages of the database's publication, or more.
    fn published_pages(
        &self,
        transaction: &mut K::Transaction,
        database: DatabaseId,
    ) -> Step<RoaringBitmap> {
        let stored = transaction.get(&keys::publication(database), Isolation::Snapshot)?;
        let Some(stored) = stored else {
            return Ok(RoaringBitmap::new());
        };
        RoaringBitmap::deserialize_from(&stored[..]).map_err(|_| {
            let damaged: StoreError = self.damaged(&DecodeError(
                "the pages of a large commit that was interrupted are unreadable",
            ));
            RunError::Abort(damaged.into())
        })
    }
}
