//! The stored form of a lease, as far as the checks look at it (see `docs/format.md`).

use verso_pagestore::{CommitId, LeaseId, LeaseStanding, Ticket, Version};

/// A commit that is published in steps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Publication {
    pub(crate) commit: CommitId,
    pub(crate) round: u32,
    pub(crate) is_given_up: bool,
}

/// A lease record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Lease {
    pub(crate) epoch: u64,
    pub(crate) holder: Option<[u8; 16]>,
    pub(crate) publication: Option<Publication>,
    /// Whether its last holder gave it to this one, who has not shown a sign of life yet.
    pub(crate) is_handed_over: bool,
}

/// A lease that its holder has handed over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct HandOver {
    pub(crate) version: Version,
    pub(crate) epoch: u64,
    /// The place in the queue that it was handed over to.
    pub(crate) ticket: Ticket,
}

/// The id in the stored form of a place in the queue.
pub(super) fn holder_of(place: &[u8]) -> Option<[u8; 16]> {
    let (_milliseconds, id) = place.split_first_chunk::<4>()?;
    id.try_into().ok()
}

impl Lease {
    /// What a begin tells of it.
    pub(crate) fn standing(&self) -> LeaseStanding {
        match self.holder {
            None => LeaseStanding::Free,
            Some(_) if self.publication.is_some() => LeaseStanding::Unknown,
            Some(id) => LeaseStanding::Held {
                epoch: self.epoch,
                id: LeaseId::from_bytes(id),
            },
        }
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, String> {
        read(bytes).ok_or_else(|| format!("{bytes:?} is no lease"))
    }

    /// Whether somebody has it who will remove the publication of another.
    pub(super) fn ousts(&self) -> Option<CommitId> {
        let publication = self.publication.filter(|it| it.is_given_up)?;
        let is_other = self.holder.as_ref() != Some(publication.commit.as_bytes());
        is_other.then_some(publication.commit)
    }
}

fn read(bytes: &[u8]) -> Option<Lease> {
    let (form, rest) = bytes.split_first()?;
    let (epoch, rest) = rest.split_first_chunk()?;
    let (_beat, rest) = rest.split_first_chunk::<8>()?;
    let mut lease = Lease {
        epoch: u64::from_be_bytes(*epoch),
        holder: None,
        publication: None,
        is_handed_over: *form == 3,
    };
    if rest.is_empty() {
        return Some(lease);
    }
    let (_milliseconds, rest) = rest.split_first_chunk::<4>()?;
    let (holder, rest) = rest.split_first_chunk()?;
    lease.holder = Some(*holder);
    if *form == 2 {
        let (commit, rest) = rest.split_first_chunk()?;
        let (round, rest) = rest.split_first_chunk()?;
        lease.publication = Some(Publication {
            commit: CommitId::from_bytes(*commit),
            round: u32::from_be_bytes(*round),
            is_given_up: *rest.first()? == 1,
        });
    }
    Some(lease)
}
