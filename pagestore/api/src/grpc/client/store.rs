//! The client as a page store: each method is one request, or several where the answer is long.

use std::time::Duration;

use tokio_stream::StreamExt as _;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use super::call::{Failure, Repeat};
use super::{Client, MOST_BYTES_OF_REPLY, MOST_PAGES};
use crate::grpc::convert::required;
use crate::grpc::proto::admin_client::AdminClient;
use crate::grpc::proto::page_store_client::PageStoreClient;
use crate::grpc::{InvalidMessage, convert, leases, proto};
use crate::{
    BeginError, Begun, Bound, CatalogueError, CommitError, CommitId, CommitOutcome, CommitRecord,
    CommitRequest, CopyBegun, DatabaseEntry, DatabaseId, DatabaseInfo, DatabaseName, Lease,
    LeaseAnswer, LeaseError, LeaseRequest, LoadError, Moment, MomentError, Origin, PageCount,
    PageNumber, PageSize, PageStore, PageWrite, Place, ReadError, Recent, RecordPosition, Since,
    Snapshot, Start, StoreError, VerifyReport, Version, VersionedPage,
};

pub(super) fn transactions(channel: Channel) -> PageStoreClient<Channel> {
    PageStoreClient::new(channel).max_decoding_message_size(MOST_BYTES_OF_REPLY)
}

fn admin(channel: Channel) -> AdminClient<Channel> {
    AdminClient::new(channel).max_decoding_message_size(MOST_BYTES_OF_REPLY)
}

fn messages(writes: &[PageWrite]) -> Vec<proto::PageWrite> {
    writes.iter().cloned().map(Into::into).collect()
}

fn begin_message(name: &DatabaseName, since: Option<Since>) -> proto::BeginRequest {
    proto::BeginRequest {
        name: name.to_string(),
        since: since.map(Into::into),
    }
}

/// The pages of a read, once all of them have come.
async fn collect(
    channel: Channel,
    request: Request<proto::ReadRequest>,
) -> Result<Response<Vec<proto::VersionedPage>>, Status> {
    let expected = request.get_ref().pages.len();
    let mut stream = transactions(channel).read(request).await?.into_inner();
    let mut pages = Vec::with_capacity(expected);
    while let Some(reply) = stream.next().await {
        pages.extend(reply?.pages);
    }
    Ok(Response::new(pages))
}

impl Client {
    /// At most `limit` items of a list that a node answers in parts: `next` asks for those
    /// behind an item, and says whether there may be more.
    fn listed<T: Clone, E>(
        limit: usize,
        mut next: impl FnMut(Option<&T>, u32) -> Result<(Vec<T>, bool), E>,
    ) -> Result<Vec<T>, E> {
        let mut items: Vec<T> = Vec::new();
        loop {
            let left = u32::try_from(limit - items.len()).unwrap_or(u32::MAX);
            let (part, more) = next(items.last(), left)?;
            items.extend(part);
            items.truncate(limit);
            if !more || items.len() == limit {
                return Ok(items);
            }
        }
    }

    fn read_part(
        &self,
        snapshot: &Snapshot,
        pages: &[PageNumber],
    ) -> Result<Vec<VersionedPage>, ReadError> {
        let message = proto::ReadRequest {
            snapshot: Some((*snapshot).into()),
            pages: pages.iter().map(|page| page.get()).collect(),
        };
        let key = snapshot.database.get();
        let read = self.ask::<_, _, ReadError, _, _>(key, Repeat::Safe, message, collect)?;
        let read: Result<Vec<VersionedPage>, _> =
            read.into_iter().map(convert::on_its_own).collect();
        let read = self.valid(read)?;
        let size = snapshot.page_size.map(PageSize::length);
        if read.len() != pages.len() || read.iter().any(|read| Some(read.page.len()) != size) {
            let invalid = InvalidMessage::new("pages", "are not those that were asked for");
            self.valid(Err(invalid))?;
        }
        Ok(read)
    }

    fn ask_for_lease(
        &self,
        message: proto::LeaseRequest,
    ) -> Result<(LeaseAnswer, Option<Start>), LeaseError> {
        let key = message.database;
        let ask = |channel, request| async move { transactions(channel).lease(request).await };
        let reply = self.ask::<_, _, LeaseError, _, _>(key, Repeat::Safe, message, ask)?;
        Ok(self.valid(leases::answer_from(reply))?)
    }
}

impl PageStore for Client {
    fn begin(&self, name: &DatabaseName, since: Option<Since>) -> Result<Begun, BeginError> {
        let message = begin_message(name, since);
        let ask = |channel, request| async move { transactions(channel).begin(request).await };
        let reply =
            self.ask::<_, _, BeginError, _, _>(self.key(name), Repeat::Safe, message, ask)?;
        let begun: Begun = self.valid(reply.try_into())?;
        self.remember(name, begun.snapshot.database);
        Ok(begun)
    }

    fn begin_within(
        &self,
        name: &DatabaseName,
        since: Option<Since>,
        bound: Bound,
    ) -> Result<Recent, BeginError> {
        if let Some(recent) = self.watches.recent(name, since, bound) {
            return Ok(recent);
        }
        let begun = self.begin(name, since)?;
        self.watch(name, bound.age);
        Ok(Recent {
            begun,
            age: Duration::ZERO,
        })
    }

    fn read(
        &self,
        snapshot: &Snapshot,
        pages: &[PageNumber],
    ) -> Result<Vec<VersionedPage>, ReadError> {
        let mut read = Vec::with_capacity(pages.len());
        for part in pages.chunks(MOST_PAGES) {
            read.extend(self.read_part(snapshot, part)?);
        }
        Ok(read)
    }

    fn commit(&self, request: &CommitRequest) -> Result<CommitOutcome, CommitError> {
        let staged = self.stage_much(request)?;
        let message = proto::CommitRequest::from(staged.as_ref().unwrap_or(request));
        let key = request
            .participants
            .first()
            .map_or(0, |participant| participant.snapshot.database.get());
        let bearer = self.options.bearer.clone();
        let answer = self.call(key, Repeat::Tracked, move |channel| {
            let request = super::authorized(message.clone(), bearer.as_ref());
            async move { Ok(transactions(channel).commit(request).await?.into_inner()) }
        });
        match answer {
            Ok(reply) => Ok(self.valid(reply.try_into())?),
            Err(Failure::Lost(reason)) => Err(CommitError::Unknown { reason }),
            Err(failure) => Err(failure.into_error(&self.url.to_string())),
        }
    }

    fn stage(
        &self,
        commit: CommitId,
        database: DatabaseId,
        pages: &[PageWrite],
    ) -> Result<(), CommitError> {
        let message = proto::StageRequest {
            database: database.get(),
            commit: commit.into(),
            writes: messages(pages),
        };
        let ask = |channel, request| async move { transactions(channel).stage(request).await };
        self.ask::<_, _, CommitError, _, _>(database.get(), Repeat::Safe, message, ask)?;
        Ok(())
    }

    fn validate(&self, request: &CommitRequest) -> Result<(), CommitError> {
        let message = proto::CommitRequest::from(request);
        let key = request
            .participants
            .first()
            .map_or(0, |participant| participant.snapshot.database.get());
        let ask = |channel, request| async move { transactions(channel).validate(request).await };
        self.ask::<_, _, CommitError, _, _>(key, Repeat::Safe, message, ask)?;
        Ok(())
    }

    fn lease(&self, request: &LeaseRequest) -> Result<LeaseAnswer, LeaseError> {
        let (answer, _) = self.ask_for_lease(proto::LeaseRequest::from(*request))?;
        Ok(answer)
    }

    fn lease_and_begin(
        &self,
        request: &LeaseRequest,
        name: &DatabaseName,
        since: Option<Since>,
    ) -> Result<(LeaseAnswer, Option<Start>), LeaseError> {
        let (answer, start) = self.ask_for_lease(proto::LeaseRequest {
            begin: Some(begin_message(name, since)),
            ..proto::LeaseRequest::from(*request)
        })?;
        if let Some(start) = &start {
            self.remember(name, start.begun.snapshot.database);
        }
        Ok((answer, start))
    }

    fn renew_lease(&self, lease: &Lease) -> Result<(), LeaseError> {
        let ask =
            |channel, request| async move { transactions(channel).renew_lease(request).await };
        let message = proto::HeldLease::from(*lease);
        self.ask::<_, _, LeaseError, _, _>(lease.database.get(), Repeat::Safe, message, ask)?;
        Ok(())
    }

    fn release_lease(&self, lease: &Lease) -> Result<(), LeaseError> {
        let ask =
            |channel, request| async move { transactions(channel).release_lease(request).await };
        let message = proto::HeldLease::from(*lease);
        self.ask::<_, _, LeaseError, _, _>(lease.database.get(), Repeat::Safe, message, ask)?;
        Ok(())
    }

    fn leave_queue(&self, place: &Place) -> Result<(), LeaseError> {
        let message = proto::LeaveQueueRequest::from(*place);
        let ask =
            |channel, request| async move { transactions(channel).leave_queue(request).await };
        self.ask::<_, _, LeaseError, _, _>(place.database.get(), Repeat::Safe, message, ask)?;
        Ok(())
    }

    fn snapshot_at(&self, name: &DatabaseName, moment: Moment) -> Result<Snapshot, MomentError> {
        let message = proto::SnapshotAtRequest {
            name: name.to_string(),
            moment: Some(moment.into()),
        };
        let ask =
            |channel, request| async move { transactions(channel).snapshot_at(request).await };
        let reply =
            self.ask::<_, _, MomentError, _, _>(self.key(name), Repeat::Safe, message, ask)?;
        let snapshot = required("snapshot", reply.snapshot).and_then(TryInto::try_into);
        Ok(self.valid(snapshot)?)
    }

    fn create(&self, name: &DatabaseName, id: DatabaseId) -> Result<(), CatalogueError> {
        let message = proto::CreateRequest {
            name: name.to_string(),
            database: id.get(),
        };
        let ask = |channel, request| async move { admin(channel).create(request).await };
        self.ask::<_, _, CatalogueError, _, _>(id.get(), Repeat::Safe, message, ask)?;
        Ok(())
    }

    fn name_of(&self, id: DatabaseId) -> Result<Option<DatabaseName>, StoreError> {
        let message = proto::NameOfRequest { database: id.get() };
        let ask = |channel, request| async move { admin(channel).name_of(request).await };
        let reply = self.ask::<_, _, StoreError, _, _>(id.get(), Repeat::Safe, message, ask)?;
        let name = (!reply.name.is_empty()).then(|| convert::name(reply.name));
        self.valid(name.transpose())
    }

    fn list(
        &self,
        after: Option<&DatabaseName>,
        limit: usize,
    ) -> Result<Vec<DatabaseEntry>, StoreError> {
        Self::listed(limit, |last: Option<&DatabaseEntry>, limit| {
            let after = last.map(|entry| &entry.name).or(after);
            let message = proto::ListRequest {
                after: after.map(ToString::to_string).unwrap_or_default(),
                limit,
            };
            let ask = |channel, request| async move { admin(channel).list(request).await };
            let reply = self.ask::<_, _, StoreError, _, _>(0, Repeat::Safe, message, ask)?;
            let entries = reply.databases.into_iter().map(TryInto::try_into);
            Ok((self.valid(entries.collect())?, reply.more))
        })
    }

    fn info(&self, name: &DatabaseName) -> Result<DatabaseInfo, CatalogueError> {
        let message = proto::InfoRequest {
            name: name.to_string(),
        };
        let ask = |channel, request| async move { admin(channel).info(request).await };
        let reply =
            self.ask::<_, _, CatalogueError, _, _>(self.key(name), Repeat::Safe, message, ask)?;
        Ok(self.valid(reply.into_info(name.clone()))?)
    }

    fn log(
        &self,
        name: &DatabaseName,
        before: Option<Version>,
        limit: usize,
    ) -> Result<Vec<CommitRecord>, CatalogueError> {
        Self::listed(limit, |last: Option<&CommitRecord>, limit| {
            let before = last.map(|commit| commit.version).or(before);
            let message = proto::LogRequest {
                name: name.to_string(),
                before: before.map(Into::into).unwrap_or_default(),
                limit,
            };
            let ask = |channel, request| async move { admin(channel).log(request).await };
            let key = self.key(name);
            let reply = self.ask::<_, _, CatalogueError, _, _>(key, Repeat::Safe, message, ask)?;
            let commits = reply.commits.into_iter().map(TryInto::try_into);
            Ok((self.valid(commits.collect())?, reply.more))
        })
    }

    fn rename(&self, from: &DatabaseName, to: &DatabaseName) -> Result<(), CatalogueError> {
        let message = proto::RenameRequest {
            from: from.to_string(),
            to: to.to_string(),
        };
        let ask = |channel, request| async move { admin(channel).rename(request).await };
        self.ask::<_, _, CatalogueError, _, _>(self.key(from), Repeat::Unsafe, message, ask)?;
        Ok(())
    }

    fn remove(&self, name: &DatabaseName) -> Result<(), CatalogueError> {
        let message = proto::RemoveRequest {
            name: name.to_string(),
        };
        let ask = |channel, request| async move { admin(channel).remove(request).await };
        self.ask::<_, _, CatalogueError, _, _>(self.key(name), Repeat::Unsafe, message, ask)?;
        Ok(())
    }

    fn verify(
        &self,
        database: DatabaseId,
        after: Option<RecordPosition>,
    ) -> Result<VerifyReport, StoreError> {
        let message = proto::VerifyRequest {
            database: database.get(),
            after: after.map(Into::into),
        };
        let ask = |channel, request| async move { admin(channel).verify(request).await };
        let reply =
            self.ask::<_, _, StoreError, _, _>(database.get(), Repeat::Safe, message, ask)?;
        self.valid(reply.try_into())
    }

    fn load_begin(&self, name: &DatabaseName, id: DatabaseId) -> Result<(), LoadError> {
        let message = proto::LoadBeginRequest {
            name: name.to_string(),
            database: id.get(),
        };
        let ask = |channel, request| async move { admin(channel).load_begin(request).await };
        self.ask::<_, _, LoadError, _, _>(id.get(), Repeat::Safe, message, ask)?;
        Ok(())
    }

    fn load_copy(
        &self,
        name: &DatabaseName,
        id: DatabaseId,
        origin: Origin,
    ) -> Result<CopyBegun, LoadError> {
        let message = proto::LoadCopyRequest {
            name: name.to_string(),
            database: id.get(),
            origin: Some(origin.into()),
        };
        let ask = |channel, request| async move { admin(channel).load_copy(request).await };
        let reply = self.ask::<_, _, LoadError, _, _>(id.get(), Repeat::Safe, message, ask)?;
        Ok(self.valid(reply.try_into())?)
    }

    fn load_pages(&self, database: DatabaseId, pages: &[PageWrite]) -> Result<(), LoadError> {
        let length = pages.first().map_or(1, |write| write.page.len().max(1));
        for part in pages.chunks((super::MOST_BYTES / length).max(1)) {
            let message = proto::LoadPagesRequest {
                database: database.get(),
                writes: messages(part),
            };
            let ask = |channel, request| async move { admin(channel).load_pages(request).await };
            self.ask::<_, _, LoadError, _, _>(database.get(), Repeat::Safe, message, ask)?;
        }
        Ok(())
    }

    fn load_finish(
        &self,
        database: DatabaseId,
        name: &DatabaseName,
        page_size: PageSize,
        page_count: PageCount,
    ) -> Result<Version, LoadError> {
        let message = proto::LoadFinishRequest {
            database: database.get(),
            name: name.to_string(),
            page_size: page_size.get(),
            page_count: page_count.get(),
        };
        let ask = |channel, request| async move { admin(channel).load_finish(request).await };
        let reply =
            self.ask::<_, _, LoadError, _, _>(database.get(), Repeat::Safe, message, ask)?;
        Ok(self.valid((&reply.version).try_into())?)
    }

    fn load_abort(&self, database: DatabaseId) -> Result<(), LoadError> {
        let message = proto::LoadAbortRequest {
            database: database.get(),
        };
        let ask = |channel, request| async move { admin(channel).load_abort(request).await };
        self.ask::<_, _, LoadError, _, _>(database.get(), Repeat::Safe, message, ask)?;
        Ok(())
    }

    fn suspend(&self) {
        self.gate.suspend();
        self.watches.clear();
        // Nobody is inside, so nobody else has it: its thread ends here.
        drop(self.connected.lock().take());
    }

    fn resume(&self) {
        self.gate.resume();
    }
}
