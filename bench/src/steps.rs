//! The workloads in SQL.

use crate::numbers::Numbers;
use crate::session::Client;
use crate::sql::{Sql, SqlError};
use crate::workload::{OWN_ROWS, SMALL_ROWS, Work};

/// Steps between the rows of `big` that are read one after the other: a prime, so that no row
/// comes twice and none is beside the one before.
const STRIDE: i64 = 7919;

/// Rows of a transaction of [`Work::SelectMany`].
const MANY: u64 = 100;

/// A connection that does the operations of the workloads.
pub(crate) struct SqlClient {
    sql: Box<dyn Sql>,
    /// The row of `big` that was read last.
    last: i64,
    /// Rows of `big`.
    rows: i64,
}

impl SqlClient {
    pub(crate) fn new(sql: Box<dyn Sql>) -> Self {
        Self {
            sql,
            last: 0,
            rows: 0,
        }
    }

    fn select(&mut self, numbers: &mut Numbers) -> Result<u64, SqlError> {
        let id = i64::from(numbers.below(SMALL_ROWS)) + 1;
        let n = self.sql.run("SELECT n FROM small WHERE id = ?1", &[id])?;
        same(n, id)
    }

    fn select_many(&mut self, numbers: &mut Numbers) -> Result<u64, SqlError> {
        self.sql.run("BEGIN", &[])?;
        for _ in 0..MANY {
            self.select(numbers)?;
        }
        self.sql.run("COMMIT", &[])?;
        Ok(MANY)
    }

    fn select_cold(&mut self) -> Result<u64, SqlError> {
        self.last = (self.last + STRIDE) % self.rows;
        let id = self.last + 1;
        let n = self.sql.run("SELECT n FROM big WHERE id = ?1", &[id])?;
        same(n, id)
    }

    fn scan(&mut self) -> Result<u64, SqlError> {
        let sum = self.sql.run("SELECT sum(n) FROM big", &[])?;
        same(sum, self.rows * (self.rows + 1) / 2)?;
        // Each of them fills a page.
        Ok(u64::try_from(self.rows).unwrap_or_default())
    }

    fn update(&mut self, writer: usize, numbers: &mut Numbers) -> Result<u64, SqlError> {
        let sql = format!("UPDATE own{writer} SET value = hex(randomblob(20)) WHERE id = ?1");
        let id = i64::from(numbers.below(OWN_ROWS)) + 1;
        self.sql.run(&sql, &[id])?;
        Ok(1)
    }

    fn insert(&mut self, writer: usize) -> Result<u64, SqlError> {
        let sql = format!("INSERT INTO log{writer} (value) VALUES (hex(randomblob(20)))");
        self.sql.run(&sql, &[])?;
        Ok(1)
    }

    fn immediate(&mut self) -> Result<u64, SqlError> {
        self.sql.run("BEGIN IMMEDIATE", &[])?;
        let n = self
            .sql
            .run("SELECT n FROM counter WHERE id = 2", &[])?
            .unwrap_or_default();
        self.sql
            .run("UPDATE counter SET n = ?1 WHERE id = 2", &[n + 1])?;
        self.sql.run("COMMIT", &[])?;
        Ok(1)
    }

    /// Counts the rows of `big`, on the way to them only.
    fn count(&mut self) -> Result<(), SqlError> {
        let last = self.sql.run("SELECT max(id) FROM big", &[])?;
        self.rows = last.unwrap_or_default();
        Ok(())
    }

    fn operate_once(
        &mut self,
        work: Work,
        writer: usize,
        numbers: &mut Numbers,
    ) -> Result<u64, SqlError> {
        match work {
            Work::Select | Work::FirstQuery => self.select(numbers),
            Work::SelectMany => self.select_many(numbers),
            Work::SelectCold => self.select_cold(),
            Work::Scan | Work::ScanCold => self.scan(),
            Work::Update => self.update(writer, numbers),
            Work::Insert => self.insert(writer),
            Work::SameRow => {
                let sql = "UPDATE counter SET n = n + 1 WHERE id = 1";
                self.sql.run(sql, &[]).map(|_| 1)
            }
            Work::Immediate => self.immediate(),
        }
    }
}

/// An answer that must be this one, of one row.
fn same(answer: Option<i64>, expected: i64) -> Result<u64, SqlError> {
    if answer == Some(expected) {
        return Ok(1);
    }
    Err(SqlError {
        busy: false,
        message: format!("a wrong answer: {answer:?} instead of {expected}"),
    })
}

impl Client for SqlClient {
    fn operate(
        &mut self,
        work: Work,
        writer: usize,
        numbers: &mut Numbers,
    ) -> Result<u64, SqlError> {
        let done = self.operate_once(work, writer, numbers);
        if done.is_err() {
            // There may be no transaction; what counts is the error above.
            let _ = self.sql.run("ROLLBACK", &[]);
        }
        done
    }

    fn counted(&mut self, row: i64) -> Result<i64, SqlError> {
        let n = self
            .sql
            .run("SELECT n FROM counter WHERE id = ?1", &[row])?;
        Ok(n.unwrap_or_default())
    }

    fn prepare(&mut self, work: Work) -> Result<(), SqlError> {
        match work {
            Work::FirstQuery => Ok(()),
            Work::SelectCold | Work::Scan | Work::ScanCold => self.count(),
            // The schema is read, so that the work measures itself.
            Work::Select
            | Work::SelectMany
            | Work::Update
            | Work::Insert
            | Work::SameRow
            | Work::Immediate => self.counted(1).map(|_| ()),
        }
    }
}
