//! `verso check`: whether everything that a store keeps of a database can be read.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::bail;
use serde_json::json;
use verso_pagestore::{
    CorruptRecord, DatabaseName, PageNumber, PageStore, ReadError, RecordPosition, Snapshot,
    StoreUrl, Version,
};

use crate::args::database_name;
use crate::connection::{self, Access};
use crate::error::{describe, sql_error};
use crate::output::{self, human_bytes, number_cell, printable};
use crate::store;

/// How many pages are read at once.
const BATCH: usize = 64;

/// Check a database: every record of every version, and what SQLite says of the newest
///
/// Lists each damaged page. Exit code 1 if there is anything to list.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The database: a name in the store, not a file
    #[arg(value_name = "DB", value_parser = database_name())]
    database: DatabaseName,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// What was found.
#[derive(Default)]
struct Findings {
    records: u64,
    bytes: u64,
    pages_read: u64,
    damaged: BTreeMap<(PageNumber, Version), String>,
    /// Everything that `PRAGMA integrity_check` said but "ok".
    integrity: Vec<String>,
}

impl Findings {
    fn are_good(&self) -> bool {
        self.damaged.is_empty() && self.integrity.is_empty()
    }
}

/// Runs the command.
pub(crate) fn run(url: &StoreUrl, args: &Args, out: &mut dyn Write) -> anyhow::Result<()> {
    let store = store::open_for(url, &args.database)?;
    let snapshot = store.begin(&args.database, None)?.snapshot;
    let mut findings = Findings::default();
    check_records(store.as_ref(), &snapshot, &mut findings)?;
    read_pages(store.as_ref(), &snapshot, &mut findings)?;
    findings.integrity = integrity_check(url, &args.database)?;
    if args.json {
        print_json(&args.database, &findings, out)?;
    } else {
        print(&args.database, &findings, out)?;
    }
    if findings.are_good() {
        return Ok(());
    }
    bail!(
        "the database {} is damaged (damaged pages: {}, complaints of SQLite: {}): restore it from a \
         copy, or export a version from before the damage with --at",
        args.database,
        findings.damaged.len(),
        findings.integrity.len()
    )
}

fn check_records(
    store: &dyn PageStore,
    snapshot: &Snapshot,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    let bar = output::count_bar("checking records of page", snapshot.page_count.get().into());
    let mut last: Option<RecordPosition> = None;
    loop {
        let report = store.verify(snapshot.database, last)?;
        findings.records += report.records;
        findings.bytes += report.bytes;
        for CorruptRecord { position, reason } in report.corrupt {
            findings
                .damaged
                .insert((position.page, position.version), reason);
        }
        last = report.last;
        let Some(position) = last else { break };
        bar.set_position(position.page.get().into());
    }
    bar.finish_and_clear();
    Ok(())
}

/// Reads every page of the newest version: a record that is missing altogether only shows here.
fn read_pages(
    store: &dyn PageStore,
    snapshot: &Snapshot,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    let count = snapshot.page_count.get();
    let bar = output::count_bar("reading page", count.into());
    let numbers: Vec<PageNumber> = (1..=count).filter_map(PageNumber::new).collect();
    for batch in numbers.chunks(BATCH) {
        let read = match store.read(snapshot, batch) {
            Ok(pages) => pages.len(),
            Err(ReadError::Corrupt { .. }) => read_one_by_one(store, snapshot, batch, findings)?,
            Err(error) => return Err(error.into()),
        };
        findings.pages_read += u64::try_from(read)?;
        bar.inc(u64::try_from(batch.len())?);
    }
    bar.finish_and_clear();
    Ok(())
}

/// Finds the damaged pages of a batch; answers how many are not.
fn read_one_by_one(
    store: &dyn PageStore,
    snapshot: &Snapshot,
    batch: &[PageNumber],
    findings: &mut Findings,
) -> anyhow::Result<usize> {
    let mut read = 0;
    for &number in batch {
        match store.read(snapshot, &[number]) {
            Ok(_) => read += 1,
            Err(ReadError::Corrupt {
                page,
                version,
                reason,
                ..
            }) => {
                findings.damaged.entry((page, version)).or_insert(reason);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(read)
}

/// What SQLite finds wrong with the newest version.
fn integrity_check(url: &StoreUrl, database: &DatabaseName) -> anyhow::Result<Vec<String>> {
    connection::register(url)?;
    let complaints = complaints(database);
    // A page that SQLite cannot read is a finding too.
    Ok(complaints.unwrap_or_else(|error| vec![describe(&error)]))
}

fn complaints(database: &DatabaseName) -> anyhow::Result<Vec<String>> {
    let connection = connection::open(database, Access::Read)?;
    let mut statement = connection
        .prepare("PRAGMA integrity_check")
        .map_err(sql_error)?;
    let mut lines: Vec<String> = statement
        .query_map([], |row| row.get(0))
        .and_then(Iterator::collect)
        .map_err(sql_error)?;
    lines.retain(|line| line != "ok");
    Ok(lines)
}

fn print(database: &DatabaseName, findings: &Findings, out: &mut dyn Write) -> anyhow::Result<()> {
    writeln!(
        out,
        "{database}: {} records ({}) checked, {} pages read",
        findings.records,
        human_bytes(findings.bytes),
        findings.pages_read
    )?;
    if !findings.damaged.is_empty() {
        let mut table = output::table(&["page", "version", "what is wrong"]);
        for ((page, version), reason) in &findings.damaged {
            table.add_row(vec![
                number_cell(page),
                version.to_string().into(),
                printable(reason).into(),
            ]);
        }
        writeln!(out, "{table}")?;
    }
    if findings.integrity.is_empty() {
        writeln!(out, "integrity_check: ok")?;
    }
    for line in &findings.integrity {
        writeln!(out, "integrity_check: {line}")?;
    }
    Ok(())
}

fn print_json(
    database: &DatabaseName,
    findings: &Findings,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let damaged: Vec<_> = findings
        .damaged
        .iter()
        .map(|((page, version), reason)| {
            json!({ "page": page.get(), "version": version.to_string(), "reason": reason })
        })
        .collect();
    let report = json!({
        "database": database.as_str(),
        "ok": findings.are_good(),
        "records": findings.records,
        "bytes": findings.bytes,
        "pages_read": findings.pages_read,
        "damaged": damaged,
        "integrity_check": findings.integrity,
    });
    serde_json::to_writer_pretty(&mut *out, &report)?;
    Ok(writeln!(out)?)
}
