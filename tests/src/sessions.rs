//! Connections that are used in the same way whether they live in this thread, in another
//! one, or in another process.

use std::io::BufRead;
use std::path::Path;
use std::sync::mpsc::channel;
use std::thread;

use rusqlite::fallible_iterator::FallibleIterator;
use rusqlite::{Batch, Connection};

use crate::workers::{Orders, Worker, report};
use crate::{code, open, uri};

/// All integers of all rows of a text of SQL, or the extended result code of its failure.
pub type Answer = Result<Vec<i64>, i32>;

/// The role of workers that [`serve`].
pub const ROLE: &str = "session";

/// Where a connection lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In this thread.
    Here,
    /// In a thread of its own.
    Thread,
    /// In a process of its own.
    Process,
}

/// A connection to a database.
pub struct Session {
    run: Box<dyn FnMut(&str) -> Answer>,
    process: Option<u32>,
}

impl Session {
    /// Opens a database of the store at `path`.
    #[must_use]
    pub fn open(place: Place, path: &Path, name: &str) -> Self {
        let uri = uri(path, name, "");
        match place {
            Place::Here => {
                let db = open(&uri).expect("the database opens");
                Self {
                    run: Box::new(move |sql| execute(&db, sql)),
                    process: None,
                }
            }
            Place::Thread => Self {
                run: in_thread(uri),
                process: None,
            },
            Place::Process => in_process(path, &uri),
        }
    }

    /// Runs SQL.
    ///
    /// # Errors
    /// The extended result code.
    pub fn run(&mut self, sql: &str) -> Answer {
        (self.run)(sql)
    }

    /// Runs SQL that must succeed.
    pub fn ok(&mut self, sql: &str) -> Vec<i64> {
        self.run(sql)
            .unwrap_or_else(|code| panic!("{sql}: result code {code}"))
    }

    /// The process that it lives in, if that is another one.
    #[must_use]
    pub const fn process(&self) -> Option<u32> {
        self.process
    }
}

/// Runs SQL on a connection.
///
/// # Errors
/// The extended result code.
pub fn execute(db: &Connection, sql: &str) -> Answer {
    let run = || {
        let mut found = Vec::new();
        let mut batch = Batch::new(db, sql);
        while let Some(mut statement) = batch.next()? {
            let columns = statement.column_count();
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                for column in 0..columns {
                    found.extend(row.get_ref(column)?.as_i64().ok());
                }
            }
        }
        Ok(found)
    };
    run().map_err(|error| code(&error))
}

fn in_thread(uri: String) -> Box<dyn FnMut(&str) -> Answer> {
    let (questions, asked) = channel::<String>();
    let (answered, answers) = channel();
    thread::spawn(move || {
        let db = open(&uri).expect("the database opens");
        for sql in asked {
            if answered.send(execute(&db, &sql)).is_err() {
                return;
            }
        }
    });
    Box::new(move |sql| {
        questions.send(sql.to_owned()).expect("the thread runs");
        answers.recv().expect("the thread runs")
    })
}

fn in_process(path: &Path, uri: &str) -> Session {
    let mut worker = Worker::start(ROLE, 0, 0, path);
    worker.tell(uri);
    let process = Some(worker.id());
    let run = move |sql: &str| {
        worker.tell(&sql.replace('\n', " "));
        let line = worker.line().expect("the session answers");
        let mut words = line.split(' ');
        let verdict = words.next();
        let mut numbers = words.map(|word| word.parse::<i64>().expect("a number"));
        match verdict {
            Some("ok") => Ok(numbers.collect()),
            _ => Err(numbers
                .next_back()
                .and_then(|code| i32::try_from(code).ok())
                .expect("a result code")),
        }
    };
    Session {
        run: Box::new(run),
        process,
    }
}

/// What a worker of the role [`ROLE`] does: the first line that it reads is the URI of a
/// database, and each further one is SQL.
pub fn serve(_: &Orders) {
    let mut lines = std::io::stdin().lock().lines();
    let uri = lines.next().expect("a line").expect("its input is text");
    let db = open(&uri).expect("the database opens");
    for line in lines {
        let words = |numbers: Vec<i64>| {
            let texts: Vec<String> = numbers.iter().map(|number| format!(" {number}")).collect();
            texts.concat()
        };
        match execute(&db, &line.expect("its input is text")) {
            Ok(numbers) => report(format!("ok{}", words(numbers))),
            Err(code) => report(format!("error {code}")),
        }
    }
}

/// The command that attaches a database of a store to another one, as `other`.
#[must_use]
pub fn attach(path: &Path, name: &str) -> String {
    format!("ATTACH '{}' AS other", uri(path, name, ""))
}
