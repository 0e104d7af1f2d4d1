//! The service of the catalogue, and of whole databases.

use tonic::{Request, Response, Status};
use verso_pagestore::grpc::proto::admin_server::Admin as Service;
use verso_pagestore::grpc::{optional_version, page_size, pages_from, proto, required};
use verso_pagestore::{
    CommitRecord, DatabaseId, LoadError, Origin, PageCount, RecordPosition, VerifyReport,
};

use crate::access::Caller;
use crate::auth::Right;
use crate::service::name;
use crate::work::Work;

/// Most items in one answer that lists something.
const MOST_ITEMS: usize = 500;

/// About as many bytes of commit records are in one answer.
const BYTES_OF_COMMITS: usize = 256 << 10;

/// The service.
pub(crate) struct Administration {
    pub(crate) work: Work,
}

type Answer<T> = Result<Response<T>, Status>;

/// How many items to answer of so many that a client wants.
fn limit(wanted: u32) -> usize {
    usize::try_from(wanted)
        .unwrap_or(MOST_ITEMS)
        .min(MOST_ITEMS)
}

/// Drops what makes an answer too long. Says whether it did.
fn shorten(commits: &mut Vec<CommitRecord>) -> bool {
    let mut bytes = 0;
    let fits = |commit: &CommitRecord| {
        bytes += commit.pages.serialized_size() + 50;
        bytes <= BYTES_OF_COMMITS
    };
    let kept = commits
        .iter()
        .map(fits)
        .take_while(|fits| *fits)
        .count()
        .max(1);
    let is_short = kept < commits.len();
    commits.truncate(kept);
    is_short
}

#[tonic::async_trait]
impl Service for Administration {
    async fn create(&self, request: Request<proto::CreateRequest>) -> Answer<proto::CreateReply> {
        let caller = Caller::of(&request)?;
        let message = request.into_inner();
        let (name, id) = (name(message.name)?, DatabaseId::new(message.database));
        caller.may_name(Right::Write, &name)?;
        self.work.ask(move |store| store.create(&name, id)).await?;
        Ok(Response::new(proto::CreateReply {}))
    }

    async fn name_of(&self, request: Request<proto::NameOfRequest>) -> Answer<proto::NameOfReply> {
        let caller = Caller::of(&request)?;
        let id = DatabaseId::new(request.into_inner().database);
        if !caller.sees(Right::Read, id).await? {
            return Ok(Response::new(proto::NameOfReply::default()));
        }
        let name = self.work.ask(move |store| store.name_of(id)).await?;
        // It may have been renamed out of sight meanwhile.
        let name = name.filter(caller.view()?);
        Ok(Response::new(proto::NameOfReply {
            name: name.map(|name| name.to_string()).unwrap_or_default(),
        }))
    }

    async fn list(&self, request: Request<proto::ListRequest>) -> Answer<proto::ListReply> {
        let caller = Caller::of(&request)?;
        let message = request.into_inner();
        let after = (!message.after.is_empty()).then(|| name(message.after));
        let (after, limit) = (after.transpose()?, limit(message.limit));
        let is_visible = caller.view()?;
        let (mut after, mut databases, mut more) = (after, Vec::new(), limit > 0);
        // Until it is known whether there is one more that the client sees.
        while more && databases.len() <= limit {
            let last = after.take();
            let entries = self
                .work
                .ask(move |store| store.list(last.as_ref(), MOST_ITEMS))
                .await?;
            more = entries.len() == MOST_ITEMS;
            after = entries.last().map(|entry| entry.name.clone());
            databases.extend(entries.into_iter().filter(|entry| is_visible(&entry.name)));
        }
        let more = databases.len() > limit;
        databases.truncate(limit);
        Ok(Response::new(proto::ListReply {
            more,
            databases: databases.into_iter().map(Into::into).collect(),
        }))
    }

    async fn info(&self, request: Request<proto::InfoRequest>) -> Answer<proto::InfoReply> {
        let caller = Caller::of(&request)?;
        let name = name(request.into_inner().name)?;
        caller.may(Right::Read, &name)?;
        let info = self.work.ask(move |store| store.info(&name)).await?;
        Ok(Response::new(info.into()))
    }

    async fn log(&self, request: Request<proto::LogRequest>) -> Answer<proto::LogReply> {
        let caller = Caller::of(&request)?;
        let message = request.into_inner();
        let (name, limit) = (name(message.name)?, limit(message.limit));
        caller.may(Right::Read, &name)?;
        let before = optional_version(&message.before)?;
        let mut commits = self
            .work
            .ask(move |store| store.log(&name, before, limit))
            .await?;
        let is_full = commits.len() == limit;
        Ok(Response::new(proto::LogReply {
            more: shorten(&mut commits) || is_full,
            commits: commits.into_iter().map(Into::into).collect(),
        }))
    }

    async fn rename(&self, request: Request<proto::RenameRequest>) -> Answer<proto::RenameReply> {
        let caller = Caller::of(&request)?;
        let message = request.into_inner();
        let (from, to) = (name(message.from)?, name(message.to)?);
        caller.may(Right::Admin, &from)?;
        caller.may_name(Right::Admin, &to)?;
        self.work.ask(move |store| store.rename(&from, &to)).await?;
        Ok(Response::new(proto::RenameReply {}))
    }

    async fn remove(&self, request: Request<proto::RemoveRequest>) -> Answer<proto::RemoveReply> {
        let caller = Caller::of(&request)?;
        let name = name(request.into_inner().name)?;
        caller.may(Right::Admin, &name)?;
        self.work.ask(move |store| store.remove(&name)).await?;
        Ok(Response::new(proto::RemoveReply {}))
    }

    async fn verify(&self, request: Request<proto::VerifyRequest>) -> Answer<proto::VerifyReply> {
        let caller = Caller::of(&request)?;
        let message = request.into_inner();
        let database = DatabaseId::new(message.database);
        let after: Option<RecordPosition> = message.after.map(TryInto::try_into).transpose()?;
        if !caller.sees(Right::Read, database).await? {
            let nothing = VerifyReport {
                records: 0,
                bytes: 0,
                corrupt: Vec::new(),
                last: None,
            };
            return Ok(Response::new(nothing.into()));
        }
        let report = self
            .work
            .ask(move |store| store.verify(database, after))
            .await?;
        Ok(Response::new(report.into()))
    }

    async fn load_begin(
        &self,
        request: Request<proto::LoadBeginRequest>,
    ) -> Answer<proto::LoadBeginReply> {
        let caller = Caller::of(&request)?;
        let message = request.into_inner();
        let (name, id) = (name(message.name)?, DatabaseId::new(message.database));
        caller.may_name(Right::Admin, &name)?;
        self.work
            .ask(move |store| store.load_begin(&name, id))
            .await?;
        Ok(Response::new(proto::LoadBeginReply {}))
    }

    async fn load_copy(
        &self,
        request: Request<proto::LoadCopyRequest>,
    ) -> Answer<proto::LoadCopyReply> {
        let caller = Caller::of(&request)?;
        let message = request.into_inner();
        let (name, id) = (name(message.name)?, DatabaseId::new(message.database));
        let origin: Origin = required("origin", message.origin)?.try_into()?;
        caller.may_name(Right::Admin, &name)?;
        let begun = self
            .work
            .ask(move |store| store.load_copy(&name, id, origin))
            .await?;
        Ok(Response::new(begun.into()))
    }

    async fn load_pages(
        &self,
        request: Request<proto::LoadPagesRequest>,
    ) -> Answer<proto::LoadPagesReply> {
        let caller = Caller::of(&request)?;
        let message = request.into_inner();
        let database = DatabaseId::new(message.database);
        let ended = LoadError::Ended { database };
        caller.may_by_id(Right::Admin, database, ended).await?;
        let pages = pages_from(message.writes)?;
        self.work
            .ask(move |store| store.load_pages(database, &pages))
            .await?;
        Ok(Response::new(proto::LoadPagesReply {}))
    }

    async fn load_finish(
        &self,
        request: Request<proto::LoadFinishRequest>,
    ) -> Answer<proto::LoadFinishReply> {
        let caller = Caller::of(&request)?;
        let message = request.into_inner();
        let database = DatabaseId::new(message.database);
        let (name, size) = (name(message.name)?, page_size(message.page_size)?);
        let count = PageCount::new(message.page_count);
        let ended = LoadError::Ended { database };
        caller.may_by_id(Right::Admin, database, ended).await?;
        caller.may_name(Right::Admin, &name)?;
        let version = self
            .work
            .ask(move |store| store.load_finish(database, &name, size, count))
            .await?;
        Ok(Response::new(proto::LoadFinishReply {
            version: version.into(),
        }))
    }

    async fn load_abort(
        &self,
        request: Request<proto::LoadAbortRequest>,
    ) -> Answer<proto::LoadAbortReply> {
        let caller = Caller::of(&request)?;
        let database = DatabaseId::new(request.into_inner().database);
        let ended = LoadError::Ended { database };
        caller.may_by_id(Right::Admin, database, ended).await?;
        self.work
            .ask(move |store| store.load_abort(database))
            .await?;
        Ok(Response::new(proto::LoadAbortReply {}))
    }
}
