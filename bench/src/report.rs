//! What came of the workloads: tables for people, JSON for programs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use comfy_table::{CellAlignment, Table, presets};
use serde::{Deserialize, Serialize};

use crate::cluster;
use crate::kind::Kind;
use crate::line::{Line, float};
use crate::protocol::Status;
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

/// Of each table, behind the subject and the rate; those that are empty are left out.
const COLUMNS: [&str; 15] = [
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
    "requests",
    "sent",
    "received",
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

    /// Reads one that was written.
    pub(crate) fn read(file: &Path) -> anyhow::Result<Self> {
        let named = || file.display().to_string();
        let text = std::fs::read_to_string(file).with_context(named)?;
        serde_json::from_str(&text).with_context(named)
    }

    /// Version of SQLite.
    pub(crate) fn sqlite(&self) -> &str {
        &self.sqlite
    }

    /// Processors of the machine.
    pub(crate) const fn processors(&self) -> usize {
        self.processors
    }

    /// Version and configuration of the FoundationDB cluster, if there was one.
    pub(crate) fn cluster(&self) -> Option<&str> {
        self.cluster.as_deref()
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
        line.requests
            .map(|requests| format!("{requests:.2}"))
            .unwrap_or_default(),
        number(line.sent),
        number(line.received),
        line.reads
            .map(|reads| format!("{reads:.1}"))
            .unwrap_or_default(),
        number(line.bytes),
    ]
}
