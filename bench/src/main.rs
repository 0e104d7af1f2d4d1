//! Benchmarks of Verso. A machine is never as quiet as another, so what counts are ratios: all
//! contenders of a benchmark run in one process run, in turns.
#![expect(clippy::print_stdout, reason = "a benchmark prints its results")]

#[cfg(feature = "foundationdb")]
mod bare;
#[cfg(not(feature = "foundationdb"))]
#[path = "no_bare.rs"]
mod bare;
mod cluster;
mod echo;
mod library;
mod nodes;
mod numbers;
mod records;
mod report;
mod run;
mod runs;
mod servers;
mod session;
mod sql;
mod steps;
mod subjects;
mod turns;
mod worker;
mod workload;

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
        Command::Server(args) => servers::run(&args),
        Command::Worker => worker::run(),
    }
}
