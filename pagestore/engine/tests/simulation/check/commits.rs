//! Commits: their places in the order of versions, and their answers.

use verso_pagestore::{
    CommitError, CommitOutcome, Conflict, DatabaseId, Participant, RoaringBitmap, Version,
};

use super::{Checked, Checker};
use crate::history::Commit;
use crate::pages::written;

impl Checker<'_> {
    pub(super) fn check_commit(&self, commit: &Commit) -> Checked {
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
                    snapshot.version, other.commit.id, other.commit.version
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
            let life = self.life(database)?;
            let gone = life.removal().filter(|_| life.is_first_life());
            if gone.is_some_and(|gone| gone <= commit.asked) {
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
            CommitError::Removed { database } => match self.life(*database)?.removal() {
                Some(_) => Ok(()),
                None => Err(format!("{id} was told that {database} was removed")),
            },
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
            // It is published under a lease of its own.
            None if before == Version::MAX && !life.ousted.contains(&id) => Err(format!(
                "{id} was told that it lost its lease, and nobody took it"
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
        let is_real = winner.is_some_and(|it| it.commit.version == conflict.winner)
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
