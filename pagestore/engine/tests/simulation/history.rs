//! What the clients of a simulation asked for, and what they were told, in the order of events.

use std::collections::{BTreeMap, BTreeSet};

use verso_pagestore::{
    Begun, CommitError, CommitId, CommitOutcome, CommitRecord, CommitRequest, DatabaseId, Lease,
    PageNumber, Since, Snapshot, Version, VersionedPage,
};

/// A place in the order of events.
pub(crate) type Moment = u64;

/// A begin that was answered.
pub(crate) struct Begin {
    pub(crate) called: Moment,
    pub(crate) returned: Moment,
    pub(crate) since: Option<Since>,
    pub(crate) begun: Begun,
}

/// A read that was answered.
pub(crate) struct Read {
    pub(crate) snapshot: Snapshot,
    pub(crate) pages: Vec<PageNumber>,
    pub(crate) answer: Vec<VersionedPage>,
}

/// A commit that was asked for at least once.
pub(crate) struct Commit {
    pub(crate) request: CommitRequest,
    /// When it was first asked for.
    pub(crate) called: Moment,
    pub(crate) acknowledged: Vec<(Moment, CommitOutcome)>,
    pub(crate) refused: Vec<CommitError>,
}

/// Everything that clients saw.
#[derive(Default)]
pub(crate) struct History {
    now: Moment,
    pub(crate) begins: Vec<Begin>,
    pub(crate) reads: Vec<Read>,
    pub(crate) commits: BTreeMap<CommitId, Commit>,
    pub(crate) grants: Vec<Lease>,
    /// Databases that nobody removes before the end.
    pub(crate) lasting: BTreeSet<DatabaseId>,
    /// Databases that are known to be gone from a moment on.
    pub(crate) removed: BTreeMap<DatabaseId, Moment>,
    /// Changelogs as they were in the end.
    pub(crate) logs: BTreeMap<DatabaseId, Vec<CommitRecord>>,
}

impl History {
    /// The next moment.
    pub(crate) fn tick(&mut self) -> Moment {
        self.now += 1;
        self.now
    }

    pub(crate) fn begun(&mut self, called: Moment, since: Option<Since>, begun: Begun) {
        let returned = self.tick();
        self.begins.push(Begin {
            called,
            returned,
            since,
            begun,
        });
    }

    /// A commit is about to be asked for.
    pub(crate) fn commit(&mut self, request: &CommitRequest) {
        let called = self.tick();
        self.commits.entry(request.id).or_insert_with(|| Commit {
            request: request.clone(),
            called,
            acknowledged: Vec::new(),
            refused: Vec::new(),
        });
    }

    pub(crate) fn answered(&mut self, id: CommitId, answer: Result<CommitOutcome, CommitError>) {
        let now = self.tick();
        let commit = self.commits.get_mut(&id).expect("it was asked for");
        match answer {
            Ok(outcome) => commit.acknowledged.push((now, outcome)),
            Err(error) => commit.refused.push(error),
        }
    }

    pub(crate) fn gone(&mut self, database: DatabaseId) {
        let now = self.tick();
        self.removed.entry(database).or_insert(now);
    }

    /// Versions of each database that somebody was told of, and when.
    pub(crate) fn known_versions(&self) -> BTreeMap<DatabaseId, Vec<(Moment, Version)>> {
        let mut known: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for begin in &self.begins {
            let Snapshot {
                database, version, ..
            } = begin.begun.snapshot;
            known
                .entry(database)
                .or_default()
                .push((begin.returned, version));
        }
        for commit in self.commits.values() {
            for (moment, outcome) in &commit.acknowledged {
                for participant in &commit.request.participants {
                    if participant.change.is_some() {
                        known
                            .entry(participant.snapshot.database)
                            .or_default()
                            .push((*moment, outcome.version));
                    }
                }
            }
        }
        // Whoever was told later, knows what was the newest before.
        for versions in known.values_mut() {
            versions.sort_unstable();
            let mut newest = Version::MIN;
            for (_, version) in versions {
                newest = newest.max(*version);
                *version = newest;
            }
        }
        known
    }
}
