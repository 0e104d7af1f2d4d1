//! The whole content of a database as text, to compare two of them.

use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};

use rusqlite::Connection;
use rusqlite::types::ValueRef;

/// Longer values are shown by their length and a hash.
const SHOWN_BYTES: usize = 40;

/// What `PRAGMA` tells about a database, beside its content.
const PRAGMAS: [&str; 8] = [
    "integrity_check",
    "page_size",
    "page_count",
    "freelist_count",
    "auto_vacuum",
    "user_version",
    "application_id",
    "encoding",
];

/// A value with its type.
#[must_use]
pub fn show(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => "NULL".to_owned(),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Real(number) => format!("{number:?}"),
        ValueRef::Text(text) => shorten('t', text),
        ValueRef::Blob(bytes) => shorten('x', bytes),
    }
}

fn shorten(kind: char, bytes: &[u8]) -> String {
    if bytes.len() <= SHOWN_BYTES {
        return format!("{kind}'{}'", bytes.escape_ascii());
    }
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    format!("{kind}[{} bytes, {:016x}]", bytes.len(), hasher.finish())
}

/// All rows of a query, a line each.
///
/// # Errors
/// If it cannot be prepared or run.
pub fn rows(db: &Connection, sql: &str) -> rusqlite::Result<Vec<String>> {
    let mut statement = db.prepare(sql)?;
    let columns = statement.column_count();
    let mut lines = Vec::new();
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let values: rusqlite::Result<Vec<String>> = (0..columns)
            .map(|column| row.get_ref(column).map(show))
            .collect();
        lines.push(values?.join(", "));
    }
    Ok(lines)
}

/// A database of a connection, such as `main`: its schema, the rows of all its tables in the
/// order they are stored in, and what its pragmas tell.
#[must_use]
pub fn schema(db: &Connection, schema: &str) -> String {
    let mut text = String::new();
    for pragma in PRAGMAS {
        section(db, &format!("PRAGMA {schema}.{pragma}"), &mut text);
    }
    let master = format!("SELECT rowid, * FROM {schema}.sqlite_schema ORDER BY rowid");
    section(db, &master, &mut text);
    for table in tables(db, schema) {
        let ordered = format!("SELECT * FROM {schema}.\"{table}\" NOT INDEXED");
        section(db, &ordered, &mut text);
    }
    text
}

/// The database `main` of a connection.
#[must_use]
pub fn main(db: &Connection) -> String {
    schema(db, "main")
}

fn tables(db: &Connection, schema: &str) -> Vec<String> {
    let sql = format!("SELECT name FROM {schema}.sqlite_schema WHERE type = 'table' ORDER BY name");
    let names = db.prepare(&sql).and_then(|mut statement| {
        statement
            .query_map([], |row| row.get(0))?
            .collect::<rusqlite::Result<Vec<String>>>()
    });
    // What is wrong is in the text already.
    names.unwrap_or_default()
}

fn section(db: &Connection, sql: &str, text: &mut String) {
    match rows(db, sql) {
        Ok(lines) => {
            let _ = writeln!(text, "-- {sql}: {}", lines.len());
            for line in lines {
                let _ = writeln!(text, "{line}");
            }
        }
        Err(error) => {
            let _ = writeln!(text, "-- {sql}: error: {error}");
        }
    }
}

/// Where two texts differ, with the section they differ in; `None` if they are the same.
#[must_use]
pub fn difference(left: &str, right: &str) -> Option<String> {
    if left == right {
        return None;
    }
    let mut heading = "";
    let (mut lefts, mut rights) = (left.lines(), right.lines());
    loop {
        let (left, right) = (lefts.next(), rights.next());
        if left.is_some_and(|line| line.starts_with("-- ")) {
            heading = left.unwrap_or_default();
        }
        if left != right || left.is_none() {
            let (left, right) = (left.unwrap_or("(end)"), right.unwrap_or("(end)"));
            return Some(format!("below {heading}\n  {left}\n  {right}"));
        }
    }
}

/// Fails the test if two dumps differ.
///
/// # Panics
/// If they do.
pub fn assert_same(left: &str, right: &str, what: &str) {
    if let Some(difference) = difference(left, right) {
        panic!("{what}: {difference}");
    }
}
