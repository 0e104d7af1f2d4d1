//! The `verso` command.

mod args;
mod commands;
mod connection;
mod dump;
mod error;
mod header;
mod interrupt;
mod logs;
mod output;
mod rows;
mod store;
mod value;

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use crate::args::Cli;
use crate::error::{Outcome, describe};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    let mut out = BufWriter::new(io::stdout());
    let result = commands::run(cli, &mut out).and_then(|()| Ok(out.flush()?));
    match Outcome::of(&result) {
        Outcome::Done => ExitCode::SUCCESS,
        Outcome::Failed(code) => {
            if let Err(error) = &result {
                // What was written before the failure belongs in front of its message.
                let _ = out.flush();
                output::note(&format!("verso: {}", describe(error)));
            }
            ExitCode::from(code)
        }
    }
}

/// Answers a command line that was not understood, or that asked for help.
fn refuse(error: &clap::Error) -> ExitCode {
    // A value that was looked at and refused explains itself in one line.
    if error.kind() == ErrorKind::ValueValidation {
        let reason =
            std::error::Error::source(error).filter(|reason| args::explains_itself(*reason));
        if let Some(reason) = reason {
            output::note(&format!("verso: {reason}"));
        } else {
            // Such as "invalid digit": of which option, the first line tells.
            let text = error.to_string();
            let line = text.lines().next().unwrap_or_default();
            output::note(&format!("verso: {}", line.trim_start_matches("error: ")));
        }
    } else {
        // A closed terminal is the only failure here, and there is nobody left to tell.
        let _ = error.print();
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(error::USAGE))
}
