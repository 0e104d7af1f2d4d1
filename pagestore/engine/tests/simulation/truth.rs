//! What really happened: the databases as the store's own journal has them.

use std::collections::BTreeMap;

use verso_engine::kv::sim::Applied;
use verso_pagestore::{CommitId, DatabaseId, PageCount, Version};

use crate::history::History;
use crate::pages::written;

/// A commit of a database.
#[derive(Clone, Copy)]
pub(crate) struct Commit {
    pub(crate) version: Version,
    pub(crate) id: CommitId,
    pub(crate) page_count: PageCount,
}

/// The life of one database.
#[derive(Default)]
pub(crate) struct Database {
    /// In the order of versions; the first one created it.
    pub(crate) commits: Vec<Commit>,
    /// The commits that wrote each page.
    pages: BTreeMap<u32, Vec<Commit>>,
    /// When each holding of the lease began, by epoch.
    leases: BTreeMap<u64, Version>,
    /// When it was created. More than once if its creator did not hear of the first time, and
    /// somebody removed it before the creator asked again.
    births: Vec<Version>,
    is_removed: bool,
}

impl Database {
    /// The newest commit that a version contains.
    pub(crate) fn at(&self, version: Version) -> Option<&Commit> {
        newest(&self.commits, version)
    }

    /// The commit that wrote a page as it is at a version.
    pub(crate) fn page_at(&self, page: u32, version: Version) -> Option<&Commit> {
        newest(self.pages.get(&page)?, version)
    }

    /// Whether this is the only life of the database.
    pub(crate) fn is_first_life(&self) -> bool {
        self.births.len() == 1
    }

    /// The last time that it was created at or below a version.
    pub(crate) fn birth_at(&self, version: Version) -> Option<Version> {
        let behind = self.births.partition_point(|birth| *birth <= version);
        self.births.get(behind.checked_sub(1)?).copied()
    }

    /// Whether somebody took the lease over from the holder of this epoch, before a version.
    pub(crate) fn was_taken_over(&self, epoch: u64, before: Version) -> bool {
        let mut later = self.leases.range(epoch + 1..);
        later.next().is_some_and(|(_, version)| *version < before)
    }

    /// The commits above one version and below another.
    pub(crate) fn between(&self, above: Version, below: Version) -> &[Commit] {
        between(&self.commits, above, below)
    }

    /// Those of them that wrote a page.
    pub(crate) fn wrote_between(&self, page: u32, above: Version, below: Version) -> &[Commit] {
        self.pages
            .get(&page)
            .map_or(&[], |commits| between(commits, above, below))
    }
}

fn newest(commits: &[Commit], version: Version) -> Option<&Commit> {
    let behind = commits.partition_point(|commit| commit.version <= version);
    commits.get(behind.checked_sub(1)?)
}

fn between(commits: &[Commit], above: Version, below: Version) -> &[Commit] {
    let first = commits.partition_point(|commit| commit.version <= above);
    let last = commits.partition_point(|commit| commit.version < below);
    commits.get(first..last).unwrap_or(&[])
}

/// All databases that there ever were.
#[derive(Default)]
pub(crate) struct Truth {
    pub(crate) databases: BTreeMap<DatabaseId, Database>,
    /// Where each commit took effect.
    pub(crate) commits: BTreeMap<CommitId, BTreeMap<DatabaseId, Version>>,
}

impl Truth {
    /// Follows the journal. An error if it holds what nobody asked for, or something twice.
    pub(crate) fn new(applied: &[Applied], history: &History) -> Result<Self, String> {
        let mut truth = Self::default();
        for transaction in applied {
            for (key, value) in &transaction.sets {
                if let Some((database, rest)) = in_database(key) {
                    truth.set(database, transaction.version, (rest, value), history)?;
                }
            }
            for (database, life) in &mut truth.databases {
                let info = [b"d", database.get().to_be_bytes().as_slice(), b"i"].concat();
                life.is_removed |= transaction.clears.iter().any(|it| it.contains(&info));
            }
        }
        Ok(truth)
    }

    /// Follows a key of a database that was set.
    fn set(
        &mut self,
        database: DatabaseId,
        version: Version,
        (key, value): (&[u8], &[u8]),
        history: &History,
    ) -> Result<(), String> {
        let life = self.databases.entry(database).or_default();
        match key {
            b"i" => {
                life.births.push(version);
                life.is_removed = false;
            }
            _ if life.is_removed => {
                return Err(format!("{key:?} of {database} was set, which was removed"));
            }
            [b'l', stamp @ ..] if stamp.len() == Version::LENGTH => {
                self.add(database, version, commit_id(value)?, history)?;
            }
            b"w" => {
                let epoch = value.get(1..9).and_then(|epoch| epoch.try_into().ok());
                let epoch = u64::from_be_bytes(epoch.ok_or("a lease is too short")?);
                life.leases.entry(epoch).or_insert(version);
            }
            _ => {}
        }
        Ok(())
    }

    fn add(
        &mut self,
        database: DatabaseId,
        version: Version,
        id: CommitId,
        history: &History,
    ) -> Result<(), String> {
        let life = self.databases.entry(database).or_default();
        let commit = |page_count| Commit {
            version,
            id,
            page_count,
        };
        if life.births.last() == Some(&version) {
            life.commits.push(commit(PageCount::ZERO));
            return Ok(());
        }
        let change = history.commits.get(&id).and_then(|commit| {
            let mut parts = commit.request.participants.iter();
            let part = parts.find(|part| part.snapshot.database == database)?;
            part.change.as_ref()
        });
        let Some(change) = change else {
            return Err(format!(
                "{id} changed {database}, and nobody asked for that"
            ));
        };
        life.commits.push(commit(change.page_count));
        for page in written(change) {
            let commits = life.pages.entry(page).or_default();
            commits.push(commit(change.page_count));
        }
        let places = self.commits.entry(id).or_default();
        match places.insert(database, version) {
            Some(twice) => Err(format!("{id} took effect at {twice} and at {version}")),
            None => Ok(()),
        }
    }
}

/// The database in a key, and what follows (see `docs/format.md`).
pub(crate) fn in_database(key: &[u8]) -> Option<(DatabaseId, &[u8])> {
    let (id, rest) = key.strip_prefix(b"d")?.split_first_chunk()?;
    Some((DatabaseId::new(u64::from_be_bytes(*id)), rest))
}

fn commit_id(record: &[u8]) -> Result<CommitId, String> {
    let id = record.get(9..25).and_then(|id| id.try_into().ok());
    id.map(CommitId::from_bytes)
        .ok_or_else(|| "a commit record is too short".to_owned())
}
