//! `verso sql`: runs SQL and prints its rows.

use std::io::Write;
use std::path::Path;

use anyhow::bail;
use verso_pagestore::{DatabaseName, Moment, StoreUrl};

use crate::args::{database_name, moment};
use crate::connection::{self, Access};
use crate::rows::{self, Mode, Printer};
use crate::store;

/// Run SQL on a database and print the rows
///
/// A database that does not exist is made, as by the sqlite3 shell, except with --at or
/// --readonly. Foreign keys are off until `PRAGMA foreign_keys=ON`. The first error ends it;
/// what was committed before stays.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The database: a name in the store, not a file
    #[arg(value_name = "DB", value_parser = database_name())]
    database: DatabaseName,
    /// SQL texts of one or more statements each, run in order on one connection
    #[arg(value_name = "SQL", required = true)]
    sql: Vec<String>,
    /// Read the database as of WHEN, read-only: a version (`verso log` shows them), a time
    /// such as 2026-01-31T12:00:00Z, or a time ago such as -15m
    #[arg(long, value_name = "WHEN", value_parser = moment, allow_hyphen_values = true)]
    at: Option<Moment>,
    /// Open the database for reading only
    #[arg(long)]
    readonly: bool,
    /// How rows are printed
    #[arg(long, value_enum, default_value = "table")]
    mode: Mode,
    /// The same as --mode json: an array per statement that has columns; blobs as X'...'
    #[arg(long, conflicts_with = "mode")]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(url: &StoreUrl, args: &Args, out: &mut dyn Write) -> anyhow::Result<()> {
    let connection = open(url, &args.database, args.at, args.readonly)?;
    let printer = Printer::new(if args.json { Mode::Json } else { args.mode });
    for sql in &args.sql {
        rows::run_batch(&connection, sql, printer, out)?;
    }
    Ok(())
}

/// Refuses the name of a file of the working directory that no database has: whoever gives
/// it most likely means the file, and would get an empty database.
fn refuse_file(url: &StoreUrl, database: &DatabaseName) -> anyhow::Result<()> {
    if !Path::new(database.as_str()).is_file() {
        return Ok(());
    }
    let is_database = !store::is_missing(url) && store::open(url)?.info(database).is_ok();
    if is_database {
        return Ok(());
    }
    bail!(
        "{database} is a file, and the store has no database of that name: take it in with \
         `verso import {database} NAME`, then use NAME"
    )
}

/// Opens a database through the VFS, as `sql` and `shell` do.
pub(crate) fn open(
    url: &StoreUrl,
    database: &DatabaseName,
    at: Option<Moment>,
    readonly: bool,
) -> anyhow::Result<rusqlite::Connection> {
    let access = match at {
        Some(moment) => Access::ReadPast(moment),
        None if readonly => Access::Read,
        None => Access::Create,
    };
    if access == Access::Create {
        refuse_file(url, database)?;
    } else {
        store::refuse_missing(url, database)?;
    }
    connection::register(url)?;
    connection::open(database, access)
}
