//! Running SQL and printing its rows.

use std::io::Write;

use clap::ValueEnum;
use comfy_table::{Cell, Row as TableRow};
use rusqlite::fallible_iterator::FallibleIterator as _;
use rusqlite::types::ValueRef;
use rusqlite::{Batch, Connection, Row, Rows, Statement};

use crate::error::sql_error;
use crate::{output, value};

/// How rows are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// A table with borders.
    Table,
    /// Values with `|` between them.
    List,
    /// RFC 4180.
    Csv,
    /// An array of objects per statement.
    Json,
    /// One line per value.
    Line,
}

/// How results are printed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Printer {
    /// The form.
    pub(crate) mode: Mode,
    /// Whether tables, lists and CSV begin with the names of the columns; `None` for what
    /// is usual in the form.
    pub(crate) headers: Option<bool>,
}

impl Printer {
    /// The form with the headers that it usually has.
    pub(crate) fn new(mode: Mode) -> Self {
        Self {
            mode,
            headers: None,
        }
    }

    fn has_headers(self) -> bool {
        self.headers.unwrap_or(self.mode != Mode::List)
    }
}

/// Runs all statements of a text and prints what they return. The first error ends it.
pub(crate) fn run_batch(
    connection: &Connection,
    sql: &str,
    printer: Printer,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let mut batch = Batch::new(connection, sql);
    while let Some(mut statement) = batch.next().map_err(sql_error)? {
        run_statement(&mut statement, printer, out)?;
    }
    Ok(())
}

fn run_statement(
    statement: &mut Statement<'_>,
    printer: Printer,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    // Parameters that nobody bound are NULL, as in the sqlite3 shell.
    if statement.column_count() == 0 {
        let mut rows = statement.raw_query();
        while rows.next().map_err(sql_error)?.is_some() {}
        return Ok(());
    }
    let columns: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let rows = statement.raw_query();
    match printer.mode {
        Mode::Table => print_table(&columns, rows, printer.has_headers(), out),
        Mode::List => print_separated(&columns, rows, printer.has_headers(), &LIST, out),
        Mode::Csv => print_separated(&columns, rows, printer.has_headers(), &CSV, out),
        Mode::Json => print_json(&columns, rows, out),
        Mode::Line => print_lines(&columns, rows, out),
    }
}

/// The values of a row.
fn values<'row>(
    row: &'row Row<'_>,
    columns: usize,
) -> impl Iterator<Item = anyhow::Result<ValueRef<'row>>> {
    (0..columns).map(|index| row.get_ref(index).map_err(sql_error))
}

fn print_table(
    columns: &[String],
    mut rows: Rows<'_>,
    headers: bool,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let mut table = output::bare_table();
    if headers {
        table.set_header(columns.iter().map(|name| output::printable(name)));
    }
    let mut empty = true;
    while let Some(row) = rows.next().map_err(sql_error)? {
        empty = false;
        let cells: Vec<Cell> = values(row, columns.len())
            .map(|value| Ok(cell(value?)))
            .collect::<anyhow::Result<_>>()?;
        table.add_row(TableRow::from(cells));
    }
    if headers || !empty {
        writeln!(out, "{table}")?;
    }
    Ok(())
}

fn cell(value: ValueRef<'_>) -> Cell {
    match value {
        ValueRef::Null => Cell::new("NULL"),
        ValueRef::Integer(_) | ValueRef::Real(_) => output::number_cell(value::text(value)),
        ValueRef::Text(_) | ValueRef::Blob(_) => Cell::new(output::printable(&value::text(value))),
    }
}

/// A form with values side by side.
struct Separated {
    separator: &'static str,
    line_end: &'static str,
    quoted: bool,
}

const LIST: Separated = Separated {
    separator: "|",
    line_end: "\n",
    quoted: false,
};
const CSV: Separated = Separated {
    separator: ",",
    line_end: "\r\n",
    quoted: true,
};

impl Separated {
    fn write<'a>(
        &self,
        fields: impl Iterator<Item = anyhow::Result<std::borrow::Cow<'a, str>>>,
        out: &mut dyn Write,
    ) -> anyhow::Result<()> {
        for (index, field) in fields.enumerate() {
            let field = field?;
            if index > 0 {
                out.write_all(self.separator.as_bytes())?;
            }
            let special = |character| matches!(character, ',' | '"' | '\n' | '\r');
            if self.quoted && (field.contains(special) || field.trim() != field) {
                write!(out, "\"{}\"", field.replace('"', "\"\""))?;
            } else {
                out.write_all(field.as_bytes())?;
            }
        }
        Ok(out.write_all(self.line_end.as_bytes())?)
    }
}

fn print_separated(
    columns: &[String],
    mut rows: Rows<'_>,
    headers: bool,
    form: &Separated,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    if headers {
        form.write(columns.iter().map(|name| Ok(name.into())), out)?;
    }
    while let Some(row) = rows.next().map_err(sql_error)? {
        form.write(
            values(row, columns.len()).map(|value| Ok(value::text(value?))),
            out,
        )?;
    }
    Ok(())
}

fn print_json(columns: &[String], mut rows: Rows<'_>, out: &mut dyn Write) -> anyhow::Result<()> {
    let names: Vec<String> = columns
        .iter()
        .map(|name| value::json_string(name))
        .collect();
    let mut before = "[";
    while let Some(row) = rows.next().map_err(sql_error)? {
        out.write_all(before.as_bytes())?;
        before = ",\n";
        for (index, (name, value)) in names.iter().zip(values(row, columns.len())).enumerate() {
            let open = if index == 0 { "{" } else { "," };
            write!(out, "{open}{name}:{}", value::json(value?))?;
        }
        out.write_all(b"}")?;
    }
    out.write_all(if before == "[" { b"[]\n" } else { b"]\n" })?;
    Ok(())
}

fn print_lines(columns: &[String], mut rows: Rows<'_>, out: &mut dyn Write) -> anyhow::Result<()> {
    let width = columns
        .iter()
        .map(|name| name.chars().count())
        .max()
        .unwrap_or(0);
    let mut first = true;
    while let Some(row) = rows.next().map_err(sql_error)? {
        if !std::mem::take(&mut first) {
            writeln!(out)?;
        }
        for (name, value) in columns.iter().zip(values(row, columns.len())) {
            writeln!(out, "{name:>width$} = {}", value::text(value?))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SQL: &str = "CREATE TABLE t(a, b); INSERT INTO t VALUES(1, 'x,\"y'), (NULL, X'00'); \
                       SELECT a, b FROM t ORDER BY rowid";

    fn printed(mode: Mode, sql: &str) -> String {
        let connection = Connection::open_in_memory().unwrap();
        let mut out = Vec::new();
        run_batch(&connection, sql, Printer::new(mode), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_mode_prints_rows() {
        assert_eq!(printed(Mode::List, SQL), "1|x,\"y\n|X'00'\n");
        assert_eq!(
            printed(Mode::Csv, SQL),
            "a,b\r\n1,\"x,\"\"y\"\r\n,X'00'\r\n"
        );
        assert_eq!(
            printed(Mode::Json, SQL),
            "[{\"a\":1,\"b\":\"x,\\\"y\"},\n{\"a\":null,\"b\":\"X'00'\"}]\n"
        );
        assert_eq!(
            printed(Mode::Line, SQL),
            "a = 1\nb = x,\"y\n\na = \nb = X'00'\n"
        );
        let table = printed(Mode::Table, SQL);
        assert!(table.contains("NULL") && table.contains("x,\"y"), "{table}");
    }

    #[test]
    fn results_without_rows() {
        assert_eq!(printed(Mode::Json, "SELECT 1 AS a WHERE 0"), "[]\n");
        assert_eq!(printed(Mode::List, "SELECT 1 AS a WHERE 0; -- end"), "");
        assert_eq!(printed(Mode::List, "SELECT ?1 IS NULL; SELECT 2"), "1\n2\n");
    }
}
