//! How a transaction of several statements begins.

use crate::session::Session;

/// The attempts of a transaction, as `docs/transactions.md` recommends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Transaction {
    is_optimistic: bool,
    attempt: u32,
}

/// After so many conflicts a transaction waits for its turn.
const OPTIMISTIC: u32 = 3;

impl Transaction {
    /// The first attempt. In SQLite and libSQL a plain `BEGIN` cannot be upgraded once another has
    /// committed, so there it waits for its turn at once.
    pub(crate) fn new(session: &Session) -> Self {
        Self {
            is_optimistic: !matches!(session, Session::Plain { .. } | Session::LibraryFile { .. }),
            attempt: 0,
        }
    }

    /// The statement.
    pub(crate) fn begin(self) -> &'static str {
        if self.is_optimistic && self.attempt < OPTIMISTIC {
            "BEGIN"
        } else {
            "BEGIN IMMEDIATE"
        }
    }

    /// It did not commit.
    pub(crate) fn failed(&mut self) {
        self.attempt += 1;
    }

    /// It did.
    pub(crate) fn done(&mut self) {
        self.attempt = 0;
    }
}
