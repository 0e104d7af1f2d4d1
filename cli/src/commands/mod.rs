//! The commands, one file each.

pub(crate) mod catalogue;
pub(crate) mod check;
pub(crate) mod copy;
pub(crate) mod demo;
pub(crate) mod export;
pub(crate) mod import;
pub(crate) mod log;
pub(crate) mod serve;
pub(crate) mod shell;
pub(crate) mod sql;

use std::io::Write;

use crate::args::{Cli, Command};
use crate::{error, store};

/// Runs the command that the command line names.
pub(crate) fn run(cli: Cli, out: &mut dyn Write) -> anyhow::Result<()> {
    let Cli {
        store: explicit,
        command,
    } = cli;
    if let Command::Demo(args) = command {
        // The demonstration makes a store of its own.
        if explicit.is_some() {
            let reason = "demo makes a store of its own: leave --store out, or choose its place \
                          with --dir";
            return Err(error::UsageError(reason.to_owned()).into());
        }
        return demo::run(&args, out);
    }
    if let Command::Copy(args) = command {
        if explicit.is_some() {
            let reason = "copy is given both stores as arguments: leave --store out";
            return Err(error::UsageError(reason.to_owned()).into());
        }
        return copy::run(&args, out);
    }
    let url = store::resolve(explicit)?;
    match command {
        Command::Sql(args) => sql::run(&url, &args, out),
        Command::Shell(args) => shell::run(&url, &args, out),
        Command::Import(args) => import::run(&url, &args, out),
        Command::Export(args) => export::run(&url, &args, out),
        Command::Copy(args) => copy::run(&args, out),
        Command::Ls(args) => catalogue::ls(&url, &args, out),
        Command::Info(args) => catalogue::info(&url, &args, out),
        Command::Log(args) => log::run(&url, &args, out),
        Command::Rename(args) => catalogue::rename(&url, &args, out),
        Command::Rm(args) => catalogue::rm(&url, &args, out),
        Command::Check(args) => check::run(&url, &args, out),
        Command::Serve(args) => serve::run(&url, &args, out),
        Command::Demo(args) => demo::run(&args, out),
        Command::DemoWorker(args) => demo::run_worker(&url, &args, out),
    }
}
