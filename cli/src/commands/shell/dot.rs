//! The dot-commands of the shell.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{anyhow, bail};
use clap::ValueEnum as _;
use rusqlite::{Params, params};

use super::{Flow, Shell};
use crate::dump;
use crate::error::sql_error;
use crate::rows::Mode;

/// How wide the columns of `.tables` may get together.
const LINE_WIDTH: usize = 80;

const HELP: &str = "\
.dump                     the database as SQL text
.exit                     leave
.headers on|off           whether tables, lists and CSV begin with column names
.help                     this list
.indexes [TABLE]          names of indexes
.mode table|list|csv|json|line
                          how rows are printed
.quit                     leave
.read FILE                run the lines of a file
.schema [TABLE]           CREATE statements
.tables [PATTERN]         names of tables and views, like a LIKE pattern
.timer on|off             show how long each input takes";

/// Runs a line that begins with a dot.
pub(super) fn run(shell: &mut Shell<'_>, line: &str) -> anyhow::Result<Flow> {
    let words = words(line)?;
    let mut words = words.iter().map(String::as_str);
    let command = words.next().unwrap_or_default();
    let argument = words.next();
    if words.next().is_some() {
        bail!("{command} takes at most one argument; quote one that has spaces");
    }
    match (command, argument) {
        (".quit" | ".exit", None) => return Ok(Flow::Quit),
        (".help", _) => writeln!(shell.out, "{HELP}")?,
        (".dump", None) => dump::dump(shell.connection, shell.out)?,
        (".mode", Some(name)) => shell.printer.mode = mode(name)?,
        (".mode", None) => writeln!(shell.out, "{}", mode_name(shell.printer.mode))?,
        (".headers" | ".header", Some(value)) => shell.printer.headers = Some(switch(value)?),
        (".timer", Some(value)) => shell.timer = switch(value)?,
        (".read", Some(path)) => return shell.read_file(Path::new(path)),
        (".tables", pattern) => tables(shell, pattern.unwrap_or("%"))?,
        (".schema", table) => schema(shell, table)?,
        (".indexes" | ".indices", table) => indexes(shell, table)?,
        (".headers" | ".header" | ".timer" | ".read", None) => {
            bail!("{command} needs an argument: .help shows which")
        }
        (".quit" | ".exit" | ".dump", Some(_)) => bail!("{command} takes no argument"),
        _ => bail!("unknown command {command}: .help shows the commands"),
    }
    Ok(Flow::Continue)
}

/// The words of a line. Quotes hold a word with spaces together.
fn words(line: &str) -> anyhow::Result<Vec<String>> {
    let mut words = Vec::new();
    let mut characters = line.chars().peekable();
    loop {
        while characters
            .next_if(|character| character.is_whitespace())
            .is_some()
        {}
        let Some(first) = characters.next() else {
            return Ok(words);
        };
        let mut word = String::new();
        if matches!(first, '\'' | '"') {
            loop {
                match characters.next() {
                    Some(character) if character == first => break,
                    Some(character) => word.push(character),
                    None => bail!("a quote is missing at the end of the line"),
                }
            }
        } else {
            word.push(first);
            while let Some(next) = characters.next_if(|character| !character.is_whitespace()) {
                word.push(next);
            }
        }
        words.push(word);
    }
}

fn mode(name: &str) -> anyhow::Result<Mode> {
    Mode::from_str(name, true)
        .map_err(|_| anyhow!("unknown mode {name}: choose table, list, csv, json or line"))
}

fn mode_name(mode: Mode) -> String {
    mode.to_possible_value()
        .map(|value| value.get_name().to_owned())
        .unwrap_or_default()
}

fn switch(value: &str) -> anyhow::Result<bool> {
    match value {
        "on" | "1" | "yes" => Ok(true),
        "off" | "0" | "no" => Ok(false),
        _ => bail!("'{value}' is neither on nor off"),
    }
}

fn texts(shell: &Shell<'_>, sql: &str, params: impl Params) -> anyhow::Result<Vec<String>> {
    let mut statement = shell.connection.prepare(sql).map_err(sql_error)?;
    let texts = statement
        .query_map(params, |row| row.get(0))
        .and_then(Iterator::collect)
        .map_err(sql_error)?;
    Ok(texts)
}

fn tables(shell: &mut Shell<'_>, pattern: &str) -> anyhow::Result<()> {
    let names = texts(
        shell,
        "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') \
         AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND name LIKE ?1 ORDER BY name",
        params![pattern],
    )?;
    columns(shell, &names)
}

fn indexes(shell: &mut Shell<'_>, table: Option<&str>) -> anyhow::Result<()> {
    let names = texts(
        shell,
        "SELECT name FROM sqlite_schema WHERE type = 'index' \
         AND (?1 IS NULL OR tbl_name = ?1 COLLATE NOCASE) ORDER BY name",
        params![table],
    )?;
    columns(shell, &names)
}

/// Prints names side by side, in the order down the columns.
fn columns(shell: &mut Shell<'_>, names: &[String]) -> anyhow::Result<()> {
    let width = names
        .iter()
        .map(|name| name.chars().count())
        .max()
        .unwrap_or(0)
        + 2;
    let across = (LINE_WIDTH / width).max(1);
    let lines = names.len().div_ceil(across);
    for line in 0..lines {
        let mut shown = String::new();
        for name in names.iter().skip(line).step_by(lines) {
            // Writing to a String cannot fail.
            let _ = write!(shown, "{name:<width$}");
        }
        writeln!(shell.out, "{}", shown.trim_end())?;
    }
    Ok(())
}

fn schema(shell: &mut Shell<'_>, table: Option<&str>) -> anyhow::Result<()> {
    let statements = texts(
        shell,
        "SELECT sql FROM sqlite_schema WHERE sql NOT NULL \
         AND (?1 IS NULL OR tbl_name = ?1 COLLATE NOCASE) ORDER BY rowid",
        params![table],
    )?;
    for sql in statements {
        writeln!(shell.out, "{sql};")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_hold_words_together() {
        assert_eq!(words(".read 'a b' ").unwrap(), [".read", "a b"]);
        assert_eq!(words(".mode\tcsv").unwrap(), [".mode", "csv"]);
        assert!(words(".read 'a").is_err());
    }
}
