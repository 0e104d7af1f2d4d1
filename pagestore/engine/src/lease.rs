//! The writer lease of a database, and the queue for it.
//!
//! One record says who holds it. Each request is one key-value transaction that reads the
//! record, so two clients never both think that they hold it.

use std::time::Duration;

use verso_pagestore::{
    DatabaseId, Durability, Lease, LeaseAnswer, LeaseError, LeaseId, LeaseRequest, LeaseView,
    StoreError, Ticket,
};

use crate::kv::{Isolation, Kv, KvTransaction, RangeQuery, RunError, run};
use crate::log::DecodeError;
use crate::{Engine, keys};

/// Nobody needs a lease that survives a power loss: its holder does not.
const DURABILITY: Durability = Durability::Normal;

const LEASE: u8 = 1;
const LENGTH: usize = 37;

/// Who holds a lease, and with what time to live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Holding {
    id: LeaseId,
    time_to_live: Duration,
}

/// The stored form of a lease. A lease that nobody has ever held has no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct LeaseRecord {
    epoch: u64,
    beat: u64,
    holding: Option<Holding>,
}

impl LeaseRecord {
    /// Whether this holding of the lease goes on.
    pub(crate) fn is_held_as(&self, lease: &Lease) -> bool {
        let is_same = |holding: Holding| holding.id == lease.id;
        self.holding.is_some_and(is_same) && self.epoch == lease.epoch
    }

    pub(crate) const fn is_held(&self) -> bool {
        self.holding.is_some()
    }

    /// The record after its holder gave it back.
    pub(crate) const fn released(self) -> Self {
        Self {
            holding: None,
            ..self
        }
    }

    const fn taken(self, holding: Holding) -> Self {
        Self {
            epoch: self.epoch + 1,
            beat: 0,
            holding: Some(holding),
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(LENGTH);
        bytes.push(LEASE);
        bytes.extend_from_slice(&self.epoch.to_be_bytes());
        bytes.extend_from_slice(&self.beat.to_be_bytes());
        if let Some(Holding { id, time_to_live }) = &self.holding {
            let milliseconds = u32::try_from(time_to_live.as_millis()).unwrap_or(u32::MAX);
            bytes.extend_from_slice(&milliseconds.to_be_bytes());
            bytes.extend_from_slice(id.as_bytes());
        }
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let error = || DecodeError("a writer lease has an unknown form");
        let rest = bytes.strip_prefix(&[LEASE]).ok_or_else(error)?;
        let (epoch, rest) = rest.split_first_chunk().ok_or_else(error)?;
        let (beat, rest) = rest.split_first_chunk().ok_or_else(error)?;
        let holding = if rest.is_empty() {
            None
        } else {
            let (milliseconds, id) = rest.split_first_chunk().ok_or_else(error)?;
            Some(Holding {
                id: LeaseId::from_bytes(id.try_into().map_err(|_| error())?),
                time_to_live: Duration::from_millis(u32::from_be_bytes(*milliseconds).into()),
            })
        };
        Ok(Self {
            epoch: u64::from_be_bytes(*epoch),
            beat: u64::from_be_bytes(*beat),
            holding,
        })
    }
}

impl<K: Kv> Engine<K> {
    pub(crate) fn ask_for_lease(&self, request: &LeaseRequest) -> Result<LeaseAnswer, LeaseError> {
        let result = run(&self.kv, DURABILITY, |transaction| {
            self.try_lease(transaction, request)
        });
        // A client that had no place in the queue got one by this very transaction.
        let answer = result.map(|(answer, committed)| match answer {
            Attempt::Granted(lease) => LeaseAnswer::Granted(lease),
            Attempt::Waiting {
                ticket,
                ahead,
                view,
            } => {
                let made = || committed.versionstamp.map(Ticket);
                let ticket = ticket
                    .or_else(made)
                    .expect("a wait without a ticket makes one");
                LeaseAnswer::Waiting {
                    ticket,
                    ahead,
                    view,
                }
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
        let granted = |epoch| {
            Ok(Attempt::Granted(Lease {
                database,
                epoch,
                id,
            }))
        };
        if record
            .holding
            .is_some_and(|holding| holding.id == request.id)
        {
            // An earlier request, whose answer was lost, took effect.
            return granted(record.epoch);
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
        let taken = record.taken(Holding {
            id: request.id,
            time_to_live: request.time_to_live,
        });
        transaction.set(&keys::lease(database), &taken.encode());
        granted(taken.epoch)
    }

    pub(crate) fn move_beat(&self, lease: &Lease) -> Result<(), LeaseError> {
        let database = lease.database;
        let result = run(&self.kv, DURABILITY, |transaction| {
            let record = self.lease_record::<LeaseError>(transaction, database)?;
            if !record.is_held_as(lease) {
                return Err(RunError::Abort(LeaseError::Lost { database }));
            }
            let beat = record.beat.wrapping_add(1);
            let renewed = LeaseRecord { beat, ..record };
            transaction.set(&keys::lease(database), &renewed.encode());
            Ok(())
        });
        self.finish(result.map(|((), _)| ()))
    }

    pub(crate) fn give_lease_back(&self, lease: &Lease) -> Result<(), LeaseError> {
        let database = lease.database;
        let result = run(&self.kv, DURABILITY, |transaction| {
            let record = self.lease_record::<LeaseError>(transaction, database)?;
            if record.is_held_as(lease) {
                transaction.set(&keys::lease(database), &record.released().encode());
            }
            Ok(())
        });
        self.finish(result.map(|((), _)| ()))
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
    Granted(Lease),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes() {
        let free = LeaseRecord {
            epoch: 0x0102,
            beat: 3,
            holding: None,
        };
        let bytes = b"\x01\0\0\0\0\0\0\x01\x02\0\0\0\0\0\0\0\x03";
        assert_eq!(free.encode(), bytes);
        assert_eq!(LeaseRecord::decode(bytes), Ok(free));
        let held = LeaseRecord {
            holding: Some(Holding {
                id: LeaseId::from_bytes([7; 16]),
                time_to_live: Duration::from_secs(5),
            }),
            ..free
        };
        let bytes = [bytes.as_slice(), b"\0\0\x13\x88", &[7; 16]].concat();
        assert_eq!(held.encode(), bytes);
        assert_eq!(bytes.len(), LENGTH);
        assert_eq!(LeaseRecord::decode(&bytes), Ok(held));
    }

    #[test]
    fn cut_and_foreign_bytes_are_errors() {
        let held = LeaseRecord::default().taken(Holding {
            id: LeaseId::from_bytes([7; 16]),
            time_to_live: Duration::from_secs(5),
        });
        let bytes = held.encode();
        for length in (0..LENGTH).filter(|length| *length != 17) {
            assert!(LeaseRecord::decode(&bytes[..length]).is_err(), "{length}");
        }
        assert!(LeaseRecord::decode(&[bytes.as_slice(), &[0]].concat()).is_err());
        assert!(LeaseRecord::decode(&[&[2], &bytes[1..]].concat()).is_err());
    }
}
