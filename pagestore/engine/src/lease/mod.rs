//! The writer lease of a database, and the queue for it.
//!
//! One record says who holds it. Each request is one key-value transaction that reads the
//! record, so two clients never both think that they hold it.

mod record;

use verso_pagestore::{
    CommitError, DatabaseId, Durability, Lease, LeaseAnswer, LeaseError, LeaseId, LeaseRequest,
    LeaseView, Place, StoreError, Ticket,
};

use crate::clean::Afterwards;
use crate::kv::{Isolation, KeyRange, KeyValue, Kv, KvTransaction, RangeQuery, RunError, run};
use crate::log::DecodeError;
use crate::publish::Halt;
use crate::{Engine, keys};

pub(crate) use record::{Beat, LeaseRecord, Publishing};

use record::Holding;

/// Nobody needs a lease that survives a power loss: its holder does not.
const DURABILITY: Durability = Durability::Normal;

/// So many places in the queue are looked at for those of a dead process.
const MOST_PLACES: usize = 1000;

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
            Attempt::HandedOver { lease } => (LeaseAnswer::HandedOver(lease), None),
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
        let LeaseRequest { database, id, .. } = *request;
        let (record, queue) = self.lease_and_queue(transaction, database)?;
        if record.is_held_by(id) {
            // It was handed over, or an earlier request took effect, whose answer was lost. That
            // may have made a second ticket.
            let twice = |place: &&Waiting| Some(place.ticket) == request.ticket;
            if let Some(place) = queue.iter().find(twice) {
                transaction.clear(&keys::ticket(database, place.ticket));
            }
            return Ok(granted(database, record));
        }
        let first = queue.first().map(|place| place.ticket);
        // Turns come in the order of tickets, so a ticket before the first one is gone.
        let ticket = request
            .ticket
            .filter(|ticket| first.is_some_and(|first| first <= *ticket));
        let obstacle = obstacle(&record, first.filter(|first| Some(*first) != ticket));
        if let Some(view) = obstacle.filter(|_| obstacle != request.stuck) {
            if ticket.is_none() {
                must_exist(transaction, database)?;
                let place = record::encode_holder(id, request.time_to_live);
                transaction.set_versionstamped(&keys::queue_prefix(database), &place);
            }
            let is_ahead = |other: &&Waiting| ticket.is_none_or(|ticket| other.ticket < ticket);
            return Ok(Attempt::Waiting {
                ticket,
                ahead: queue.iter().filter(is_ahead).count(),
                view,
            });
        }
        must_exist(transaction, database)?;
        if let Some(ticket) = ticket {
            transaction.clear(&keys::ticket(database, ticket));
        }
        if obstacle.is_some() {
            // The first in the queue that did not take its turn has lost it.
            let missed = queue.first().filter(|_| !record.is_held());
            if let Some(place) = missed {
                transaction.clear(&keys::ticket(database, place.ticket));
            }
            let dead = record.holding.or(missed.map(|place| place.holding));
            self.clear_places_of(transaction, database, dead, id)?;
        }
        let taken = record.taken(Holding::new(id, request.time_to_live));
        transaction.set(&keys::lease(database), &taken.encode());
        Ok(granted(database, taken))
    }

    /// Removes the places of whoever waits in a process that is taken for dead: each of them would
    /// be waited for. The process of the caller is not.
    fn clear_places_of(
        &self,
        transaction: &mut K::Transaction,
        database: DatabaseId,
        dead: Option<Holding>,
        caller: LeaseId,
    ) -> Result<(), RunError<LeaseError>> {
        let Some(dead) = dead.filter(|dead| !dead.id.is_beside(&caller)) else {
            return Ok(());
        };
        let query = RangeQuery::first(MOST_PLACES, keys::queue(database));
        let pairs = transaction.range(&query, Isolation::Snapshot)?;
        for place in self.decode_queue(&pairs)? {
            if place.holding.id.is_beside(&dead.id) {
                transaction.clear(&keys::ticket(database, place.ticket));
            }
        }
        Ok(())
    }

    /// The lease as it stands, and whose turns are next.
    ///
    /// The queue is a snapshot read: whoever joins it must not disturb others, and two that take
    /// one turn meet at the record.
    fn lease_and_queue<E: From<StoreError>>(
        &self,
        transaction: &mut K::Transaction,
        database: DatabaseId,
    ) -> Result<(LeaseRecord, Vec<Waiting>), RunError<E>> {
        let lease = KeyRange::single(&keys::lease(database));
        let queries = [
            RangeQuery::first(1, lease.clone()),
            RangeQuery::first(LeaseAnswer::MOST_AHEAD, keys::queue(database)),
        ];
        let answers = transaction.ranges(&queries, Isolation::Snapshot)?;
        transaction.add_read_conflict(lease);
        let [lease, queue] = <[_; 2]>::try_from(answers).unwrap_or_default();
        let record = self.decode_lease(lease.first().map(|(_, value)| value.as_slice()))?;
        Ok((record, self.decode_queue(&queue)?))
    }

    fn decode_queue<E: From<StoreError>>(
        &self,
        pairs: &[KeyValue],
    ) -> Result<Vec<Waiting>, RunError<E>> {
        let waiting = pairs.iter().map(|(key, value)| {
            let ticket = keys::ticket_position(key).ok_or(DecodeError(
                "a place in the queue for a writer lease has an invalid key",
            ))?;
            let holding = record::decode_place(value)?;
            Ok(Waiting { ticket, holding })
        });
        let waiting: Result<_, DecodeError> = waiting.collect();
        waiting.map_err(|error| RunError::Abort(self.damaged(&error).into()))
    }

    /// Ends a holding of the lease, in a transaction that depends on the lease's record: the first
    /// in the queue gets it. Says whether somebody did. `queue` answers [`next_in_queue`].
    pub(crate) fn pass_on<E: From<StoreError>>(
        &self,
        transaction: &mut K::Transaction,
        database: DatabaseId,
        record: &LeaseRecord,
        queue: &[KeyValue],
    ) -> Result<bool, RunError<E>> {
        let mut after = record.released();
        for Waiting { ticket, holding } in self.decode_queue(queue)? {
            transaction.clear(&keys::ticket(database, ticket));
            // A request whose answer was lost has left a second ticket of the same wait.
            if !record.is_held_by(holding.id) {
                // Unless whoever waits leaves the queue at this moment.
                let wait = keys::wait(database, holding.id);
                transaction.add_read_conflict(KeyRange::single(&wait));
                after = record.handed_over(holding);
                break;
            }
        }
        transaction.set(&keys::lease(database), &after.encode());
        Ok(after.is_held())
    }

    /// As [`pass_on`](Self::pass_on), with a look at the queue.
    pub(crate) fn end_holding<E: From<StoreError>>(
        &self,
        transaction: &mut K::Transaction,
        database: DatabaseId,
        record: &LeaseRecord,
    ) -> Result<(), RunError<E>> {
        let queue = transaction.range(&next_in_queue(database), Isolation::Snapshot)?;
        self.pass_on(transaction, database, record, &queue)?;
        Ok(())
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
            match left {
                Some(_) => transaction.set(&keys::lease(database), &given_up.encode()),
                None => self.end_holding::<LeaseError>(transaction, database, &record)?,
            }
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

    /// Gives up a place in the queue, and the lease if it was handed over meanwhile.
    pub(crate) fn give_place_up(&self, place: &Place) -> Result<(), LeaseError> {
        let Place {
            database,
            id,
            ticket,
        } = *place;
        let result = run(&self.kv, DURABILITY, |transaction| {
            let record = self.lease_record::<LeaseError>(transaction, database)?;
            transaction.clear(&keys::ticket(database, ticket));
            transaction.add_write_conflict(KeyRange::single(&keys::wait(database, id)));
            if record.is_held_by(id) && record.publishing().is_none() {
                self.end_holding::<LeaseError>(transaction, database, &record)?;
            }
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
    /// By the holder before.
    HandedOver { lease: Lease },
    Waiting {
        /// The ticket that the client has already.
        ticket: Option<Ticket>,
        ahead: usize,
        view: LeaseView,
    },
}

/// A place in the queue.
struct Waiting {
    ticket: Ticket,
    /// How its owner will hold the lease.
    holding: Holding,
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

/// Asks for whose turn is next: of two places the first may be the holder's own.
pub(crate) fn next_in_queue(database: DatabaseId) -> RangeQuery {
    RangeQuery::first(2, keys::queue(database))
}

fn granted(database: DatabaseId, record: LeaseRecord) -> Attempt {
    let holding = record.holding.expect("whoever got it holds it");
    let lease = Lease {
        database,
        epoch: record.epoch,
        id: holding.id,
    };
    if holding.is_handed_over() {
        return Attempt::HandedOver { lease };
    }
    Attempt::Granted {
        lease,
        left: record.removing(),
    }
}

/// What keeps a client from the lease: its holder, or somebody before it in the queue.
fn obstacle(record: &LeaseRecord, before: Option<Ticket>) -> Option<LeaseView> {
    let LeaseRecord { epoch, beat, .. } = *record;
    match record.holding {
        Some(holding) => Some(LeaseView::Held {
            epoch,
            beat,
            time_to_live: holding.patience(),
        }),
        None => before.map(|first| LeaseView::Free { epoch, first }),
    }
}
