//! The kinds of subjects: what is measured by the same workloads.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::workload::{Group, Work};
use crate::workloads::Workload;

/// What is measured by the same workloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// SQLite on a file of its own, in WAL mode
    Sqlite,
    /// Verso on an embedded store
    Embedded,
    /// Verso through one node on an embedded store
    Node,
    /// Verso through one node on an embedded store, with bounded freshness; it only reads
    NodeBounded,
    /// Verso through three nodes on an embedded store
    Nodes,
    /// Verso on the store of `--store`
    Store,
    /// A bare client of the FoundationDB cluster
    Bare,
    /// Verso on the FoundationDB cluster
    Fdb,
    /// Verso through one node on the FoundationDB cluster
    FdbNode,
    /// mvSQLite on the FoundationDB cluster
    Mvsqlite,
    /// libSQL on a file of its own, in WAL mode
    Libsql,
    /// rqlite, one node
    Rqlite,
}

impl Kind {
    /// How it is called in keys and files.
    pub(crate) fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }

    /// The file of its embedded store.
    pub(crate) fn file(self) -> Option<&'static str> {
        match self {
            Self::Embedded => Some("embedded.db"),
            Self::Node => Some("node.db"),
            Self::NodeBounded => Some("node-bounded.db"),
            Self::Nodes => Some("nodes.db"),
            Self::Sqlite
            | Self::Store
            | Self::Bare
            | Self::Fdb
            | Self::FdbNode
            | Self::Mvsqlite
            | Self::Libsql
            | Self::Rqlite => None,
        }
    }

    /// How it is called in tables.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite, WAL",
            Self::Embedded => "Verso, embedded",
            Self::Node => "Verso, one node",
            Self::NodeBounded => "Verso, one node, bounded",
            Self::Nodes => "Verso, three nodes",
            Self::Store => "Verso, given store",
            Self::Bare => "bare FoundationDB client",
            Self::Fdb => "Verso, FoundationDB",
            Self::FdbNode => "Verso, FoundationDB, one node",
            Self::Mvsqlite => "mvSQLite, FoundationDB",
            Self::Libsql => "libSQL, WAL",
            Self::Rqlite => "rqlite, one node",
        }
    }

    /// Whether it must keep every promise: no update is ever lost.
    pub(crate) fn is_ours(self) -> bool {
        match self {
            Self::Embedded
            | Self::Node
            | Self::NodeBounded
            | Self::Nodes
            | Self::Store
            | Self::Fdb
            | Self::FdbNode => true,
            Self::Sqlite | Self::Bare | Self::Mvsqlite | Self::Libsql | Self::Rqlite => false,
        }
    }

    /// Whether it keeps its data in the cluster.
    pub(crate) fn in_cluster(self) -> bool {
        matches!(
            self,
            Self::Bare | Self::Fdb | Self::FdbNode | Self::Mvsqlite
        )
    }

    /// What it is compared with.
    pub(crate) fn beside(self) -> Option<Self> {
        match self {
            Self::Sqlite | Self::Bare => None,
            Self::Embedded
            | Self::Node
            | Self::NodeBounded
            | Self::Nodes
            | Self::Store
            | Self::Libsql
            | Self::Rqlite => Some(Self::Sqlite),
            Self::Fdb | Self::FdbNode | Self::Mvsqlite => Some(Self::Bare),
        }
    }

    /// Whether the workload is anything to it.
    pub(crate) fn takes(self, workload: &Workload) -> bool {
        if self == Self::NodeBounded && workload.group != Group::Reads {
            // A commit asks the node, however fresh the snapshot is.
            return false;
        }
        if workload.sync_delay.is_some() {
            // Other syncs are not in this program's hands.
            return self == Self::Sqlite || self.file().is_some();
        }
        if workload.work == Work::BulkLoad {
            // Others have limits that it does not fit into.
            return matches!(self, Self::Sqlite | Self::Libsql) || self.is_ours();
        }
        if self == Self::Rqlite && !workload.work.is_one_statement() {
            // Its transactions are lists of statements.
            return false;
        }
        if self == Self::Bare {
            return !matches!(
                workload.work,
                Work::AppendLog | Work::Orders | Work::Ycsb(_)
            );
        }
        workload.group != Group::Many || self.in_cluster() || workload.writers <= 16
    }
}
