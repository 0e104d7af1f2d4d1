//! `verso shell`: SQL and dot-commands, typed or from a pipe.

mod complete;
mod dot;
mod editor;

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Write};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, bail};
use rusqlite::Connection;
use verso_pagestore::{DatabaseName, Moment, StoreUrl};

use crate::args::{database_name, moment};
use crate::error::{describe, is_broken_pipe};
use crate::interrupt::Interrupt;
use crate::output;
use crate::rows::{self, Mode, Printer};

/// How deep `.read` may go into files that read files.
const MAX_READ_DEPTH: usize = 16;

/// Work on a database with SQL, as in the sqlite3 shell
///
/// Statements end with a semicolon; .help shows the dot-commands. Reads standard input
/// where that is no terminal, and then prints as the sqlite3 shell does for scripts: lists
/// without headers, until --mode or .mode say otherwise.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The database: a name in the store, not a file
    #[arg(value_name = "DB", value_parser = database_name())]
    database: DatabaseName,
    /// Read the database as of WHEN, read-only: a version (`verso log` shows them), a time
    /// such as 2026-01-31T12:00:00Z, or a time ago such as -15m
    #[arg(long, value_name = "WHEN", value_parser = moment, allow_hyphen_values = true)]
    at: Option<Moment>,
    /// Open the database for reading only
    #[arg(long)]
    readonly: bool,
    /// How rows are printed: by default a table on a terminal, else a list
    #[arg(long, value_enum)]
    mode: Option<Mode>,
}

/// Runs the command.
pub(crate) fn run(url: &StoreUrl, args: &Args, out: &mut dyn Write) -> anyhow::Result<()> {
    let connection = super::sql::open(url, &args.database, args.at, args.readonly)?;
    let interactive = io::stdin().is_terminal();
    // A script ends at Ctrl-C as any program does.
    let interrupt = if interactive {
        Some(Interrupt::install()?)
    } else {
        None
    };
    if let Some(interrupt) = &interrupt {
        interrupt.watch(&connection);
    }
    let mode = args
        .mode
        .unwrap_or(if interactive { Mode::Table } else { Mode::List });
    let mut shell = Shell {
        connection: &connection,
        out,
        interrupt,
        printer: Printer::new(mode),
        timer: false,
        read_depth: 0,
        pending: String::new(),
        errors: 0,
    };
    if interactive {
        return editor::run(&mut shell, &args.database);
    }
    shell.read_lines(&mut io::stdin().lock())?;
    shell.out.flush()?;
    if shell.errors > 0 {
        let plural = if shell.errors == 1 {
            "statement"
        } else {
            "statements"
        };
        bail!("{} {plural} failed", shell.errors);
    }
    Ok(())
}

/// Whether there is more to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Continue,
    Quit,
}

struct Shell<'a> {
    connection: &'a Connection,
    out: &'a mut dyn Write,
    /// Ends what runs, not the shell.
    interrupt: Option<Interrupt>,
    printer: Printer,
    timer: bool,
    read_depth: usize,
    /// The beginning of a statement whose end has not come yet.
    pending: String,
    /// How many inputs failed.
    errors: usize,
}

impl Shell<'_> {
    /// Takes lines to the end, through errors.
    fn read_lines(&mut self, input: &mut dyn BufRead) -> anyhow::Result<Flow> {
        let mut line = Vec::new();
        let mut number = 0_u64;
        loop {
            line.clear();
            if input
                .read_until(b'\n', &mut line)
                .context("the input cannot be read")?
                == 0
            {
                break;
            }
            number += 1;
            let result = match std::str::from_utf8(&line) {
                Ok(text) => self.line(text),
                Err(_) => Err(anyhow::anyhow!("not UTF-8")),
            };
            match result {
                Ok(Flow::Continue) => {}
                Ok(Flow::Quit) => return Ok(Flow::Quit),
                // What Ctrl-C ends is the whole file, not one statement of it.
                Err(error) if self.was_interrupted() => return Err(error),
                Err(error) => self.report(&error.context(format!("line {number}")))?,
            }
        }
        // A last statement may lack its semicolon, as in the sqlite3 shell.
        let rest = std::mem::take(&mut self.pending);
        if let Err(error) = self.sql(&rest) {
            self.report(&error.context(format!("line {number}")))?;
        }
        Ok(Flow::Continue)
    }

    fn was_interrupted(&self) -> bool {
        self.interrupt.as_ref().is_some_and(Interrupt::pressed)
    }

    /// Takes one line.
    fn line(&mut self, line: &str) -> anyhow::Result<Flow> {
        if complete::is_empty(&self.pending) && line.starts_with('.') {
            self.pending.clear();
            return dot::run(self, line.trim_end());
        }
        self.pending.push_str(line);
        if complete::is_complete(&self.pending) {
            let sql = std::mem::take(&mut self.pending);
            self.sql(&sql)?;
        }
        Ok(Flow::Continue)
    }

    /// Runs statements and prints what they return.
    fn sql(&mut self, sql: &str) -> anyhow::Result<()> {
        if complete::is_empty(sql) {
            return Ok(());
        }
        let started = Instant::now();
        rows::run_batch(self.connection, sql, self.printer, self.out)?;
        if self.timer {
            writeln!(
                self.out,
                "Run Time: real {:.6}",
                started.elapsed().as_secs_f64()
            )?;
        }
        Ok(())
    }

    /// Takes the lines of a file.
    fn read_file(&mut self, path: &Path) -> anyhow::Result<Flow> {
        if self.read_depth >= MAX_READ_DEPTH {
            bail!(
                "{} is not read: .read goes {MAX_READ_DEPTH} files deep",
                path.display()
            );
        }
        let cannot = || format!("{} cannot be read", path.display());
        let file = File::open(path).with_context(cannot)?;
        self.read_depth += 1;
        let flow = self
            .read_lines(&mut BufReader::new(file))
            .with_context(cannot);
        self.read_depth -= 1;
        flow
    }

    /// Shows a failure and goes on. Fails only if nobody reads us any more.
    fn report(&mut self, error: &anyhow::Error) -> anyhow::Result<()> {
        if is_broken_pipe(error) {
            return Err(io::Error::from(io::ErrorKind::BrokenPipe).into());
        }
        self.errors += 1;
        self.out.flush()?;
        output::note(&format!("verso: {}", describe(error)));
        Ok(())
    }
}
