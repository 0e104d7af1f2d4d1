//! Benchmarks of Verso. A machine is never as quiet as another, so what counts are ratios: all
//! contenders of a benchmark run in one process run, in turns.
#![expect(clippy::print_stdout, reason = "a benchmark prints its results")]

#[cfg(feature = "foundationdb")]
mod bare;
#[cfg(not(feature = "foundationdb"))]
#[path = "no_bare.rs"]
mod bare;
mod bulk;
mod chart;
mod cluster;
mod compare;
mod echo;
#[cfg(feature = "engines")]
mod engines;
mod growth;
mod growth_chart;
mod kind;
mod library;
mod line;
mod memory;
mod nodes;
mod numbers;
mod orders;
mod process;
mod protocol;
mod ratios;
mod records;
mod report;
mod rqlite;
mod run;
mod runs;
mod sent;
mod servers;
mod session;
mod slow_sync;
mod sql;
mod steps;
mod subjects;
mod tables;
mod targets;
mod traffic;
mod transaction;
mod turns;
mod worker;
mod workload;
mod workloads;
mod ycsb;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Measure Verso, side by side with what it is to be measured by
#[derive(Debug, Parser)]
#[command(name = "verso-bench")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Workloads in SQL, on SQLite, on Verso and on its peers
    Run(run::Args),
    /// Latency of requests through one page-store node, beside a bare tonic service
    Nodes(nodes::Args),
    /// What pages cost as records, stored in several ways
    Records(records::Args),
    /// What work costs as a database and its history grow
    Growth(growth::Args),
    /// Key-value stores that the embedded store could lie on, doing what it does
    #[cfg(feature = "engines")]
    Engines(engines::Args),
    /// What has become slower or faster between two runs
    Compare(compare::Args),
    /// Results of runs beside what is expected, as tables and a chart of the documentation
    Tables(tables::Args),
    /// A server of a benchmark: not for people
    #[command(hide = true)]
    Server(servers::Args),
    /// A process that works: not for people
    #[command(hide = true)]
    Worker,
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        // Without the backtrace, which `RUST_BACKTRACE` would add: it is of no use to who has
        // misspelt a name.
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Run(args) => run::run(&args),
        Command::Nodes(args) => nodes::run(&args),
        Command::Records(args) => records::run(&args),
        Command::Growth(args) => growth::run(&args),
        #[cfg(feature = "engines")]
        Command::Engines(args) => engines::run(&args),
        Command::Compare(args) => compare::run(&args),
        Command::Tables(args) => tables::run(&args),
        Command::Server(args) => servers::run(&args),
        Command::Worker => worker::run(),
    }
}
