//! The workloads in SQL.

use crate::bulk::BulkLoad;
use crate::numbers::Numbers;
use crate::orders::{self, Orders};
use crate::protocol::Setup;
use crate::session::{Client, Session};
use crate::sql::{Sql, SqlError};
use crate::transaction::Transaction;
use crate::workload::{OWN_ROWS, SMALL_ROWS, Scale, Synchronous, Work};
use crate::ycsb::{self, Mix, Ycsb};

/// Steps between the rows of `big` that are read one after the other: a prime, so that no row
/// comes twice and none is beside the one before.
const STRIDE: i64 = 7919;

/// Rows of a transaction of [`Work::SelectMany`].
const MANY: u64 = 100;

/// Rows of `big` that stay in any cache.
const FEW: u32 = 100;

/// A connection that does the operations of the workloads.
pub(crate) struct SqlClient {
    session: Session,
    synchronous: Synchronous,
    scale: Scale,
    sql: Box<dyn Sql>,
    /// The row of `big` that was read last.
    last: i64,
    /// Rows of `big`.
    rows: i64,
    transaction: Transaction,
    bulk: Option<BulkLoad>,
    ycsb: Option<Ycsb>,
    orders: Orders,
}

impl SqlClient {
    pub(crate) fn open(setup: &Setup, synchronous: Synchronous) -> anyhow::Result<Self> {
        Ok(Self {
            session: setup.session.clone(),
            synchronous,
            scale: setup.scale,
            sql: setup.session.sql(synchronous)?,
            last: 0,
            rows: 0,
            transaction: Transaction::new(&setup.session),
            bulk: None,
            ycsb: None,
            orders: Orders::new(setup.scale.warehouses),
        })
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
        let n = self
            .sql
            .run("SELECT abs(n) FROM big WHERE id = ?1", &[id])?;
        same(n, id)
    }

    fn select_big(&mut self, numbers: &mut Numbers) -> Result<u64, SqlError> {
        let id = i64::from(numbers.below(FEW)) + 1;
        let n = self
            .sql
            .run("SELECT abs(n) FROM big WHERE id = ?1", &[id])?;
        same(n, id)
    }

    fn update_big(&mut self, numbers: &mut Numbers) -> Result<u64, SqlError> {
        let rows = u32::try_from(self.rows).unwrap_or(u32::MAX);
        let id = i64::from(numbers.below(rows)) + 1;
        let sql = "UPDATE big SET n = -n WHERE id = ?1";
        self.sql.run(sql, &[id]).map(|_| 1)
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
            Work::BulkLoad => match &mut self.bulk {
                Some(bulk) => bulk.load(self.scale.bulk_rows),
                None => Err(unprepared()),
            },
            Work::SelectBig => self.select_big(numbers),
            Work::UpdateBig => self.update_big(numbers),
            Work::AppendLog => {
                let sql = "INSERT INTO events (value) VALUES (hex(randomblob(100)))";
                self.sql.run(sql, &[]).map(|_| 1)
            }
            Work::Ycsb(mix) => {
                let ycsb = self.ycsb.as_mut().ok_or_else(unprepared)?;
                ycsb.operate(self.sql.as_mut(), mix, self.transaction)
            }
            Work::Orders => {
                let sql = self.sql.as_mut();
                self.orders.operate(sql, numbers, self.transaction)
            }
        }
    }

    fn prepare_ycsb(&mut self, mix: Mix) -> Result<(), SqlError> {
        if self.ycsb.is_none() {
            ycsb::prepare(self.sql.as_mut(), mix)?;
            self.ycsb = Some(Ycsb::new(self.scale.records)?);
        }
        Ok(())
    }

    fn number(&mut self, sql: &str) -> Result<i64, SqlError> {
        Ok(self.sql.run(sql, &[])?.unwrap_or_default())
    }
}

fn unprepared() -> SqlError {
    SqlError::wrong("it was not prepared".to_owned())
}

/// Requests to the store that a connection has made.
pub(crate) fn requests(sql: &mut dyn Sql) -> Result<i64, SqlError> {
    let requests = sql.run("SELECT verso_stats() ->> 'requests'", &[])?;
    requests.ok_or_else(|| SqlError::wrong("no requests were counted".to_owned()))
}

/// An answer that must be this one, of one row.
pub(crate) fn same(answer: Option<i64>, expected: i64) -> Result<u64, SqlError> {
    if answer == Some(expected) {
        return Ok(1);
    }
    Err(SqlError::wrong(format!(
        "a wrong answer: {answer:?} instead of {expected}"
    )))
}

impl Client for SqlClient {
    fn operate(
        &mut self,
        work: Work,
        writer: usize,
        numbers: &mut Numbers,
    ) -> Result<u64, SqlError> {
        let done = self.operate_once(work, writer, numbers);
        if done.is_ok() {
            self.transaction.done();
        } else {
            self.transaction.failed();
            // There may be no transaction; what counts is the error above.
            let _ = self.sql.run("ROLLBACK", &[]);
        }
        done
    }

    fn counted(&mut self, work: Work, writers: usize) -> Result<Option<i64>, SqlError> {
        let counted = match work {
            Work::SameRow => self.number("SELECT n FROM counter WHERE id = 1")?,
            Work::Immediate => self.number("SELECT n FROM counter WHERE id = 2")?,
            Work::Insert => {
                let mut rows = 0;
                for writer in 0..writers {
                    rows += self.number(&format!("SELECT count(*) FROM log{writer}"))?;
                }
                rows
            }
            Work::AppendLog => self.number("SELECT count(*) FROM events")?,
            Work::Ycsb(mix) => return ycsb::counted(self.sql.as_mut(), mix),
            Work::Orders => return orders::counted(self.sql.as_mut()),
            Work::Select
            | Work::SelectMany
            | Work::SelectCold
            | Work::Scan
            | Work::ScanCold
            | Work::FirstQuery
            | Work::Update
            | Work::BulkLoad
            | Work::SelectBig
            | Work::UpdateBig => return Ok(None),
        };
        Ok(Some(counted))
    }

    fn prepare(&mut self, work: Work) -> Result<(), SqlError> {
        match work {
            Work::FirstQuery => Ok(()),
            Work::SelectCold | Work::Scan | Work::ScanCold | Work::SelectBig | Work::UpdateBig => {
                self.count()
            }
            // The schema is read, so that the work measures itself.
            Work::Select
            | Work::SelectMany
            | Work::Update
            | Work::Insert
            | Work::SameRow
            | Work::Immediate
            | Work::AppendLog
            | Work::Orders => self.number("SELECT count(*) FROM counter").map(drop),
            Work::Ycsb(mix) => self.prepare_ycsb(mix),
            Work::BulkLoad => {
                let bulk = BulkLoad::prepare(&self.session, self.synchronous)?;
                self.bulk = Some(bulk);
                Ok(())
            }
        }
    }

    fn requests(&mut self) -> Result<Option<i64>, SqlError> {
        if !self.session.has_nodes() {
            return Ok(None);
        }
        let mut requests = requests(self.sql.as_mut())?;
        if let Some(bulk) = &mut self.bulk {
            requests += bulk.requests()?;
        }
        Ok(Some(requests))
    }

    fn most(&self, work: Work) -> u64 {
        if work == Work::SelectCold {
            u64::try_from(self.rows).unwrap_or(u64::MAX)
        } else {
            u64::MAX
        }
    }

    fn check(&mut self, work: Work) -> Result<(), SqlError> {
        match (work, &mut self.bulk) {
            (Work::BulkLoad, Some(bulk)) => bulk.check(self.scale.bulk_rows),
            (Work::Orders, _) => orders::check(self.sql.as_mut()),
            _ => Ok(()),
        }
    }
}
