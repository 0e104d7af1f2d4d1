//! What names stood for, as the store's journal has it.

use std::collections::BTreeMap;

use verso_engine::kv::sim::Applied;
use verso_pagestore::{DatabaseId, DatabaseName, Version};

use super::{in_database, key_in_database};
use crate::history::Window;

/// A database that was removed.
pub(crate) struct Removal {
    pub(crate) version: Version,
    pub(crate) database: DatabaseId,
    pub(crate) name: DatabaseName,
}

/// A database that got another name.
pub(crate) struct Rename {
    pub(crate) version: Version,
    pub(crate) database: DatabaseId,
    pub(crate) from: DatabaseName,
    pub(crate) to: DatabaseName,
}

/// All names that there ever were.
#[derive(Default)]
pub(crate) struct Names {
    states: BTreeMap<DatabaseName, Vec<(Version, Option<DatabaseId>)>>,
    /// The name that stands for each database.
    of: BTreeMap<DatabaseId, DatabaseName>,
    pub(crate) removals: Vec<Removal>,
    pub(crate) renames: Vec<Rename>,
}

impl Names {
    /// What a name stood for at a version.
    pub(crate) fn at(&self, name: &DatabaseName, version: Version) -> Option<DatabaseId> {
        let states = self.states.get(name)?;
        let behind = states.partition_point(|(since, _)| *since <= version);
        states.get(behind.checked_sub(1)?)?.1
    }

    /// Whether a name stood for something of a kind at any time within a window.
    pub(crate) fn was(
        &self,
        name: &DatabaseName,
        window: Window,
        is_such: impl Fn(Option<DatabaseId>) -> bool,
    ) -> bool {
        let states = self.states.get(name).map_or(&[][..], Vec::as_slice);
        let mut within = states.iter().filter(|(since, _)| window.contains(*since));
        is_such(self.at(name, window.called)) || within.any(|(_, id)| is_such(*id))
    }

    /// What stood in the catalogue at a version.
    pub(crate) fn all_at(&self, version: Version) -> Vec<(DatabaseName, DatabaseId)> {
        let names = self.states.keys();
        names
            .filter_map(|name| Some((name.clone(), self.at(name, version)?)))
            .collect()
    }

    /// The versions within a window at which a name changed, and its begin.
    pub(crate) fn turns(&self, window: Window) -> Vec<Version> {
        let versions = self.states.values().flatten().map(|(version, _)| *version);
        let within = versions.filter(|version| window.contains(*version));
        within.chain([window.called]).collect()
    }

    /// Follows a transaction. An error if a name is lost, or taken from somebody.
    pub(super) fn follow(&mut self, applied: &Applied) -> Result<(), String> {
        let version = applied.version;
        let is_cleared = |key: &[u8]| applied.clears.iter().any(|range| range.contains(key));
        let mut given = BTreeMap::new();
        for (key, id) in &applied.sets {
            if let Some(name) = key.strip_prefix(b"n") {
                given.insert(name_of(name)?, database_of(id)?);
            }
        }
        let own_names = self.of.values();
        let lost: Vec<_> = own_names
            .filter(|name| is_cleared(&[b"n", name.as_str().as_bytes()].concat()))
            .cloned()
            .collect();
        for from in lost {
            let id = self.set(&from, version, None);
            let id = id.ok_or_else(|| format!("{from} stood for nothing"))?;
            self.of.remove(&id);
            match given.iter().find(|(_, other)| **other == id) {
                Some((to, _)) => self.renames.push(Rename {
                    version,
                    database: id,
                    from,
                    to: to.clone(),
                }),
                None if is_cleared(&key_in_database(id, b"i")) => self.removals.push(Removal {
                    version,
                    database: id,
                    name: from,
                }),
                None => return Err(format!("{id} has lost its name {from}")),
            }
        }
        for (name, id) in given {
            if let Some(other) = self.set(&name, version, Some(id)) {
                return Err(format!("{name} was taken from {other}, for {id}"));
            }
            if let Some(other) = self.of.insert(id, name.clone()) {
                return Err(format!("{id} is {other} and {name}"));
            }
            let mut sets = applied.sets.iter();
            let own = sets.find(|(key, _)| in_database(key) == Some((id, b"n")));
            if own.is_none_or(|(_, own)| own != name.as_str().as_bytes()) {
                return Err(format!("{id} does not know that it is {name}"));
            }
        }
        Ok(())
    }

    /// Lets a name stand for something else. The answer is what it stood for.
    fn set(
        &mut self,
        name: &DatabaseName,
        version: Version,
        id: Option<DatabaseId>,
    ) -> Option<DatabaseId> {
        let states = self.states.entry(name.clone()).or_default();
        let before = states.last().and_then(|(_, id)| *id);
        states.push((version, id));
        before
    }
}

fn name_of(bytes: &[u8]) -> Result<DatabaseName, String> {
    DatabaseName::from_utf8(bytes).map_err(|error| error.to_string())
}

fn database_of(bytes: &[u8]) -> Result<DatabaseId, String> {
    let bytes = bytes.try_into().map_err(|_| "a name stands for no id")?;
    Ok(DatabaseId::new(u64::from_be_bytes(bytes)))
}
