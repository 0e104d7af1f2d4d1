//! What came of one workload on one subject.

use serde::{Deserialize, Serialize};

use crate::kind::Kind;
use crate::protocol::Turn;
use crate::workload::Unit;
use crate::workloads::Workload;

/// One workload on one subject.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Line {
    pub(crate) workload: String,
    pub(crate) subject: Kind,
    /// Median of the turns, in operations per second; pages of scans, rows of bulk loads.
    pub(crate) per_second: f64,
    /// Lowest and highest.
    pub(crate) range: (f64, f64),
    /// Rows, pages or lines of the work that one operation is, on average.
    #[serde(default = "one")]
    pub(crate) units: f64,
    /// Medians of the turns, in microseconds.
    pub(crate) p50_micros: f64,
    pub(crate) p99_micros: f64,
    /// What the slowest writer got done, as a share of the fastest: the median.
    pub(crate) slowest: f64,
    /// Statements that failed, per operation that was done.
    pub(crate) errors: f64,
    pub(crate) first_error: Option<String>,
    /// Transactions that ran again since others had been faster, per operation.
    #[serde(default)]
    pub(crate) conflicts: f64,
    /// Updates that were acknowledged and are not there.
    pub(crate) lost: i64,
    /// Memory of the process that works, and of all nodes.
    #[serde(default)]
    pub(crate) mebibytes: Option<f64>,
    #[serde(default)]
    pub(crate) node_mebibytes: Option<f64>,
    /// Bytes of keys and values by which the store grew per commit.
    #[serde(default)]
    pub(crate) stored: Option<f64>,
    /// Requests to nodes per operation, and bytes that were sent and received for it.
    #[serde(default)]
    pub(crate) requests: Option<f64>,
    #[serde(default)]
    pub(crate) sent: Option<f64>,
    #[serde(default)]
    pub(crate) received: Option<f64>,
    /// Read requests that the cluster served per commit.
    pub(crate) reads: Option<f64>,
    /// Bytes of keys and values that the cluster wrote per commit.
    pub(crate) bytes: Option<f64>,
}

/// Where the results of earlier versions do not say.
fn one() -> f64 {
    1.0
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
            units: total(|turn| turn.units) / operations,
            stored: None,
            requests: each(turns, |turn| turn.requests),
            sent: each(turns, |turn| Some(turn.traffic?.sent)),
            received: each(turns, |turn| Some(turn.traffic?.received)),
            reads: None,
            bytes: None,
        })
    }

    /// What went wrong, for each operation that was done: errors, and updates that are lost.
    pub(crate) fn failures(&self) -> f64 {
        if self.lost == 0 {
            self.errors
        } else {
            self.errors.max(1.0)
        }
    }

    /// Adds by how much the store has grown in all turns.
    pub(crate) fn store(&mut self, before: u64, after: u64, turns: &[Turn]) {
        let done = turns.iter().flat_map(|turn| &turn.operations).sum();
        self.stored = Some((float(after) - float(before)) / float(done));
    }
}

/// A count of all turns, for each operation; `None` if one of them has not counted.
fn each(turns: &[Turn], of: fn(&Turn) -> Option<u64>) -> Option<f64> {
    let counts: Option<Vec<u64>> = turns.iter().map(of).collect();
    let done = turns.iter().flat_map(|turn| &turn.operations).sum();
    Some(float(counts?.into_iter().sum()) / float(done))
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

/// The middle one of some values.
pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// A count as a number.
#[expect(clippy::cast_precision_loss, reason = "nothing is counted that far")]
pub(crate) fn float(value: u64) -> f64 {
    value as f64
}
