//! One writer or reader of the demonstration, in a process of its own.

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::bail;
use clap::ValueEnum;
use rusqlite::{Connection, ErrorCode, OptionalExtension as _, params};
use serde::{Deserialize, Serialize};
use verso_pagestore::{DatabaseName, StoreUrl};

use crate::args::database_name;
use crate::connection::{self, Access};
use crate::error::{error_code, sql_error};

/// How far apart the ids of two writers' orders are.
pub(super) const ID_RANGE: i64 = 1_000_000_000;
/// How often counts are told.
const TELL_EVERY: Duration = Duration::from_millis(100);
/// How long a reader rests between two queries, so as not to keep the processor from writers.
const READER_PAUSE: Duration = Duration::from_micros(500);
/// After so many lost attempts a transaction asks to go first.
const PATIENCE: u32 = 6;
/// After so many it gives up.
const MAX_ATTEMPTS: u32 = 10_000;
/// The products that everybody wants.
const BESTSELLERS: u32 = 8;

/// What a worker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// Orders, deliveries, visits and notes.
    Writer,
    /// Looks at orders.
    Reader,
}

/// A worker of the demonstration
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(value_parser = database_name())]
    database: DatabaseName,
    #[arg(long, value_enum)]
    role: Role,
    #[arg(long)]
    number: u32,
    #[arg(long)]
    milliseconds: u64,
    #[arg(long)]
    customers: u32,
    #[arg(long)]
    products: u32,
}

/// What a worker has done so far; its standard output is lines of these as JSON.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Counts {
    /// Transactions that were acknowledged.
    pub(super) commits: u64,
    /// Attempts that others' commits made fail, and that were run again.
    pub(super) conflicts: u64,
    /// Queries of a reader.
    pub(super) reads: u64,
    /// Orders that were acknowledged.
    pub(super) orders: u64,
    /// Visits that were acknowledged.
    pub(super) visits: u64,
    /// Notes that were acknowledged.
    pub(super) notes: u64,
}

/// The id of a writer's order before its first one.
pub(super) fn first_id(writer: u32) -> i64 {
    i64::from(writer) * ID_RANGE
}

/// Runs the hidden command.
pub(crate) fn run(url: &StoreUrl, args: &Args, out: &mut dyn Write) -> anyhow::Result<()> {
    connection::register(url)?;
    let connection = connection::open(&args.database, Access::ReadWrite)?;
    let mut worker = Worker {
        connection,
        args,
        dice: Dice::new(args.number),
        counts: Counts::default(),
    };
    let started = Instant::now();
    let mut told = started;
    while started.elapsed() < Duration::from_millis(args.milliseconds) {
        match args.role {
            Role::Writer => worker.write()?,
            Role::Reader => worker.read()?,
        }
        if told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            worker.tell(out)?;
        }
    }
    worker.tell(out)
}

struct Worker<'a> {
    connection: Connection,
    args: &'a Args,
    dice: Dice,
    counts: Counts,
}

/// The body of a transaction.
type Body<'a> = &'a dyn Fn(&Connection) -> rusqlite::Result<()>;

impl Worker<'_> {
    fn tell(&self, out: &mut dyn Write) -> anyhow::Result<()> {
        writeln!(out, "{}", serde_json::to_string(&self.counts)?)?;
        Ok(out.flush()?)
    }

    fn write(&mut self) -> anyhow::Result<()> {
        match self.dice.roll(20) {
            0..=9 => self.order(),
            10..=16 => self.visit(),
            17 | 18 => self.delivery(),
            _ => self.note(),
        }
    }

    /// A new order under an id of this writer's own, for products that others sell too.
    fn order(&mut self) -> anyhow::Result<()> {
        let id = first_id(self.args.number) + 1 + i64::try_from(self.counts.orders)?;
        let customer = 1 + self.dice.roll(self.args.customers);
        let rare = 1 + BESTSELLERS + self.dice.roll(self.args.products - BESTSELLERS);
        let common = 1 + self.dice.roll(BESTSELLERS);
        let products: &[u32] = if self.dice.roll(8) == 0 {
            &[rare, common]
        } else {
            &[rare]
        };
        let quantity = 1 + self.dice.roll(3);
        self.transaction(&|connection| {
            connection
                .prepare_cached(
                    "INSERT INTO orders(id, customer_id, placed, total_cents)
                 VALUES(?1, ?2, datetime('now'), 0)",
                )?
                .execute(params![id, customer])?;
            for product in products {
                connection
                    .prepare_cached(
                        "INSERT INTO order_items(order_id, product_id, quantity, price_cents)
                     SELECT ?1, id, ?3, price_cents FROM products WHERE id = ?2",
                    )?
                    .execute(params![id, product, quantity])?;
                connection
                    .prepare_cached("UPDATE products SET stock = stock - ?2 WHERE id = ?1")?
                    .execute(params![product, quantity])?;
            }
            connection
                .prepare_cached(
                    "UPDATE orders SET total_cents = (SELECT sum(quantity * price_cents)
                 FROM order_items WHERE order_id = ?1) WHERE id = ?1",
                )?
                .execute([id])?;
            Ok(())
        })?;
        self.counts.orders += 1;
        Ok(())
    }

    /// More stock of a bestseller, which the other writers want as well.
    fn delivery(&mut self) -> anyhow::Result<()> {
        let product = 1 + self.dice.roll(BESTSELLERS);
        let quantity = 10 + self.dice.roll(90);
        self.transaction(&|connection| {
            connection
                .prepare_cached(
                    "INSERT INTO deliveries(product_id, quantity, arrived)
                 VALUES(?1, ?2, datetime('now'))",
                )?
                .execute(params![product, quantity])?;
            connection
                .prepare_cached("UPDATE products SET stock = stock + ?2 WHERE id = ?1")?
                .execute(params![product, quantity])?;
            Ok(())
        })
    }

    /// One statement without BEGIN: if another commit gets in its way, it runs again by
    /// itself, and neither this code nor SQLite's caller notices.
    fn visit(&mut self) -> anyhow::Result<()> {
        let customer = 1 + self.dice.roll(self.args.customers);
        self.retry(&|connection, _| {
            connection
                .prepare_cached("UPDATE customers SET visits = visits + 1 WHERE id = ?1")?
                .execute([customer])?;
            Ok(())
        })?;
        self.counts.visits += 1;
        Ok(())
    }

    /// A note in the full-text index.
    fn note(&mut self) -> anyhow::Result<()> {
        let text = format!("writer {} says: all is well", self.args.number);
        self.transaction(&|connection| {
            connection
                .prepare_cached("INSERT INTO notes(body) VALUES(?1)")?
                .execute([&text])?;
            Ok(())
        })?;
        self.counts.notes += 1;
        Ok(())
    }

    fn transaction(&mut self, body: Body<'_>) -> anyhow::Result<()> {
        self.retry(&|connection, begin| {
            connection.execute_batch(begin)?;
            body(connection)?;
            connection.execute_batch("COMMIT")
        })
    }

    /// Runs a transaction until no other commit gets in its way.
    fn retry(
        &mut self,
        attempt: &dyn Fn(&Connection, &str) -> rusqlite::Result<()>,
    ) -> anyhow::Result<()> {
        for lost in 0..MAX_ATTEMPTS {
            let begin = if lost < PATIENCE {
                "BEGIN"
            } else {
                "BEGIN IMMEDIATE"
            };
            let Err(error) = attempt(&self.connection, begin) else {
                self.counts.commits += 1;
                return Ok(());
            };
            if !self.connection.is_autocommit() {
                self.connection
                    .execute_batch("ROLLBACK")
                    .map_err(sql_error)?;
            }
            if error_code(&error) != Some(ErrorCode::DatabaseBusy) {
                return Err(sql_error(error));
            }
            self.counts.conflicts += 1;
            // Whoever waits at random does not meet the same winner again.
            let pause = self.dice.roll(1 << lost.min(5));
            std::thread::sleep(Duration::from_micros(u64::from(pause) * 200));
        }
        bail!("a transaction lost {MAX_ATTEMPTS} times in a row")
    }

    /// Looks at an order and its items in one transaction: they must belong together,
    /// however many writers are at work.
    fn read(&mut self) -> anyhow::Result<()> {
        let writer = 1 + self.dice.roll(4);
        let mut newest = self
            .connection
            .prepare_cached(
                "SELECT id, total_cents, (SELECT sum(quantity * price_cents) FROM order_items
                 WHERE order_id = orders.id) FROM orders WHERE id BETWEEN ?1 AND ?2
                 ORDER BY id DESC LIMIT 1",
            )
            .map_err(sql_error)?;
        let range = params![first_id(writer), first_id(writer + 1) - 1];
        let found: Option<(i64, i64, i64)> = newest
            .query_row(range, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .optional()
            .map_err(sql_error)?;
        if let Some((id, total, items)) = found
            && total != items
        {
            bail!("order {id} has a total of {total}, and its items are worth {items}");
        }
        self.counts.reads += 1;
        std::thread::sleep(READER_PAUSE);
        Ok(())
    }
}

/// Numbers that look random: xorshift, <https://www.jstatsoft.org/article/view/v008i14>.
struct Dice(u64);

impl Dice {
    fn new(seed: u32) -> Self {
        Self((u64::from(seed) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `sides`, or 0 if there is none.
    fn roll(&mut self, sides: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        u32::try_from((self.0 >> 33) % u64::from(sides.max(1))).unwrap_or(0)
    }
}
