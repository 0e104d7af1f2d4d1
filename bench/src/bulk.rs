//! A bulk load: many rows in one transaction, into a database that has none.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::session::Session;
use crate::sql::{Sql, SqlError};
use crate::steps::{requests, same};
use crate::workload::Synchronous;

/// Databases that this process has made.
static MADE: AtomicU32 = AtomicU32::new(0);

/// A new database, to be loaded once.
pub(crate) struct BulkLoad {
    sql: Box<dyn Sql>,
}

impl BulkLoad {
    /// Makes a database that nobody else has made.
    pub(crate) fn prepare(session: &Session, synchronous: Synchronous) -> Result<Self, SqlError> {
        let time = SystemTime::now().duration_since(UNIX_EPOCH);
        let time = time.unwrap_or_default().as_nanos();
        let count = MADE.fetch_add(1, Ordering::Relaxed);
        let session = session.sibling(&format!("-bulk-{time}-{count}"));
        let sql = session.sql(synchronous);
        let mut sql = sql.map_err(|error| SqlError::wrong(format!("{error:#}")))?;
        sql.run(
            "CREATE TABLE bulk (id INTEGER PRIMARY KEY, n INTEGER, value TEXT)",
            &[],
        )?;
        Ok(Self { sql })
    }

    /// Loads it; returns the number of rows.
    pub(crate) fn load(&mut self, rows: u32) -> Result<u64, SqlError> {
        self.sql.run("BEGIN", &[])?;
        for id in 1..=i64::from(rows) {
            let sql = "INSERT INTO bulk VALUES (?1, ?1 * 7, 'row ' || ?1 || ' of the load')";
            self.sql.run(sql, &[id])?;
        }
        self.sql.run("COMMIT", &[])?;
        Ok(u64::from(rows))
    }

    /// Requests to the store that it has made.
    pub(crate) fn requests(&mut self) -> Result<i64, SqlError> {
        requests(self.sql.as_mut())
    }

    /// Looks whether all of it is there.
    pub(crate) fn check(&mut self, rows: u32) -> Result<(), SqlError> {
        let rows = i64::from(rows);
        same(self.sql.run("SELECT count(*) FROM bulk", &[])?, rows)?;
        let sum = self.sql.run("SELECT sum(n) FROM bulk", &[])?;
        same(sum, 7 * rows * (rows + 1) / 2).map(drop)
    }
}
