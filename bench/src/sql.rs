//! What the workloads ask of a database, whatever SQLite library it is reached through.

use rusqlite::Connection;

/// `SQLITE_BUSY` and `SQLITE_BUSY_SNAPSHOT` (<https://www.sqlite.org/rescode.html>).
const BUSY: i32 = 5;
const BUSY_SNAPSHOT: i32 = 517;

/// Why a statement failed.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct SqlError {
    pub(crate) failure: Failure,
    pub(crate) message: String,
}

/// What to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// `SQLITE_BUSY_SNAPSHOT`: the transaction is to run again.
    Conflict,
    /// Any other `SQLITE_BUSY`.
    Busy,
    /// What was read or done is not what it must be.
    Wrong,
    Other,
}

impl Failure {
    /// That of an extended result code.
    pub(crate) fn of(code: i32) -> Self {
        match code {
            BUSY_SNAPSHOT => Self::Conflict,
            code if code & 0xff == BUSY => Self::Busy,
            _ => Self::Other,
        }
    }
}

impl SqlError {
    /// A wrong answer.
    pub(crate) fn wrong(message: String) -> Self {
        Self {
            failure: Failure::Wrong,
            message,
        }
    }
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
            failure: error
                .sqlite_error()
                .map_or(Failure::Other, |error| Failure::of(error.extended_code)),
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
