//! What must be true of every run.
//!
//! Strict serializability is checked by the order of versions: each transaction must be what it
//! would have been if it had happened at its version all at once, and must come after everything
//! that somebody was told before it began.

use std::collections::BTreeMap;

use verso_pagestore::{
    Changes, CommitError, CommitId, CommitOutcome, Conflict, DatabaseId, Participant,
    RoaringBitmap, Version,
};

use crate::history::{Begin, Commit, History, Moment, Read};
use crate::pages::{content, written};
use crate::truth::{self, Truth};

type Checked = Result<(), String>;

/// A run that is over: what clients saw, and what happened.
pub(crate) struct Checker<'a> {
    history: &'a History,
    truth: &'a Truth,
    known: BTreeMap<DatabaseId, Vec<(Moment, Version)>>,
}

impl<'a> Checker<'a> {
    pub(crate) fn new(history: &'a History, truth: &'a Truth) -> Self {
        Self {
            history,
            truth,
            known: history.known_versions(),
        }
    }

    pub(crate) fn check(&self) -> Checked {
        self.history
            .begins
            .iter()
            .try_for_each(|begin| self.check_begin(begin))?;
        self.history
            .reads
            .iter()
            .try_for_each(|read| self.check_read(read))?;
        self.check_leases()?;
        self.check_logs()?;
        self.history
            .commits
            .values()
            .try_for_each(|commit| self.check_commit(commit))
            .map_err(|error| format!("strict serializability: {error}"))
    }

    fn life(&self, database: DatabaseId) -> Result<&truth::Database, String> {
        let life = self.truth.databases.get(&database);
        life.ok_or_else(|| format!("{database} was never created"))
    }

    /// The newest version that anybody had been told of.
    fn floor(&self, database: DatabaseId, at: Moment) -> Version {
        let Some(known) = self.known.get(&database) else {
            return Version::MIN;
        };
        let before = known.partition_point(|(moment, _)| *moment < at);
        before
            .checked_sub(1)
            .and_then(|last| known.get(last))
            .map_or(Version::MIN, |(_, version)| *version)
    }

    /// A begin shows exactly what its read version contains, and all that was known before.
    fn check_begin(&self, begin: &Begin) -> Checked {
        let snapshot = begin.begun.snapshot;
        let database = snapshot.database;
        let life = self.life(database)?;
        let whole_batches = Version::from_commit(snapshot.read_version, u16::MAX);
        let newest = life
            .at(whole_batches)
            .map(|commit| (commit.version, commit.id, commit.page_count));
        let shown = (snapshot.version, snapshot.commit, snapshot.page_count);
        if newest != Some(shown) {
            return Err(format!(
                "a begin shows {shown:?} of {database}, and {newest:?} is the newest"
            ));
        }
        let floor = self.floor(database, begin.called);
        if snapshot.version < floor {
            let version = snapshot.version;
            return Err(format!(
                "a begin shows {version}, and {floor} was known before"
            ));
        }
        if self.was_gone(database, begin.called) {
            return Err(format!(
                "a begin shows {database}, which was removed before"
            ));
        }
        self.check_changes(begin)
    }

    fn was_gone(&self, database: DatabaseId, at: Moment) -> bool {
        let removed = self.history.removed.get(&database);
        let life = self.truth.databases.get(&database);
        let removed = removed.filter(|_| life.is_some_and(truth::Database::is_first_life));
        removed.is_some_and(|removed| *removed < at)
    }

    fn check_changes(&self, begin: &Begin) -> Checked {
        let (Some(since), snapshot) = (begin.since, begin.begun.snapshot) else {
            return Ok(());
        };
        let shown: Vec<_> = match &begin.begun.changes {
            Changes::Unknown => return Ok(()),
            Changes::Diverged
                if !self.is_same_life(snapshot.database, since.version, snapshot.version)? =>
            {
                return Ok(());
            }
            Changes::Diverged => return Err(format!("{} has diverged", snapshot.database)),
            Changes::Commits(commits) => commits
                .iter()
                .map(|it| (it.version, it.commit, it.pages.clone()))
                .collect(),
        };
        let life = self.life(snapshot.database)?;
        let commits = life.between(since.version, snapshot.version).iter().chain(
            life.at(snapshot.version)
                .filter(|newest| newest.version > since.version),
        );
        let expected: Vec<_> = commits
            .map(|it| (it.version, it.id, self.pages(it.id, snapshot.database)))
            .collect();
        if shown == expected {
            return Ok(());
        }
        Err(format!(
            "changes since {since:?}: {shown:?} and not {expected:?}"
        ))
    }

    /// Whether a database was not removed and created anew between two versions.
    fn is_same_life(
        &self,
        database: DatabaseId,
        one: Version,
        other: Version,
    ) -> Result<bool, String> {
        let life = self.life(database)?;
        Ok(life.birth_at(one) == life.birth_at(other))
    }

    /// The pages that a commit writes to a database; none if that is its creation.
    fn pages(&self, id: CommitId, database: DatabaseId) -> RoaringBitmap {
        let commit = self.history.commits.get(&id);
        let part = commit.and_then(|commit| {
            let mut parts = commit.request.participants.iter();
            parts.find(|part| part.snapshot.database == database)
        });
        part.and_then(|part| part.change.as_ref())
            .map(written)
            .unwrap_or_default()
    }

    /// Pages are whole, and neither older nor newer than the snapshot.
    fn check_read(&self, read: &Read) -> Checked {
        let snapshot = read.snapshot;
        let life = self.life(snapshot.database)?;
        for (page, shown) in read.pages.iter().zip(&read.answer) {
            let writer = life.page_at(page.get(), snapshot.version);
            let is_right = writer.is_some_and(|writer| {
                writer.version == shown.version
                    && content(writer.id, snapshot.database, page.get()) == shown.page
            });
            if !is_right {
                return Err(format!(
                    "page {page} of {} at {} is not what was written: it is shown as of {}",
                    snapshot.database, snapshot.version, shown.version
                ));
            }
        }
        Ok(())
    }

    /// No holding of a lease is granted to two.
    fn check_leases(&self) -> Checked {
        let mut holders = BTreeMap::new();
        for lease in &self.history.grants {
            // Whose database was created anew begins to count anew, and its ids tell.
            if !self.life(lease.database)?.is_first_life() {
                continue;
            }
            let holder = holders
                .entry((lease.database, lease.epoch))
                .or_insert(lease.id);
            if *holder != lease.id {
                return Err(format!("{lease:?} was granted to {holder}, too"));
            }
        }
        Ok(())
    }

    /// Changelogs hold exactly the commits that took effect.
    fn check_logs(&self) -> Checked {
        for (database, log) in &self.history.logs {
            let shown: Vec<_> = log
                .iter()
                .map(|it| (it.version, it.id, it.page_count, it.pages.clone()))
                .collect();
            let life = self.life(*database)?;
            let birth = life.birth_at(Version::MAX);
            let commits = life.commits.iter().rev();
            let expected: Vec<_> = commits
                .filter(|it| Some(it.version) >= birth)
                .map(|it| {
                    (
                        it.version,
                        it.id,
                        it.page_count,
                        self.pages(it.id, *database),
                    )
                })
                .collect();
            if shown != expected {
                return Err(format!(
                    "the log of {database} is {shown:?} and not {expected:?}"
                ));
            }
        }
        Ok(())
    }

    fn check_commit(&self, commit: &Commit) -> Checked {
        let id = commit.request.id;
        let took_effect = self.truth.commits.get(&id);
        for error in &commit.refused {
            self.check_refusal(commit, error, took_effect.is_some())?;
        }
        for (_, outcome) in &commit.acknowledged {
            self.check_acknowledged(commit, *outcome)?;
        }
        let Some(places) = took_effect else {
            return Ok(());
        };
        let parts = commit.request.participants.iter();
        let changed = parts.filter(|part| part.change.is_some()).count();
        let Some(version) = places.values().next().copied() else {
            return Ok(());
        };
        if places.len() != changed || places.values().any(|other| *other != version) {
            return Err(format!("{id} took effect in parts: {places:?}"));
        }
        let mut parts = commit.request.participants.iter();
        parts.try_for_each(|part| self.check_part(commit, part, version))
    }

    /// Nothing that a transaction depends on changed between its snapshot and itself.
    fn check_part(&self, commit: &Commit, part: &Participant, version: Version) -> Checked {
        let snapshot = part.snapshot;
        let (id, database) = (commit.request.id, snapshot.database);
        let life = self.life(database)?;
        if !self.is_same_life(database, snapshot.version, version)? {
            return Err(format!(
                "{id} changed {database}, which was created anew since"
            ));
        }
        for page in &read_set(part) {
            if let Some(other) = life.wrote_between(page, snapshot.version, version).first() {
                return Err(format!(
                    "{id} read {database} at {} and committed at {version}, but {} changed page \
                     {page} at {}",
                    snapshot.version, other.id, other.version
                ));
            }
        }
        if part.lease.is_some()
            && let Some(other) = life.between(snapshot.version, version).first()
        {
            let other = other.id;
            return Err(format!(
                "{other} changed {database} while {id} held its lease"
            ));
        }
        if part.change.is_some() && version <= self.floor(database, commit.called) {
            return Err(format!(
                "{id} is older than what was known before it was asked for"
            ));
        }
        Ok(())
    }

    fn check_acknowledged(&self, commit: &Commit, outcome: CommitOutcome) -> Checked {
        let id = commit.request.id;
        for part in &commit.request.participants {
            let database = part.snapshot.database;
            if self.was_gone(database, commit.called) {
                return Err(format!(
                    "{id} was acknowledged, and {database} was gone before"
                ));
            }
            if part.change.is_none() {
                continue;
            }
            let places = self.truth.commits.get(&id);
            let version = places.and_then(|places| places.get(&database));
            if version != Some(&outcome.version) {
                return Err(format!(
                    "{id} was acknowledged at {} and took effect at {version:?}",
                    outcome.version
                ));
            }
        }
        Ok(())
    }

    /// What was refused did not happen, and for a reason.
    fn check_refusal(&self, commit: &Commit, error: &CommitError, happened: bool) -> Checked {
        let id = commit.request.id;
        let mut changed = commit.request.participants.iter();
        let lasts = |part: &Participant| {
            part.change.is_some() && self.history.lasting.contains(&part.snapshot.database)
        };
        // Once all databases that it changed are gone, nothing tells whether it took effect.
        if happened && changed.any(lasts) {
            return Err(format!(
                "{id} took effect, and its client was told: {error}"
            ));
        }
        match error {
            CommitError::Conflict(conflict) => self.check_conflict(commit, conflict),
            CommitError::LeaseLost { database } => self.check_lost(commit, *database, Version::MAX),
            CommitError::Removed { .. } => Ok(()),
            CommitError::Leased { .. }
            | CommitError::TooLarge { .. }
            | CommitError::Invalid { .. }
            | CommitError::Store(_)
            | CommitError::Unknown { .. } => Err(format!("{error} is no lasting answer")),
        }
    }

    /// A commit without a lease, or one that had lost it before a version.
    fn check_lost(&self, commit: &Commit, database: DatabaseId, before: Version) -> Checked {
        let (id, life) = (commit.request.id, self.life(database)?);
        let mut leases = commit
            .request
            .participants
            .iter()
            .filter_map(|part| part.lease);
        let lease = leases.find(|lease| lease.database == database);
        match lease {
            Some(lease) if !life.was_taken_over(lease.epoch, before) => Err(format!(
                "{id} held its lease, and was told that it lost it, or of a conflict"
            )),
            _ => Ok(()),
        }
    }

    fn check_conflict(&self, commit: &Commit, conflict: &Conflict) -> Checked {
        let id = commit.request.id;
        let mut parts = commit.request.participants.iter();
        let part = parts
            .find(|part| part.snapshot.database == conflict.database)
            .ok_or_else(|| format!("{id} conflicts in {}", conflict.database))?;
        // Who holds the lease loses to nobody.
        self.check_lost(commit, conflict.database, conflict.winner)?;
        let page = conflict.page.get();
        let life = self.life(conflict.database)?;
        let winner = life.page_at(page, conflict.winner);
        let is_real = winner.is_some_and(|winner| winner.version == conflict.winner)
            && conflict.winner > part.snapshot.version
            && read_set(part).contains(page);
        if is_real {
            return Ok(());
        }
        let version = part.snapshot.version;
        Err(format!(
            "{id} read at {version}, and this is no conflict: {conflict:?}"
        ))
    }
}

/// What a transaction depends on in a database: all that it read, and if it changes something
/// also what it overwrites, and page 1.
fn read_set(part: &Participant) -> RoaringBitmap {
    let mut pages = part.reads.clone();
    if let Some(change) = &part.change {
        pages |= written(change);
        pages.insert(1);
    }
    pages
}
