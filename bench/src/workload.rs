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
    /// One transaction that fills a new database with rows.
    BulkLoad,
}

/// The `PRAGMA synchronous` of all connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Synchronous {
    Normal,
    Full,
}

impl Synchronous {
    pub(crate) fn name(self) -> &'static str {
        match self {
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
}

impl Group {
    pub(crate) const ALL: [Self; 3] = [Self::Reads, Self::Writes, Self::Many];

    /// How its file is called.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Reads => "reads",
            Self::Writes => "writes",
            Self::Many => "many-writers",
        }
    }

    /// How its chart is called.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Reads => "Reads",
            Self::Writes => "Writes, one connection",
            Self::Many => "Writes, many connections",
        }
    }
}

/// How much data there is.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Scale {
    /// Rows of `big`, of almost a page each.
    pub(crate) big_rows: u32,
    /// Rows that a bulk load writes.
    pub(crate) bulk_rows: u32,
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
            Self::Update | Self::Insert | Self::SameRow | Self::Immediate
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
            | Self::Immediate => Unit::Operations,
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
