//! `verso sql`: runs SQL and prints its rows.

use std::io::Write;

use verso_pagestore::{DatabaseName, Moment, StoreUrl};

use crate::args::{database_name, moment};
use crate::connection::{self, Access};
use crate::rows::{self, Mode, Printer};
use crate::store;

/// Run SQL on a database and print the rows
///
/// A database that does not exist is made, as by the sqlite3 shell, except with --at or
/// --readonly. Foreign keys are off until `PRAGMA foreign_keys=ON`. The first error ends it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The database
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
    /// The same as --mode json
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
    if access != Access::Create {
        store::refuse_missing(url, database)?;
    }
    connection::register(url)?;
    connection::open(database, access)
}
