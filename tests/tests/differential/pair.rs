//! Plain SQLite and Verso side by side, each with two connections that take turns to write;
//! the other one reads along.

use std::fmt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use tempfile::TempDir;
use verso_tests::{TestStore, dump};

use crate::outcome::{self, Outcome};
use crate::step::{Setup, Step};

/// The two sides differ.
pub(crate) struct Difference {
    /// The number of the step, from 0.
    pub(crate) step: usize,
    pub(crate) text: String,
}

struct Pair {
    setup: Setup,
    folder: TempDir,
    store: TestStore,
    plain: Connection,
    verso: Connection,
    /// The connections that read along.
    plain_reader: Connection,
    reader: Connection,
    /// What the reader saw when its transaction began.
    held: Option<String>,
}

/// What a run did.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Counts {
    pub(crate) steps: usize,
    /// Steps that failed, on both sides alike.
    pub(crate) failed: usize,
}

/// Does all steps on new databases.
pub(crate) fn run(setup: &Setup, steps: &[Step]) -> Result<Counts, Difference> {
    let mut pair = Pair::new(setup);
    let mut counts = Counts::default();
    for (number, step) in steps.iter().enumerate() {
        counts.steps += 1;
        match pair.step(number, step) {
            Ok(failed) => counts.failed += usize::from(failed),
            Err(text) => return Err(Difference { step: number, text }),
        }
    }
    Ok(counts)
}

impl Pair {
    fn new(setup: &Setup) -> Self {
        let (folder, store) = (tempfile::tempdir().expect("a folder"), TestStore::new());
        let plain = open_plain(&folder, setup);
        let verso = open_verso(&store.path(), setup);
        let plain_reader = open_plain(&folder, setup);
        let alias = folder.path().join("alias");
        symlink(store.folder(), alias).expect("a symbolic link");
        let reader = open_verso(&reader_path(&folder, &store, setup), setup);
        Self {
            setup: setup.clone(),
            folder,
            store,
            plain,
            verso,
            plain_reader,
            reader,
            held: None,
        }
    }

    /// Whether the step failed, on both sides alike.
    fn step(&mut self, number: usize, step: &Step) -> Result<bool, String> {
        let failed = match step {
            Step::Sql(sql) => self.both(|db| outcome::sql(db, sql))?,
            Step::While { query, statements } => {
                self.both(|db| outcome::reading(db, query, statements))?
            }
            Step::Blob(write) => self.both(|db| outcome::blob(db, write))?,
            Step::Flush => self.both(outcome::flush)?,
            Step::End(sql) => {
                let failed = self.both(|db| outcome::sql(db, sql))?;
                if !self.plain.is_autocommit() {
                    self.both(|db| outcome::sql(db, "ROLLBACK"))?;
                }
                failed
            }
            Step::Reopen => self.reopen(),
            Step::Swap => self.swap(),
            Step::ReaderBegins => self.reader_begins()?,
            Step::ReaderEnds => self.reader_ends()?,
            Step::Compare => self.compare()?,
        };
        if self.plain.is_autocommit() {
            self.glance(number)?;
        }
        Ok(failed)
    }

    fn both(&self, run: impl Fn(&Connection) -> Outcome) -> Result<bool, String> {
        let (plain, verso) = (run(&self.plain), run(&self.verso));
        same(&plain, &verso, "the outcome differs")?;
        Ok(plain.failed())
    }

    fn reopen(&mut self) -> bool {
        for db in [
            &mut self.plain,
            &mut self.verso,
            &mut self.plain_reader,
            &mut self.reader,
        ] {
            // The old one closes, with whatever is open in it.
            *db = Connection::open_in_memory().expect("an empty database opens");
        }
        self.plain = open_plain(&self.folder, &self.setup);
        self.verso = open_verso(&self.store.path(), &self.setup);
        self.plain_reader = open_plain(&self.folder, &self.setup);
        let path = reader_path(&self.folder, &self.store, &self.setup);
        self.reader = open_verso(&path, &self.setup);
        self.held = None;
        false
    }

    fn swap(&mut self) -> bool {
        if self.held.is_none() && self.plain.is_autocommit() {
            std::mem::swap(&mut self.plain, &mut self.plain_reader);
            std::mem::swap(&mut self.verso, &mut self.reader);
        }
        false
    }

    fn reader_begins(&mut self) -> Result<bool, String> {
        if self.held.is_none() && self.plain.is_autocommit() {
            succeed(&self.reader, "BEGIN")?;
            self.held = Some(content(&self.reader, "main"));
        }
        Ok(false)
    }

    fn reader_ends(&mut self) -> Result<bool, String> {
        if let Some(held) = self.held.take() {
            let now = content(&self.reader, "main");
            no_difference(&held, &now, "the reader's snapshot changed")?;
            succeed(&self.reader, "COMMIT")?;
        }
        Ok(false)
    }

    fn compare(&self) -> Result<bool, String> {
        for schema in ["main", "aux", "temp"] {
            let (plain, verso) = (content(&self.plain, schema), content(&self.verso, schema));
            no_difference(&plain, &verso, schema)?;
            if schema != "temp" && self.held.is_none() && self.plain.is_autocommit() {
                let (plain, reader) = (&self.plain_reader, content(&self.reader, schema));
                let plain = content(plain, schema);
                no_difference(&plain, &reader, &format!("the reader's {schema}"))?;
            }
        }
        Ok(false)
    }

    /// A quick look by the reader after every commit.
    fn glance(&self, number: usize) -> Result<(), String> {
        if !self.verso.is_autocommit() {
            return Err("only Verso is inside a transaction".to_owned());
        }
        if self.held.is_some() {
            return Ok(());
        }
        let table = number % 5;
        for sql in [
            "SELECT count(*), total(rootpage) FROM main.sqlite_schema".to_owned(),
            format!("SELECT count(*), total(length(c)), total(id) FROM main.t{table}"),
            "SELECT count(*), total(length(c)), total(id) FROM aux.u0".to_owned(),
        ] {
            let plain = format!("{:?}", dump::rows(&self.plain_reader, &sql));
            let reader = format!("{:?}", dump::rows(&self.reader, &sql));
            no_difference(&plain, &reader, &format!("the reader's {sql}"))?;
        }
        Ok(())
    }
}

/// What a connection sees of a database.
fn content(db: &Connection, schema: &str) -> String {
    // Integrity checks use an outdated copy of a full-text table's structure after a change
    // by another connection, until a query renews it, in plain SQLite too.
    let _ = dump::rows(db, "SELECT count(*) FROM main.f0");
    dump::schema(db, schema)
}

fn open_plain(folder: &TempDir, setup: &Setup) -> Connection {
    let path = |name| folder.path().join(name).display().to_string();
    let db = Connection::open(path("main.db")).expect("plain SQLite opens");
    let mode = match setup.journal_mode {
        "wal" => "delete",
        other => other,
    };
    set_up(&db, &path("aux.db"), setup, mode);
    db
}

/// The same store under another URL is another store to the process: it shares no cache,
/// and all commits are somebody else's.
fn reader_path(folder: &TempDir, store: &TestStore, setup: &Setup) -> PathBuf {
    if setup.apart {
        folder.path().join("alias").join("store.db")
    } else {
        store.path()
    }
}

fn open_verso(path: &Path, setup: &Setup) -> Connection {
    let uri = |name| verso_tests::uri(path, name, "");
    let db = verso_tests::open(&uri("main.db")).expect("Verso opens");
    set_up(&db, &uri("aux.db"), setup, setup.journal_mode);
    db
}

fn set_up(db: &Connection, aux: &str, setup: &Setup, journal_mode: &str) {
    for pragma in setup.pragmas(journal_mode) {
        dump::rows(db, &pragma).expect("a pragma of the setup");
    }
    if setup.attached {
        db.execute("ATTACH ?1 AS aux", [aux]).expect("ATTACH");
        for pragma in setup.pragmas_of_attached(journal_mode) {
            dump::rows(db, &pragma).expect("a pragma of the setup");
        }
    }
}

fn succeed(db: &Connection, sql: &str) -> Result<(), String> {
    db.execute_batch(sql)
        .map_err(|error| format!("the reader's {sql}: {error}"))
}

fn same<T: fmt::Debug + PartialEq>(plain: &T, verso: &T, what: &str) -> Result<(), String> {
    if plain == verso {
        Ok(())
    } else {
        Err(format!("{what}\n  plain: {plain:?}\n  verso: {verso:?}"))
    }
}

fn no_difference(plain: &str, verso: &str, what: &str) -> Result<(), String> {
    match dump::difference(plain, verso) {
        None => Ok(()),
        Some(difference) => Err(format!("{what}: {difference}")),
    }
}
