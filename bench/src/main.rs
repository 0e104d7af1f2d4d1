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
mod growth;
mod growth_chart;
mod kind;
mod library;
mod memory;
mod nodes;
mod numbers;
mod orders;
mod process;
mod protocol;
mod records;
mod report;
mod rqlite;
mod run;
mod runs;
mod servers;
mod session;
mod slow_sync;
mod sql;
mod steps;
mod subjects;
mod transaction;
mod turns;
mod worker;
mod workload;
mod workloads;
mod ycsb;

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
    /// What has become slower or faster between two runs
    Compare(compare::Args),
    /// A server of a benchmark: not for people
    #[command(hide = true)]
    Server(servers::Args),
    /// A process that works: not for people
    #[command(hide = true)]
    Worker,
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Nodes(args) => nodes::run(&args),
        Command::Records(args) => records::run(&args),
        Command::Growth(args) => growth::run(&args),
        Command::Compare(args) => compare::run(&args),
        Command::Server(args) => servers::run(&args),
        Command::Worker => worker::run(),
    }
}
