//! How the statements of a connection fare against those of others: when one that SQLite runs
//! again by itself stops being optimistic and queues for the writer lease.

use crate::error::VfsError;

/// After so many losses in a row a statement runs under the writer lease.
const LOSSES_BEFORE_LEASE: u32 = 2;

/// How many statements a connection commits without the lease after it waited for one.
const FREE_COMMITS: u32 = 3;

/// SQLite runs a statement again 25 times at most, newer ones 50 times
/// (`SQLITE_MAX_SCHEMA_RETRY`).
const MOST_LOSSES: u32 = 20;

/// How a transaction came to the lease that it began under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Turn {
    /// It has none.
    #[default]
    None,
    /// It got it when it asked.
    AtOnce,
    /// It stood in the queue.
    Waited,
}

/// The losses of a connection, in a row.
#[derive(Debug, Default)]
pub(super) struct Contention {
    /// How often in a row a statement has lost.
    losses: u32,
    turn: Turn,
    /// How many more statements may commit without the lease; `None` while nobody queues.
    free_commits: Option<u32>,
}

impl Contention {
    /// Whether the next statement is to run under the lease.
    pub(super) const fn needs_lease(&self) -> bool {
        self.losses >= LOSSES_BEFORE_LEASE
    }

    /// A transaction begins.
    pub(super) const fn begin(&mut self, turn: Turn) {
        self.turn = turn;
    }

    /// A statement lost. Says whether SQLite may run it again.
    pub(super) fn lose(&mut self, error: &VfsError) -> bool {
        self.losses += 1;
        if matches!(error, VfsError::Leased) {
            // Somebody holds the lease: the next attempt queues for it.
            self.losses = self.losses.max(LOSSES_BEFORE_LEASE);
        }
        self.losses < MOST_LOSSES
    }

    /// A transaction that wrote has ended, and was not refused. Between two holders of a lease that others wait for, an
    /// optimistic statement gets ahead of them, which uses the time and is not fair. So few of
    /// them may, and one loss ends it, until the lease is to be had at once again.
    pub(super) fn end(&mut self) {
        self.free_commits = match (std::mem::take(&mut self.turn), self.free_commits) {
            (Turn::Waited, _) => Some(FREE_COMMITS),
            (Turn::AtOnce, _) | (Turn::None, None) => None,
            (Turn::None, Some(left)) => Some(left.saturating_sub(1)),
        };
        self.losses = match self.free_commits {
            Some(0) => LOSSES_BEFORE_LEASE,
            Some(_) => LOSSES_BEFORE_LEASE - 1,
            None => 0,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_losses_or_one_meeting_with_a_lease_lead_to_the_queue() {
        let mut contention = Contention::default();
        assert!(contention.lose(&VfsError::Overtaken) && !contention.needs_lease());
        assert!(contention.lose(&VfsError::Overtaken) && contention.needs_lease());
        let mut contention = Contention::default();
        assert!(contention.lose(&VfsError::Leased) && contention.needs_lease());
    }

    #[test]
    fn whoever_waited_gets_ahead_of_the_queue_three_times() {
        let mut contention = Contention::default();
        contention.begin(Turn::Waited);
        contention.end();
        for _ in 0..FREE_COMMITS {
            assert!(!contention.needs_lease());
            contention.begin(Turn::None);
            contention.end();
        }
        assert!(contention.needs_lease());
        contention.begin(Turn::AtOnce);
        contention.end();
        assert!(!contention.needs_lease(), "nobody queues any more");
    }

    #[test]
    fn nobody_is_run_again_for_ever() {
        let mut contention = Contention::default();
        let again = (0..100).take_while(|_| contention.lose(&VfsError::Overtaken));
        assert_eq!(again.count(), 19);
    }
}
