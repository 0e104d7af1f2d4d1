//! What a connection is doing, as far as its running statements tell.

use crate::sql::{begins_with_keyword, calls_function, contains_ignoring_case};

/// A statement that a connection is running.
pub(crate) struct Running<'a> {
    /// Its text; `None` for an open blob handle.
    pub(crate) text: Option<&'a [u8]>,
    /// `sqlite3_stmt_readonly`.
    pub(crate) is_read_only: bool,
    /// Whether it hands out rows.
    pub(crate) has_columns: bool,
    /// `SQLITE_STMTSTATUS_VM_STEP`: what it has done up to the begin of the present call of
    /// `sqlite3_step`.
    pub(crate) steps: i32,
}

impl Running<'_> {
    /// Whether it is one of the pragmas that count as writing and change no page.
    fn sets_up_files(&self) -> bool {
        let text = self.text.unwrap_or_default();
        begins_with_keyword(text, b"PRAGMA")
            && (contains_ignoring_case(text, b"journal_mode")
                || contains_ignoring_case(text, b"checkpoint"))
    }

    /// Whether it rewrites the database, by statements that it runs inside.
    fn is_vacuum(&self) -> bool {
        let text = self.text.unwrap_or_default();
        begins_with_keyword(text, b"VACUUM") && !contains_ignoring_case(text, b"INTO")
    }
}

/// Which statements share what they read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// All of a transaction that was begun.
    Transaction,
    /// A single one, in its call of `sqlite3_step` that began with so many steps done. A
    /// later call may only look so: while another statement is prepared.
    Statement {
        /// `SQLITE_STMTSTATUS_VM_STEP`.
        steps: i32,
    },
    /// None: several run, and each is a transaction of its own.
    Several,
}

impl Scope {
    /// Of a connection that runs these statements.
    pub(crate) const fn of(running: &[Running<'_>], is_autocommit: bool) -> Self {
        match (is_autocommit, running) {
            (false, _) => Self::Transaction,
            (true, [Running { steps, .. }]) => Self::Statement { steps: *steps },
            (true, _) => Self::Several,
        }
    }
}

/// What a connection is doing when it takes a lock or commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activity {
    /// It reads, ends a transaction, or prepares statements.
    Reading,
    /// `BEGIN IMMEDIATE` or `BEGIN EXCLUSIVE`, which promise that the commit will not fail.
    BeginsToWrite,
    /// One statement that is a transaction of its own, and that SQLite runs again by itself
    /// when it is told that the schema has changed: `sqlite3_step` does so for all statements,
    /// but only these come to the same then.
    Repeatable,
    /// A statement that is a transaction of its own, and that must not run twice.
    Unrepeatable,
    /// Anything else that writes: inside a transaction, beside another statement, or through a
    /// blob handle.
    Writing,
}

/// Statements that come to the same when they are run again after a rollback.
const REPEATABLE: [&[u8]; 8] = [
    b"INSERT", b"UPDATE", b"DELETE", b"REPLACE", b"WITH", b"CREATE", b"DROP", b"ALTER",
];

impl Activity {
    /// Of a connection that runs these statements.
    pub(crate) fn of(running: &[Running<'_>], is_autocommit: bool) -> Self {
        if running.iter().any(Running::is_vacuum) {
            return Self::Unrepeatable;
        }
        let Some(writer) = running.iter().find(|statement| !statement.is_read_only) else {
            return Self::Reading;
        };
        let Some(text) = writer.text else {
            return Self::Writing;
        };
        if begins_with_keyword(text, b"BEGIN") {
            return Self::BeginsToWrite;
        }
        if !is_autocommit || writer.sets_up_files() {
            return Self::Writing;
        }
        // Its rows are handed out before it commits, whatever runs beside it, and many drivers
        // do not look at what becomes of a cursor when they close it.
        if writer.has_columns {
            return Self::Unrepeatable;
        }
        if running.len() > 1 {
            return Self::Writing;
        }
        let is_repeatable = REPEATABLE
            .iter()
            .any(|keyword| begins_with_keyword(text, keyword));
        // A failed attempt would be counted by changes() and total_changes().
        if is_repeatable && !calls_function(text, b"changes") {
            Self::Repeatable
        } else {
            Self::Unrepeatable
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement(text: &str) -> Running<'_> {
        Running {
            text: Some(text.as_bytes()),
            is_read_only: text.starts_with("SELECT"),
            has_columns: text.starts_with("SELECT") || text.contains("RETURNING"),
            steps: 0,
        }
    }

    fn alone(text: &str) -> Activity {
        Activity::of(&[statement(text)], true)
    }

    #[test]
    fn statements_of_their_own() {
        for text in [
            "INSERT INTO t VALUES (1)",
            " -- why\n update t SET n = n + 1",
            "DELETE FROM t",
            "REPLACE INTO t VALUES (1)",
            "WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x",
            "CREATE TABLE t (n)",
            "DROP TABLE t",
            "ALTER TABLE t ADD COLUMN m",
            "UPDATE changes SET exchanges = 1",
        ] {
            assert_eq!(alone(text), Activity::Repeatable, "{text}");
        }
        for text in [
            "INSERT INTO t VALUES (1) RETURNING n",
            "UPDATE t SET n = changes()",
            "UPDATE t SET n = total_CHANGES ( )",
            "UPDATE t SET n = \"changes\" /**/ ()",
            "VACUUM",
            "REINDEX",
            "ANALYZE",
            "PRAGMA user_version = 1",
        ] {
            assert_eq!(alone(text), Activity::Unrepeatable, "{text}");
        }
        assert_eq!(alone("SELECT 1"), Activity::Reading);
        assert_eq!(alone("BEGIN IMMEDIATE"), Activity::BeginsToWrite);
        assert_eq!(alone("begin exclusive"), Activity::BeginsToWrite);
        assert_eq!(alone("PRAGMA journal_mode = DELETE"), Activity::Writing);
        assert_eq!(Activity::of(&[], true), Activity::Reading);
    }

    #[test]
    fn a_vacuum_is_known_by_the_statement_around() {
        let inside = || statement("INSERT INTO vacuum_db.t SELECT * FROM t");
        let both = [inside(), statement("VACUUM")];
        assert_eq!(Activity::of(&both, false), Activity::Unrepeatable);
        let copy = [inside(), statement("vacuum main into 'x'")];
        assert_eq!(Activity::of(&copy, false), Activity::Writing);
    }

    #[test]
    fn statements_in_company_are_not_run_again() {
        let update = || statement("UPDATE t SET n = 1");
        let both = [statement("SELECT 1"), update()];
        assert_eq!(Activity::of(&both, true), Activity::Writing);
        assert_eq!(Activity::of(&[update()], false), Activity::Writing);
        let blob = Running {
            text: None,
            is_read_only: false,
            has_columns: false,
            steps: 0,
        };
        assert_eq!(Activity::of(&[blob], true), Activity::Writing);
        let both = [
            statement("SELECT 1"),
            statement("DELETE FROM t RETURNING n"),
        ];
        assert_eq!(Activity::of(&both, true), Activity::Unrepeatable);
        assert_eq!(Activity::of(&both, false), Activity::Writing);
    }
}
