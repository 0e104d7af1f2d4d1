//! How a worker process reaches its database.

use std::path::PathBuf;

use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use crate::bare;
use crate::library::Loaded;
use crate::numbers::Numbers;
use crate::sql::{Sql, SqlError};
use crate::steps;
use crate::workload::Work;

/// A database, and the client it is reached by.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Session {
    /// A file of SQLite itself, in WAL mode.
    Plain { path: PathBuf },
    /// A database of Verso.
    Verso { uri: String },
    /// A database of another SQLite library.
    Library { library: PathBuf, name: String },
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

    /// What the row of `counter` says that the operation counts in.
    fn counted(&mut self, row: i64) -> Result<i64, SqlError>;

    /// Gets ready for an operation that is measured, so that no more than it is.
    fn prepare(&mut self, work: Work) -> Result<(), SqlError>;
}

impl Session {
    /// Opens a connection, with the `synchronous` that it is to have where there is a choice.
    pub(crate) fn sql(&self, synchronous: &str) -> anyhow::Result<Box<dyn Sql>> {
        Ok(match self {
            Self::Plain { path } => {
                let db = Connection::open(path)?;
                db.pragma_update(None, "journal_mode", "WAL")?;
                db.pragma_update(None, "synchronous", synchronous)?;
                Box::new(db)
            }
            Self::Verso { uri } => {
                let db = Connection::open(uri)?;
                db.pragma_update(None, "synchronous", synchronous)?;
                Box::new(db)
            }
            Self::Library { library, name } => Box::new(Loaded::open(library, name)?),
            Self::Bare { .. } => anyhow::bail!("a bare client speaks no SQL"),
        })
    }

    /// Opens a client.
    pub(crate) fn open(&self, synchronous: &str) -> anyhow::Result<Box<dyn Client>> {
        match self {
            Self::Bare { cluster, prefix } => bare::client(cluster, prefix),
            Self::Plain { .. } | Self::Verso { .. } | Self::Library { .. } => {
                Ok(Box::new(steps::SqlClient::new(self.sql(synchronous)?)))
            }
        }
    }
}
