//! What came of the workloads: tables for people, JSON for programs.

use std::path::{Path, PathBuf};

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::cluster;
use crate::subjects::Kind;
use crate::worker::{Status, Turn};
use crate::workload::Workload;

/// The results of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Version of SQLite.
    sqlite: &'static str,
    /// Processors.
    processors: usize,
    /// Version and configuration of the FoundationDB cluster.
    cluster: Option<String>,
    lines: Vec<Line>,
}

/// One workload on one subject.
#[derive(Debug, Serialize)]
pub(crate) struct Line {
    workload: &'static str,
    subject: Kind,
    /// Median of the turns, in operations per second; of scans in pages per second.
    per_second: f64,
    /// Lowest and highest.
    range: (f64, f64),
    /// Medians of the turns, in microseconds.
    p50_micros: f64,
    p99_micros: f64,
    /// What the slowest writer got done, as a share of the fastest: the median.
    slowest: f64,
    /// Statements that failed, per operation that was done.
    errors: f64,
    first_error: Option<String>,
    /// Updates that were acknowledged and are not there.
    lost: i64,
    /// Read requests that the cluster served per commit.
    reads: Option<f64>,
    /// Bytes of keys and values that the cluster wrote per commit.
    bytes: Option<f64>,
}

impl Line {
    /// The medians, unless there was no turn.
    pub(crate) fn of(subject: Kind, workload: &Workload, turns: &[Turn]) -> Option<Self> {
        let rates = || turns.iter().map(|turn| rate(workload, turn));
        let per_second = median(rates().collect())?;
        let (operations, errors) = turns.iter().fold((0, 0), |(operations, errors), turn| {
            let done: u64 = turn.operations.iter().sum();
            (operations + done, errors + turn.errors)
        });
        Some(Self {
            workload: workload.name,
            subject,
            per_second,
            range: (
                rates().fold(f64::INFINITY, f64::min),
                rates().fold(0.0, f64::max),
            ),
            p50_micros: median(turns.iter().map(|turn| turn.p50_micros).collect())?,
            p99_micros: median(turns.iter().map(|turn| turn.p99_micros).collect())?,
            slowest: median(turns.iter().map(slowest).collect())?,
            errors: float(errors) / float(operations),
            first_error: turns.iter().find_map(|turn| turn.first_error.clone()),
            lost: turns.iter().map(|turn| turn.lost).sum(),
            reads: None,
            bytes: None,
        })
    }
}

/// Operations per second; pages per second of scans.
fn rate(workload: &Workload, turn: &Turn) -> f64 {
    let done = if workload.work.is_scan() {
        turn.units
    } else {
        turn.operations.iter().sum()
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

impl Report {
    /// An empty one, about a cluster if there is one.
    pub(crate) fn new(cluster: Option<&Path>) -> anyhow::Result<Self> {
        Ok(Self {
            sqlite: rusqlite::version(),
            processors: std::thread::available_parallelism()?.get(),
            cluster: cluster.map(describe).transpose()?,
            lines: Vec::new(),
        })
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
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN);
        let rate = if workload.work.is_scan() {
            "pages/s"
        } else {
            "per second"
        };
        table.set_header([
            workload.title,
            rate,
            "range",
            "p50 µs",
            "p99 µs",
            "beside",
            "slowest",
            "errors",
            "reads",
            "bytes",
        ]);
        let lines = || {
            self.lines
                .iter()
                .filter(|line| line.workload == workload.name)
        };
        for line in lines() {
            let base = lines().find(|base| Some(base.subject) == line.subject.beside());
            table.add_row(row(line, base, workload));
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
        line.reads
            .map(|reads| format!("{reads:.1}"))
            .unwrap_or_default(),
        line.bytes
            .map(|bytes| format!("{bytes:.0}"))
            .unwrap_or_default(),
    ]
}
