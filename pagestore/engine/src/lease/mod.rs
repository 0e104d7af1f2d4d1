//! The writer lease of a database, and the queue for it.
//!
//! One record says who holds it. Each request is one key-value transaction that reads the
//! record, so two clients never both think that they hold it.

mod queue;
mod record;

use verso_pagestore::{
    Begun, CommitError, DatabaseId, DatabaseName, Durability, Lease, LeaseAnswer, LeaseError,
    LeaseRequest, LeaseView, Place, Since, StoreError, Ticket,
};

use crate::clean::Afterwards;
use crate::kv::{
    Isolation, KeyRange, KeyValue, Kv, KvError, KvTransaction, RangeQuery, RunError, run,
};
use crate::publish::Halt;
use crate::read::{Followed, news_since};
use crate::{Engine, keys};

pub(crate) use queue::next_in_queue;
pub(crate) use record::{Beat, LeaseRecord, Publishing};

use queue::Waiting;
use record::Holding;

/// Nobody needs a lease that survives a power loss: its holder does not.
const DURABILITY: Durability = Durability::Normal;

/// Who waits hears of so many commits at most when its turn comes, or begins by itself: it is read
/// each time that somebody looks whether it has.
const MOST_CHANGES: usize = 100;

impl<K: Kv> Engine<K> {
    /// The answer, and what a turn begins with that was handed over, if the client asks for it.
    pub(crate) fn ask_for_lease(
        &self,
        request: &LeaseRequest,
        turn: Option<Beginning<'_>>,
    ) -> Result<(LeaseAnswer, Option<Begun>), LeaseError> {
        let database = request.database;
        loop {
            let (lease, left) = match self.ask_once(request, turn)? {
                Attempt::HandedOver { lease, begun } => {
                    return Ok((LeaseAnswer::HandedOver(lease), begun));
                }
                Attempt::Waiting {
                    ticket,
                    ahead,
                    view,
                } => {
                    let waiting = LeaseAnswer::Waiting {
                        ticket: ticket.expect("a wait without a ticket makes one"),
                        ahead,
                        view,
                    };
                    return Ok((waiting, None));
                }
                Attempt::Granted { lease, left } => (lease, left),
            };
            let cleaned = left.map(|left| self.clean(database, left, Afterwards::Keep));
            match cleaned {
                None | Some(Ok(())) => return Ok((LeaseAnswer::Granted(lease), None)),
                // Then the record says something else now.
                Some(Err(Halt::Superseded | Halt::Underway(..))) => {}
                Some(Err(Halt::Refused(CommitError::Store(error)))) => return Err(error.into()),
                Some(Err(Halt::Refused(_))) => return Err(LeaseError::Lost { database }),
            }
        }
    }

    fn ask_once(
        &self,
        request: &LeaseRequest,
        turn: Option<Beginning<'_>>,
    ) -> Result<Attempt, LeaseError> {
        // Before anything is read: what is committed from now on may be seen or not.
        let mark = turn.and_then(|_| self.kv.mark());
        let result = run(&self.kv, DURABILITY, |transaction| {
            self.try_lease(transaction, request, turn)
        });
        self.finish(result.map(|(mut attempt, committed)| {
            match &mut attempt {
                // A client that had no place in the queue got one by this very transaction.
                Attempt::Waiting { ticket, .. } => {
                    *ticket = ticket.or_else(|| committed.versionstamp.map(Ticket));
                }
                Attempt::HandedOver {
                    begun: Some(begun), ..
                } => begun.snapshot.mark = mark,
                Attempt::HandedOver { .. } | Attempt::Granted { .. } => {}
            }
            attempt
        }))
    }

    fn try_lease(
        &self,
        transaction: &mut K::Transaction,
        request: &LeaseRequest,
        turn: Option<Beginning<'_>>,
    ) -> Result<Attempt, RunError<LeaseError>> {
        let LeaseRequest { database, id, .. } = *request;
        let Looked {
            record,
            queue,
            news,
        } = self.look_around(transaction, database, turn)?;
        if record.is_held_by(id) {
            // It was handed over, or an earlier request took effect, whose answer was lost. That
            // may have made a second ticket.
            let twice = |place: &&Waiting| Some(place.ticket) == request.ticket;
            if let Some(place) = queue.iter().find(twice) {
                transaction.clear(&keys::ticket(database, place.ticket));
            }
            let mut attempt = granted(database, record);
            if let (Attempt::HandedOver { begun, .. }, Some(turn)) = (&mut attempt, turn) {
                *begun = self.begin_turn(transaction, turn, &news)?;
            }
            return Ok(attempt);
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

    /// What a turn begins with. `None` if the client must begin by itself: to learn why that fails,
    /// to find the database by its name, or to hear of more changes.
    ///
    /// Only for who held the lease already when this transaction began: until then others may
    /// commit without a lease.
    fn begin_turn(
        &self,
        transaction: &mut K::Transaction,
        Beginning { name, since }: Beginning<'_>,
        news: &[KeyValue],
    ) -> Result<Option<Begun>, KvError> {
        match self.follow(transaction, name, since, news) {
            Ok(Followed::To(begun)) => Ok(Some(begun)),
            Ok(Followed::Not(_)) | Err(RunError::Abort(_)) => Ok(None),
            Err(RunError::Kv(error)) => Err(error),
        }
    }

    /// Looks at the lease, at whose turns are next, and at what happened since the client last
    /// looked.
    ///
    /// The queue is a snapshot read: whoever joins it must not disturb others, and two that take
    /// one turn meet at the record.
    fn look_around<E: From<StoreError>>(
        &self,
        transaction: &mut K::Transaction,
        database: DatabaseId,
        turn: Option<Beginning<'_>>,
    ) -> Result<Looked, RunError<E>> {
        let lease = KeyRange::single(&keys::lease(database));
        let mut queries = vec![
            RangeQuery::first(1, lease.clone()),
            RangeQuery::first(LeaseAnswer::MOST_AHEAD, keys::queue(database)),
        ];
        queries.extend(turn.map(|turn| news_since(turn.since, MOST_CHANGES)));
        let mut answers = transaction
            .ranges(&queries, Isolation::Snapshot)?
            .into_iter();
        let mut answer = || answers.next().unwrap_or_default();
        let (stored, queue, news) = (answer(), answer(), answer());
        transaction.add_read_conflict(lease);
        let stored = stored.first().map(|(_, value)| value.as_slice());
        Ok(Looked {
            record: self.decode_lease(stored)?,
            queue: self.decode_queue(&queue)?,
            news,
        })
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

/// What a client asks for that begins as soon as it holds the lease.
#[derive(Clone, Copy)]
pub(crate) struct Beginning<'a> {
    pub(crate) name: &'a DatabaseName,
    /// Of the database whose lease it asks for.
    pub(crate) since: Since,
}

/// What one read brings.
struct Looked {
    record: LeaseRecord,
    queue: Vec<Waiting>,
    /// The answer to [`news_since`].
    news: Vec<KeyValue>,
}

/// What one request came to.
enum Attempt {
    Granted {
        lease: Lease,
        /// What a publication left, to be removed first.
        left: Option<Publishing>,
    },
    /// By the holder before.
    HandedOver { lease: Lease, begun: Option<Begun> },
    Waiting {
        /// The ticket that the client has already, or got by this.
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

fn granted(database: DatabaseId, record: LeaseRecord) -> Attempt {
    let holding = record.holding.expect("whoever got it holds it");
    let lease = Lease {
        database,
        epoch: record.epoch,
        id: holding.id,
    };
    if holding.is_handed_over() {
        return Attempt::HandedOver { lease, begun: None };
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
