//! How the statements of a connection fare against those of others: when one that SQLite runs
//! again by itself stops being optimistic and queues for the writer lease.

use crate::error::VfsError;

/// After so many losses in a row a statement runs under the writer lease.
const LOSSES_BEFORE_LEASE: u32 = 2;

/// So often in a row a statement may find the lease held, and wait until it is free, before it
/// queues for it.
const MOST_BLOCKED: u32 = 3;

/// SQLite runs a statement again 25 times at most, newer ones 50 times
/// (`SQLITE_MAX_SCHEMA_RETRY`).
const MOST_ATTEMPTS: u32 = 20;

/// What a statement does that begins while somebody else holds the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WhenLeased {
    /// It runs. The lease may be free when it commits, or it may write nothing.
    Run,
    /// It waits until the lease is free, and runs without it.
    Wait,
    /// It queues for the lease.
    Queue,
}

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
    /// How often in a row a statement has lost to another commit.
    losses: u32,
    /// How often in a row one found the lease held, and had not lost before.
    blocked: u32,
    /// Of the last transaction.
    turn: Turn,
    /// Whether the last transaction had lost and then stood in the queue. While there is one, whoever
    /// comes without a lease meets it, so the next statement queues without a look at it.
    queues_again: bool,
}

impl Contention {
    /// Whether the next statement is to run under the lease.
    pub(super) const fn needs_lease(&self) -> bool {
        self.queues_again || self.losses >= LOSSES_BEFORE_LEASE || self.blocked >= MOST_BLOCKED
    }

    /// What the next statement does if it begins while somebody else holds the lease.
    pub(super) const fn when_leased(&self) -> WhenLeased {
        match (self.losses, self.blocked) {
            (0, 0) => WhenLeased::Run,
            (0, _) => WhenLeased::Wait,
            _ => WhenLeased::Queue,
        }
    }

    /// A transaction begins.
    pub(super) fn begin(&mut self, turn: Turn) {
        self.turn = turn;
        // Nobody else takes turns. It may never end as one that wrote.
        self.queues_again &= turn != Turn::AtOnce;
    }

    /// A statement lost. Says whether SQLite may run it again.
    pub(super) fn lose(&mut self, error: &VfsError) -> bool {
        // Those who only meet a lease do not need it. If each of them took its turn, others would
        // meet them, and all would go on one after the other for ever.
        if !matches!(error, VfsError::Leased) {
            self.losses += 1;
        } else if self.losses == 0 {
            self.blocked += 1;
        } else {
            self.losses = LOSSES_BEFORE_LEASE.max(self.losses + 1);
        }
        self.losses + self.blocked < MOST_ATTEMPTS
    }

    /// A transaction that wrote has ended, and was not refused; told for each of its databases. Who has lost to others and then
    /// waited for its turn would lose again, so it takes turns until it gets one at once.
    pub(super) fn end(&mut self) {
        self.losses = match self.turn {
            Turn::Waited => self.losses.min(LOSSES_BEFORE_LEASE - 1),
            Turn::AtOnce | Turn::None => 0,
        };
        self.queues_again = self.losses > 0;
        self.blocked = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_losses_lead_to_the_queue() {
        let mut contention = Contention::default();
        assert_eq!(contention.when_leased(), WhenLeased::Run);
        assert!(contention.lose(&VfsError::Overtaken) && !contention.needs_lease());
        assert_eq!(contention.when_leased(), WhenLeased::Queue);
        assert!(contention.lose(&VfsError::Overtaken) && contention.needs_lease());
        let mut contention = Contention::default();
        contention.lose(&VfsError::Overtaken);
        assert!(contention.lose(&VfsError::Leased) && contention.needs_lease());
    }

    #[test]
    fn whoever_only_meets_a_lease_waits_until_it_is_free_but_not_for_ever() {
        let mut contention = Contention::default();
        for _ in 1..MOST_BLOCKED {
            assert!(contention.lose(&VfsError::Leased) && !contention.needs_lease());
            assert_eq!(contention.when_leased(), WhenLeased::Wait);
        }
        assert!(contention.lose(&VfsError::Leased) && contention.needs_lease());
        // After its turn it is as before.
        contention.begin(Turn::Waited);
        contention.end();
        assert_eq!(contention.when_leased(), WhenLeased::Run);
    }

    #[test]
    fn whoever_lost_and_waited_takes_turns_until_it_gets_one_at_once() {
        let mut contention = Contention::default();
        contention.lose(&VfsError::Overtaken);
        contention.lose(&VfsError::Overtaken);
        for _ in 0..5 {
            contention.begin(Turn::Waited);
            contention.end();
            assert!(contention.needs_lease());
        }
        contention.begin(Turn::AtOnce);
        assert!(!contention.needs_lease());
        for turn in [Turn::AtOnce, Turn::None] {
            let mut contention = Contention {
                losses: 1,
                queues_again: true,
                ..Contention::default()
            };
            contention.begin(turn);
            contention.end();
            assert!(!contention.needs_lease(), "{turn:?}");
            assert_eq!(contention.when_leased(), WhenLeased::Run, "{turn:?}");
        }
    }

    #[test]
    fn nobody_is_run_again_for_ever() {
        for error in [VfsError::Overtaken, VfsError::Leased] {
            let mut contention = Contention::default();
            let again = (0..100).take_while(|_| contention.lose(&error));
            assert_eq!(again.count(), 19);
        }
    }
}
