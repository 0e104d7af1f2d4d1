//! Benchmarks of Verso. A machine is never as quiet as another, so what counts are ratios: all
//! contenders of a benchmark run in one process run, in turns.
#![expect(clippy::print_stdout, reason = "a benchmark prints its results")]

mod echo;
mod nodes;
mod servers;
mod turns;

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
    /// Latency of requests through one page-store node, beside a bare tonic service
    Nodes(nodes::Args),
    /// A process of a benchmark: not for people
    #[command(hide = true)]
    Server(servers::Args),
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Nodes(args) => nodes::run(&args),
        Command::Server(args) => servers::run(&args),
    }
}
