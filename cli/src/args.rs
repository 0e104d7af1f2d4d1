//! The command line.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Parser, Subcommand};
use verso_pagestore::{
    DatabaseName, Moment, NameError, ParseBytesError, ParseMomentError, StoreUrl, StoreUrlError,
    UnixMillis,
};

use crate::commands::{catalogue, check, copy, demo, export, import, log, serve, shell, sql};
use crate::error::UsageError;

/// SQLite databases with every version of every page, kept in a store.
///
/// A store holds any number of databases. It is named by a URL: with --store, else by the
/// environment, else it is a file in the working directory.
#[derive(Debug, Parser)]
#[command(name = "verso", version, propagate_version = true, after_help = EXAMPLES)]
pub(crate) struct Cli {
    /// The store
    #[arg(long, global = true, value_name = "URL", value_parser = parse_store, help = STORE_HELP)]
    pub(crate) store: Option<StoreUrl>,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

const STORE_HELP: &str = "The store, such as sqlite:PATH \
     [env: VERSO_STORE] [default: sqlite:verso.db in the working directory]";

const EXAMPLES: &str = "\
Examples:
  verso demo                                    see it all at work in half a minute
  verso import shop.sqlite shop                 take a SQLite file into the store
  verso sql shop 'SELECT count(*) FROM orders'  run SQL
  verso sql shop --at -15m 'SELECT ...'         the same as of 15 minutes ago
  verso export shop copy.sqlite                 and out again as a SQLite file
  verso copy sqlite:verso.db shop http://node:4801   from store to store

Exit codes: 0 done, 1 the operation failed, 2 the command line is wrong.";

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Sql(sql::Args),
    Shell(shell::Args),
    Import(import::Args),
    Export(export::Args),
    Copy(copy::Args),
    Ls(catalogue::LsArgs),
    Info(catalogue::InfoArgs),
    Log(log::Args),
    Rename(catalogue::RenameArgs),
    Rm(catalogue::RmArgs),
    Check(check::Args),
    Serve(serve::Args),
    Demo(demo::Args),
    #[command(hide = true)]
    DemoWorker(demo::WorkerArgs),
}

/// The value parser of database names.
pub(crate) fn database_name() -> impl TypedValueParser<Value = DatabaseName> {
    OsStringValueParser::new().try_map(|text: OsString| parse_name(text.as_bytes()))
}

/// The value parser of names that a database is to get without being opened by them.
pub(crate) fn new_database_name() -> impl TypedValueParser<Value = DatabaseName> {
    OsStringValueParser::new().try_map(|text: OsString| parse_new_name(text.as_bytes()))
}

/// A text cannot name a database on the command line.
#[derive(Debug)]
pub(crate) enum ArgumentError {
    /// No store would take it.
    Name(NameError),
    /// SQLite opens something else by this name.
    Memory,
    /// The VFS takes it for a URI.
    Uri,
}

impl std::fmt::Display for ArgumentError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(error) => error.fmt(formatter),
            Self::Memory => formatter.write_str(
                "':memory:' is SQLite's own name for a database in memory: choose another name",
            ),
            Self::Uri => formatter.write_str(
                "a database whose name begins with file: cannot be opened: choose another name",
            ),
        }
    }
}

impl std::error::Error for ArgumentError {}

fn parse_new_name(bytes: &[u8]) -> Result<DatabaseName, ArgumentError> {
    openable(parse_name(bytes)?)
}

/// A name, if a database of it can be opened.
pub(crate) fn openable(name: DatabaseName) -> Result<DatabaseName, ArgumentError> {
    if name.as_str().starts_with("file:") {
        return Err(ArgumentError::Uri);
    }
    Ok(name)
}

fn parse_name(bytes: &[u8]) -> Result<DatabaseName, ArgumentError> {
    if bytes == b":memory:" {
        return Err(ArgumentError::Memory);
    }
    DatabaseName::from_utf8(bytes).map_err(ArgumentError::Name)
}

/// The value parser of stores.
pub(crate) fn parse_store(text: &str) -> Result<StoreUrl, StoreUrlError> {
    StoreUrl::parse(text)
}

/// Whether a value was refused by one of our own parsers, whose errors are whole sentences.
pub(crate) fn explains_itself(reason: &(dyn std::error::Error + 'static)) -> bool {
    reason.is::<ArgumentError>()
        || reason.is::<ParseBytesError>()
        || reason.is::<ParseMomentError>()
        || reason.is::<StoreUrlError>()
}

/// Refuses a store that would be gone when the command ends.
pub(crate) fn lasting(url: StoreUrl) -> Result<StoreUrl, UsageError> {
    match url {
        StoreUrl::Sqlite(_) | StoreUrl::FoundationDb(_) | StoreUrl::Nodes(_) => Ok(url),
        StoreUrl::Memory(_) => Err(UsageError(format!(
            "the store {url} would be gone when this command ends: use sqlite:PATH"
        ))),
    }
}

/// The value parser of `--at`.
pub(crate) fn moment(text: &str) -> Result<Moment, ParseMomentError> {
    Moment::parse(text, UnixMillis::now())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn names_that_sqlite_takes_for_itself_are_refused() {
        assert!(matches!(
            parse_name(b":memory:"),
            Err(ArgumentError::Memory)
        ));
        assert!(parse_name(b"memory").is_ok());
        assert!(matches!(
            parse_new_name(b"file:app.db"),
            Err(ArgumentError::Uri)
        ));
        // One that has such a name already can be given another.
        assert!(parse_name(b"file:app.db").is_ok());
        assert!(parse_new_name(b"files").is_ok());
    }
}
