//! How a worker process reaches its database.

use std::path::PathBuf;

use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use verso_pagestore::StoreUrl;

use crate::bare;
use crate::library::Loaded;
use crate::numbers::Numbers;
use crate::protocol::Setup;
use crate::rqlite::Rqlite;
use crate::sql::{Sql, SqlError};
use crate::steps;
use crate::workload::{Synchronous, Work};

/// Databases that a store is asked for at once.
const LISTED: usize = 1000;

/// A database, and the client it is reached by.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Session {
    /// A file of SQLite itself, in WAL mode.
    Plain { path: PathBuf },
    /// A database of Verso, in the store of a URL.
    Verso { store: String, name: String },
    /// A database of another SQLite library.
    Library { library: PathBuf, name: String },
    /// A file of another SQLite library, in WAL mode.
    LibraryFile { library: PathBuf, path: String },
    /// A node of rqlite.
    Rqlite { url: String },
    /// Keys of a FoundationDB cluster.
    Bare { cluster: PathBuf, prefix: String },
}

/// One writer's client.
pub(crate) trait Client: Send {
    /// Does one operation, and returns what it counts: rows, or pages of a scan.
    fn operate(
        &mut self,
        work: Work,
        writer: usize,
        numbers: &mut Numbers,
    ) -> Result<u64, SqlError>;

    /// How much of the work there is in the database; `None` if nothing is counted.
    fn counted(&mut self, work: Work, writers: usize) -> Result<Option<i64>, SqlError>;

    /// Gets ready for a turn, so that no more than the work is measured.
    fn prepare(&mut self, work: Work) -> Result<(), SqlError>;

    /// How many operations of the work there are before it is no longer the same: a page that
    /// was read is cold no more.
    fn most(&self, _work: Work) -> u64 {
        u64::MAX
    }

    /// Requests to nodes that it has made; `None` if there are no nodes.
    fn requests(&mut self) -> Result<Option<i64>, SqlError> {
        Ok(None)
    }

    /// Sees after the turns whether the database is as the work must have left it.
    fn check(&mut self, work: Work) -> Result<(), SqlError>;
}

impl Session {
    /// Opens a connection, with the `synchronous` that it is to have where there is a choice.
    pub(crate) fn sql(&self, synchronous: Synchronous) -> anyhow::Result<Box<dyn Sql>> {
        Ok(match self {
            Self::Plain { path } => {
                let db = Connection::open(path)?;
                db.pragma_update(None, "journal_mode", "WAL")?;
                db.pragma_update(None, "synchronous", synchronous.name())?;
                Box::new(db)
            }
            Self::Verso { store, name } => {
                let store = store.replace('?', "%3F").replace('&', "%26");
                let db = Connection::open(format!("file:{name}?vfs=verso&store={store}"))?;
                db.pragma_update(None, "synchronous", synchronous.name())?;
                Box::new(db)
            }
            Self::Library { library, name } => Box::new(Loaded::open(library, name)?),
            Self::LibraryFile { library, path } => {
                let mut sql = Loaded::open(library, path)?;
                sql.run("PRAGMA journal_mode = WAL", &[])?;
                let synchronous = synchronous.name();
                sql.run(&format!("PRAGMA synchronous = {synchronous}"), &[])?;
                Box::new(sql)
            }
            Self::Rqlite { url } => Box::new(Rqlite::new(url)),
            Self::Bare { .. } => anyhow::bail!("a bare client speaks no SQL"),
        })
    }

    /// Whether it is reached through page-store nodes.
    pub(crate) fn has_nodes(&self) -> bool {
        matches!(self, Self::Verso { store, .. } if store.starts_with("http"))
    }

    /// Another database beside this one.
    pub(crate) fn sibling(&self, suffix: &str) -> Self {
        let mut other = self.clone();
        match &mut other {
            Self::Plain { path } => path.as_mut_os_string().push(suffix),
            Self::Verso { name, .. }
            | Self::Library { name, .. }
            | Self::LibraryFile { path: name, .. } => name.push_str(suffix),
            Self::Bare { prefix, .. } => prefix.push_str(suffix),
            // It has one database.
            Self::Rqlite { .. } => {}
        }
        other
    }

    /// Removes the database from its store, and those beside it.
    pub(crate) fn remove(&self) -> anyhow::Result<()> {
        let Self::Verso { store, name } = self else {
            anyhow::bail!("only databases of Verso are removed");
        };
        let store = verso_open::open(&StoreUrl::parse(store)?)?;
        let mut after = None;
        loop {
            let part = store.list(after.as_ref(), LISTED)?;
            for entry in &part {
                if entry.name.as_str().starts_with(name.as_str()) {
                    store.remove(&entry.name)?;
                }
            }
            match part.into_iter().next_back() {
                Some(last) => after = Some(last.name),
                None => return Ok(()),
            }
        }
    }
}

impl Setup {
    /// Opens a client.
    pub(crate) fn open(&self, synchronous: Synchronous) -> anyhow::Result<Box<dyn Client>> {
        match &self.session {
            Session::Bare { cluster, prefix } => bare::client(cluster, prefix),
            Session::Plain { .. }
            | Session::Verso { .. }
            | Session::Library { .. }
            | Session::LibraryFile { .. }
            | Session::Rqlite { .. } => Ok(Box::new(steps::SqlClient::open(self, synchronous)?)),
        }
    }
}
