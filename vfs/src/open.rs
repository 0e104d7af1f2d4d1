//! Opening a database: its name, its store, and the parameters of its URI.

use verso_pagestore::{
    BeginError, CatalogueError, DatabaseName, Moment, Snapshot, StoreUrl, UnixMillis,
};

use std::time::Duration;

use crate::Options;
use crate::error::VfsError;
use crate::pragma::{Freshness, Settings, Writers};
use crate::process::StoreHandle;

/// What SQLite asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OpenFlags {
    pub(crate) create: bool,
    pub(crate) read_only: bool,
}

/// The URI parameters that mean something here.
#[derive(Debug, Default)]
pub(crate) struct Parameters {
    /// `store=URL`
    pub(crate) store: Option<String>,
    /// `at=MOMENT`
    pub(crate) at: Option<String>,
    /// `writers=MODE`
    pub(crate) writers: Option<String>,
    /// `freshness=HOW`
    pub(crate) freshness: Option<String>,
    /// `immutable=1`: SQLite will take no locks, so one snapshot must serve.
    pub(crate) immutable: bool,
    /// `nolock=1`
    pub(crate) no_lock: bool,
}

/// Which snapshots a connection reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Follow {
    /// The newest one, at each transaction.
    Newest,
    /// Always the same one.
    Pinned(Snapshot),
}

/// An opened database.
pub(crate) struct Opened {
    pub(crate) name: DatabaseName,
    pub(crate) store: StoreHandle,
    pub(crate) follow: Follow,
    pub(crate) read_only: bool,
    pub(crate) settings: Settings,
    pub(crate) lease_time_to_live: Duration,
}

/// The environment variable that says how the writers of a process take turns.
const WRITERS_ENVIRONMENT_VARIABLE: &str = "VERSO_WRITERS";

/// The environment variable that says how old a transaction's snapshot may be.
const FRESHNESS_ENVIRONMENT_VARIABLE: &str = "VERSO_FRESHNESS";

/// A shorter time to live would be lost by a holder that is merely slow.
const SHORTEST_TIME_TO_LIVE: Duration = Duration::from_millis(100);

/// Opens a database, and creates it if it is missing and SQLite asks for that.
pub(crate) fn open(
    options: &Options,
    name: DatabaseName,
    flags: OpenFlags,
    parameters: &Parameters,
) -> Result<Opened, VfsError> {
    if parameters.no_lock {
        return Err(VfsError::NoLock);
    }
    let settings = Settings::new(writers(parameters)?, freshness(parameters)?);
    let url = store_url(options, parameters)?.absolute();
    let store = StoreHandle::open(url, options.opener, options.cache_bytes)?;
    let follow = if let Some(text) = &parameters.at {
        let moment = Moment::parse(text, UnixMillis::now())?;
        Follow::Pinned(store.pages()?.snapshot_at(&name, moment)?)
    } else {
        let newest = match store.pages()?.begin(&name, None) {
            Err(BeginError::NoSuchDatabase { .. }) if flags.create => {
                match store.pages()?.create(&name) {
                    // Another process was faster.
                    Ok(_) | Err(CatalogueError::Exists { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
                store.pages()?.begin(&name, None)?
            }
            begun => begun?,
        };
        if parameters.immutable {
            Follow::Pinned(newest.snapshot)
        } else {
            Follow::Newest
        }
    };
    let read_only = flags.read_only || follow != Follow::Newest;
    Ok(Opened {
        name,
        store,
        follow,
        read_only,
        settings,
        lease_time_to_live: options.lease_time_to_live.max(SHORTEST_TIME_TO_LIVE),
    })
}

fn writers(parameters: &Parameters) -> Result<Writers, VfsError> {
    let by_environment = || std::env::var(WRITERS_ENVIRONMENT_VARIABLE).ok();
    match parameters.writers.clone().or_else(by_environment) {
        Some(text) => Writers::parse(&text).ok_or(VfsError::Writers(text)),
        None => Ok(Writers::default()),
    }
}

fn freshness(parameters: &Parameters) -> Result<Freshness, VfsError> {
    let by_environment = || std::env::var(FRESHNESS_ENVIRONMENT_VARIABLE).ok();
    match parameters.freshness.clone().or_else(by_environment) {
        Some(text) => Freshness::parse(&text).ok_or(VfsError::Freshness(text)),
        None => Ok(Freshness::default()),
    }
}

fn store_url(options: &Options, parameters: &Parameters) -> Result<StoreUrl, VfsError> {
    match (&parameters.store, &options.store) {
        (None, Some(url)) => Ok(url.clone()),
        (explicit, _) => Ok(StoreUrl::resolve(explicit.as_deref())?),
    }
}
