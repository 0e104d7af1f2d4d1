//! What a random test does, as a list that can be shown, run again and cut shorter.

use std::fmt;

/// How the databases of one run are made.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    /// `page_size` before the first table.
    pub(crate) page_size: u32,
    /// `auto_vacuum` before the first table: 0, 1 or 2.
    pub(crate) auto_vacuum: u32,
    /// `journal_mode` of every connection. Plain SQLite uses DELETE where Verso is asked
    /// for WAL: what VACUUM and backups may do differs between the two in SQLite itself.
    pub(crate) journal_mode: &'static str,
    pub(crate) synchronous: &'static str,
    /// `cache_size` in pages; small ones make transactions spill.
    pub(crate) cache_size: u32,
    pub(crate) foreign_keys: bool,
    /// Whether a second database is attached, so that transactions write both.
    pub(crate) attached: bool,
    /// Whether the two connections share nothing in memory, like those of two processes.
    pub(crate) apart: bool,
}

/// One thing to do on both sides.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Runs a statement to its end.
    Sql(String),
    /// Ends a transaction; if that fails and leaves it open, rolls it back.
    End(&'static str),
    /// Runs statements while the rows of a query are being read.
    While {
        query: String,
        statements: Vec<String>,
    },
    /// Writes into a blob, and reads it back.
    Blob(BlobWrite),
    /// `sqlite3_db_cacheflush`.
    Flush,
    /// Closes the connections and opens them again.
    Reopen,
    /// The connection that read along writes from now on, and the other one reads.
    Swap,
    /// The second connection begins a transaction, and keeps its snapshot.
    ReaderBegins,
    /// It still sees what it saw, and ends its transaction.
    ReaderEnds,
    /// Compares everything.
    Compare,
}

#[derive(Debug, Clone)]
pub(crate) struct BlobWrite {
    pub(crate) schema: &'static str,
    pub(crate) table: String,
    pub(crate) column: &'static str,
    pub(crate) rowid: i64,
    pub(crate) offset: u64,
    pub(crate) length: usize,
}

impl fmt::Display for Setup {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for pragma in self.pragmas(self.journal_mode) {
            writeln!(formatter, "{pragma};")?;
        }
        if self.apart {
            writeln!(
                formatter,
                "-- the second connection shares no cache with the first"
            )?;
        }
        if self.attached {
            writeln!(formatter, "ATTACH 'aux.db' AS aux;")?;
            for pragma in self.pragmas_of_attached(self.journal_mode) {
                writeln!(formatter, "{pragma};")?;
            }
        }
        Ok(())
    }
}

impl Setup {
    pub(crate) fn pragmas(&self, journal_mode: &str) -> Vec<String> {
        vec![
            format!("PRAGMA main.page_size = {}", self.page_size),
            format!("PRAGMA main.auto_vacuum = {}", self.auto_vacuum),
            format!("PRAGMA main.journal_mode = {journal_mode}"),
            format!("PRAGMA main.synchronous = {}", self.synchronous),
            format!("PRAGMA main.cache_size = {}", self.cache_size),
            format!("PRAGMA foreign_keys = {}", self.foreign_keys),
            "PRAGMA recursive_triggers = 0".to_owned(),
        ]
    }

    /// Those of the attached database, once it is attached.
    pub(crate) fn pragmas_of_attached(&self, journal_mode: &str) -> Vec<String> {
        vec![
            "PRAGMA aux.page_size = 1024".to_owned(),
            format!("PRAGMA aux.journal_mode = {journal_mode}"),
            format!("PRAGMA aux.synchronous = {}", self.synchronous),
            "PRAGMA aux.cache_size = 4".to_owned(),
        ]
    }
}

impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sql(sql) => write!(formatter, "{sql};"),
            Self::End(sql) => write!(formatter, "{sql}; -- or else ROLLBACK"),
            Self::While { query, statements } => {
                let statements = statements.join("; ");
                write!(formatter, "-- while reading [{query}]: {statements};")
            }
            Self::Blob(write) => write!(formatter, "-- {write:?}"),
            Self::Flush => write!(formatter, "-- sqlite3_db_cacheflush"),
            Self::Reopen => write!(formatter, "-- reopen"),
            Self::Swap => write!(formatter, "-- the connections swap roles"),
            Self::ReaderBegins => write!(formatter, "-- the reader begins"),
            Self::ReaderEnds => write!(formatter, "-- the reader ends"),
            Self::Compare => write!(formatter, "-- compare everything"),
        }
    }
}
