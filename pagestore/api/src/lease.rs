//! The writer lease: at most one transaction at a time holds that of a database, and while
//! it does, nobody else commits there.
//!
//! No clock of two machines is ever compared. A lease has a beat, which its holder moves
//! while it lives; whoever waits measures by its own clock for how long it saw the same.

use std::time::Duration;

use crate::id::random_id;
use crate::{DatabaseId, Version};

random_id! {
    /// The identity of one wait for a lease, and of the holding that it ends in, chosen at
    /// random by the client. A request whose answer was lost is asked again with the same id.
    ///
    /// The first 8 bytes are those of the client: of all the waits of one process.
    LeaseId
}

impl LeaseId {
    const CLIENT: usize = 8;

    /// A new id of the same client.
    ///
    /// # Errors
    /// If the operating system gives no random numbers.
    pub fn beside(&self) -> Result<Self, getrandom::Error> {
        let mut bytes = *Self::random()?.as_bytes();
        let (client, _) = bytes.split_at_mut(Self::CLIENT);
        client.copy_from_slice(self.client());
        Ok(Self::from_bytes(bytes))
    }

    /// Whether both are of one client.
    #[must_use]
    pub fn is_beside(&self, other: &Self) -> bool {
        self.client() == other.client()
    }

    fn client(&self) -> &[u8] {
        let (client, _) = self.as_bytes().split_at(Self::CLIENT);
        client
    }
}

/// A place in the queue for a lease. Places that were taken later compare greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub Version);

/// One holding of a database's writer lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Lease {
    /// The database.
    pub database: DatabaseId,
    /// How often the lease of this database was taken, this time included. Commits check it,
    /// so a holder that lost the lease without noticing commits nothing.
    pub epoch: u64,
    /// Of the request that it was granted to. A store that was put back to an older state may
    /// count an epoch again.
    pub id: LeaseId,
}

/// Where somebody waits for a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The database.
    pub database: DatabaseId,
    /// Of the requests.
    pub id: LeaseId,
    /// The place in the queue.
    pub ticket: Ticket,
}

/// What somebody who waits sees of a lease. While it stays the same, nothing moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseView {
    /// Somebody holds it.
    Held {
        /// The epoch of this holding.
        epoch: u64,
        /// Moved by the holder, as a sign that it lives.
        beat: u64,
        /// For how long it must be seen unchanged before it may be taken over.
        time_to_live: Duration,
    },
    /// Nobody holds it.
    Free {
        /// The epoch of the last holding.
        epoch: u64,
        /// Whose turn it is.
        first: Ticket,
    },
}

/// What a begin saw of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseStanding {
    /// It did not look, or a commit is being published under it in steps.
    Unknown,
    /// Nobody held it.
    Free,
    /// Somebody held it.
    Held {
        /// The epoch of this holding.
        epoch: u64,
        /// Of the request that it was granted to.
        id: LeaseId,
    },
}

impl LeaseStanding {
    /// Whether it was held like that.
    #[must_use]
    pub fn is_held_as(&self, lease: &Lease) -> bool {
        let Lease { epoch, id, .. } = *lease;
        *self == Self::Held { epoch, id }
    }
}

/// Asks for a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseRequest {
    /// The database.
    pub database: DatabaseId,
    /// Makes the request safe to repeat.
    pub id: LeaseId,
    /// For how long others must see the lease unchanged before they may take it over, in
    /// whole milliseconds.
    pub time_to_live: Duration,
    /// The place in the queue that an earlier request got.
    pub ticket: Option<Ticket>,
    /// What the client has seen unchanged for so long that it takes the holder, or the first
    /// in the queue, for dead, with all who wait in the same process. Ignored if anything has
    /// moved since.
    pub stuck: Option<LeaseView>,
}

/// The answer to a [`LeaseRequest`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseAnswer {
    /// The client holds the lease.
    Granted(Lease),
    /// The client holds the lease, since the holder before has handed it over. Nobody knows yet
    /// whether the client still lives, so the lease is taken over after
    /// [`LeaseRequest::time_to_confirm`] already, until it is renewed for the first time.
    HandedOver(Lease),
    /// It is somebody else's turn. Ask again with the ticket.
    Waiting {
        /// The client's place in the queue.
        ticket: Ticket,
        /// How many wait before it, as far as the store counts: at most [`LeaseAnswer::MOST_AHEAD`].
        ahead: usize,
        /// What there is to watch.
        view: LeaseView,
    },
}

impl LeaseRequest {
    /// For how long others must see a lease unchanged that was handed over, before they may take
    /// it over: its new holder may have died while it waited.
    #[must_use]
    pub fn time_to_confirm(time_to_live: Duration) -> Duration {
        const SHORTEST: Duration = Duration::from_millis(250);
        (time_to_live / 5).max(SHORTEST).min(time_to_live)
    }
}

impl LeaseAnswer {
    /// The store counts those who wait before somebody no further than this.
    pub const MOST_AHEAD: usize = 4;
}
