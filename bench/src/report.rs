//! What came of the workloads: tables for people, JSON for programs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use serde::{Deserialize, Serialize};

use crate::cluster;
use crate::kind::Kind;
use crate::protocol::{Status, Turn};
use crate::workload::Unit;
use crate::workloads::Workload;

/// The results of a run.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Version of SQLite.
    sqlite: String,
    /// Processors.
    processors: usize,
    /// Version and configuration of the FoundationDB cluster.
    cluster: Option<String>,
    /// How much longer a sync took than it does, in microseconds.
    #[serde(default)]
    sync_delay_micros: Option<u64>,
    lines: Vec<Line>,
}

/// One workload on one subject.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Line {
    pub(crate) workload: String,
    pub(crate) subject: Kind,
    /// Median of the turns, in operations per second; pages of scans, rows of bulk loads.
    pub(crate) per_second: f64,
    /// Lowest and highest.
    pub(crate) range: (f64, f64),
    /// Medians of the turns, in microseconds.
    p50_micros: f64,
    p99_micros: f64,
    /// What the slowest writer got done, as a share of the fastest: the median.
    slowest: f64,
    /// Statements that failed, per operation that was done.
    errors: f64,
    first_error: Option<String>,
    /// Transactions that ran again since others had been faster, per operation.
    #[serde(default)]
    conflicts: f64,
    /// Updates that were acknowledged and are not there.
    lost: i64,
    /// Memory of the process that works, and of all nodes.
    #[serde(default)]
    mebibytes: Option<f64>,
    #[serde(default)]
    node_mebibytes: Option<f64>,
    /// Bytes of keys and values by which the store grew per commit.
    #[serde(default)]
    stored: Option<f64>,
    /// Read requests that the cluster served per commit.
    reads: Option<f64>,
    /// Bytes of keys and values that the cluster wrote per commit.
    bytes: Option<f64>,
}

impl Line {
    /// The medians, unless there was no turn.
    pub(crate) fn of(
        subject: Kind,
        workload: &Workload,
        turns: &[Turn],
        lost: i64,
    ) -> Option<Self> {
        let rates = || turns.iter().map(|turn| rate(workload, turn));
        let per_second = median(rates().collect())?;
        let total = |of: fn(&Turn) -> u64| float(turns.iter().map(of).sum());
        let operations = total(|turn| turn.operations.iter().sum());
        Some(Self {
            workload: workload.name.to_owned(),
            subject,
            per_second,
            range: (
                rates().fold(f64::INFINITY, f64::min),
                rates().fold(0.0, f64::max),
            ),
            p50_micros: median(turns.iter().map(|turn| turn.p50_micros).collect())?,
            p99_micros: median(turns.iter().map(|turn| turn.p99_micros).collect())?,
            slowest: median(turns.iter().map(slowest).collect())?,
            errors: total(|turn| turn.errors) / operations,
            conflicts: total(|turn| turn.conflicts) / operations,
            first_error: turns.iter().find_map(|turn| turn.first_error.clone()),
            lost,
            mebibytes: median(mebibytes(turns, |turn| turn.memory)),
            node_mebibytes: median(mebibytes(turns, |turn| turn.node_memory)),
            stored: None,
            reads: None,
            bytes: None,
        })
    }

    /// Adds by how much the store has grown in all turns.
    pub(crate) fn store(&mut self, before: u64, after: u64, turns: &[Turn]) {
        let done = turns.iter().flat_map(|turn| &turn.operations).sum();
        self.stored = Some((float(after) - float(before)) / float(done));
    }
}

fn mebibytes(turns: &[Turn], of: fn(&Turn) -> Option<u64>) -> Vec<f64> {
    let bytes = turns.iter().filter_map(of).filter(|bytes| *bytes > 0);
    bytes.map(|bytes| float(bytes) / 1_048_576.0).collect()
}

/// What is done in a second.
fn rate(workload: &Workload, turn: &Turn) -> f64 {
    let done = match workload.work.unit() {
        Unit::Operations => turn.operations.iter().sum(),
        Unit::Pages | Unit::Rows => turn.units,
    };
    float(done) / turn.seconds
}

/// What the slowest writer got done, as a share of the fastest.
fn slowest(turn: &Turn) -> f64 {
    let least = turn.operations.iter().min().copied().unwrap_or_default();
    let most = turn.operations.iter().max().copied().unwrap_or_default();
    float(least) / float(most.max(1))
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

#[expect(clippy::cast_precision_loss, reason = "nothing is counted that far")]
fn float(value: u64) -> f64 {
    value as f64
}

/// Of each table, behind the subject and the rate; those that are empty are left out.
const COLUMNS: [&str; 12] = [
    "range",
    "p50 µs",
    "p99 µs",
    "beside",
    "slowest",
    "errors",
    "conflicts",
    "MiB",
    "nodes MiB",
    "stored",
    "reads",
    "bytes",
];

impl Report {
    /// An empty one, about a cluster if there is one.
    pub(crate) fn new(
        cluster: Option<&Path>,
        sync_delay: Option<Duration>,
    ) -> anyhow::Result<Self> {
        let sync_delay = sync_delay.map(|delay| u64::try_from(delay.as_micros()));
        Ok(Self {
            sqlite: rusqlite::version().to_owned(),
            processors: std::thread::available_parallelism()?.get(),
            cluster: cluster.map(describe).transpose()?,
            sync_delay_micros: sync_delay.transpose()?,
            lines: Vec::new(),
        })
    }

    /// What came of all workloads.
    pub(crate) fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// What came of a workload on a subject.
    pub(crate) fn line(&self, workload: &str, subject: Kind) -> Option<&Line> {
        self.lines
            .iter()
            .find(|line| line.workload == workload && line.subject == subject)
    }

    /// Adds what came of a workload.
    pub(crate) fn add(&mut self, lines: Vec<Line>) {
        self.lines.extend(lines);
    }

    /// Adds what a cluster counted while so many commits were made.
    pub(crate) fn count(
        &mut self,
        subject: Kind,
        workload: &Workload,
        commits: u64,
        before: &Status,
        after: &Status,
    ) {
        let line = self
            .lines
            .iter_mut()
            .find(|line| line.subject == subject && line.workload == workload.name);
        if let Some(line) = line {
            let each = |before: u64, after: u64| float(after - before) / float(commits);
            line.reads = Some(each(before.reads, after.reads));
            line.bytes = Some(each(before.written_bytes, after.written_bytes));
        }
    }

    /// The lines of a workload, for people.
    pub(crate) fn table(&self, workload: &Workload) -> Table {
        let rate = match workload.work.unit() {
            Unit::Operations => "per second",
            Unit::Pages => "pages/s",
            Unit::Rows => "rows/s",
        };
        let header = [workload.title, rate].into_iter().chain(COLUMNS);
        let mut rows: Vec<Vec<String>> = vec![header.map(str::to_owned).collect()];
        let lines = || {
            self.lines
                .iter()
                .filter(|line| line.workload == workload.name)
        };
        for line in lines() {
            let base = lines().find(|base| Some(base.subject) == line.subject.beside());
            rows.push(row(line, base, workload));
        }
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN);
        for (index, row) in without_empty(&rows).into_iter().enumerate() {
            if index == 0 {
                table.set_header(row);
            } else {
                table.add_row(row);
            }
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }

    /// Writes `run.json` into a folder.
    pub(crate) fn write(&self, folder: &Path) -> anyhow::Result<PathBuf> {
        std::fs::create_dir_all(folder)?;
        let file = folder.join("run.json");
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        std::fs::write(&file, text)?;
        Ok(file)
    }
}

fn describe(file: &Path) -> anyhow::Result<String> {
    let status = cluster::status(file)?;
    Ok(format!(
        "FoundationDB {}, {}",
        status.version, status.configuration
    ))
}

fn number(value: Option<f64>) -> String {
    value.map(|value| format!("{value:.0}")).unwrap_or_default()
}

/// The rows without the columns that only have a header.
fn without_empty(rows: &[Vec<String>]) -> Vec<Vec<&str>> {
    let is_used = |column: usize| {
        let cells = rows.iter().skip(1).filter_map(|row| row.get(column));
        cells.into_iter().any(|cell| !cell.is_empty())
    };
    let used: Vec<usize> = (0..COLUMNS.len() + 2).filter(|at| is_used(*at)).collect();
    rows.iter().map(|row| kept(row, &used)).collect()
}

fn kept<'a>(row: &'a [String], used: &[usize]) -> Vec<&'a str> {
    let cells = used.iter().filter_map(|at| row.get(*at));
    cells.map(String::as_str).collect()
}

fn row(line: &Line, base: Option<&Line>, workload: &Workload) -> Vec<String> {
    let only = |condition: bool, text: String| if condition { text } else { String::new() };
    let errors = format!("{:.2}", line.errors);
    let lost = format!(", {} lost", line.lost);
    vec![
        line.subject.title().to_owned(),
        format!("{:.0}", line.per_second),
        format!("{:.0} to {:.0}", line.range.0, line.range.1),
        format!("{:.1}", line.p50_micros),
        format!("{:.1}", line.p99_micros),
        base.map(|base| format!("{:.2}", line.per_second / base.per_second))
            .unwrap_or_default(),
        only(
            workload.writers > 1,
            format!("{:.0} %", line.slowest * 100.0),
        ),
        only(line.errors > 0.0, errors) + &only(line.lost != 0, lost),
        only(
            line.conflicts > 0.0,
            format!("{:.1} %", line.conflicts * 100.0),
        ),
        number(line.mebibytes),
        number(line.node_mebibytes),
        number(line.stored),
        line.reads
            .map(|reads| format!("{reads:.1}"))
            .unwrap_or_default(),
        number(line.bytes),
    ]
}
