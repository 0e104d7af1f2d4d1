//! What the workloads ask of a database, whatever SQLite library it is reached through.

use rusqlite::{Connection, ErrorCode};

/// Why a statement failed.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct SqlError {
    /// Whether it was `SQLITE_BUSY`.
    pub(crate) busy: bool,
    pub(crate) message: String,
}

/// A connection.
pub(crate) trait Sql: Send {
    /// Runs one statement to its end, and keeps it prepared. Returns the first column of its
    /// first row, where there is one and it is an integer.
    fn run(&mut self, sql: &str, values: &[i64]) -> Result<Option<i64>, SqlError>;
}

impl From<rusqlite::Error> for SqlError {
    fn from(error: rusqlite::Error) -> Self {
        Self {
            busy: error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy),
            message: error.to_string(),
        }
    }
}

impl Sql for Connection {
    fn run(&mut self, sql: &str, values: &[i64]) -> Result<Option<i64>, SqlError> {
        let mut statement = self.prepare_cached(sql)?;
        let mut rows = statement.query(rusqlite::params_from_iter(values))?;
        let mut first = None;
        let mut is_first = true;
        while let Some(row) = rows.next()? {
            if is_first {
                first = row.get_ref(0)?.as_i64().ok();
            }
            is_first = false;
        }
        Ok(first)
    }
}
