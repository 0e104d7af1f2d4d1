//! The list of workloads.

use crate::workload::{Group, Synchronous, Work};

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
];
