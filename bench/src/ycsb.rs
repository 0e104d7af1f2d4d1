//! The workloads A to F of YCSB (Cooper et al., "Benchmarking cloud serving systems with YCSB",
//! 2010): a table with a key and ten fields of 100 bytes, and keys of which few are popular.

use std::sync::atomic::{AtomicI64, Ordering};

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use rand_distr::{Distribution as _, Zipf};
use serde::{Deserialize, Serialize};

use crate::sql::{Sql, SqlError};
use crate::steps::same;
use crate::transaction::Transaction;

/// YCSB's constant.
const EXPONENT: f64 = 0.99;
const FIELDS: u32 = 10;
/// Rows that a scan reads at most.
const SCANNED: i64 = 100;
/// Rows of a transaction that fills the table.
const BATCH: usize = 2000;

/// What operations there are, and how many of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Mix {
    /// Half reads, half updates.
    A,
    /// 95 % reads, 5 % updates.
    B,
    /// Reads only.
    C,
    /// 95 % reads of what is new, 5 % inserts.
    D,
    /// 95 % short scans, 5 % inserts.
    E,
    /// Half reads, half transactions that read and change.
    F,
}

/// One operation; it stays the same when it has to run again.
#[derive(Debug, Clone, Copy)]
enum Operation {
    Read(i64),
    Update(i64, u32),
    Insert(i64),
    Scan(i64, i64),
    Change(i64, u32),
}

/// Rows that all clients of the process have inserted or are about to.
static ROWS: AtomicI64 = AtomicI64::new(0);

/// Clients of the process: those of one number draw the same in every run.
static CLIENTS: AtomicI64 = AtomicI64::new(1);

/// What one client does.
pub(crate) struct Ycsb {
    numbers: SmallRng,
    popular: Zipf<f64>,
    records: i64,
    pending: Option<Operation>,
}

impl Ycsb {
    /// Those of a client; there are so many rows from the beginning.
    pub(crate) fn new(records: u32) -> Result<Self, SqlError> {
        let popular = Zipf::new(f64::from(records), EXPONENT);
        let seed = CLIENTS.fetch_add(1, Ordering::Relaxed);
        Ok(Self {
            numbers: SmallRng::seed_from_u64(seed.unsigned_abs()),
            popular: popular.map_err(|error| SqlError::wrong(error.to_string()))?,
            records: i64::from(records),
            pending: None,
        })
    }

    /// Does one operation; returns 1 if it is one that is counted.
    pub(crate) fn operate(
        &mut self,
        sql: &mut dyn Sql,
        mix: Mix,
        transaction: Transaction,
    ) -> Result<u64, SqlError> {
        let operation = match self.pending {
            Some(operation) => operation,
            None => self.choose(mix),
        };
        self.pending = Some(operation);
        let done = run(sql, operation, transaction)?;
        self.pending = None;
        Ok(done)
    }

    fn choose(&mut self, mix: Mix) -> Operation {
        let other = match mix {
            Mix::A | Mix::F => 50,
            Mix::B | Mix::D | Mix::E => 5,
            Mix::C => 0,
        };
        let is_other = self.numbers.random_range(0..100) < other;
        let field = self.numbers.random_range(0..FIELDS);
        match (mix, is_other) {
            (Mix::A | Mix::B, true) => Operation::Update(self.key(), field),
            (Mix::D | Mix::E, true) => Operation::Insert(key(ROWS.fetch_add(1, Ordering::Relaxed))),
            (Mix::F, true) => Operation::Change(self.key(), field),
            (Mix::E, false) => {
                let rows = self.numbers.random_range(1..=SCANNED);
                Operation::Scan(self.key(), rows)
            }
            // What is newest may not be committed yet: only what was there before is read.
            (Mix::D, false) => Operation::Read(key(self.records - 1 - self.rank())),
            (Mix::A | Mix::B | Mix::C | Mix::F, false) | (Mix::C, true) => {
                Operation::Read(self.key())
            }
        }
    }

    /// 0 for the most popular one.
    fn rank(&mut self) -> i64 {
        #[expect(clippy::cast_possible_truncation, reason = "it is a row's number")]
        let rank = self.popular.sample(&mut self.numbers) as i64;
        (rank - 1).clamp(0, self.records - 1)
    }

    /// The key of a row that was there from the beginning. Popular ones are not neighbours.
    fn key(&mut self) -> i64 {
        key(self.rank())
    }
}

/// The key of a row: scattered, none twice (`SplitMix64`'s mixing function is a permutation).
fn key(row: i64) -> i64 {
    let mut mixed = row.unsigned_abs().wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)).cast_signed()
}

fn run(sql: &mut dyn Sql, operation: Operation, transaction: Transaction) -> Result<u64, SqlError> {
    match operation {
        Operation::Read(key) => {
            same(
                sql.run("SELECT * FROM usertable WHERE id = ?1", &[key])?,
                key,
            )?;
            Ok(0)
        }
        Operation::Update(key, field) => {
            sql.run(&update(field), &[key])?;
            Ok(0)
        }
        Operation::Insert(key) => sql.run(&insert(), &[key]).map(|_| 1),
        Operation::Scan(key, rows) => {
            let wrong = sql.run(SCAN, &[key, rows])?;
            same(wrong, 0)?;
            Ok(0)
        }
        Operation::Change(key, field) => {
            sql.run(transaction.begin(), &[])?;
            let changes = "SELECT changes FROM usertable WHERE id = ?1";
            let changes = sql.run(changes, &[key])?.unwrap_or_default();
            sql.run(&change(field), &[key, changes + 1])?;
            sql.run("COMMIT", &[])?;
            Ok(1)
        }
    }
}

/// Reads the fields of rows; counts those that are not as long as they must be.
const SCAN: &str = "SELECT count(*) - sum(length(field0) + length(field1) + length(field2) + \
     length(field3) + length(field4) + length(field5) + length(field6) + length(field7) + \
     length(field8) + length(field9) = 1000) FROM \
     (SELECT * FROM usertable WHERE id >= ?1 ORDER BY id LIMIT ?2)";

fn update(field: u32) -> String {
    format!("UPDATE usertable SET field{field} = randomblob(100) WHERE id = ?1")
}

fn change(field: u32) -> String {
    format!("UPDATE usertable SET changes = ?2, field{field} = randomblob(100) WHERE id = ?1")
}

fn insert() -> String {
    let fields = ["randomblob(100)"; FIELDS as usize].join(", ");
    format!("INSERT INTO usertable VALUES (?1, 0, {fields})")
}

/// Counts the rows, once in a process that will add some.
pub(crate) fn prepare(sql: &mut dyn Sql, mix: Mix) -> Result<(), SqlError> {
    if matches!(mix, Mix::D | Mix::E) && ROWS.load(Ordering::Relaxed) == 0 {
        let rows = sql.run("SELECT count(*) FROM usertable", &[])?;
        ROWS.store(rows.unwrap_or_default(), Ordering::Relaxed);
    }
    // The schema is read, so that the work measures itself.
    sql.run("SELECT count(*) FROM counter", &[]).map(drop)
}

/// What the rows say of the operations that are counted.
pub(crate) fn counted(sql: &mut dyn Sql, mix: Mix) -> Result<Option<i64>, SqlError> {
    let query = match mix {
        Mix::A | Mix::B | Mix::C => return Ok(None),
        Mix::D | Mix::E => "SELECT count(*) FROM usertable",
        Mix::F => "SELECT sum(changes) FROM usertable",
    };
    sql.run(query, &[])
}

/// Makes the table and its rows, in the order of their keys.
pub(crate) fn fill(sql: &mut dyn Sql, records: u32) -> Result<(), SqlError> {
    let fields: Vec<_> = (0..FIELDS)
        .map(|field| format!("field{field} BLOB"))
        .collect();
    let table = format!(
        "CREATE TABLE usertable (id INTEGER PRIMARY KEY, changes INTEGER, {})",
        fields.join(", ")
    );
    sql.run(&table, &[])?;
    let mut keys: Vec<i64> = (0..i64::from(records)).map(key).collect();
    keys.sort_unstable();
    for batch in keys.chunks(BATCH) {
        sql.run("BEGIN", &[])?;
        for key in batch {
            sql.run(&insert(), &[*key])?;
        }
        sql.run("COMMIT", &[])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    //! Goal: keys are scattered, and none comes twice.
    //! Method: those of many rows.

    use std::collections::HashSet;

    use super::key;

    #[test]
    fn keys_differ() {
        let keys: HashSet<i64> = (0..100_000).map(key).collect();
        assert_eq!(keys.len(), 100_000);
    }
}
