//! What is left when the workers are done: nothing lost, a history, and a past to look at.

use std::io::Write;

use anyhow::bail;
use rusqlite::Connection;
use verso_pagestore::{DatabaseName, Moment, PageStore, Version};

use super::crew::Totals;
use super::dataset::Made;
use super::worker::{ID_RANGE, first_id};
use crate::commands::log;
use crate::connection::{self, Access};
use crate::error::sql_error;
use crate::rows::{self, Mode, Printer};

/// How many commits are shown.
const LOG_LINES: usize = 8;

/// The question that is asked of now and of the past.
const QUESTION: &str = "
SELECT (SELECT count(*) FROM orders) AS orders,
  (SELECT printf('%.2f', sum(total_cents) / 100.0) FROM orders) AS turnover,
  (SELECT sum(stock) FROM products) AS stock,
  (SELECT count(*) FROM notes WHERE notes MATCH 'writer') AS notes_of_writers";

/// The stock at the beginning less what was sold since, plus what was delivered.
const EXPECTED_STOCK: &str = "
SELECT ?1 - coalesce((SELECT sum(quantity) FROM order_items WHERE order_id >= ?2), 0)
  + coalesce((SELECT sum(quantity) FROM deliveries), 0)";

const WRONG_TOTALS: &str = "
SELECT count(*) FROM orders WHERE total_cents IS NOT
  (SELECT sum(quantity * price_cents) FROM order_items WHERE order_id = orders.id)";

/// What the report is about.
pub(super) struct Report<'a> {
    pub(super) store: &'a dyn PageStore,
    pub(super) database: &'a DatabaseName,
    pub(super) made: Made,
    /// The version before the writers began.
    pub(super) before: Version,
    pub(super) totals: &'a Totals,
}

impl Report<'_> {
    pub(super) fn print(&self, out: &mut dyn Write) -> anyhow::Result<()> {
        let now = connection::open(self.database, Access::Read)?;
        let past = Access::ReadPast(Moment::Version(self.before));
        let past = connection::open(self.database, past)?;
        writeln!(out, "4. Nothing was lost\n")?;
        self.check(&now, &past, out)?;
        writeln!(out, "\n5. Every commit is a version\n")?;
        log::print(&log::newest(self.store, self.database, LOG_LINES)?, out)?;
        writeln!(
            out,
            "\nThese are the newest {LOG_LINES}, as `verso log` shows them.\n"
        )?;
        writeln!(
            out,
            "6. The same question, now and as of the version before the writers\n"
        )?;
        let printer = Printer::new(Mode::Table);
        rows::run_batch(&now, QUESTION, printer, out)?;
        writeln!(out, "\nwith ?at={} in the database's URI:\n", self.before)?;
        rows::run_batch(&past, QUESTION, printer, out)?;
        Ok(writeln!(out)?)
    }

    fn check(
        &self,
        now: &Connection,
        past: &Connection,
        out: &mut dyn Write,
    ) -> anyhow::Result<()> {
        for (writer, counts) in (1..).zip(&self.totals.writers) {
            let orders = format!(
                "SELECT count(*) FROM orders WHERE id > {0} AND id <= {0} + {1}",
                first_id(writer),
                counts.orders
            );
            same(
                &format!("writer {writer}'s orders"),
                number(now, &orders)?,
                counts.orders,
            )?;
        }
        let acknowledged = self.totals.sum(|counts| counts.orders);
        let there = number(now, "SELECT count(*) FROM orders")?;
        same(
            "all orders",
            there - i64::from(self.made.orders),
            acknowledged,
        )?;
        writeln!(
            out,
            "  {acknowledged} orders were acknowledged: each is there, once"
        )?;

        let wrong = number(now, WRONG_TOTALS)?;
        same("orders with a wrong total", wrong, 0)?;
        writeln!(
            out,
            "  the total of each of the {there} orders is that of its items"
        )?;

        let start = number(past, "SELECT sum(stock) FROM products")?;
        let expected: i64 = now
            .query_row(EXPECTED_STOCK, [start, ID_RANGE], |row| row.get(0))
            .map_err(sql_error)?;
        let stock = number(now, "SELECT sum(stock) FROM products")?;
        same("the stock", stock, u64::try_from(expected)?)?;
        writeln!(
            out,
            "  stock: {start} before - sold + delivered = {stock} now"
        )?;

        let visits = self.totals.sum(|counts| counts.visits);
        same(
            "visits",
            number(now, "SELECT sum(visits) FROM customers")?,
            visits,
        )?;
        let notes = self.totals.sum(|counts| counts.notes);
        let found = "SELECT count(*) FROM notes WHERE notes MATCH 'writer'";
        same("notes", number(now, found)?, notes)?;
        writeln!(
            out,
            "  {visits} visits were counted and {notes} notes are found by full text"
        )?;

        let verdict: String = now
            .query_row("PRAGMA integrity_check", [], |row| row.get(0))
            .map_err(sql_error)?;
        if verdict != "ok" {
            bail!("PRAGMA integrity_check says: {verdict}");
        }
        Ok(writeln!(out, "  PRAGMA integrity_check: ok")?)
    }
}

fn number(connection: &Connection, sql: &str) -> anyhow::Result<i64> {
    connection
        .query_row(sql, [], |row| row.get(0))
        .map_err(sql_error)
}

fn same(what: &str, found: i64, expected: u64) -> anyhow::Result<()> {
    if u64::try_from(found) != Ok(expected) {
        bail!("{what}: expected {expected}, found {found}; this is a bug, please report it");
    }
    Ok(())
}
