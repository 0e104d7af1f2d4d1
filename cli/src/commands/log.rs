//! `verso log`: the commits of a database.

use std::io::Write;

use serde_json::json;
use verso_pagestore::{CommitRecord, DatabaseName, PageStore, StoreUrl, Version};

use crate::args::database_name;
use crate::output::{self, number_cell};
use crate::store;

/// How many records are asked for at once.
const BATCH: usize = 1000;

/// Show the commits of a database, newest first
///
/// Each version shown can be given to --at.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The database: a name in the store, not a file
    #[arg(value_name = "DB", value_parser = database_name())]
    database: DatabaseName,
    /// Show at most so many commits; 0 for all
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
    /// Print a JSON array
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(url: &StoreUrl, args: &Args, out: &mut dyn Write) -> anyhow::Result<()> {
    let store = store::open_for(url, &args.database)?;
    let limit = if args.limit == 0 {
        usize::MAX
    } else {
        args.limit
    };
    let records = newest(store.as_ref(), &args.database, limit)?;
    if args.json {
        let list: Vec<_> = records.iter().map(as_json).collect();
        serde_json::to_writer_pretty(&mut *out, &list)?;
        return Ok(writeln!(out)?);
    }
    print(&records, out)
}

/// At most so many commit records, newest first.
pub(crate) fn newest(
    store: &dyn PageStore,
    database: &DatabaseName,
    limit: usize,
) -> anyhow::Result<Vec<CommitRecord>> {
    let mut records: Vec<CommitRecord> = Vec::new();
    let mut before: Option<Version> = None;
    while records.len() < limit {
        let wanted = BATCH.min(limit - records.len());
        let batch = store.log(database, before, wanted)?;
        let Some(last) = batch.last() else { break };
        before = Some(last.version);
        records.extend(batch);
    }
    Ok(records)
}

/// Prints commit records as a table.
pub(crate) fn print(records: &[CommitRecord], out: &mut dyn Write) -> anyhow::Result<()> {
    let mut table = output::table(&["version", "time", "pages changed", "size in pages"]);
    for record in records {
        table.add_row(vec![
            record.version.to_string().into(),
            record.time.to_string().into(),
            number_cell(record.pages.len()),
            number_cell(record.page_count),
        ]);
    }
    Ok(writeln!(out, "{table}")?)
}

fn as_json(record: &CommitRecord) -> serde_json::Value {
    json!({
        "version": record.version.to_string(),
        "time": record.time.to_string(),
        "pages_changed": record.pages.len(),
        "page_count": record.page_count.get(),
        "page_size": record.page_size.map(verso_pagestore::PageSize::get),
        "commit_id": record.id.to_string(),
    })
}
