//! Looks at the past show what was there, whenever they are made.

use verso_pagestore::{DatabaseId, Moment, MomentError, Snapshot, Version};

use super::{Checked, Checker};
use crate::history::{Look, Window};
use crate::truth::{Commit, Database};

impl Checker<'_> {
    pub(super) fn check_look(&self, look: &Look) -> Checked {
        match &look.answer {
            Ok(snapshot) => self.check_shown(look, snapshot),
            Err(error) => self.check_not_shown(look, error),
        }
    }

    fn check_shown(&self, look: &Look, snapshot: &Snapshot) -> Checked {
        self.check_name(&look.name, snapshot, look.window)?;
        let life = self.life(snapshot.database)?;
        let seen = Version::from_commit(snapshot.read_version, u16::MAX);
        let past = past(life, seen);
        let shown = past.iter().find(|it| it.version == snapshot.version);
        let is_such = |it: &Commit| {
            (it.id, it.page_count) == (snapshot.commit, snapshot.page_count)
                && is_asked_for(past, it, look.moment)
        };
        if shown.is_some_and(is_such) {
            return Ok(());
        }
        Err(format!("{} of {} is {snapshot:?}", look.moment, look.name))
    }

    fn check_not_shown(&self, look: &Look, error: &MomentError) -> Checked {
        let Window { called, returned } = look.window;
        let stood_for = |is_such: &dyn Fn(DatabaseId, Version) -> bool| {
            let turns = self.truth.names.turns(look.window);
            turns.into_iter().any(|turn| {
                let id = self.truth.names.at(&look.name, turn);
                id.is_some_and(|id| is_such(id, turn))
            })
        };
        let lacks = |id: DatabaseId, turn: Version| {
            let life = self.truth.databases.get(&id);
            let past = life.map_or(&[][..], |life| past(life, turn));
            match look.moment {
                Moment::Version(version) => past.iter().all(|it| it.version != version),
                Moment::ReadVersion(version) => {
                    let last = Version::from_commit(version, u16::MAX);
                    past.first().is_none_or(|it| it.version > last)
                }
                Moment::Time(time) => past.first().is_none_or(|it| it.time > time),
            }
        };
        let is_right = match error {
            MomentError::NoSuchDatabase { name } => {
                self.truth.names.was(name, look.window, |id| id.is_none())
            }
            MomentError::NoSuchVersion { .. } => {
                !matches!(look.moment, Moment::Time(_)) && stood_for(&lacks)
            }
            MomentError::TooEarly { .. } => {
                matches!(look.moment, Moment::Time(_)) && stood_for(&lacks)
            }
            MomentError::Store(_) => true,
        };
        if is_right {
            return Ok(());
        }
        let (name, moment) = (&look.name, look.moment);
        Err(format!(
            "{moment} of {name} was refused from {called} to {returned}: {error}"
        ))
    }
}

/// The commits that a database had at a version.
fn past(life: &Database, seen: Version) -> &[Commit] {
    let from = life.birth_at(seen).unwrap_or(Version::MAX);
    let first = life.commits.partition_point(|it| it.version < from);
    let last = life.commits.partition_point(|it| it.version <= seen);
    life.commits.get(first..last).unwrap_or(&[])
}

/// Whether one of these commits is the state that a moment names.
fn is_asked_for(past: &[Commit], shown: &Commit, moment: Moment) -> bool {
    let newest = |is_such: &dyn Fn(&Commit) -> bool| {
        let newest = past.iter().rev().find(|it| is_such(it));
        newest.is_some_and(|newest| newest.version == shown.version)
    };
    match moment {
        Moment::Version(version) => shown.version == version,
        Moment::ReadVersion(version) => {
            newest(&|it| it.version <= Version::from_commit(version, u16::MAX))
        }
        // Where times do not rise with versions, any commit that is not later may be meant.
        Moment::Time(time) if past.is_sorted_by_key(|it| it.time) => newest(&|it| it.time <= time),
        Moment::Time(time) => shown.time <= time,
    }
}
