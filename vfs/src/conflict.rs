//! Conflicts, explained: which database, page and table it was, and which version won.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;

use parking_lot::Mutex;
use verso_pagestore::{DatabaseName, PageNumber, Version};

pub use crate::owner::Owner;

/// A commit was refused because another transaction had changed what it read or wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The database.
    pub database: DatabaseName,
    /// A page that this transaction read or wrote, and the other one wrote.
    pub page: PageNumber,
    /// What the page belongs to.
    pub owner: Owner,
    /// The version that the other transaction made.
    pub winner: Version,
}

impl fmt::Display for Conflict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            database,
            page,
            owner,
            winner,
        } = self;
        write!(
            formatter,
            "conflict in database {database}: version {winner} changed page {page} ({owner}), which \
             this transaction read or wrote; nothing of it was committed"
        )
    }
}

thread_local! {
    static LAST: RefCell<Option<Conflict>> = const { RefCell::new(None) };
}

/// How many conflicts a process remembers.
const MOST_RECENT: usize = 100;

static RECENT: Mutex<VecDeque<Conflict>> = Mutex::new(VecDeque::new());

/// The last conflicts that connections of this process lost, newest first.
pub(crate) fn recent() -> Vec<Conflict> {
    RECENT.lock().iter().cloned().collect()
}

/// Tells of a conflict, and keeps it for [`last_conflict`].
pub(crate) fn tell(conflict: &Conflict) {
    let Conflict {
        database,
        page,
        owner,
        winner,
    } = conflict;
    tracing::debug!(%database, %page, %owner, %winner, "conflict");
    let mut recent = RECENT.lock();
    recent.truncate(MOST_RECENT - 1);
    recent.push_front(conflict.clone());
    drop(recent);
    // A conflict while the thread ends has nobody to tell.
    let _ = LAST.try_with(|last| *last.borrow_mut() = Some(conflict.clone()));
}

/// The last conflict that a connection lost on this thread, also if SQLite ran the statement
/// again by itself and it went well then.
#[must_use]
pub fn last_conflict() -> Option<Conflict> {
    LAST.try_with(|last| last.borrow().clone()).ok().flatten()
}
