//! What the clients of a simulation asked for, and what they were told, in the order of events.

use std::collections::{BTreeMap, BTreeSet};

use verso_pagestore::{
    Begun, CommitError, CommitId, CommitOutcome, CommitRecord, CommitRequest, DatabaseEntry,
    DatabaseId, DatabaseName, Lease, MomentError, Origin, PageCount, PageNumber, Place, Since,
    Snapshot, Version, VersionedPage,
};

/// A place in the order of events.
pub(crate) type Moment = u64;

/// The versions of the store when something was asked for, and when it was answered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) called: Version,
    pub(crate) returned: Version,
}

impl Window {
    /// Whether something that took effect at a version did so meanwhile.
    pub(crate) fn contains(&self, version: Version) -> bool {
        self.called < version && version <= self.returned
    }
}

/// A begin that was answered.
pub(crate) struct Begin {
    pub(crate) name: DatabaseName,
    pub(crate) called: Moment,
    pub(crate) window: Window,
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
    /// The version of the store then.
    pub(crate) asked: Version,
    pub(crate) acknowledged: Vec<(Moment, CommitOutcome)>,
    pub(crate) refused: Vec<CommitError>,
}

/// What was asked of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wish {
    Create(DatabaseName, DatabaseId),
    Remove(DatabaseName),
    Rename(DatabaseName, DatabaseName),
    FinishLoad(DatabaseName, DatabaseId),
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reply {
    Done,
    /// A name is taken.
    Exists,
    /// There is no such database, or the load has ended.
    Missing,
    /// Nobody knows.
    Nothing,
}

/// A request of the catalogue.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) wish: Wish,
    pub(crate) reply: Reply,
    pub(crate) window: Window,
}

/// The load of a database.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    /// Whom its pages name as their writer.
    pub(crate) writer: CommitId,
    pub(crate) page_count: PageCount,
    pub(crate) is_copy: bool,
}

/// A look at the past.
pub(crate) struct Look {
    pub(crate) name: DatabaseName,
    pub(crate) moment: verso_pagestore::Moment,
    pub(crate) answer: Result<Snapshot, MomentError>,
    pub(crate) window: Window,
}

/// The changelog of a database up to a version.
pub(crate) struct Log {
    pub(crate) until: Version,
    pub(crate) commits: Vec<CommitRecord>,
}

/// Everything that clients saw.
#[derive(Default)]
pub(crate) struct History {
    now: Moment,
    pub(crate) begins: Vec<Begin>,
    /// Names that stood for nothing.
    pub(crate) missing: Vec<(DatabaseName, Window)>,
    /// Databases that were not there any more.
    pub(crate) gone: Vec<(DatabaseId, Window)>,
    pub(crate) reads: Vec<Read>,
    pub(crate) looks: Vec<Look>,
    pub(crate) commits: BTreeMap<CommitId, Commit>,
    pub(crate) grants: Vec<Lease>,
    /// Places in queues that were given up.
    pub(crate) left: Vec<(Place, Window)>,
    pub(crate) calls: Vec<Call>,
    pub(crate) lists: Vec<(Window, Vec<DatabaseEntry>)>,
    pub(crate) loads: BTreeMap<DatabaseId, Load>,
    /// Versions that loads were told they have made.
    pub(crate) finished: Vec<(DatabaseId, Version)>,
    /// Loads that had ended.
    pub(crate) ended: Vec<(DatabaseId, Window)>,
    /// What was copied last, and to which name.
    pub(crate) copied: Option<(DatabaseName, Origin, PageCount)>,
    /// Databases that nobody removes before the end.
    pub(crate) lasting: BTreeSet<DatabaseId>,
    /// Changelogs as they were in the end.
    pub(crate) logs: BTreeMap<DatabaseId, Log>,
}

impl History {
    /// The next moment.
    pub(crate) fn tick(&mut self) -> Moment {
        self.now += 1;
        self.now
    }

    /// A commit is about to be asked for.
    pub(crate) fn commit(&mut self, request: &CommitRequest, asked: Version) {
        let called = self.tick();
        self.commits.entry(request.id).or_insert_with(|| Commit {
            request: request.clone(),
            called,
            asked,
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
