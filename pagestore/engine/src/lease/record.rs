//! The stored form of a writer lease.

use std::time::Duration;

use verso_pagestore::{CommitId, Lease, LeaseId, LeaseRequest, LeaseStanding};

use crate::log::DecodeError;

/// A lease, with its holder if it has one.
const LEASE: u8 = 1;

/// A held lease under which a commit is being published.
const PUBLISHING: u8 = 2;

/// A lease that its last holder has handed over, to somebody who has not shown yet that it lives.
const HANDED_OVER: u8 = 3;

/// For how long a publication whose transaction had no lease of its own may show no progress.
const TIME_TO_PUBLISH: Duration = Duration::from_secs(5);

/// Who holds a lease, and with what time to live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Holding {
    pub(super) id: LeaseId,
    pub(super) time_to_live: Duration,
    phase: Phase,
}

/// How far a holding of a lease is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The holder before has handed it over.
    HandedOver,
    /// Its holder asked for it, or has shown that it lives.
    Held,
    /// A commit is being published under it.
    Publishing(Publication),
}

/// A commit that is published in steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Publication {
    commit: CommitId,
    /// Counts who has begun it, gone on with it, or begun to remove it.
    round: u32,
    /// Whether it is not to become a commit any more.
    is_given_up: bool,
}

/// One attempt at a publication, or at its removal. It goes on while the lease record says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Publishing {
    pub(crate) commit: CommitId,
    epoch: u64,
    round: u32,
}

impl Publishing {
    /// Whether nobody has tried it before, so that nothing is there of it.
    pub(crate) const fn is_first(self) -> bool {
        self.round == 1
    }
}

/// A sign of life of a holder: it changes as long as the holder lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Beat(u64);

/// The stored form of a lease. A lease that nobody has ever held has no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct LeaseRecord {
    pub(super) epoch: u64,
    pub(super) beat: u64,
    pub(super) holding: Option<Holding>,
}

impl Holding {
    pub(super) const fn new(id: LeaseId, time_to_live: Duration) -> Self {
        Self {
            id,
            time_to_live,
            phase: Phase::Held,
        }
    }

    /// For how long it must be seen unchanged before it may be taken over.
    pub(super) fn patience(&self) -> Duration {
        match self.phase {
            Phase::HandedOver => LeaseRequest::time_to_confirm(self.time_to_live),
            Phase::Held | Phase::Publishing(_) => self.time_to_live,
        }
    }

    pub(super) const fn is_handed_over(&self) -> bool {
        matches!(self.phase, Phase::HandedOver)
    }

    const fn publication(&self) -> Option<Publication> {
        match self.phase {
            Phase::HandedOver | Phase::Held => None,
            Phase::Publishing(publication) => Some(publication),
        }
    }
}

impl LeaseRecord {
    /// Whether this holding of the lease goes on.
    pub(crate) fn is_held_as(&self, lease: &Lease) -> bool {
        self.is_held_by(lease.id) && self.epoch == lease.epoch
    }

    pub(crate) fn is_held_by(&self, id: LeaseId) -> bool {
        self.holding.is_some_and(|holding| holding.id == id)
    }

    pub(crate) const fn is_held(&self) -> bool {
        self.holding.is_some()
    }

    pub(crate) const fn beat(&self) -> Beat {
        Beat(self.beat)
    }

    /// What a begin tells of it.
    pub(crate) fn standing(&self) -> LeaseStanding {
        match self.holding {
            None => LeaseStanding::Free,
            Some(holding) if holding.publication().is_some() => LeaseStanding::Unknown,
            Some(Holding { id, .. }) => LeaseStanding::Held {
                epoch: self.epoch,
                id,
            },
        }
    }

    fn publication(&self) -> Option<Publication> {
        self.holding?.publication()
    }

    /// The attempt at a publication that goes on.
    pub(crate) fn publishing(&self) -> Option<Publishing> {
        let Publication { commit, round, .. } = self.publication()?;
        let epoch = self.epoch;
        Some(Publishing {
            commit,
            epoch,
            round,
        })
    }

    /// The removal of a publication that goes on.
    pub(crate) fn removing(&self) -> Option<Publishing> {
        let is_given_up = self.publication()?.is_given_up;
        self.publishing().filter(|_| is_given_up)
    }

    /// Whether its holder may publish this commit: nothing of another one is left.
    pub(crate) fn is_open_to(&self, id: CommitId) -> bool {
        self.publication()
            .is_none_or(|publication| publication.commit == id && !publication.is_given_up)
    }

    /// The record of a holding that nobody has changed.
    pub(crate) const fn held_as(lease: &Lease) -> Self {
        Self {
            epoch: lease.epoch,
            beat: 0,
            holding: Some(Holding::new(lease.id, Duration::ZERO)),
        }
    }

    /// The record after its holder gave it back, and nobody waits for it.
    pub(super) const fn released(self) -> Self {
        Self {
            holding: None,
            ..self
        }
    }

    /// The record after its holder gave it to somebody who waits. Nothing is left of a publication.
    pub(super) const fn handed_over(self, to: Holding) -> Self {
        Self {
            epoch: self.epoch + 1,
            beat: 0,
            holding: Some(Holding {
                phase: Phase::HandedOver,
                ..to
            }),
        }
    }

    /// The record with a new holder, who must remove what is left of a publication.
    pub(super) fn taken(self, holding: Holding) -> Self {
        let phase = match self.publication() {
            Some(publication) => Phase::Publishing(publication.given_up()),
            None => holding.phase,
        };
        Self {
            epoch: self.epoch + 1,
            beat: 0,
            holding: Some(Holding { phase, ..holding }),
        }
    }

    /// The record with a holder that lives for one commit. It may be that already.
    pub(crate) fn taken_to_publish(self, id: LeaseId) -> Self {
        if self.is_held_by(id) {
            return self;
        }
        self.taken(Holding::new(id, TIME_TO_PUBLISH))
    }

    /// The record after its holder showed a sign of life.
    pub(crate) fn beaten(self) -> Self {
        let confirm = |holding: Holding| match holding.phase {
            Phase::HandedOver => Holding {
                phase: Phase::Held,
                ..holding
            },
            Phase::Held | Phase::Publishing(_) => holding,
        };
        Self {
            beat: self.beat.wrapping_add(1),
            holding: self.holding.map(confirm),
            ..self
        }
    }

    /// The record with a new attempt to publish a commit.
    pub(crate) fn publishes(self, commit: CommitId) -> Self {
        let round = self
            .publication()
            .map_or(0, |publication| publication.round);
        self.with(Some(Publication {
            commit,
            round: round.wrapping_add(1),
            is_given_up: false,
        }))
    }

    /// The record with a new attempt to remove what is left of a publication, if there is one.
    pub(crate) fn gives_up(self) -> Self {
        self.with(self.publication().map(Publication::given_up))
    }

    /// The record once nothing is left of a publication.
    pub(crate) fn published(self) -> Self {
        self.with(None)
    }

    fn with(self, publication: Option<Publication>) -> Self {
        let phase = publication.map_or(Phase::Held, Phase::Publishing);
        let change = |holding| Holding { phase, ..holding };
        Self {
            holding: self.holding.map(change),
            ..self
        }
        .beaten()
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let form = match self.holding.map(|holding| holding.phase) {
            None | Some(Phase::Held) => LEASE,
            Some(Phase::Publishing(_)) => PUBLISHING,
            Some(Phase::HandedOver) => HANDED_OVER,
        };
        let mut bytes = vec![form];
        bytes.extend_from_slice(&self.epoch.to_be_bytes());
        bytes.extend_from_slice(&self.beat.to_be_bytes());
        if let Some(holding) = &self.holding {
            bytes.extend_from_slice(&encode_holder(holding.id, holding.time_to_live));
            if let Some(publication) = &holding.publication() {
                bytes.extend_from_slice(publication.commit.as_bytes());
                bytes.extend_from_slice(&publication.round.to_be_bytes());
                bytes.push(u8::from(publication.is_given_up));
            }
        }
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        read(bytes).ok_or(DecodeError("a writer lease has an unknown form"))
    }
}

/// The stored form of who holds a lease, and of a place in the queue for it.
pub(super) fn encode_holder(id: LeaseId, time_to_live: Duration) -> Vec<u8> {
    let milliseconds = u32::try_from(time_to_live.as_millis()).unwrap_or(u32::MAX);
    [milliseconds.to_be_bytes().as_slice(), id.as_bytes()].concat()
}

/// Who has a place in the queue.
pub(super) fn decode_place(bytes: &[u8]) -> Result<Holding, DecodeError> {
    match read_holding(bytes) {
        Some((holding, [])) => Ok(holding),
        _ => Err(DecodeError(
            "a place in the queue for a writer lease has an unknown form",
        )),
    }
}

impl Publication {
    const fn given_up(self) -> Self {
        Self {
            round: self.round.wrapping_add(1),
            is_given_up: true,
            ..self
        }
    }
}

fn read(bytes: &[u8]) -> Option<LeaseRecord> {
    let (form, rest) = bytes.split_first()?;
    let (epoch, rest) = rest.split_first_chunk()?;
    let (beat, rest) = rest.split_first_chunk()?;
    let (holding, rest) = match (*form, rest) {
        (LEASE, []) => (None, rest),
        (LEASE, _) => {
            let (holding, rest) = read_holding(rest)?;
            (Some(holding), rest)
        }
        (PUBLISHING, _) => {
            let (holding, rest) = read_holding(rest)?;
            let (publication, rest) = read_publication(rest)?;
            let phase = Phase::Publishing(publication);
            (Some(Holding { phase, ..holding }), rest)
        }
        (HANDED_OVER, _) => {
            let (holding, rest) = read_holding(rest)?;
            let phase = Phase::HandedOver;
            (Some(Holding { phase, ..holding }), rest)
        }
        _ => return None,
    };
    rest.is_empty().then_some(LeaseRecord {
        epoch: u64::from_be_bytes(*epoch),
        beat: u64::from_be_bytes(*beat),
        holding,
    })
}

fn read_holding(bytes: &[u8]) -> Option<(Holding, &[u8])> {
    let (milliseconds, rest) = bytes.split_first_chunk()?;
    let (id, rest) = rest.split_first_chunk()?;
    let time_to_live = Duration::from_millis(u32::from_be_bytes(*milliseconds).into());
    Some((Holding::new(LeaseId::from_bytes(*id), time_to_live), rest))
}

fn read_publication(bytes: &[u8]) -> Option<(Publication, &[u8])> {
    let (commit, rest) = bytes.split_first_chunk()?;
    let (round, rest) = rest.split_first_chunk()?;
    let (is_given_up, rest) = rest.split_first()?;
    let publication = Publication {
        commit: CommitId::from_bytes(*commit),
        round: u32::from_be_bytes(*round),
        is_given_up: match is_given_up {
            0 => false,
            1 => true,
            _ => return None,
        },
    };
    Some((publication, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELD: &[u8; 37] = b"\x01\0\0\0\0\0\0\x01\x02\0\0\0\0\0\0\0\x03\0\0\x13\x88\
        \x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07";

    fn held() -> LeaseRecord {
        let holding = Holding::new(LeaseId::from_bytes([7; 16]), Duration::from_secs(5));
        LeaseRecord {
            epoch: 0x0102,
            beat: 3,
            holding: Some(holding),
        }
    }

    #[test]
    fn golden_bytes() {
        let free = held().released();
        assert_eq!(free.encode(), HELD[..17]);
        assert_eq!(LeaseRecord::decode(&HELD[..17]), Ok(free));
        assert_eq!(held().encode(), HELD);
        assert_eq!(LeaseRecord::decode(HELD), Ok(held()));
        let publishes = held().publishes(CommitId::from_bytes([9; 16]));
        let mut bytes = HELD.to_vec();
        bytes[0] = 2;
        bytes[16] = 4;
        bytes.extend_from_slice(&[9; 16]);
        bytes.extend_from_slice(b"\0\0\0\x01\0");
        assert_eq!(publishes.encode(), bytes);
        assert_eq!(LeaseRecord::decode(&bytes), Ok(publishes));
    }

    #[test]
    fn golden_bytes_of_a_lease_that_was_handed_over() {
        let next = Holding::new(LeaseId::from_bytes([8; 16]), Duration::from_secs(2));
        let record = held().handed_over(next);
        let place = [b"\0\0\x07\xd0".as_slice(), &[8; 16]].concat();
        assert_eq!(encode_holder(next.id, next.time_to_live), place);
        assert_eq!(decode_place(&place), Ok(next));
        let bytes = [
            b"\x03\0\0\0\0\0\0\x01\x03\0\0\0\0\0\0\0\0".as_slice(),
            &place,
        ]
        .concat();
        assert_eq!(record.encode(), bytes);
        assert_eq!(LeaseRecord::decode(&bytes), Ok(record));
        for length in 0..bytes.len() {
            assert!(LeaseRecord::decode(&bytes[..length]).is_err(), "{length}");
        }
        for length in 0..place.len() {
            assert!(decode_place(&place[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn a_sign_of_life_confirms_a_lease_that_was_handed_over() {
        let next = Holding::new(LeaseId::from_bytes([8; 16]), Duration::from_secs(5));
        let patience = |record: &LeaseRecord| record.holding.expect("it is held").patience();
        let record = held().handed_over(next);
        assert_eq!(record.epoch, held().epoch + 1);
        assert_eq!(patience(&record), Duration::from_secs(1));
        assert_eq!(patience(&record.beaten()), Duration::from_secs(5));
        let publishes = record.publishes(CommitId::from_bytes([9; 16]));
        assert_eq!(patience(&publishes), Duration::from_secs(5));
        assert!(
            !record
                .published()
                .holding
                .is_some_and(|it| it.is_handed_over())
        );
    }

    #[test]
    fn cut_and_foreign_bytes_are_errors() {
        for length in (0..HELD.len()).filter(|length| *length != 17) {
            assert!(LeaseRecord::decode(&HELD[..length]).is_err(), "{length}");
        }
        let publishes = held().publishes(CommitId::from_bytes([9; 16])).encode();
        for length in 0..publishes.len() {
            assert!(
                LeaseRecord::decode(&publishes[..length]).is_err(),
                "{length}"
            );
        }
        assert!(LeaseRecord::decode(&[HELD.as_slice(), &[0]].concat()).is_err());
        assert!(LeaseRecord::decode(&[publishes.as_slice(), &[0]].concat()).is_err());
        let mut foreign = HELD.to_vec();
        foreign[0] = 4;
        assert!(LeaseRecord::decode(&foreign).is_err());
    }

    #[test]
    fn who_takes_a_lease_over_must_remove_what_is_left() {
        let commit = CommitId::from_bytes([9; 16]);
        let publishes = held().publishes(commit);
        assert!(publishes.is_open_to(commit) && publishes.removing().is_none());
        assert!(!publishes.is_open_to(CommitId::from_bytes([8; 16])));
        let next = Holding::new(LeaseId::from_bytes([8; 16]), Duration::from_secs(5));
        let taken = publishes.taken(next);
        assert!(taken.removing().is_some() && !taken.is_open_to(commit));
        assert_ne!(taken.publishing(), publishes.publishing());
        assert!(taken.published().is_open_to(commit));
        assert_eq!(held().gives_up().removing(), None);
    }
}
