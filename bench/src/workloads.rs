//! The list of workloads.

use std::time::Duration;

use crate::targets;
use crate::workload::{Group, Synchronous, Work};
use crate::ycsb::Mix;

/// A workload.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Workload {
    /// What it is called on the command line.
    pub(crate) name: &'static str,
    /// What it is, for readers of the table.
    pub(crate) title: &'static str,
    pub(crate) group: Group,
    pub(crate) work: Work,
    /// How many connections work at once, each in a thread of its own.
    pub(crate) writers: usize,
    pub(crate) synchronous: Synchronous,
    /// How much longer a sync takes, whatever the run says.
    pub(crate) sync_delay: Option<Duration>,
}

impl Workload {
    /// Whether a quick run has it: every kind of work once.
    pub(crate) fn is_quick(&self) -> bool {
        match self.group {
            Group::Reads | Group::Writes => true,
            Group::Many => self.writers <= 16,
            Group::Ycsb => self.writers == 4,
        }
    }
}

const fn workload(
    name: &'static str,
    title: &'static str,
    group: Group,
    work: Work,
    writers: usize,
) -> Workload {
    Workload {
        name,
        title,
        group,
        work,
        writers,
        synchronous: Synchronous::Full,
        sync_delay: None,
    }
}

const fn read(name: &'static str, title: &'static str, work: Work) -> Workload {
    workload(name, title, Group::Reads, work, 1)
}

const fn write(name: &'static str, title: &'static str, work: Work) -> Workload {
    workload(name, title, Group::Writes, work, 1)
}

const fn many(name: &'static str, title: &'static str, work: Work, writers: usize) -> Workload {
    workload(name, title, Group::Many, work, writers)
}

const fn ycsb(name: &'static str, title: &'static str, mix: Mix, clients: usize) -> Workload {
    workload(name, title, Group::Ycsb, Work::Ycsb(mix), clients)
}

/// All of them.
pub(crate) const WORKLOADS: &[Workload] = &[
    read("select", "point SELECT, warm, autocommit", Work::Select),
    read(
        "select-100",
        "100 point SELECTs in one transaction, warm",
        Work::SelectMany,
    ),
    read("select-cold", "point SELECT, cold page", Work::SelectCold),
    read("scan", "full scan, warm", Work::Scan),
    read("scan-cold", "full scan, cold", Work::ScanCold),
    read(
        "first-query",
        "cold first query of a process",
        Work::FirstQuery,
    ),
    write("update", "autocommit UPDATE, 1 writer", Work::Update),
    Workload {
        synchronous: Synchronous::Normal,
        ..write(
            "update-normal",
            "autocommit UPDATE, 1 writer, synchronous NORMAL",
            Work::Update,
        )
    },
    write("insert", "autocommit INSERT, 1 writer", Work::Insert),
    write("bulk-load", "bulk load in one transaction", Work::BulkLoad),
    many(
        "update-16",
        "autocommit UPDATE, 16 writers, own tables",
        Work::Update,
        16,
    ),
    Workload {
        // A disk with a cache that survives a power loss needs less, any other one more.
        sync_delay: Some(Duration::from_millis(2)),
        ..many(
            "update-16-slow-sync",
            "autocommit UPDATE, 16 writers, own tables, where a sync takes 2 ms",
            Work::Update,
            16,
        )
    },
    many(
        "update-64",
        "autocommit UPDATE, 64 writers, own tables",
        Work::Update,
        64,
    ),
    many(
        "insert-16",
        "autocommit INSERT, 16 writers, own tables",
        Work::Insert,
        16,
    ),
    many(
        "same-row",
        "autocommit UPDATE of one row, 16 writers",
        Work::SameRow,
        16,
    ),
    many(
        "immediate",
        "BEGIN IMMEDIATE, read, UPDATE of one row, 16 writers",
        Work::Immediate,
        16,
    ),
    many(
        "append-log",
        "autocommit INSERT at the end of one table, 16 writers",
        Work::AppendLog,
        16,
    ),
    many(
        "orders",
        "order entry after TPC-C, 16 clients",
        Work::Orders,
        16,
    ),
    ycsb("ycsb-a-1", "YCSB A, half updates, 1 client", Mix::A, 1),
    ycsb("ycsb-a-4", "YCSB A, half updates, 4 clients", Mix::A, 4),
    ycsb("ycsb-a-16", "YCSB A, half updates, 16 clients", Mix::A, 16),
    ycsb("ycsb-a-64", "YCSB A, half updates, 64 clients", Mix::A, 64),
    ycsb("ycsb-b-1", "YCSB B, 5 % updates, 1 client", Mix::B, 1),
    ycsb("ycsb-b-4", "YCSB B, 5 % updates, 4 clients", Mix::B, 4),
    ycsb("ycsb-b-16", "YCSB B, 5 % updates, 16 clients", Mix::B, 16),
    ycsb("ycsb-b-64", "YCSB B, 5 % updates, 64 clients", Mix::B, 64),
    ycsb("ycsb-c-1", "YCSB C, reads, 1 client", Mix::C, 1),
    ycsb("ycsb-c-4", "YCSB C, reads, 4 clients", Mix::C, 4),
    ycsb("ycsb-c-16", "YCSB C, reads, 16 clients", Mix::C, 16),
    ycsb("ycsb-c-64", "YCSB C, reads, 64 clients", Mix::C, 64),
    ycsb(
        "ycsb-d-1",
        "YCSB D, 5 % inserts, reads of what is new, 1 client",
        Mix::D,
        1,
    ),
    ycsb(
        "ycsb-d-4",
        "YCSB D, 5 % inserts, reads of what is new, 4 clients",
        Mix::D,
        4,
    ),
    ycsb(
        "ycsb-d-16",
        "YCSB D, 5 % inserts, reads of what is new, 16 clients",
        Mix::D,
        16,
    ),
    ycsb(
        "ycsb-d-64",
        "YCSB D, 5 % inserts, reads of what is new, 64 clients",
        Mix::D,
        64,
    ),
    ycsb(
        "ycsb-e-1",
        "YCSB E, 5 % inserts, short scans, 1 client",
        Mix::E,
        1,
    ),
    ycsb(
        "ycsb-e-4",
        "YCSB E, 5 % inserts, short scans, 4 clients",
        Mix::E,
        4,
    ),
    ycsb(
        "ycsb-e-16",
        "YCSB E, 5 % inserts, short scans, 16 clients",
        Mix::E,
        16,
    ),
    ycsb(
        "ycsb-e-64",
        "YCSB E, 5 % inserts, short scans, 64 clients",
        Mix::E,
        64,
    ),
    ycsb(
        "ycsb-f-1",
        "YCSB F, half read-modify-write, 1 client",
        Mix::F,
        1,
    ),
    ycsb(
        "ycsb-f-4",
        "YCSB F, half read-modify-write, 4 clients",
        Mix::F,
        4,
    ),
    ycsb(
        "ycsb-f-16",
        "YCSB F, half read-modify-write, 16 clients",
        Mix::F,
        16,
    ),
    ycsb(
        "ycsb-f-64",
        "YCSB F, half read-modify-write, 64 clients",
        Mix::F,
        64,
    ),
];

/// Those that a name on the command line stands for: one, all of a table of targets, or all that
/// begin with it.
pub(crate) fn named(name: &str) -> Vec<&'static Workload> {
    if let Some(names) = targets::table(name) {
        let named = |one: &&Workload| names.contains(&one.name);
        return WORKLOADS.iter().filter(named).collect();
    }
    let exact: Vec<_> = WORKLOADS.iter().filter(|one| one.name == name).collect();
    if !exact.is_empty() {
        return exact;
    }
    let begins = |one: &&Workload| {
        let rest = one.name.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with('-'))
    };
    WORKLOADS.iter().filter(begins).collect()
}
