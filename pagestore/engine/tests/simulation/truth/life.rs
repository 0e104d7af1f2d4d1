//! The life of one database: its commits, the records of its pages, and its lease.

use std::collections::{BTreeMap, BTreeSet};

use verso_pagestore::{
    CommitId, DatabaseId, PageCount, RoaringBitmap, Ticket, UnixMillis, Version,
};

use super::lease::{HandOver, Lease};
use crate::history::Window;

/// A commit of a database.
#[derive(Clone, Copy)]
pub(crate) struct Commit {
    pub(crate) version: Version,
    pub(crate) id: CommitId,
    /// Whom its pages name as their writer: the commit, or where they were loaded from.
    pub(crate) writer: CommitId,
    pub(crate) page_count: PageCount,
    /// By the clock of its node.
    pub(crate) time: UnixMillis,
}

/// What a commit made of a page.
#[derive(Clone, Copy)]
pub(crate) struct Written {
    pub(crate) commit: Commit,
    /// The version of the page's record: the commit's, or that of a step before.
    pub(crate) record: Version,
}

/// Whether there is a database.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    Loading,
    Live,
    Removed,
}

/// The life of one database.
#[derive(Default)]
pub(crate) struct Database {
    /// In the order of versions; the first one created it.
    pub(crate) commits: Vec<Commit>,
    /// The commits that wrote each page.
    pages: BTreeMap<u32, Vec<Written>>,
    /// The page records that are stored, and who wrote them. Those above the newest commit are of
    /// one that is being published, or of a load.
    pub(crate) records: BTreeMap<(Version, u32), CommitId>,
    states: Vec<(Version, State)>,
    pub(crate) lease: Option<Lease>,
    /// The lease as it was since each version.
    pub(crate) standings: Vec<(Version, Lease)>,
    /// Who waits for it.
    pub(super) queue: BTreeMap<Ticket, [u8; 16]>,
    /// Who does not any more, since the transaction that is followed.
    pub(super) left: Vec<(Ticket, [u8; 16])>,
    pub(crate) hand_overs: Vec<HandOver>,
    /// When each holding of the lease began, by epoch.
    pub(super) leases: BTreeMap<u64, Version>,
    /// Publications that somebody else has taken over to remove them.
    pub(crate) ousted: BTreeSet<CommitId>,
    /// Attempts at publications, and at their removal.
    pub(crate) rounds: BTreeSet<(CommitId, u32, bool)>,
}

impl Database {
    /// The newest commit that a version contains.
    pub(crate) fn at(&self, version: Version) -> Option<&Commit> {
        let behind = self.commits.partition_point(|it| it.version <= version);
        self.commits.get(behind.checked_sub(1)?)
    }

    /// What a page is at a version, and since which commit.
    pub(crate) fn page_at(&self, page: u32, version: Version) -> Option<&Written> {
        let writes = self.pages.get(&page)?;
        let behind = writes.partition_point(|it| it.commit.version <= version);
        writes.get(behind.checked_sub(1)?)
    }

    /// Whether this is the only life of the database.
    pub(crate) fn is_first_life(&self) -> bool {
        let births = self.states.iter().filter(|(_, it)| *it == State::Live);
        births.count() == 1
    }

    /// The last time that it was created at or below a version.
    pub(crate) fn birth_at(&self, version: Version) -> Option<Version> {
        let mut states = self.states.iter().rev();
        let birth = states.find(|(since, it)| *since <= version && *it == State::Live);
        birth.map(|(since, _)| *since)
    }

    /// Whether it was in a state at any time within a window.
    pub(crate) fn was(&self, state: State, window: Window) -> bool {
        let behind = self
            .states
            .partition_point(|(since, _)| *since <= window.called);
        let at_first = behind.checked_sub(1).and_then(|it| self.states.get(it));
        let mut within = self
            .states
            .iter()
            .filter(|(since, _)| window.contains(*since));
        at_first.map_or(State::Removed, |(_, state)| *state) == state
            || within.any(|(_, it)| *it == state)
    }

    /// When it was removed for the first time.
    pub(crate) fn removal(&self) -> Option<Version> {
        self.removals().next()
    }

    /// When it was removed.
    pub(crate) fn removals(&self) -> impl Iterator<Item = Version> + '_ {
        let removals = self.states.iter();
        let removals = removals.filter(|(_, state)| *state == State::Removed);
        removals.map(|(since, _)| *since)
    }

    pub(crate) fn state(&self) -> State {
        self.states
            .last()
            .map_or(State::Removed, |(_, state)| *state)
    }

    /// Whether somebody took the lease over from the holder of this epoch, before a version.
    pub(crate) fn was_taken_over(&self, epoch: u64, before: Version) -> bool {
        let mut later = self.leases.range(epoch + 1..);
        later.next().is_some_and(|(_, version)| *version < before)
    }

    /// The commits above one version and below another.
    pub(crate) fn between(&self, above: Version, below: Version) -> &[Commit] {
        let first = self.commits.partition_point(|it| it.version <= above);
        let last = self.commits.partition_point(|it| it.version < below);
        self.commits.get(first..last).unwrap_or(&[])
    }

    /// Those of them that wrote a page.
    pub(crate) fn wrote_between(&self, page: u32, above: Version, below: Version) -> &[Written] {
        let writes = self.pages.get(&page).map_or(&[][..], Vec::as_slice);
        let first = writes.partition_point(|it| it.commit.version <= above);
        let last = writes.partition_point(|it| it.commit.version < below);
        writes.get(first..last).unwrap_or(&[])
    }

    /// Whether a commit took some pages from steps before it.
    pub(crate) fn is_stepwise(&self, commit: &Commit) -> bool {
        let mut writes = self.pages.values().flatten();
        writes.any(|it| it.commit.id == commit.id && it.record != commit.version)
    }

    /// The page records that no commit has made visible.
    pub(crate) fn records_above_head(
        &self,
    ) -> impl Iterator<Item = (&(Version, u32), &CommitId)> + '_ {
        let head = self.commits.last().map_or(Version::MIN, |it| it.version);
        self.records
            .range((head, u32::MAX)..)
            .filter(move |((version, _), _)| *version > head)
    }

    /// The lease as it was at a version.
    pub(crate) fn lease_at(&self, version: Version) -> Lease {
        let behind = self
            .standings
            .partition_point(|(since, _)| *since <= version);
        let standing = behind.checked_sub(1).and_then(|it| self.standings.get(it));
        standing.map_or(Lease::default(), |(_, lease)| *lease)
    }

    /// Follows a change of the lease. An error if it was handed over by nobody, or to somebody who
    /// was not the first to wait for it.
    pub(super) fn set_lease(&mut self, version: Version, lease: Lease) -> Result<(), String> {
        let before = self.lease.unwrap_or_default();
        self.leases.entry(lease.epoch).or_insert(version);
        self.ousted.extend(lease.ousts());
        if let Some(it) = lease.publication {
            self.rounds.insert((it.commit, it.round, it.is_given_up));
        }
        if lease.is_handed_over && before != lease {
            let to = self.left.iter().find(|(_, id)| Some(*id) == lease.holder);
            let is_first = |(ticket, _): &&(Ticket, [u8; 16])| {
                let mut before = self.queue.keys();
                before.all(|other| other > ticket)
            };
            let Some(&(ticket, _)) = to.filter(is_first) else {
                return Err(format!("{lease:?} was handed over to nobody in the queue"));
            };
            if before.holder.is_none() || before.epoch + 1 != lease.epoch {
                return Err(format!("{lease:?} was handed over by {before:?}"));
            }
            self.hand_overs.push(HandOver {
                version,
                epoch: lease.epoch,
                ticket,
            });
        }
        self.standings.push((version, lease));
        Ok(())
    }

    pub(super) fn enter(&mut self, version: Version, state: State) {
        if state == State::Removed {
            self.records.clear();
            self.lease = None;
            self.standings.push((version, Lease::default()));
        }
        if self.state() != state {
            self.states.push((version, state));
        }
    }

    /// Adds a commit of these pages. An error if its page records are not all there, or others
    /// are, which it would make visible.
    pub(super) fn add(&mut self, commit: Commit, pages: &RoaringBitmap) -> Result<(), String> {
        let Commit {
            version,
            id,
            writer,
            ..
        } = commit;
        if let Some(lease) = &self.lease
            && lease.publication.is_some_and(|it| it.commit != id)
        {
            return Err(format!("{id} was committed within {lease:?}"));
        }
        let mut found = BTreeMap::new();
        for (&(record, page), &of) in self.records_above_head() {
            if of != writer || !pages.contains(page) {
                return Err(format!("{id} shows page {page} of {of}, of {record}"));
            }
            // A load stores a page again where it does not know of the first time.
            if found.insert(page, record).is_some() && writer == id {
                return Err(format!("{id} leaves two records of page {page}"));
            }
        }
        let at_once = found.values().filter(|record| **record == version);
        let at_once = at_once.count() as u64;
        if found.len() as u64 != pages.len() || (at_once != 0 && at_once != pages.len()) {
            return Err(format!(
                "{id} wrote {pages:?}, and has the records {found:?}"
            ));
        }
        for (page, record) in found {
            let writes = self.pages.entry(page).or_default();
            writes.push(Written { commit, record });
        }
        self.commits.push(commit);
        Ok(())
    }

    /// Follows page records that are cleared. Those of commits are kept for ever.
    pub(super) fn clear(
        &mut self,
        database: DatabaseId,
        is_cleared: impl Fn(u32, Version) -> bool,
    ) -> Result<(), String> {
        let head = self.commits.last().map_or(Version::MIN, |it| it.version);
        let keys = self.records.keys().copied();
        let cleared: Vec<_> = keys
            .filter(|(version, page)| is_cleared(*page, *version))
            .collect();
        for (version, page) in cleared {
            if version <= head {
                return Err(format!(
                    "page {page} of {database} was cleared, of {version}, and {head} is committed"
                ));
            }
            self.records.remove(&(version, page));
        }
        Ok(())
    }
}
