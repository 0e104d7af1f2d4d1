//! Copies of whole databases from store to store: what a load remembers, so that it can go on.

use crate::{CommitId, DatabaseId, PageCount, Snapshot, Version};

/// One state of one database, in whatever store it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// The database.
    pub database: DatabaseId,
    /// The newest commit of the state.
    pub version: Version,
    /// The id of that commit: two copies of one store may give a version to different commits.
    pub commit: CommitId,
}

impl From<&Snapshot> for Origin {
    fn from(snapshot: &Snapshot) -> Self {
        Self {
            database: snapshot.database,
            version: snapshot.version,
            commit: snapshot.commit,
        }
    }
}

/// The answer to [`PageStore::load_copy`](crate::PageStore::load_copy).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyBegun {
    /// The database that is being loaded: the one that the client has chosen, or that of the copy
    /// that goes on.
    pub database: DatabaseId,
    /// So many pages are there already, from page 1 on.
    pub loaded: PageCount,
    /// The version of the partial copy that was removed for this one, if there was one of another
    /// state.
    pub removed: Option<Version>,
}
