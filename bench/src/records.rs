//! What a page costs as a record: ways to store a page whose old content the reader has too.
//!
//! Pairs of the old and the new content of a page come from SQLite: each commit of a workload is
//! compared with the one before it.

use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use comfy_table::{CellAlignment, Table, presets};
use lz4_flex::block;
use rusqlite::Connection;
use verso_pagestore::{delta, header};

use crate::numbers::Numbers;
use crate::runs;

/// The options of the command.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Commits of each workload
    #[arg(long, default_value_t = 300)]
    commits: u32,
    /// Bytes per page
    #[arg(long, default_value_t = 4096)]
    page_size: usize,
}

/// The old and the new content of a page.
type Pair = (Vec<u8>, Vec<u8>);

struct Workload {
    name: &'static str,
    setup: &'static str,
    /// One commit; `?1` and `?2` are random numbers.
    statement: &'static str,
}

const NUMBERED: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 5000)";

const WORKLOADS: [Workload; 8] = [
    Workload {
        name: "UPDATE of 40 bytes",
        setup: "CREATE TABLE t (id INTEGER PRIMARY KEY, v); \
                {n} INSERT INTO t SELECT i, hex(randomblob(20)) FROM n",
        statement: "UPDATE t SET v = hex(randomblob(20)) WHERE id = 1 + ?1 % 5000 + ?2 * 0",
    },
    Workload {
        name: "UPDATE of a counter",
        setup: "CREATE TABLE t (id INTEGER PRIMARY KEY, n, v); \
                {n} INSERT INTO t SELECT i, i, hex(randomblob(50)) FROM n",
        statement: "UPDATE t SET n = n + 1 WHERE id = 1 + ?1 % 5000 + ?2 * 0",
    },
    Workload {
        name: "UPDATE to another length",
        setup: "CREATE TABLE t (id INTEGER PRIMARY KEY, v); \
                {n} INSERT INTO t SELECT i, hex(randomblob(20)) FROM n",
        statement: "UPDATE t SET v = substr(hex(randomblob(40)), 1, 20 + ?2 % 60) \
                    WHERE id = 1 + ?1 % 5000",
    },
    Workload {
        name: "INSERT at the end",
        setup: "CREATE TABLE t (id INTEGER PRIMARY KEY, v, w)",
        statement: "INSERT INTO t (v, w) VALUES ('customer ' || ?1, 'order number ' || ?2)",
    },
    Workload {
        name: "INSERT anywhere",
        setup: "CREATE TABLE t (id PRIMARY KEY, v) WITHOUT ROWID; \
                {n} INSERT INTO t SELECT hex(randomblob(8)), 'row number ' || i FROM n",
        statement: "INSERT INTO t VALUES (hex(randomblob(8)), 'row number ' || ?1 || ?2)",
    },
    Workload {
        name: "UPDATE of an indexed column",
        setup: "CREATE TABLE t (id INTEGER PRIMARY KEY, k, v); CREATE INDEX i ON t (k); \
                {n} INSERT INTO t SELECT i, abs(random()) % 1000000, hex(randomblob(20)) FROM n",
        statement: "UPDATE t SET k = ?2 WHERE id = 1 + ?1 % 5000",
    },
    Workload {
        name: "DELETE and INSERT, two indexes",
        setup: "CREATE TABLE t (id INTEGER PRIMARY KEY, k, v); CREATE INDEX i ON t (k); \
                CREATE INDEX j ON t (v); \
                {n} INSERT INTO t SELECT i, i * 7919 % 1000000, 'name ' || i * 7 % 5000 FROM n",
        statement: "REPLACE INTO t VALUES (1 + ?1 % 5000, ?2, 'name ' || ?1 % 7000)",
    },
    Workload {
        name: "INSERT into FTS5",
        setup: "CREATE VIRTUAL TABLE t USING fts5 (body); \
                {n} INSERT INTO t SELECT 'word' || i || ' and word' || i * 7 % 100 FROM n",
        statement: "INSERT INTO t VALUES ('word' || ?1 % 3000 || ' follows word' || ?2 % 3000)",
    },
];

/// A way to store the new content beside the old one. It decodes into the bytes that it gets.
struct Way {
    name: &'static str,
    encode: fn(&[u8], &[u8]) -> Vec<u8>,
    decode: fn(&[u8], &[u8]) -> Option<Vec<u8>>,
}

const WAYS: [Way; 3] = [
    Way {
        name: "LZ4",
        encode: |_, new| block::compress(new),
        decode: |old, bytes| block::decompress(bytes, old.len()).ok(),
    },
    // As stores have it.
    Way {
        name: "LZ4, old page as dictionary",
        encode: delta::between,
        decode: |old, bytes| delta::apply(old, bytes).ok(),
    },
    Way {
        name: "runs of changed bytes",
        encode: runs::between,
        decode: |old, bytes| {
            let mut page = old.to_vec();
            runs::apply(&mut page, bytes)?;
            Some(page)
        },
    },
];

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header([
        "workload",
        "pages",
        "stored as",
        "bytes",
        "median",
        "encode",
        "decode",
    ]);
    for column in [1, 3, 4, 5, 6] {
        let column = table.column_mut(column).context("the table has it")?;
        column.set_cell_alignment(CellAlignment::Right);
    }
    for workload in &WORKLOADS {
        let pairs = pairs(workload, args)?;
        for way in &WAYS {
            let Cost {
                bytes,
                median,
                encode,
                decode,
            } = cost(way, &pairs)?;
            table.add_row([
                workload.name.to_owned(),
                pairs.len().to_string(),
                way.name.to_owned(),
                bytes.to_string(),
                median.to_string(),
                format!("{encode:.1?}"),
                format!("{decode:.1?}"),
            ]);
        }
    }
    println!("{table}");
    Ok(())
}

/// The pages that the commits of a workload changed, but for those that are new.
fn pairs(workload: &Workload, args: &Args) -> anyhow::Result<Vec<Pair>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("database");
    let connection = Connection::open(&path)?;
    connection.pragma_update(None, "page_size", i64::try_from(args.page_size)?)?;
    connection.pragma_update(None, "synchronous", 0)?;
    connection.execute_batch(&workload.setup.replace("{n}", NUMBERED))?;
    let mut statement = connection.prepare(workload.statement)?;
    let (mut numbers, mut pairs) = (Numbers::new(1), Vec::new());
    let mut old = read(&path, args.page_size)?;
    for _ in 0..args.commits {
        statement.execute([numbers.below(1 << 20), numbers.below(1 << 20)])?;
        let new = read(&path, args.page_size)?;
        let both = old.into_iter().zip(&new);
        pairs.extend(
            both.filter(|(old, new)| old != *new)
                .map(|(old, new)| (old, new.clone())),
        );
        old = new;
    }
    Ok(pairs)
}

/// The pages of a database, page 1 as a store keeps it.
fn read(path: &Path, page_size: usize) -> anyhow::Result<Vec<Vec<u8>>> {
    let mut bytes = fs::read(path)?;
    header::normalize(&mut bytes);
    Ok(bytes.chunks(page_size).map(<[u8]>::to_vec).collect())
}

/// What a way costs per page, on average; the median is of the bytes.
struct Cost {
    bytes: usize,
    median: usize,
    encode: Duration,
    decode: Duration,
}

fn cost(way: &Way, pairs: &[Pair]) -> anyhow::Result<Cost> {
    let count = u32::try_from(pairs.len().max(1))?;
    let began = Instant::now();
    let encoded: Vec<_> = pairs
        .iter()
        .map(|(old, new)| (way.encode)(black_box(old), black_box(new)))
        .collect();
    let encode = began.elapsed() / count;
    let began = Instant::now();
    for ((old, new), bytes) in pairs.iter().zip(&encoded) {
        let page = (way.decode)(black_box(old), black_box(bytes));
        ensure!(page.as_ref() == Some(new), "{} loses something", way.name);
    }
    let decode = began.elapsed() / count;
    let mut sizes: Vec<_> = encoded.iter().map(Vec::len).collect();
    sizes.sort_unstable();
    Ok(Cost {
        bytes: sizes.iter().sum::<usize>() / sizes.len().max(1),
        median: sizes.get(sizes.len() / 2).copied().unwrap_or(0),
        encode,
        decode,
    })
}
