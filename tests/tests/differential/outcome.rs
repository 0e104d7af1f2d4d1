//! What a step does to a connection, as far as an application can see it.

use rusqlite::{Connection, Error};
use verso_tests::dump;

use crate::step::BlobWrite;

/// The visible result of one step.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    rows: Vec<String>,
    error: Option<(i32, String)>,
    changes: u64,
    total_changes: u64,
    last_insert_rowid: i64,
    pub(crate) autocommit: bool,
}

impl Outcome {
    fn of(db: &Connection, result: rusqlite::Result<()>, rows: Vec<String>) -> Self {
        Self {
            rows,
            error: result.err().map(|error| code_and_text(&error)),
            changes: db.changes(),
            total_changes: db.total_changes(),
            last_insert_rowid: db.last_insert_rowid(),
            autocommit: db.is_autocommit(),
        }
    }

    pub(crate) fn failed(&self) -> bool {
        self.error.is_some()
    }
}

fn code_and_text(error: &Error) -> (i32, String) {
    (verso_tests::code(error), error.to_string())
}

/// Runs a statement to its end.
pub(crate) fn sql(db: &Connection, sql: &str) -> Outcome {
    reading(db, sql, &[])
}

/// Runs statements while the rows of a query are being read: one after each row, as long
/// as there are rows.
pub(crate) fn reading(db: &Connection, query: &str, statements: &[String]) -> Outcome {
    let mut lines = Vec::new();
    let mut inner = statements.iter();
    let mut read = || -> rusqlite::Result<()> {
        let mut statement = db.prepare(query)?;
        let columns = statement.column_count();
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let values: rusqlite::Result<Vec<String>> = (0..columns)
                .map(|column| row.get_ref(column).map(dump::show))
                .collect();
            lines.push(values?.join(", "));
            if let Some(statement) = inner.next() {
                lines.push(format!("{:?}", sql(db, statement)));
            }
        }
        Ok(())
    };
    let result = read();
    Outcome::of(db, result, lines)
}

/// Writes into a blob, reads it back, and reads what lies around it.
pub(crate) fn blob(db: &Connection, write: &BlobWrite) -> Outcome {
    let mut lines = Vec::new();
    let mut run = || -> rusqlite::Result<()> {
        let (schema, table) = (write.schema, write.table.as_str());
        let mut blob = db.blob_open(schema, table, write.column, write.rowid, false)?;
        let data: Vec<u8> = (0..=255).cycle().skip(7).take(write.length).collect();
        let offset = usize::try_from(write.offset).expect("a small offset");
        blob.write_at(&data, offset)?;
        let mut back = vec![0; blob.len()];
        blob.read_at_exact(&mut back, 0)?;
        lines.push(dump::show(rusqlite::types::ValueRef::Blob(&back)));
        blob.close()
    };
    let result = run();
    Outcome::of(db, result, lines)
}

pub(crate) fn flush(db: &Connection) -> Outcome {
    Outcome::of(db, db.cache_flush(), Vec::new())
}
