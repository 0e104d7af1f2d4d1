//! What is expected of Verso: the rows of two tables, beside SQLite and beside a bare client of
//! FoundationDB.

use crate::kind::Kind;
use crate::line::Line;
use crate::report::Report;

/// A figure of a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Figure {
    /// The rate, by that of another subject.
    Beside(Kind),
    /// Operations, pages or rows per second.
    Rate,
    /// The median latency in microseconds.
    P50,
    /// The same, by that of another subject.
    P50Beside(Kind),
    /// What the slowest writer gets done, as a share of the fastest.
    Slowest,
    /// Errors and lost updates for each operation.
    Errors,
    /// Bytes by which the store grows for each commit.
    Stored,
    /// Pages of a scan that come with one request to a node.
    PagesPerRequest,
    /// What the cluster reads, and the bytes that it writes, for each commit.
    Reads,
    Bytes,
}

/// What a figure is to be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Target {
    AtLeast(f64),
    AtMost(f64),
}

/// What one subject is to reach.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Goal {
    pub(crate) kind: Kind,
    pub(crate) figure: Figure,
    pub(crate) target: Target,
}

/// A row of a table.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) work: &'static str,
    /// The workload that is measured for it.
    pub(crate) workload: &'static str,
    pub(crate) goals: &'static [Goal],
}

/// What `run` takes for the workloads of a table.
pub(crate) const NAMES: [&str; 2] = ["table", "fdb-table"];

/// The workloads of a table that is named so.
pub(crate) fn table(name: &str) -> Option<Vec<&'static str>> {
    let [sqlite, cluster] = NAMES;
    let rows = match name {
        name if name == sqlite => BESIDE_SQLITE,
        name if name == cluster => BESIDE_BARE,
        _ => return None,
    };
    Some(rows.iter().map(|row| row.workload).collect())
}

const SQLITE: Figure = Figure::Beside(Kind::Sqlite);
const BARE: Figure = Figure::Beside(Kind::Bare);
const MVSQLITE: Figure = Figure::Beside(Kind::Mvsqlite);

const fn least(kind: Kind, figure: Figure, value: f64) -> Goal {
    let target = Target::AtLeast(value);
    Goal {
        kind,
        figure,
        target,
    }
}

const fn most(kind: Kind, figure: Figure, value: f64) -> Goal {
    let target = Target::AtMost(value);
    Goal {
        kind,
        figure,
        target,
    }
}

/// Beside SQLite in WAL mode.
pub(crate) const BESIDE_SQLITE: &[Row] = &[
    Row {
        work: "point SELECT, warm, autocommit",
        workload: "select",
        goals: &[
            least(Kind::Embedded, SQLITE, 0.7),
            most(Kind::Node, Figure::P50, 200.0),
            least(Kind::NodeBounded, SQLITE, 0.9),
        ],
    },
    Row {
        work: "100 point SELECTs in one transaction, warm",
        workload: "select-100",
        goals: &[
            least(Kind::Embedded, SQLITE, 0.9),
            least(Kind::Node, SQLITE, 0.9),
            least(Kind::NodeBounded, SQLITE, 0.9),
        ],
    },
    Row {
        work: "full scan, warm",
        workload: "scan",
        goals: &[
            least(Kind::Embedded, SQLITE, 0.8),
            least(Kind::Node, SQLITE, 0.8),
        ],
    },
    Row {
        work: "full scan, cold",
        workload: "scan-cold",
        goals: &[
            least(Kind::Embedded, SQLITE, 0.3),
            least(Kind::Node, Figure::PagesPerRequest, 32.0),
        ],
    },
    Row {
        work: "single-row autocommit, 1 writer, `synchronous` FULL",
        workload: "update",
        goals: &[
            least(Kind::Embedded, SQLITE, 0.8),
            least(Kind::Node, SQLITE, 0.6),
        ],
    },
    Row {
        work: "the same, `synchronous` NORMAL",
        workload: "update-normal",
        goals: &[least(Kind::Embedded, SQLITE, 0.5)],
    },
    Row {
        work: "durable single-row autocommit, 16 writers, own tables, where a sync takes 2 ms",
        workload: "update-16-slow-sync",
        goals: &[
            least(Kind::Embedded, SQLITE, 3.0),
            least(Kind::Node, SQLITE, 3.0),
        ],
    },
    Row {
        work: "the slowest of these writers, share of the fastest",
        workload: "update-16-slow-sync",
        goals: &[
            least(Kind::Embedded, Figure::Slowest, 0.5),
            least(Kind::Node, Figure::Slowest, 0.5),
        ],
    },
    Row {
        work: "same row, 16 writers, autocommit",
        workload: "same-row",
        goals: &[
            least(Kind::Embedded, SQLITE, 0.5),
            most(Kind::Embedded, Figure::Errors, 0.0),
            least(Kind::Node, SQLITE, 0.5),
            most(Kind::Node, Figure::Errors, 0.0),
        ],
    },
    Row {
        work: "bulk load in one transaction",
        workload: "bulk-load",
        goals: &[
            least(Kind::Embedded, SQLITE, 0.5),
            least(Kind::Node, SQLITE, 0.4),
        ],
    },
    Row {
        work: "bytes stored per small UPDATE, of a page of 4096",
        workload: "update",
        goals: &[
            most(Kind::Embedded, Figure::Stored, 512.0),
            most(Kind::Node, Figure::Stored, 512.0),
        ],
    },
];

/// In a FoundationDB cluster, beside a bare client and mvSQLite.
pub(crate) const BESIDE_BARE: &[Row] = &[
    Row {
        work: "durable autocommit UPDATE, 1 writer",
        workload: "update",
        goals: &[least(Kind::Fdb, BARE, 0.6)],
    },
    Row {
        work: "own tables, 16 writers",
        workload: "update-16",
        goals: &[least(Kind::Fdb, BARE, 0.6)],
    },
    Row {
        work: "same row, 16 writers",
        workload: "same-row",
        goals: &[
            least(Kind::Fdb, MVSQLITE, 2.0),
            least(Kind::Fdb, Figure::Slowest, 0.3),
        ],
    },
    Row {
        work: "`BEGIN IMMEDIATE`, read-modify-write, 16 writers",
        workload: "immediate",
        goals: &[
            least(Kind::Fdb, MVSQLITE, 3.0),
            most(Kind::Fdb, Figure::Errors, 0.0),
        ],
    },
    Row {
        work: "point SELECT, warm, strict",
        workload: "select",
        goals: &[most(Kind::Fdb, Figure::P50Beside(Kind::Bare), 1.3)],
    },
    Row {
        work: "full scan, cold, pages",
        workload: "scan-cold",
        goals: &[least(Kind::Fdb, Figure::Rate, 10_000.0)],
    },
    Row {
        work: "cold first query of a process",
        workload: "first-query",
        goals: &[most(Kind::Fdb, Figure::P50, 2500.0)],
    },
    Row {
        work: "reads of the store per commit",
        workload: "update",
        goals: &[most(Kind::Fdb, Figure::Reads, 3.0)],
    },
    Row {
        work: "bytes written to the store per 40-byte UPDATE",
        workload: "update",
        goals: &[most(Kind::Fdb, Figure::Bytes, 300.0)],
    },
];

impl Target {
    /// Whether a figure reaches it.
    pub(crate) fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(target) => value >= target,
            Self::AtMost(target) => value <= target,
        }
    }
}

impl Figure {
    /// What it was in a run.
    pub(crate) fn of(self, report: &Report, workload: &str, kind: Kind) -> Option<f64> {
        let line = report.line(workload, kind)?;
        let beside = |other, of: fn(&Line) -> f64| {
            let other = report.line(workload, other)?;
            Some(of(line) / of(other))
        };
        match self {
            Self::Beside(other) => beside(other, |line| line.per_second),
            Self::P50Beside(other) => beside(other, |line| line.p50_micros),
            Self::Rate => Some(line.per_second),
            Self::P50 => Some(line.p50_micros),
            Self::Slowest => Some(line.slowest),
            Self::Errors => Some(line.failures()),
            Self::Stored => line.stored,
            Self::PagesPerRequest => Some(line.units / line.requests?),
            Self::Reads => line.reads,
            Self::Bytes => line.bytes,
        }
    }

    /// The figures that tell as much of who is only compared with.
    pub(crate) fn plain(&self) -> &[Self] {
        match self {
            Self::Beside(_) => &[Self::Rate, Self::P50],
            Self::P50Beside(_) => &[Self::P50],
            Self::Rate
            | Self::P50
            | Self::Slowest
            | Self::Errors
            | Self::Stored
            | Self::PagesPerRequest
            | Self::Reads
            | Self::Bytes => std::slice::from_ref(self),
        }
    }

    /// The number alone, with its unit only where that depends on it.
    pub(crate) fn number(self, value: f64) -> String {
        match self {
            Self::Beside(_) if value >= 9.95 => format!("{value:.1}"),
            Self::Beside(_) | Self::P50Beside(_) => format!("{value:.2}"),
            Self::P50 if value >= 1000.0 => format!("{:.1} ms", value / 1000.0),
            Self::P50 => format!("{value:.0} µs"),
            Self::Slowest => format!("{:.0} %", value * 100.0),
            Self::Errors => format!("{value:.3}"),
            Self::Reads => format!("{value:.1}"),
            Self::Rate | Self::Stored | Self::PagesPerRequest | Self::Bytes => {
                format!("{value:.0}")
            }
        }
    }

    /// As people read it.
    pub(crate) fn text(self, value: f64) -> String {
        let number = self.number(value);
        match self {
            Self::Beside(Kind::Mvsqlite) => format!("{number} × mvSQLite"),
            Self::Beside(Kind::Bare) => format!("{number} of bare"),
            Self::Beside(_) => number,
            Self::Slowest => format!("slowest {number}"),
            Self::P50Beside(_) => format!("p50 {number} × bare"),
            Self::Rate => format!("{number}/s"),
            Self::P50 => format!("p50 {number}"),
            Self::Errors if value.abs() < f64::EPSILON => "no errors".to_owned(),
            Self::Errors => format!("{number} errors each"),
            Self::Stored | Self::Bytes => format!("{number} bytes"),
            Self::PagesPerRequest => format!("{number} pages a request"),
            Self::Reads => format!("{number} reads"),
        }
    }
}

#[cfg(test)]
mod tests {
    //! Goal: every row is of a workload that there is, and measures who takes it.
    //! Method: all of them.

    use super::{BESIDE_BARE, BESIDE_SQLITE, NAMES};
    use crate::workloads::{WORKLOADS, named};

    #[test]
    fn every_row_is_measured() {
        for row in BESIDE_SQLITE.iter().chain(BESIDE_BARE) {
            let workload = WORKLOADS.iter().find(|one| one.name == row.workload);
            let workload = workload.expect("a workload");
            for goal in row.goals {
                assert!(goal.kind.takes(workload), "{}: {:?}", row.work, goal.kind);
            }
        }
    }

    #[test]
    fn a_table_has_each_workload_once() {
        let found: Vec<_> = named(NAMES[0]).iter().map(|one| one.name).collect();
        let mut once = found.clone();
        once.dedup();
        assert_eq!(found, once);
        assert_eq!(found.len(), 9);
    }
}
