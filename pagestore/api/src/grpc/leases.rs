//! Conversions of writer leases, and of what a transaction starts with under one.

use std::time::Duration;

use bytes::Bytes;

use super::convert::{on_its_own, page_number, required};
use super::{InvalidMessage, proto};
use crate::{
    Begun, DatabaseId, Lease, LeaseAnswer, LeaseId, LeaseRequest, LeaseStanding, LeaseView,
    PageNumber, PageSize, Place, Start, Ticket, Version, VersionedPage,
};

impl TryFrom<&Bytes> for LeaseId {
    type Error = InvalidMessage;

    fn try_from(bytes: &Bytes) -> Result<Self, InvalidMessage> {
        let bytes = bytes[..]
            .try_into()
            .map_err(|_| InvalidMessage::new("lease id", "has not 16 bytes"))?;
        Ok(Self::from_bytes(bytes))
    }
}

impl From<LeaseId> for Bytes {
    fn from(id: LeaseId) -> Self {
        Self::copy_from_slice(id.as_bytes())
    }
}

impl TryFrom<&Bytes> for Ticket {
    type Error = InvalidMessage;

    fn try_from(bytes: &Bytes) -> Result<Self, InvalidMessage> {
        Version::try_from(bytes).map(Self)
    }
}

impl From<Ticket> for Bytes {
    fn from(ticket: Ticket) -> Self {
        ticket.0.into()
    }
}

impl TryFrom<proto::HeldLease> for Lease {
    type Error = InvalidMessage;

    fn try_from(message: proto::HeldLease) -> Result<Self, InvalidMessage> {
        Ok(Self {
            database: DatabaseId::new(message.database),
            epoch: message.epoch,
            id: (&message.id).try_into()?,
        })
    }
}

impl From<Lease> for proto::HeldLease {
    fn from(lease: Lease) -> Self {
        Self {
            database: lease.database.get(),
            epoch: lease.epoch,
            id: lease.id.into(),
        }
    }
}

/// What a snapshot says of the lease.
pub(super) fn standing(
    message: Option<proto::LeaseStanding>,
) -> Result<LeaseStanding, InvalidMessage> {
    let Some(message) = message else {
        return Ok(LeaseStanding::Unknown);
    };
    Ok(match message.holder {
        None => LeaseStanding::Free,
        Some(holder) => LeaseStanding::Held {
            epoch: holder.epoch,
            id: (&holder.id).try_into()?,
        },
    })
}

/// The message of it.
pub(super) fn standing_message(standing: LeaseStanding) -> Option<proto::LeaseStanding> {
    use proto::lease_standing::Holder;
    let holder = match standing {
        LeaseStanding::Unknown => return None,
        LeaseStanding::Free => None,
        LeaseStanding::Held { epoch, id } => Some(Holder {
            epoch,
            id: id.into(),
        }),
    };
    Some(proto::LeaseStanding { holder })
}

impl TryFrom<proto::LeaveQueueRequest> for Place {
    type Error = InvalidMessage;

    fn try_from(message: proto::LeaveQueueRequest) -> Result<Self, InvalidMessage> {
        Ok(Self {
            database: DatabaseId::new(message.database),
            id: (&message.id).try_into()?,
            ticket: (&message.ticket).try_into()?,
        })
    }
}

impl From<Place> for proto::LeaveQueueRequest {
    fn from(place: Place) -> Self {
        Self {
            database: place.database.get(),
            id: place.id.into(),
            ticket: place.ticket.into(),
        }
    }
}

impl TryFrom<proto::LeaseView> for LeaseView {
    type Error = InvalidMessage;

    fn try_from(message: proto::LeaseView) -> Result<Self, InvalidMessage> {
        use proto::lease_view::State;
        Ok(match required("lease view", message.state)? {
            State::Held(held) => Self::Held {
                epoch: held.epoch,
                beat: held.beat,
                time_to_live: Duration::from_millis(held.time_to_live_ms.into()),
            },
            State::Free(free) => Self::Free {
                epoch: free.epoch,
                first: (&free.first).try_into()?,
            },
        })
    }
}

impl From<LeaseView> for proto::LeaseView {
    fn from(view: LeaseView) -> Self {
        use proto::lease_view::{Free, Held, State};
        let state = match view {
            LeaseView::Held {
                epoch,
                beat,
                time_to_live,
            } => State::Held(Held {
                epoch,
                beat,
                time_to_live_ms: milliseconds(time_to_live),
            }),
            LeaseView::Free { epoch, first } => State::Free(Free {
                epoch,
                first: first.into(),
            }),
        };
        Self { state: Some(state) }
    }
}

impl TryFrom<proto::LeaseRequest> for LeaseRequest {
    type Error = InvalidMessage;

    fn try_from(message: proto::LeaseRequest) -> Result<Self, InvalidMessage> {
        let ticket = (!message.ticket.is_empty()).then(|| Ticket::try_from(&message.ticket));
        Ok(Self {
            database: DatabaseId::new(message.database),
            id: (&message.id).try_into()?,
            time_to_live: Duration::from_millis(message.time_to_live_ms.into()),
            ticket: ticket.transpose()?,
            stuck: message.stuck.map(TryInto::try_into).transpose()?,
        })
    }
}

impl From<LeaseRequest> for proto::LeaseRequest {
    fn from(request: LeaseRequest) -> Self {
        Self {
            database: request.database.get(),
            id: request.id.into(),
            time_to_live_ms: milliseconds(request.time_to_live),
            ticket: request.ticket.map(Into::into).unwrap_or_default(),
            stuck: request.stuck.map(Into::into),
            begin: None,
        }
    }
}

impl TryFrom<proto::lease_reply::Answer> for LeaseAnswer {
    type Error = InvalidMessage;

    fn try_from(answer: proto::lease_reply::Answer) -> Result<Self, InvalidMessage> {
        use proto::lease_reply::Answer;
        Ok(match answer {
            Answer::Granted(lease) => Self::Granted(lease.try_into()?),
            Answer::HandedOver(lease) => Self::HandedOver(lease.try_into()?),
            Answer::Waiting(waiting) => Self::Waiting {
                ticket: (&waiting.ticket).try_into()?,
                ahead: usize::try_from(waiting.ahead).unwrap_or(Self::MOST_AHEAD),
                view: required("lease view", waiting.view)?.try_into()?,
            },
        })
    }
}

impl From<LeaseAnswer> for proto::lease_reply::Answer {
    fn from(answer: LeaseAnswer) -> Self {
        use proto::lease_reply::Waiting;
        match answer {
            LeaseAnswer::Granted(lease) => Self::Granted(lease.into()),
            LeaseAnswer::HandedOver(lease) => Self::HandedOver(lease.into()),
            LeaseAnswer::Waiting {
                ticket,
                ahead,
                view,
            } => Self::Waiting(Waiting {
                ticket: ticket.into(),
                ahead: u32::try_from(ahead).unwrap_or(u32::MAX),
                view: Some(view.into()),
            }),
        }
    }
}

/// What a node answers to a request for a lease. The lease is held whatever came with it, so that a
/// start which is not valid is left out.
///
/// # Errors
/// If the answer is not valid.
pub(super) fn answer_from(
    message: proto::LeaseReply,
) -> Result<(LeaseAnswer, Option<Start>), InvalidMessage> {
    let answer = required("lease answer", message.answer)?.try_into()?;
    let start = message.start.and_then(|start| {
        let start = Start::try_from(start);
        start
            .inspect_err(|error| tracing::debug!(%error, "what came with a writer lease"))
            .ok()
    });
    Ok((answer, start))
}

impl From<(LeaseAnswer, Option<Start>)> for proto::LeaseReply {
    fn from((answer, start): (LeaseAnswer, Option<Start>)) -> Self {
        Self {
            answer: Some(answer.into()),
            start: start.map(Into::into),
        }
    }
}

impl TryFrom<proto::Start> for Start {
    type Error = InvalidMessage;

    fn try_from(message: proto::Start) -> Result<Self, InvalidMessage> {
        let begun: Begun = required("begun", message.begun)?.try_into()?;
        let snapshot = begun.snapshot;
        let size = snapshot.page_size.map(PageSize::length);
        let page = |message: proto::StartPage| {
            let number = page_number(message.number)?;
            let page = on_its_own(required("page", message.page)?)?;
            if !snapshot.page_count.contains(number) || Some(page.page.len()) != size {
                return Err(InvalidMessage::new("page", "is not one of the snapshot"));
            }
            Ok((number, page))
        };
        let pages = message
            .pages
            .into_iter()
            .map(page)
            .collect::<Result<_, _>>()?;
        Ok(Self { begun, pages })
    }
}

impl From<Start> for proto::Start {
    fn from(start: Start) -> Self {
        let page = |(number, page): (PageNumber, VersionedPage)| proto::StartPage {
            number: number.get(),
            page: Some(page.into()),
        };
        Self {
            begun: Some(start.begun.into()),
            pages: start.pages.into_iter().map(page).collect(),
        }
    }
}

fn milliseconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Chain, Changes, CommitId, PageCount, Snapshot};

    fn lease() -> Lease {
        Lease {
            database: DatabaseId::new(7),
            epoch: 3,
            id: LeaseId::from_bytes([4; 16]),
        }
    }

    /// A database of two pages of 512 bytes, and the second of them.
    fn start() -> Start {
        let snapshot = Snapshot {
            database: DatabaseId::new(7),
            version: Version::from_commit(5, 0),
            commit: CommitId::from_bytes([1; 16]),
            read_version: 6,
            lease: LeaseStanding::Free,
            mark: None,
            page_size: PageSize::new(512).ok(),
            page_count: PageCount::new(2),
        };
        let page = VersionedPage {
            version: snapshot.version,
            page: vec![9; 512].into(),
            chain: Chain::WHOLE,
        };
        let changes = Changes::Commits(Vec::new());
        Start {
            begun: Begun { snapshot, changes },
            pages: vec![(PageNumber::new(2).expect("a page"), page)],
        }
    }

    #[test]
    fn what_comes_with_a_lease_is_told_if_it_is_valid_and_the_lease_always() {
        let granted = LeaseAnswer::Granted(lease());
        let message = proto::LeaseReply::from((granted, Some(start())));
        assert_eq!(answer_from(message.clone()), Ok((granted, Some(start()))));
        let harms: [fn(&mut proto::Start); 6] = [
            |start| start.begun = None,
            |start| start.pages[0].number = 0,
            |start| start.pages[0].number = 3,
            |start| start.pages[0].page = None,
            |start| start.pages[0].page.as_mut().unwrap().page = vec![9; 1024].into(),
            |start| start.pages[0].page.as_mut().unwrap().deltas = 1000,
        ];
        for (number, harm) in harms.into_iter().enumerate() {
            let mut harmed = message.clone();
            harm(harmed.start.as_mut().unwrap());
            assert_eq!(answer_from(harmed), Ok((granted, None)), "harm {number}");
        }
        let nothing = proto::LeaseReply {
            answer: None,
            ..message
        };
        assert!(answer_from(nothing).is_err());
    }
}
