//! The service of transactions: begin, read, commit, and the writer lease.

use std::pin::Pin;
use std::sync::Arc;

use tokio_stream::Stream;
use tonic::{Request, Response, Status, Streaming};
use verso_pagestore::grpc::proto::page_store_server::PageStore as Service;
use verso_pagestore::grpc::{pages_from, proto, required};
use verso_pagestore::{
    Begun, Changes, CommitError, CommitId, CommitPages, CommitRequest, DatabaseId, DatabaseName,
    Lease, LeaseError, LeaseRequest, Moment, PageNumber, Place, ReadError, Since, Snapshot,
};

use crate::access::Caller;
use crate::auth::Right;
use crate::look::Lookers;
use crate::read::Pages;
use crate::work::Work;
use crate::{Limits, turn, watch};

/// More bytes of changes than this are not listed: the client drops what it remembers.
const MOST_BYTES_OF_CHANGES: usize = 256 << 10;

/// The service.
pub(crate) struct Transactions {
    pub(crate) work: Work,
    pub(crate) limits: Limits,
    pub(crate) lookers: Arc<Lookers>,
}

type Answer<T> = Result<Response<T>, Status>;
type Replies<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// A name that a request gives.
pub(crate) fn name(text: String) -> Result<DatabaseName, Status> {
    DatabaseName::new(text).map_err(|error| Status::invalid_argument(error.to_string()))
}

/// The changes, unless they are more than so many bytes.
pub(crate) fn bounded(changes: Changes, most_bytes: usize) -> Changes {
    let size = |commit: &CommitPages| commit.pages.serialized_size() + 40;
    if let Changes::Commits(commits) = &changes
        && commits.iter().map(size).sum::<usize>() > most_bytes
    {
        return Changes::Unknown;
    }
    changes
}

/// What a begin is answered with.
pub(crate) fn listed(begun: Begun) -> Begun {
    Begun {
        changes: bounded(begun.changes, MOST_BYTES_OF_CHANGES),
        ..begun
    }
}

/// What a begin asks for.
fn beginning(message: proto::BeginRequest) -> Result<(DatabaseName, Option<Since>), Status> {
    let since = message.since.map(TryInto::try_into).transpose()?;
    Ok((name(message.name)?, since))
}

/// Refuses a commit, unless the caller may make it, or see what came of its checks. Those of a
/// transaction that only read tell no more than reading does, so they need no more.
async fn may_commit(
    caller: &Caller,
    request: &CommitRequest,
    to_read: Right,
) -> Result<(), Status> {
    for participant in &request.participants {
        let database = participant.snapshot.database;
        let only_reads = participant.change.is_none() && participant.lease.is_none();
        let right = if only_reads { to_read } else { Right::Write };
        let missing = CommitError::Removed { database };
        caller.may_by_id(right, database, missing).await?;
    }
    Ok(())
}

#[tonic::async_trait]
impl Service for Transactions {
    type ReadStream = Replies<proto::ReadReply>;
    type WatchStream = watch::Replies;

    async fn begin(&self, request: Request<proto::BeginRequest>) -> Answer<proto::BeginReply> {
        let caller = Caller::of(&request)?;
        let (name, since) = beginning(request.into_inner())?;
        caller.may(Right::Read, &name)?;
        let begun = self.work.begin(name, since).await?;
        Ok(Response::new(listed(begun).into()))
    }

    async fn read(&self, request: Request<proto::ReadRequest>) -> Answer<Self::ReadStream> {
        let caller = Caller::of(&request)?;
        let message = request.into_inner();
        let snapshot: Snapshot = required("snapshot", message.snapshot)?.try_into()?;
        if message.pages.len() > self.limits.pages_per_read {
            return Err(Status::invalid_argument(format!(
                "{} pages in one read, and this node takes {}: ask for them in parts",
                message.pages.len(),
                self.limits.pages_per_read
            )));
        }
        let pages: Option<Vec<_>> = message.pages.into_iter().map(PageNumber::new).collect();
        let pages = pages.ok_or_else(|| Status::invalid_argument("there is no page 0"))?;
        let database = snapshot.database;
        let missing = ReadError::Removed { database };
        caller.may_by_id(Right::Read, database, missing).await?;
        let pages = Pages::new(self.work.clone(), snapshot, pages).await?;
        Ok(Response::new(Box::pin(pages)))
    }

    async fn commit(&self, request: Request<proto::CommitRequest>) -> Answer<proto::CommitReply> {
        let caller = Caller::of(&request)?;
        let request: CommitRequest = request.into_inner().try_into()?;
        may_commit(&caller, &request, Right::Write).await?;
        let outcome = self.work.ask(move |store| store.commit(&request)).await?;
        Ok(Response::new(outcome.into()))
    }

    async fn validate(
        &self,
        request: Request<proto::CommitRequest>,
    ) -> Answer<proto::ValidateReply> {
        let caller = Caller::of(&request)?;
        let request: CommitRequest = request.into_inner().try_into()?;
        may_commit(&caller, &request, Right::Read).await?;
        self.work.ask(move |store| store.validate(&request)).await?;
        Ok(Response::new(proto::ValidateReply {}))
    }

    async fn stage(&self, request: Request<proto::StageRequest>) -> Answer<proto::StageReply> {
        let caller = Caller::of(&request)?;
        let message = request.into_inner();
        let database = DatabaseId::new(message.database);
        let commit = CommitId::try_from(&message.commit)?;
        let missing = CommitError::Removed { database };
        caller.may_by_id(Right::Write, database, missing).await?;
        let pages = pages_from(message.writes)?;
        self.work
            .ask(move |store| store.stage(commit, database, &pages))
            .await?;
        Ok(Response::new(proto::StageReply {}))
    }

    async fn lease(&self, request: Request<proto::LeaseRequest>) -> Answer<proto::LeaseReply> {
        let caller = Caller::of(&request)?;
        let mut message = request.into_inner();
        let begin = message.begin.take().map(beginning).transpose()?;
        let request: LeaseRequest = message.try_into()?;
        let database = request.database;
        let missing = LeaseError::Removed { database };
        caller.may_by_id(Right::Write, database, missing).await?;
        // Who may not see what the name stands for now is told when they begin by themselves.
        let begin = begin.filter(|(name, _)| caller.may(Right::Read, name).is_ok());
        let answer = self
            .work
            .ask(move |store| turn::take(store, &request, begin))
            .await?;
        Ok(Response::new(answer.into()))
    }

    async fn renew_lease(
        &self,
        request: Request<proto::HeldLease>,
    ) -> Answer<proto::RenewLeaseReply> {
        let caller = Caller::of(&request)?;
        let lease: Lease = request.into_inner().try_into()?;
        let database = lease.database;
        let missing = LeaseError::Lost { database };
        caller.may_by_id(Right::Write, database, missing).await?;
        self.work
            .ask(move |store| store.renew_lease(&lease))
            .await?;
        Ok(Response::new(proto::RenewLeaseReply {}))
    }

    async fn release_lease(
        &self,
        request: Request<proto::HeldLease>,
    ) -> Answer<proto::ReleaseLeaseReply> {
        let caller = Caller::of(&request)?;
        let lease: Lease = request.into_inner().try_into()?;
        if !caller.sees(Right::Write, lease.database).await? {
            return Ok(Response::new(proto::ReleaseLeaseReply {}));
        }
        self.work
            .ask(move |store| store.release_lease(&lease))
            .await?;
        Ok(Response::new(proto::ReleaseLeaseReply {}))
    }

    async fn leave_queue(
        &self,
        request: Request<proto::LeaveQueueRequest>,
    ) -> Answer<proto::LeaveQueueReply> {
        let caller = Caller::of(&request)?;
        let place = Place::try_from(request.into_inner())?;
        if !caller.sees(Right::Write, place.database).await? {
            return Ok(Response::new(proto::LeaveQueueReply {}));
        }
        self.work
            .ask(move |store| store.leave_queue(&place))
            .await?;
        Ok(Response::new(proto::LeaveQueueReply {}))
    }

    async fn snapshot_at(
        &self,
        request: Request<proto::SnapshotAtRequest>,
    ) -> Answer<proto::SnapshotAtReply> {
        let caller = Caller::of(&request)?;
        let message = request.into_inner();
        let name = name(message.name)?;
        caller.may(Right::Read, &name)?;
        let moment: Moment = required("moment", message.moment)?.try_into()?;
        let snapshot = self
            .work
            .ask(move |store| store.snapshot_at(&name, moment))
            .await?;
        Ok(Response::new(proto::SnapshotAtReply {
            snapshot: Some(snapshot.into()),
        }))
    }

    async fn watch(
        &self,
        request: Request<Streaming<proto::WatchRequest>>,
    ) -> Answer<Self::WatchStream> {
        let caller = Caller::of(&request)?;
        let replies = watch::watch(&self.work, &self.lookers, caller, request.into_inner()).await?;
        Ok(Response::new(replies))
    }
}
