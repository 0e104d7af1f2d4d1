//! What goes wrong in a simulation, and how long things take.

use crate::kv::KvError;
use crate::kv::seeded::Seeded;

/// How often things go wrong, so many times of 10 000 calls, and how commits meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Faults {
    /// A call is answered with [`KvError::Again`].
    pub again: u64,
    /// A call is answered with [`KvError::TooOld`].
    pub too_old: u64,
    /// A commit is refused with [`KvError::Conflict`] for no reason that its sender knows.
    pub conflict: u64,
    /// The sender of a commit is told [`KvError::CommitUnknown`]. The commit takes effect before
    /// that, or long after, or never.
    pub unknown: u64,
    /// The node that makes a call dies in the middle of it.
    pub death: u64,
    /// A call takes very long: up to longer than a transaction may live.
    pub slow: u64,
    /// Commits that arrive within up to so many microseconds share a commit version.
    pub batch: u64,
}

impl Faults {
    /// Nothing goes wrong.
    pub const NONE: Self = Self {
        again: 0,
        too_old: 0,
        conflict: 0,
        unknown: 0,
        death: 0,
        slow: 0,
        batch: 1,
    };

    /// The weather of a seed: some are calm, and some are stormy.
    #[must_use]
    pub fn of_seed(seed: u64) -> Self {
        let mut random = Seeded::new(seed ^ 0x0057_ea74_e500);
        let mut up_to = |most: u64| {
            let storm = random.below(4);
            random.below(most * storm / 3 + 1)
        };
        Self {
            again: up_to(40),
            too_old: up_to(150),
            conflict: up_to(300),
            unknown: up_to(2500),
            death: up_to(150),
            slow: up_to(100),
            batch: 1 + up_to(60_000),
        }
    }

    /// The error that a call meets, if any.
    pub(super) fn of_call(&self, random: &mut Seeded) -> Option<KvError> {
        if random.happens(self.again) {
            Some(KvError::Again("the future is not here yet".into()))
        } else if random.happens(self.too_old) {
            Some(KvError::TooOld)
        } else {
            None
        }
    }

    /// What becomes of a commit.
    pub(super) fn of_commit(&self, random: &mut Seeded) -> Fate {
        if random.happens(self.unknown) {
            // A third never arrives.
            let arrives = random.below(3) > 0;
            return Fate::Unknown { arrives };
        }
        if random.happens(self.conflict) {
            return Fate::Refused(KvError::Conflict);
        }
        self.of_call(random).map_or(Fate::Decided, Fate::Refused)
    }

    /// How long a call is under way, in microseconds.
    pub(super) fn delay(&self, random: &mut Seeded) -> u64 {
        let most = match random.below(100) {
            _ if random.happens(self.slow) => 7_000_000,
            0..4 => 40_000,
            _ => 2_000,
        };
        50 + random.below(most)
    }

    /// How long until a commit of unknown result takes effect, or its sender gives up waiting.
    pub(super) fn long_delay(random: &mut Seeded) -> u64 {
        let most = match random.below(10) {
            0 => 6_000_000,
            1..4 => 200_000,
            _ => 10_000,
        };
        50 + random.below(most)
    }
}

/// What becomes of a commit.
#[derive(Debug)]
pub(super) enum Fate {
    /// The store decides, and says so.
    Decided,
    /// It is not looked at.
    Refused(KvError),
    /// The sender does not hear of it.
    Unknown {
        /// Whether the store ever does.
        arrives: bool,
    },
}
