//! Who asks, and whether they may: every request is authorized here.
//!
//! A database outside a token's patterns looks to its bearer like one that does not exist. To be
//! sure of that, one that does not exist is refused here too, by the same line.

use std::sync::Arc;
use std::time::{Duration, Instant};

use quick_cache::sync::Cache;
use tonic::service::Interceptor;
use tonic::{Request, Status};
use verso_pagestore::grpc::ServiceError;
use verso_pagestore::{CatalogueError, DatabaseId, DatabaseName};

use crate::auth::{Digest, Grant, Right, Tokens, digest_of};
use crate::work::Work;

/// For how long the name behind an id is remembered: a rename takes effect within that.
const NAMES_LAST: Duration = Duration::from_secs(1);

/// Most ids whose names are remembered.
const MOST_NAMES: usize = 10_000;

type Names = Cache<DatabaseId, (DatabaseName, Instant)>;

/// Knows the tokens, and the names behind ids.
#[derive(Clone)]
pub(crate) struct Access {
    tokens: Option<Tokens>,
    work: Work,
    names: Arc<Names>,
}

/// Somebody whose token was good when the request came.
#[derive(Clone)]
pub(crate) struct Caller {
    access: Access,
    digest: Digest,
}

impl Access {
    /// Without tokens everybody may do everything.
    pub(crate) fn new(tokens: Option<Tokens>, work: Work) -> Self {
        let names = Arc::new(Cache::new(MOST_NAMES));
        Self {
            tokens,
            work,
            names,
        }
    }

    async fn name_of(&self, id: DatabaseId) -> Result<Option<DatabaseName>, Status> {
        if let Some((name, learnt)) = self.names.get(&id)
            && learnt.elapsed() < NAMES_LAST
        {
            return Ok(Some(name));
        }
        // From before the request: a rename during it must not be remembered for longer.
        let asked = Instant::now();
        let name = self.work.ask(move |store| store.name_of(id)).await?;
        // One that does not exist may be made at any time, and is not remembered.
        if let Some(name) = &name {
            self.names.insert(id, (name.clone(), asked));
        }
        Ok(name)
    }
}

/// Before the message is read: who has no token sends none.
impl Interceptor for Access {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let token = request.metadata().get("authorization").and_then(|value| {
            let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(token)
        });
        let caller = Caller {
            access: self.clone(),
            digest: digest_of(token.unwrap_or_default().trim().as_bytes()),
        };
        if token.is_none() && self.tokens.is_some() {
            return Err(unknown());
        }
        caller.grant()?;
        request.extensions_mut().insert(caller);
        Ok(request)
    }
}

/// A missing token and a wrong one look the same.
fn unknown() -> Status {
    Status::unauthenticated("this request needs a valid token")
}

impl Caller {
    /// Who sent a request.
    pub(crate) fn of<M>(request: &Request<M>) -> Result<Self, Status> {
        let caller = request.extensions().get::<Self>();
        caller.cloned().ok_or_else(unknown)
    }

    /// What the token lets do now; `None` stands for everything.
    fn grant(&self) -> Result<Option<Arc<Grant>>, Status> {
        let Some(tokens) = &self.access.tokens else {
            return Ok(None);
        };
        tokens.grant(&self.digest).map(Some).ok_or_else(unknown)
    }

    /// Refuses, unless the caller may do this to the database of a name. May be asked again as
    /// long as a request lasts: the token may be taken away meanwhile.
    pub(crate) fn may(&self, right: Right, name: &DatabaseName) -> Result<(), Status> {
        let Some(grant) = self.grant()? else {
            return Ok(());
        };
        if !grant.covers(name.as_str()) {
            let name = name.clone();
            let missing = CatalogueError::NoSuchDatabase { name };
            return Err(ServiceError::from(missing).into());
        }
        has(&grant, right)
    }

    /// Refuses, unless the caller may give a database this name. Whether the name is taken is
    /// not looked at, so the refusal tells nothing of what there is.
    pub(crate) fn may_name(&self, right: Right, name: &DatabaseName) -> Result<(), Status> {
        let Some(grant) = self.grant()? else {
            return Ok(());
        };
        has(&grant, right)?;
        if !grant.covers(name.as_str()) {
            return Err(Status::permission_denied(format!(
                "the token {:?} is not for databases of the name {name}",
                grant.name
            )));
        }
        Ok(())
    }

    /// Whether the caller sees the database of an id: `false` also if there is none. Refuses if
    /// they see it and may not do this.
    pub(crate) async fn sees(&self, right: Right, id: DatabaseId) -> Result<bool, Status> {
        let Some(grant) = self.grant()? else {
            return Ok(true);
        };
        let name = self.access.name_of(id).await?;
        if !name.is_some_and(|name| grant.covers(name.as_str())) {
            return Ok(false);
        }
        has(&grant, right).map(|()| true)
    }

    /// Refuses, unless the caller may do this to the database of an id, with the error for one
    /// that is missing if they do not see it.
    pub(crate) async fn may_by_id(
        &self,
        right: Right,
        id: DatabaseId,
        missing: impl Into<ServiceError>,
    ) -> Result<(), Status> {
        if self.sees(right, id).await? {
            return Ok(());
        }
        Err(missing.into().into())
    }

    /// Which names the caller sees in a list.
    pub(crate) fn view(&self) -> Result<impl Fn(&DatabaseName) -> bool + use<>, Status> {
        let grant = self.grant()?;
        Ok(move |name: &DatabaseName| {
            let grant = grant.as_ref();
            grant.is_none_or(|grant| grant.covers(name.as_str()))
        })
    }
}

fn has(grant: &Grant, right: Right) -> Result<(), Status> {
    if grant.right >= right {
        return Ok(());
    }
    Err(Status::permission_denied(format!(
        "this needs the access {right}, and the token {:?} has {}",
        grant.name, grant.right
    )))
}
