//! What is measured: the workloads, and the database that they work on.

use serde::{Deserialize, Serialize};

use crate::ycsb::Mix;

/// Rows of the table `small`, of about 130 bytes each.
pub(crate) const SMALL_ROWS: u32 = 20_000;

/// Rows of a writer's own table.
pub(crate) const OWN_ROWS: u32 = 100;

/// Rows of `big` that are inserted at once.
const PART: u32 = 1000;

/// Most writers of a workload.
pub(crate) const WRITERS: usize = 64;

/// What one operation of a workload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Work {
    /// `SELECT` of one row by its key, in autocommit; all pages are in the cache.
    Select,
    /// A hundred of them in one transaction.
    SelectMany,
    /// `SELECT` of a row whose page is not in the cache.
    SelectCold,
    /// A scan of the table `big`, whose pages are in the cache.
    Scan,
    /// A scan of the table `big` by a process that has none of its pages.
    ScanCold,
    /// Opening the database and selecting one row, in a process that has done neither.
    FirstQuery,
    /// `UPDATE` of 40 bytes of one row of the writer's own table, in autocommit.
    Update,
    /// `INSERT` of one row into the writer's own table, in autocommit.
    Insert,
    /// `UPDATE` of one row that all writers change, in autocommit.
    SameRow,
    /// `BEGIN IMMEDIATE`, `SELECT` of that row, `UPDATE` of it, `COMMIT`.
    Immediate,
    /// One transaction that fills a new database with rows.
    BulkLoad,
    /// `INSERT` of one row at the end of a table that all writers share, in autocommit.
    AppendLog,
    /// A workload of YCSB.
    Ycsb(Mix),
    /// Order entry after TPC-C: new orders and payments.
    Orders,
    /// `SELECT` of one of a few rows of `big`.
    SelectBig,
    /// `UPDATE` of a number in any row of `big`, in autocommit.
    UpdateBig,
}

/// The `PRAGMA synchronous` of all connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Synchronous {
    Off,
    Normal,
    Full,
}

impl Synchronous {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Off => "OFF",
            Self::Normal => "NORMAL",
            Self::Full => "FULL",
        }
    }
}

/// Workloads that one looks at together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Group {
    /// One connection reads.
    Reads,
    /// One connection writes.
    Writes,
    /// Many connections write.
    Many,
    /// The workloads of YCSB.
    Ycsb,
}

impl Group {
    pub(crate) const ALL: [Self; 4] = [Self::Reads, Self::Writes, Self::Many, Self::Ycsb];

    /// How its file is called.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Reads => "reads",
            Self::Writes => "writes",
            Self::Many => "many-writers",
            Self::Ycsb => "ycsb",
        }
    }

    /// How its chart is called.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Reads => "Reads",
            Self::Writes => "Writes, one connection",
            Self::Many => "Writes, many connections",
            Self::Ycsb => "YCSB",
        }
    }
}

/// Tables that only some workloads need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Tables {
    Ycsb,
    Orders,
}

/// How much data there is.
#[derive(Debug, Default, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Scale {
    /// Rows of `big`, of almost a page each.
    pub(crate) big_rows: u32,
    /// Rows that a bulk load writes.
    pub(crate) bulk_rows: u32,
    /// Rows of YCSB's table, of a thousand bytes each.
    pub(crate) records: u32,
    pub(crate) warehouses: u32,
}

impl Work {
    /// Whether each turn needs a process that has seen nothing of the database.
    pub(crate) fn is_cold(self) -> bool {
        matches!(self, Self::SelectCold | Self::ScanCold | Self::FirstQuery)
    }

    /// Whether one operation is all of a turn's work.
    pub(crate) fn is_single(self) -> bool {
        matches!(self, Self::ScanCold | Self::FirstQuery | Self::BulkLoad)
    }

    /// Whether its operations are commits.
    pub(crate) fn commits(self) -> bool {
        matches!(
            self,
            Self::Update
                | Self::Insert
                | Self::SameRow
                | Self::Immediate
                | Self::AppendLog
                | Self::Orders
        )
    }

    /// The tables that it needs beside those that are always there.
    pub(crate) fn tables(self) -> Option<Tables> {
        match self {
            Self::Ycsb(_) => Some(Tables::Ycsb),
            Self::Orders => Some(Tables::Orders),
            Self::Select
            | Self::SelectMany
            | Self::SelectCold
            | Self::Scan
            | Self::ScanCold
            | Self::FirstQuery
            | Self::Update
            | Self::Insert
            | Self::SameRow
            | Self::Immediate
            | Self::BulkLoad
            | Self::AppendLog
            | Self::SelectBig
            | Self::UpdateBig => None,
        }
    }

    /// Whether each of its operations is one statement.
    pub(crate) fn is_one_statement(self) -> bool {
        !matches!(
            self,
            Self::SelectMany | Self::Immediate | Self::BulkLoad | Self::Ycsb(_) | Self::Orders
        )
    }

    /// What its rate counts, for readers.
    pub(crate) fn unit(self) -> Unit {
        match self {
            Self::Scan | Self::ScanCold => Unit::Pages,
            Self::BulkLoad => Unit::Rows,
            Self::Select
            | Self::SelectMany
            | Self::SelectCold
            | Self::FirstQuery
            | Self::Update
            | Self::Insert
            | Self::SameRow
            | Self::Immediate
            | Self::AppendLog
            | Self::Ycsb(_)
            | Self::Orders
            | Self::SelectBig
            | Self::UpdateBig => Unit::Operations,
        }
    }
}

/// What a rate counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Operations,
    Pages,
    Rows,
}

/// The statements that fill the database: `big_rows` rows of almost a page each.
pub(crate) fn content(big_rows: u32) -> Vec<String> {
    let mut statements = vec![
        "CREATE TABLE small (id INTEGER PRIMARY KEY, n INTEGER, value TEXT)".to_owned(),
        format!(
            "{} INSERT INTO small SELECT i, i, hex(randomblob(50)) FROM r",
            numbers(SMALL_ROWS)
        ),
        "CREATE TABLE big (id INTEGER PRIMARY KEY, n INTEGER, value BLOB)".to_owned(),
        "CREATE TABLE counter (id INTEGER PRIMARY KEY, n INTEGER)".to_owned(),
        "INSERT INTO counter VALUES (1, 0), (2, 0)".to_owned(),
        "CREATE TABLE events (id INTEGER PRIMARY KEY, value TEXT)".to_owned(),
    ];
    statements.extend(big(0, big_rows));
    for writer in 0..WRITERS {
        statements.push(format!(
            "CREATE TABLE own{writer} (id INTEGER PRIMARY KEY, n INTEGER, value TEXT)"
        ));
        statements.push(format!(
            "{} INSERT INTO own{writer} SELECT i, i, hex(randomblob(20)) FROM r",
            numbers(OWN_ROWS)
        ));
        statements.push(format!(
            "CREATE TABLE log{writer} (id INTEGER PRIMARY KEY, value TEXT)"
        ));
    }
    statements
}

/// The statements that add rows to the table `big`, in parts, for stores with a limit to a
/// transaction.
pub(crate) fn big(before: u32, rows: u32) -> impl Iterator<Item = String> {
    (before..before + rows)
        .step_by(PART as usize)
        .map(move |first| {
            let rows = (before + rows - first).min(PART);
            format!(
                "{} INSERT INTO big SELECT {first} + i, {first} + i, randomblob(3000) FROM r",
                numbers(rows)
            )
        })
}

fn numbers(rows: u32) -> String {
    format!("WITH RECURSIVE r(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM r WHERE i < {rows})")
}
