//! Names and loads: every answer was true while it was asked for, and nothing happens that nobody
//! asked for, or that was refused.

use std::collections::BTreeSet;

use verso_pagestore::{DatabaseId, DatabaseName, Version};

use super::{Checked, Checker};
use crate::history::{Call, Reply, Window, Wish};
use crate::truth::State;

impl Checker<'_> {
    pub(super) fn check_catalogue(&self) -> Checked {
        let names = &self.truth.names;
        for (name, window) in &self.history.missing {
            if !names.was(name, *window, |id| id.is_none()) {
                return Err(format!("{name} was not found, {window:?}"));
            }
        }
        for (database, window) in &self.history.gone {
            let removal = self.life(*database)?.removal();
            if removal.is_none_or(|removal| removal > window.returned) {
                return Err(format!("{database} was said to be removed, {window:?}"));
            }
        }
        for (window, shown) in &self.history.lists {
            let shown: Vec<_> = shown.iter().map(|it| (it.name.clone(), it.id)).collect();
            let turns = names.turns(*window);
            if !turns.into_iter().any(|turn| names.all_at(turn) == shown) {
                return Err(format!("a list shows {shown:?}, {window:?}"));
            }
        }
        let mut calls = self.history.calls.iter();
        calls.try_for_each(|call| {
            let is_right = self.is_right(call);
            is_right
                .then_some(())
                .ok_or(format!("this is not so: {call:?}"))
        })?;
        self.check_counts()
    }

    /// Whether an answer is true.
    fn is_right(
        &self,
        Call {
            wish,
            reply,
            window,
        }: &Call,
    ) -> bool {
        let names = &self.truth.names;
        let was_free = |name| names.was(name, *window, |id| id.is_none());
        let was_taken = |name| names.was(name, *window, |id| id.is_some());
        let was = |id: &DatabaseId, state| {
            let life = self.truth.databases.get(id);
            life.is_some_and(|life| life.was(state, *window))
        };
        match (wish, reply) {
            (_, Reply::Nothing) => true,
            (Wish::Create(name, id), Reply::Done) => names.was(name, *window, |it| it == Some(*id)),
            // It may have been finished by an attempt before, and renamed.
            (Wish::FinishLoad(name, id), Reply::Done) => {
                let life = self.truth.databases.get(id);
                let birth = life.and_then(|life| life.birth_at(window.returned));
                was(id, State::Live) && birth.and_then(|it| names.at(name, it)) == Some(*id)
            }
            // It may have been made by an attempt before, and renamed.
            (Wish::Create(name, id), Reply::Exists) => was_taken(name) || was(id, State::Live),
            (Wish::FinishLoad(name, id), Reply::Exists) => {
                names.was(name, *window, |it| it.is_some_and(|it| it != *id))
            }
            (Wish::Create(..), Reply::Missing) | (Wish::Remove(_), Reply::Exists) => false,
            (Wish::FinishLoad(_, id), Reply::Missing) => {
                was(id, State::Removed) || was(id, State::Live)
            }
            (Wish::Remove(name) | Wish::Rename(name, _), Reply::Missing) => was_free(name),
            (Wish::Remove(name), Reply::Done) => self.was_removed(name, *window),
            (Wish::Rename(from, to), Reply::Done) => {
                let mut renames = names.renames.iter();
                renames.any(|it| window.contains(it.version) && (&it.from, &it.to) == (from, to))
            }
            (Wish::Rename(_, to), Reply::Exists) => was_taken(to),
        }
    }

    /// Whether a database that had a name within a window was removed within it.
    fn was_removed(&self, name: &DatabaseName, window: Window) -> bool {
        let removals = self.truth.databases.iter();
        let mut removed = removals.filter(|(_, life)| {
            let mut removals = life.removals();
            removals.any(|version| window.contains(version))
        });
        let names = &self.truth.names;
        removed.any(|(id, _)| names.was(name, window, |it| it == Some(*id)))
    }

    /// Nothing was done that nobody asked for, nor to more databases than it was asked for. What
    /// others have undone before its client hears of it may be done again: it looks as before.
    fn check_counts(&self) -> Checked {
        let names = &self.truth.names;
        let renames = names.renames.iter().map(|it| {
            let wish = Wish::Rename(it.from.clone(), it.to.clone());
            (wish, it.database, it.version)
        });
        let removals = names.removals.iter().map(|it| {
            let wish = Wish::Remove(it.name.clone());
            (wish, it.database, it.version)
        });
        let mut done: Vec<(Wish, BTreeSet<DatabaseId>)> = Vec::new();
        for (wish, database, version) in renames.chain(removals) {
            let asked = || self.not_refused(&wish);
            if !asked().any(|call| may_have_done(call, version)) {
                return Err(format!("{wish:?} took effect at {version}, uncalled-for"));
            }
            match done.iter_mut().find(|(other, _)| *other == wish) {
                Some((_, databases)) => {
                    databases.insert(database);
                    if databases.len() > asked().count() {
                        return Err(format!("{wish:?} was done to {databases:?}"));
                    }
                }
                None => done.push((wish, BTreeSet::from([database]))),
            }
        }
        Ok(())
    }

    fn not_refused(&self, wish: &Wish) -> impl Iterator<Item = &Call> {
        let calls = self.history.calls.iter();
        calls.filter(move |call| {
            call.wish == *wish && matches!(call.reply, Reply::Done | Reply::Nothing)
        })
    }

    pub(super) fn check_loads(&self) -> Checked {
        for (id, window) in &self.history.ended {
            let life = self.truth.databases.get(id);
            let was = |state| life.is_none_or(|life| life.was(state, *window));
            if !was(State::Removed) && !was(State::Live) {
                return Err(format!("the load of {id} had not ended, {window:?}"));
            }
        }
        for (id, version) in &self.history.finished {
            let life = self.life(*id)?;
            if life.birth_at(*version) != Some(*version) {
                return Err(format!("the load of {id} did not end at {version}"));
            }
        }
        for call in &self.history.calls {
            self.check_finish(call)?;
        }
        Ok(())
    }

    /// What was refused did not appear by that very request. Copies may be finished by others.
    fn check_finish(&self, call: &Call) -> Checked {
        let (Wish::FinishLoad(_, id), Reply::Exists | Reply::Missing) = (&call.wish, call.reply)
        else {
            return Ok(());
        };
        let is_copy = self.history.loads.get(id).is_some_and(|load| load.is_copy);
        let birth = self.life(*id)?.birth_at(Version::MAX);
        if !is_copy && birth.is_some_and(|birth| call.window.contains(birth)) {
            return Err(format!("it has appeared: {call:?}"));
        }
        Ok(())
    }
}

/// Whether something that took effect at a version may have done so by this request. What nobody
/// heard of may still be on its way when its node is dead.
fn may_have_done(call: &Call, version: Version) -> bool {
    match call.reply {
        Reply::Done => call.window.contains(version),
        Reply::Nothing => call.window.called < version,
        Reply::Exists | Reply::Missing => false,
    }
}
