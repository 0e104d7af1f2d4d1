//! The rows of the table-valued functions.

use verso_pagestore::{DatabaseName, Version};

use crate::conflict;
use crate::connection::SharedDatabase;

/// A value of a row.
pub(crate) enum Value {
    Integer(i64),
    Text(String),
}

/// Rows, or the message of a failure.
pub(crate) type Rows = Box<dyn Iterator<Item = Result<Vec<Value>, String>>>;

/// How many rows are asked of the store at once.
const BATCH: usize = 500;

/// `verso_log`: the versions of a database, newest first.
pub(crate) fn log(database: SharedDatabase) -> Rows {
    batches(move |before: Option<Version>| {
        let records = database.lock().log(before, BATCH);
        let records = records.map_err(|error| error.to_string())?;
        let last = records.last().map(|record| record.version);
        let rows = records.into_iter().map(|record| {
            vec![
                Value::Text(record.version.to_string()),
                Value::Text(record.time.to_string()),
                integer(record.pages.len()),
                integer(record.page_count.get().into()),
                Value::Text(record.id.to_string()),
            ]
        });
        Ok((rows.collect(), last))
    })
}

/// `verso_databases`: the databases of the store that a database is in.
pub(crate) fn databases(database: SharedDatabase) -> Rows {
    batches(move |after: Option<DatabaseName>| {
        let entries = database.lock().siblings(after.as_ref(), BATCH);
        let entries = entries.map_err(|error| error.to_string())?;
        let last = entries.last().map(|entry| entry.name.clone());
        let rows = entries.into_iter().map(|entry| {
            vec![
                Value::Text(entry.name.to_string()),
                Value::Text(entry.id.to_string()),
            ]
        });
        Ok((rows.collect(), last))
    })
}

/// `verso_conflicts`: the last conflicts that connections of this process lost, newest first.
pub(crate) fn conflicts(_: SharedDatabase) -> Rows {
    let rows = conflict::recent().into_iter().map(|conflict| {
        Ok(vec![
            Value::Text(conflict.database.to_string()),
            integer(conflict.page.get().into()),
            Value::Text(conflict.owner.to_string()),
            Value::Text(conflict.winner.to_string()),
        ])
    });
    Box::new(rows)
}

type Batch<K> = (Vec<Vec<Value>>, Option<K>);

/// Rows in batches, each asked for behind the last row of the one before.
fn batches<K: 'static>(
    mut ask: impl FnMut(Option<K>) -> Result<Batch<K>, String> + 'static,
) -> Rows {
    let mut behind = None;
    let mut is_done = false;
    let batches = std::iter::from_fn(move || {
        if is_done {
            return None;
        }
        let batch = ask(behind.take());
        let rows: Vec<Result<Vec<Value>, String>> = match batch {
            Ok((rows, last)) => {
                is_done = rows.len() < BATCH;
                behind = last;
                rows.into_iter().map(Ok).collect()
            }
            Err(message) => {
                is_done = true;
                vec![Err(message)]
            }
        };
        Some(rows)
    });
    Box::new(batches.flatten())
}

fn integer(number: u64) -> Value {
    Value::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}
