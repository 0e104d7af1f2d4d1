//! The queue for the writer lease of a database: whose turns are next.

use verso_pagestore::{DatabaseId, LeaseError, LeaseId, StoreError, Ticket};

use super::record::{self, Holding, LeaseRecord};
use crate::kv::{Isolation, KeyRange, KeyValue, Kv, KvTransaction, RangeQuery, RunError};
use crate::log::DecodeError;
use crate::{Engine, keys};

/// So many places in the queue are looked at for those of a dead process.
const MOST_PLACES: usize = 1000;

/// A place in the queue.
pub(super) struct Waiting {
    pub(super) ticket: Ticket,
    /// How its owner will hold the lease.
    pub(super) holding: Holding,
}

impl<K: Kv> Engine<K> {
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

    /// Removes the places of whoever waits in a process that is taken for dead: each of them would
    /// be waited for. The process of the caller is not.
    pub(super) fn clear_places_of(
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

    pub(super) fn decode_queue<E: From<StoreError>>(
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
}

/// Asks for whose turn is next: of two places the first may be the holder's own.
pub(crate) fn next_in_queue(database: DatabaseId) -> RangeQuery {
    RangeQuery::first(2, keys::queue(database))
}
