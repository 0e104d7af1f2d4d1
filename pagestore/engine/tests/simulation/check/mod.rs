//! What must be true of every run.
//!
//! Strict serializability is checked by the order of versions: each transaction must be what it
//! would have been if it had happened at its version all at once, and must come after everything
//! that somebody was told before it began.

mod catalogue;
mod commits;
mod moments;

use std::collections::BTreeMap;

use verso_pagestore::{Changes, DatabaseId, DatabaseName, Place, RoaringBitmap, Snapshot, Version};

use crate::history::{Begin, History, Moment, Read, Window};
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
        self.history
            .looks
            .iter()
            .try_for_each(|look| self.check_look(look))?;
        self.check_leases()?;
        self.check_logs()?;
        self.check_catalogue()?;
        self.check_loads()?;
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
        let standing = life.lease_at(whole_batches).standing();
        if snapshot.lease != standing {
            let shown = snapshot.lease;
            return Err(format!(
                "a begin shows the lease of {database} as {shown:?}, and it was {standing:?}"
            ));
        }
        self.check_name(&begin.name, &snapshot, begin.window)?;
        self.check_changes(begin)
    }

    /// A snapshot is of what its name stood for when it was read, and was not read before it was
    /// asked for.
    fn check_name(&self, name: &DatabaseName, snapshot: &Snapshot, window: Window) -> Checked {
        let seen = Version::from_commit(snapshot.read_version, u16::MAX);
        let named = self.truth.names.at(name, seen);
        if named == Some(snapshot.database) && window.called <= seen {
            return Ok(());
        }
        Err(format!(
            "{name} is {} as of {seen}, and was {named:?} then; the store was at {window:?}",
            snapshot.database
        ))
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
            .map(|it| (it.version, it.id, self.pages(it, snapshot.database)))
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

    /// The pages that a commit writes to a database: all, if it was loaded, and none if that is
    /// its creation.
    fn pages(&self, commit: &truth::Commit, database: DatabaseId) -> RoaringBitmap {
        if commit.writer != commit.id {
            let mut pages = RoaringBitmap::new();
            pages.insert_range(1..=commit.page_count.get());
            return pages;
        }
        truth::change(self.history, commit.id, database)
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
                let writer_id = writer.commit.writer;
                writer.record == shown.version
                    && content(writer_id, snapshot.database, page.get()) == shown.page
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
        let mut left = self.history.left.iter();
        left.try_for_each(|(place, window)| self.check_left(place, *window))
    }

    /// Whoever has left the queue does not hold the lease, nor gets it.
    fn check_left(&self, place: &Place, window: Window) -> Checked {
        let life = self.life(place.database)?;
        let mut hand_overs = life.hand_overs.iter();
        let Some(hand_over) = hand_overs.find(|it| it.ticket == place.ticket) else {
            return Ok(());
        };
        let after = life.lease_at(window.returned);
        let is_over = after.holder.is_none() || after.epoch != hand_over.epoch;
        if hand_over.version <= window.returned && is_over {
            return Ok(());
        }
        Err(format!(
            "{place:?} was left, {window:?}, and {hand_over:?} was to it"
        ))
    }

    /// Changelogs hold exactly the commits that took effect.
    fn check_logs(&self) -> Checked {
        for (database, log) in &self.history.logs {
            let shown: Vec<_> = log
                .commits
                .iter()
                .map(|it| (it.version, it.id, it.page_count, it.pages.clone()))
                .collect();
            let life = self.life(*database)?;
            let birth = life.birth_at(log.until);
            let commits = life.commits.iter().rev();
            let expected: Vec<_> = commits
                .filter(|it| Some(it.version) >= birth && it.version <= log.until)
                .map(|it| (it.version, it.id, it.page_count, self.pages(it, *database)))
                .collect();
            if shown != expected {
                return Err(format!(
                    "the log of {database} is {shown:?} and not {expected:?}"
                ));
            }
        }
        Ok(())
    }
}
