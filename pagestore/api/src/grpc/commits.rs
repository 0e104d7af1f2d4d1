//! Conversions of commits.

use super::convert::{page_set, page_set_bytes, page_size, pages_from, required};
use super::{InvalidMessage, proto};
use crate::{Change, CommitOutcome, CommitRequest, Durability, PageCount, Participant};

/// Most databases of one commit: SQLite attaches at most 125
/// (<https://www.sqlite.org/limits.html#max_attached>). Counted by the codec.
pub(super) const MOST_PARTICIPANTS: usize = 256;

impl TryFrom<proto::CommitRequest> for CommitRequest {
    type Error = InvalidMessage;

    fn try_from(message: proto::CommitRequest) -> Result<Self, InvalidMessage> {
        let durability = match message.durability() {
            proto::Durability::Off => Durability::Off,
            proto::Durability::Normal => Durability::Normal,
            proto::Durability::Full | proto::Durability::Unspecified => Durability::Full,
        };
        let participants = message.participants.into_iter();
        Ok(Self {
            id: (&message.id).try_into()?,
            durability,
            participants: participants
                .map(TryInto::try_into)
                .collect::<Result<_, _>>()?,
        })
    }
}

impl From<&CommitRequest> for proto::CommitRequest {
    fn from(request: &CommitRequest) -> Self {
        let durability = match request.durability {
            Durability::Off => proto::Durability::Off,
            Durability::Normal => proto::Durability::Normal,
            Durability::Full => proto::Durability::Full,
        };
        Self {
            id: request.id.into(),
            durability: durability.into(),
            participants: request.participants.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<proto::Participant> for Participant {
    type Error = InvalidMessage;

    fn try_from(message: proto::Participant) -> Result<Self, InvalidMessage> {
        Ok(Self {
            snapshot: required("snapshot", message.snapshot)?.try_into()?,
            reads: page_set(&message.reads)?,
            lease: message.lease.map(TryInto::try_into).transpose()?,
            change: message.change.map(TryInto::try_into).transpose()?,
        })
    }
}

impl From<&Participant> for proto::Participant {
    fn from(participant: &Participant) -> Self {
        Self {
            snapshot: Some(participant.snapshot.into()),
            reads: page_set_bytes(&participant.reads),
            lease: participant.lease.map(Into::into),
            change: participant.change.as_ref().map(Into::into),
        }
    }
}

impl TryFrom<proto::Change> for Change {
    type Error = InvalidMessage;

    fn try_from(message: proto::Change) -> Result<Self, InvalidMessage> {
        Ok(Self {
            writes: pages_from(message.writes)?,
            deltas: message
                .deltas
                .into_iter()
                .map(TryInto::try_into)
                .collect::<Result<_, _>>()?,
            staged: page_set(&message.staged)?,
            page_size: page_size(message.page_size)?,
            page_count: PageCount::new(message.page_count),
        })
    }
}

impl From<&Change> for proto::Change {
    fn from(change: &Change) -> Self {
        Self {
            writes: change.writes.iter().cloned().map(Into::into).collect(),
            deltas: change.deltas.iter().cloned().map(Into::into).collect(),
            staged: page_set_bytes(&change.staged),
            page_size: change.page_size.get(),
            page_count: change.page_count.get(),
        }
    }
}

impl TryFrom<proto::CommitReply> for CommitOutcome {
    type Error = InvalidMessage;

    fn try_from(message: proto::CommitReply) -> Result<Self, InvalidMessage> {
        Ok(Self {
            version: (&message.version).try_into()?,
            read_version: message.read_version,
            mark: None,
        })
    }
}

impl From<CommitOutcome> for proto::CommitReply {
    fn from(outcome: CommitOutcome) -> Self {
        Self {
            version: outcome.version.into(),
            read_version: outcome.read_version,
        }
    }
}
