//! The writer lease of a database, and the queue for it.
//!
//! One record says who holds it. Each request is one key-value transaction that reads the
//! record, so two clients never both think that they hold it.

mod record;

use verso_pagestore::{
    CommitError, DatabaseId, Durability, Lease, LeaseAnswer, LeaseError, LeaseRequest, LeaseView,
    StoreError, Ticket,
};

use crate::clean::Afterwards;
use crate::kv::{Isolation, Kv, KvTransaction, RangeQuery, RunError, run};
use crate::publish::Halt;
use crate::{Engine, keys};

pub(crate) use record::{Beat, LeaseRecord, Publishing};

use record::Holding;

/// Nobody needs a lease that survives a power loss: its holder does not.
const DURABILITY: Durability = Durability::Normal;

impl<K: Kv> Engine<K> {
    pub(crate) fn ask_for_lease(&self, request: &LeaseRequest) -> Result<LeaseAnswer, LeaseError> {
        let database = request.database;
        loop {
            let (answer, left) = self.ask_once(request)?;
            let Some(left) = left else {
                return Ok(answer);
            };
            match self.clean(database, left, Afterwards::Keep) {
                Ok(()) => return Ok(answer),
                // Then the record says something else now.
                Err(Halt::Superseded | Halt::Underway(..)) => {}
                Err(Halt::Refused(CommitError::Store(error))) => return Err(error.into()),
                Err(Halt::Refused(_)) => return Err(LeaseError::Lost { database }),
            }
        }
    }

    /// The answer, and what the new holder must remove before.
    fn ask_once(
        &self,
        request: &LeaseRequest,
    ) -> Result<(LeaseAnswer, Option<Publishing>), LeaseError> {
        let result = run(&self.kv, DURABILITY, |transaction| {
            self.try_lease(transaction, request)
        });
        // A client that had no place in the queue got one by this very transaction.
        let answer = result.map(|(answer, committed)| match answer {
            Attempt::Granted { lease, left } => (LeaseAnswer::Granted(lease), left),
            Attempt::Waiting {
                ticket,
                ahead,
                view,
            } => {
                let made = || committed.versionstamp.map(Ticket);
                let ticket = ticket
                    .or_else(made)
                    .expect("a wait without a ticket makes one");
                let waiting = LeaseAnswer::Waiting {
                    ticket,
                    ahead,
                    view,
                };
                (waiting, None)
            }
        });
        self.finish(answer)
    }

    fn try_lease(
        &self,
        transaction: &mut K::Transaction,
        request: &LeaseRequest,
    ) -> Result<Attempt, RunError<LeaseError>> {
        let database = request.database;
        let record = self.lease_record::<LeaseError>(transaction, database)?;
        let id = request.id;
        let granted = |record: LeaseRecord| {
            let lease = Lease {
                database,
                epoch: record.epoch,
                id,
            };
            let left = record.removing();
            Ok(Attempt::Granted { lease, left })
        };
        if record.is_held_by(id) {
            // An earlier request, whose answer was lost, took effect.
            return granted(record);
        }
        let queue = head_of_queue(transaction, database)?;
        let first = queue.first().copied();
        // Turns come in the order of tickets, so a ticket before the first one is gone.
        let ticket = request
            .ticket
            .filter(|ticket| first.is_some_and(|first| first <= *ticket));
        let obstacle = obstacle(&record, first.filter(|first| Some(*first) != ticket));
        if let Some(view) = obstacle.filter(|_| obstacle != request.stuck) {
            if ticket.is_none() {
                must_exist(transaction, database)?;
                transaction
                    .set_versionstamped(&keys::queue_prefix(database), request.id.as_bytes());
            }
            let is_ahead = |other: &&Ticket| ticket.is_none_or(|ticket| **other < ticket);
            return Ok(Attempt::Waiting {
                ticket,
                ahead: queue.iter().filter(is_ahead).count(),
                view,
            });
        }
        must_exist(transaction, database)?;
        let missed = match obstacle {
            // The first in the queue that did not take its turn has lost it.
            Some(LeaseView::Free { first, .. }) => Some(first),
            Some(LeaseView::Held { .. }) | None => None,
        };
        for gone in [ticket, missed].into_iter().flatten() {
            transaction.clear(&keys::ticket(database, gone));
        }
        let taken = record.taken(Holding::new(id, request.time_to_live));
        transaction.set(&keys::lease(database), &taken.encode());
        granted(taken)
    }

    pub(crate) fn move_beat(&self, lease: &Lease) -> Result<(), LeaseError> {
        let database = lease.database;
        let result = run(&self.kv, DURABILITY, |transaction| {
            let record = self.lease_record::<LeaseError>(transaction, database)?;
            if !record.is_held_as(lease) {
                return Err(RunError::Abort(LeaseError::Lost { database }));
            }
            transaction.set(&keys::lease(database), &record.beaten().encode());
            Ok(())
        });
        self.finish(result.map(|((), _)| ()))
    }

    pub(crate) fn give_lease_back(&self, lease: &Lease) -> Result<(), LeaseError> {
        let database = lease.database;
        let result = run(&self.kv, DURABILITY, |transaction| {
            let record = self.lease_record::<LeaseError>(transaction, database)?;
            if !record.is_held_as(lease) {
                return Ok(None);
            }
            let given_up = record.gives_up();
            let left = given_up.removing();
            let record = left.map_or(record.released(), |_| given_up);
            transaction.set(&keys::lease(database), &record.encode());
            Ok::<_, RunError<LeaseError>>(left)
        });
        let Some(left) = self.finish(result.map(|(left, _)| left))? else {
            return Ok(());
        };
        match self.clean(database, left, Afterwards::Release) {
            Err(Halt::Refused(CommitError::Store(error))) => Err(error.into()),
            // Somebody else removes it, or nothing is left.
            Ok(()) | Err(Halt::Superseded | Halt::Underway(..) | Halt::Refused(_)) => Ok(()),
        }
    }

    pub(crate) fn clear_ticket(
        &self,
        database: DatabaseId,
        ticket: Ticket,
    ) -> Result<(), LeaseError> {
        let result = run(&self.kv, DURABILITY, |transaction| {
            transaction.clear(&keys::ticket(database, ticket));
            Ok(())
        });
        self.finish(result.map(|((), _)| ()))
    }

    /// The lease as it stands.
    pub(crate) fn lease_record<E: From<StoreError>>(
        &self,
        transaction: &mut K::Transaction,
        database: DatabaseId,
    ) -> Result<LeaseRecord, RunError<E>> {
        let stored = transaction.get(&keys::lease(database), Isolation::Serializable)?;
        self.decode_lease(stored.as_deref())
    }

    pub(crate) fn decode_lease<E: From<StoreError>>(
        &self,
        stored: Option<&[u8]>,
    ) -> Result<LeaseRecord, RunError<E>> {
        stored.map_or(Ok(LeaseRecord::default()), |bytes| {
            LeaseRecord::decode(bytes).map_err(|error| RunError::Abort(self.damaged(&error).into()))
        })
    }
}

/// What one request came to.
enum Attempt {
    Granted {
        lease: Lease,
        /// What a publication left, to be removed first.
        left: Option<Publishing>,
    },
    Waiting {
        /// The ticket that the client has already.
        ticket: Option<Ticket>,
        ahead: usize,
        view: LeaseView,
    },
}

/// Nothing may be written for a database that was removed: nobody would remove it again.
fn must_exist<T: KvTransaction>(
    transaction: &mut T,
    database: DatabaseId,
) -> Result<(), RunError<LeaseError>> {
    match transaction.get(&keys::info(database), Isolation::Serializable)? {
        Some(_) => Ok(()),
        None => Err(RunError::Abort(LeaseError::Removed { database })),
    }
}

/// Whose turns are next. A snapshot read: whoever joins the queue must not disturb others, and
/// two that take one turn meet at the record.
fn head_of_queue<T: KvTransaction>(
    transaction: &mut T,
    database: DatabaseId,
) -> Result<Vec<Ticket>, RunError<LeaseError>> {
    let query = RangeQuery::first(LeaseAnswer::MOST_AHEAD, keys::queue(database));
    let tickets = transaction.range(&query, Isolation::Snapshot)?;
    let tickets = tickets
        .iter()
        .filter_map(|(key, _)| keys::ticket_position(key));
    Ok(tickets.collect())
}

/// What keeps a client from the lease: its holder, or somebody before it in the queue.
fn obstacle(record: &LeaseRecord, before: Option<Ticket>) -> Option<LeaseView> {
    let LeaseRecord { epoch, beat, .. } = *record;
    match record.holding {
        Some(Holding { time_to_live, .. }) => Some(LeaseView::Held {
            epoch,
            beat,
            time_to_live,
        }),
        None => before.map(|first| LeaseView::Free { epoch, first }),
    }
}
