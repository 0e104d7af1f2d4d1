//! What is done to this repository by program, run as `cargo xtask`: its arguments.

mod archive;
mod bundle;
mod cargo;
mod dist;
mod npm;
mod platform;
mod wheel;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "What is done to this repository by program"
)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build the extension and the command, and pack them: an archive, a wheel, an npm package
    Dist(dist::Options),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().task {
        Task::Dist(options) => dist::run(&options),
    }
}
