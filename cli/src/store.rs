//! Opening stores.

use std::path::Path;
use std::sync::Arc;

use anyhow::bail;
use verso_pagestore::{DatabaseName, PageStore, StoreUrl};

use crate::args;
use crate::error::UsageError;

/// The store that the command line, else the environment, else the default names.
pub(crate) fn resolve(explicit: Option<StoreUrl>) -> anyhow::Result<StoreUrl> {
    let url = match explicit {
        Some(url) => url,
        None => StoreUrl::resolve(None).map_err(|error| UsageError(error.to_string()))?,
    };
    Ok(args::lasting(url)?)
}

/// Opens a store, and makes an embedded one that does not exist yet.
pub(crate) fn open(url: &StoreUrl) -> anyhow::Result<Arc<dyn PageStore>> {
    Ok(verso_open::open(url)?)
}

/// Opens the store of a database that must exist.
///
/// Looking at a store that does not exist must not make it: a mistyped path would leave
/// a file behind.
pub(crate) fn open_for(
    url: &StoreUrl,
    database: &DatabaseName,
) -> anyhow::Result<Arc<dyn PageStore>> {
    refuse_missing(url, database)?;
    open(url)
}

/// Fails if the store of a database that must exist does not even exist itself.
pub(crate) fn refuse_missing(url: &StoreUrl, database: &DatabaseName) -> anyhow::Result<()> {
    if is_missing(url) {
        bail!(
            "no such database: {database}; the store {url} does not exist: --store or \
             VERSO_STORE names another, and `verso import` or `verso sql` makes one"
        );
    }
    Ok(())
}

/// Whether an embedded store has no file yet, in a folder that exists: anything else is
/// for the engine to complain about.
pub(crate) fn is_missing(url: &StoreUrl) -> bool {
    match url {
        StoreUrl::Sqlite(path) => {
            let folder = path
                .parent()
                .filter(|folder| !folder.as_os_str().is_empty());
            matches!(path.try_exists(), Ok(false)) && folder.is_none_or(Path::is_dir)
        }
        StoreUrl::FoundationDb(_) | StoreUrl::Memory(_) | StoreUrl::Nodes(_) => false,
    }
}
