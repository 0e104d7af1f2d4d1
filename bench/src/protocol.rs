//! What a worker is told and what it answers, as lines of JSON.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::session::Session;
use crate::traffic::Traffic;
use crate::workload::{Scale, Synchronous, Tables, Work};

/// What a worker is told, one line of JSON each.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Fill the database, and these tables.
    Fill(Vec<Tables>),
    /// Add rows to `big` behind so many.
    Grow { before: u32, rows: u32 },
    /// Make so many small commits to `big`.
    Age { commits: u64 },
    /// Work for so many seconds.
    Turn {
        work: Work,
        writers: usize,
        seconds: f64,
        synchronous: Synchronous,
    },
    /// Count what was lost of the work of all turns.
    Count { work: Work, writers: usize },
    /// Remove the database.
    Remove,
    /// What the cluster of a bare client says of itself.
    Status,
    /// Remove all keys of the cluster that begin with this.
    Clear { text: String },
}

/// What a worker is told first.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Setup {
    pub(crate) session: Session,
    pub(crate) scale: Scale,
    /// How much longer a sync takes than it does.
    pub(crate) sync_delay: Option<Duration>,
}

impl Setup {
    /// That of a process which does not work with data.
    pub(crate) fn new(session: Session) -> Self {
        Self {
            session,
            scale: Scale::default(),
            sync_delay: None,
        }
    }
}

/// What a worker answers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    Done,
    Turn(Turn),
    /// So many operations that were done cannot be found.
    Lost(i64),
    Status(Status),
    Failed(String),
}

/// What came of a turn.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Turn {
    /// Operations that each writer has finished.
    pub(crate) operations: Vec<u64>,
    /// Rows, or pages of scans.
    pub(crate) units: u64,
    pub(crate) seconds: f64,
    pub(crate) p50_micros: f64,
    pub(crate) p99_micros: f64,
    /// Statements that failed otherwise, and what the first said.
    pub(crate) errors: u64,
    pub(crate) first_error: Option<String>,
    /// Transactions that were to run again since others had been faster.
    pub(crate) conflicts: u64,
    /// Answers that were not right.
    pub(crate) wrong: u64,
    /// Requests to nodes.
    pub(crate) requests: Option<u64>,
    /// Bytes over the connections of the worker.
    pub(crate) traffic: Option<Traffic>,
    /// Memory of the worker and of the nodes.
    pub(crate) memory: Option<u64>,
    pub(crate) node_memory: Option<u64>,
}

/// What a cluster says of itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Status {
    /// Version of the servers.
    pub(crate) version: String,
    /// Storage engine, redundancy, processes.
    pub(crate) configuration: String,
    /// Read requests served since the servers started.
    pub(crate) reads: u64,
    /// Bytes of keys and values that were committed since then.
    pub(crate) written_bytes: u64,
}
