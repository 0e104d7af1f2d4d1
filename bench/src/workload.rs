//! What is measured: the workloads, and the database that they work on.

use serde::{Deserialize, Serialize};

/// Rows of the table `small`, of about 130 bytes each.
pub(crate) const SMALL_ROWS: u32 = 20_000;

/// Rows of a writer's own table.
pub(crate) const OWN_ROWS: u32 = 100;

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
}

impl Work {
    /// Whether each turn needs a process that has seen nothing of the database.
    pub(crate) fn is_cold(self) -> bool {
        matches!(self, Self::SelectCold | Self::ScanCold | Self::FirstQuery)
    }

    /// Whether one operation is all of a turn's work.
    pub(crate) fn is_single(self) -> bool {
        matches!(self, Self::ScanCold | Self::FirstQuery)
    }

    /// Whether its operations are commits.
    pub(crate) fn commits(self) -> bool {
        matches!(
            self,
            Self::Update | Self::Insert | Self::SameRow | Self::Immediate
        )
    }

    /// Whether it reads whole tables.
    pub(crate) fn is_scan(self) -> bool {
        matches!(self, Self::Scan | Self::ScanCold)
    }

    /// The row of the table `counter` that every operation counts in.
    pub(crate) fn counter(self) -> Option<i64> {
        match self {
            Self::SameRow => Some(1),
            Self::Immediate => Some(2),
            Self::Select
            | Self::SelectMany
            | Self::SelectCold
            | Self::Scan
            | Self::ScanCold
            | Self::FirstQuery
            | Self::Update
            | Self::Insert => None,
        }
    }
}

/// A workload.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Workload {
    /// What it is called on the command line.
    pub(crate) name: &'static str,
    /// What it is, for readers of the table.
    pub(crate) title: &'static str,
    pub(crate) work: Work,
    /// How many connections work at once, each in a thread of its own.
    pub(crate) writers: usize,
}

const fn workload(name: &'static str, title: &'static str, work: Work, writers: usize) -> Workload {
    Workload {
        name,
        title,
        work,
        writers,
    }
}

/// All of them.
pub(crate) const WORKLOADS: &[Workload] = &[
    workload("select", "point SELECT, warm, autocommit", Work::Select, 1),
    workload(
        "select-100",
        "100 point SELECTs in one transaction, warm",
        Work::SelectMany,
        1,
    ),
    workload(
        "select-cold",
        "point SELECT, cold page",
        Work::SelectCold,
        1,
    ),
    workload("scan", "full scan, warm", Work::Scan, 1),
    workload("scan-cold", "full scan, cold", Work::ScanCold, 1),
    workload(
        "first-query",
        "cold first query of a process",
        Work::FirstQuery,
        1,
    ),
    workload("update", "autocommit UPDATE, 1 writer", Work::Update, 1),
    workload(
        "update-16",
        "autocommit UPDATE, 16 writers, own tables",
        Work::Update,
        16,
    ),
    workload(
        "update-64",
        "autocommit UPDATE, 64 writers, own tables",
        Work::Update,
        64,
    ),
    workload("insert", "autocommit INSERT, 1 writer", Work::Insert, 1),
    workload(
        "insert-16",
        "autocommit INSERT, 16 writers, own tables",
        Work::Insert,
        16,
    ),
    workload(
        "same-row",
        "autocommit UPDATE of one row, 16 writers",
        Work::SameRow,
        16,
    ),
    workload(
        "immediate",
        "BEGIN IMMEDIATE, read, UPDATE of one row, 16 writers",
        Work::Immediate,
        16,
    ),
];

/// The statements that fill the database: `big_rows` rows of almost a page each.
pub(crate) fn content(big_rows: u32) -> Vec<String> {
    let numbers = |rows: u32| {
        format!("WITH RECURSIVE r(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM r WHERE i < {rows})")
    };
    let mut statements = vec![
        "CREATE TABLE small (id INTEGER PRIMARY KEY, n INTEGER, value TEXT)".to_owned(),
        format!(
            "{} INSERT INTO small SELECT i, i, hex(randomblob(50)) FROM r",
            numbers(SMALL_ROWS)
        ),
        "CREATE TABLE big (id INTEGER PRIMARY KEY, n INTEGER, value BLOB)".to_owned(),
        "CREATE TABLE counter (id INTEGER PRIMARY KEY, n INTEGER)".to_owned(),
        "INSERT INTO counter VALUES (1, 0), (2, 0)".to_owned(),
    ];
    // In parts, for stores with a limit to a transaction.
    for first in (0..big_rows).step_by(1000) {
        let rows = (big_rows - first).min(1000);
        statements.push(format!(
            "{} INSERT INTO big SELECT {first} + i, {first} + i, randomblob(3000) FROM r",
            numbers(rows)
        ));
    }
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
