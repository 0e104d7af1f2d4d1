//! What really happened: the databases as the store's own journal has them.

mod lease;
mod life;
mod names;

use std::collections::BTreeMap;

use verso_engine::kv::sim::Applied;
use verso_pagestore::{
    Change, CommitId, DatabaseId, PageCount, RoaringBitmap, Ticket, UnixMillis, Version,
};

use crate::history::History;
use crate::pages::written;

pub(crate) use life::{Commit, Database, State};
pub(crate) use names::Names;

use lease::{Lease, holder_of};

/// All databases that there ever were.
#[derive(Default)]
pub(crate) struct Truth {
    pub(crate) databases: BTreeMap<DatabaseId, Database>,
    /// Where each commit took effect.
    pub(crate) commits: BTreeMap<CommitId, BTreeMap<DatabaseId, Version>>,
    pub(crate) names: Names,
    /// How many transactions it has followed.
    followed: usize,
}

impl Truth {
    /// Follows the journal from where it was. An error if it holds what nobody asked for, or
    /// something twice.
    pub(crate) fn go_on(&mut self, journal: &[Applied], history: &History) -> Result<(), String> {
        for transaction in journal.get(self.followed..).unwrap_or_default() {
            self.follow(transaction, history)
                .map_err(|error| format!("at {}: {error}", transaction.version))?;
            self.followed += 1;
        }
        Ok(())
    }

    fn follow(&mut self, transaction: &Applied, history: &History) -> Result<(), String> {
        let version = transaction.version;
        self.names.follow(transaction)?;
        self.clear(transaction)?;
        // Commits come last: what they make visible is in the same transaction, or before.
        let is_commit = |rest: &[u8]| rest.first() == Some(&b'l');
        for pass in [false, true] {
            for (key, value) in &transaction.sets {
                match in_database(key) {
                    Some((database, rest)) if is_commit(rest) && pass => {
                        self.add(database, version, value, history)?;
                    }
                    Some((database, rest)) if !is_commit(rest) && !pass => {
                        self.set(database, transaction, (rest, value), history)?;
                    }
                    _ => {}
                }
            }
        }
        for (database, lease) in leases(transaction)? {
            let published = lease.publication.map(|it| it.commit);
            let places = published.and_then(|id| self.commits.get(&id));
            if places.is_some_and(|places| places.contains_key(&database)) {
                return Err(format!("{lease:?} goes on, and it is committed"));
            }
            self.databases.entry(database).or_default().lease = Some(lease);
        }
        Ok(())
    }

    fn clear(&mut self, transaction: &Applied) -> Result<(), String> {
        for (database, life) in &mut self.databases {
            life.left.clear();
            for range in &transaction.clears {
                let key = |ticket: &Ticket| {
                    key_in_database(*database, &[b"q", &ticket.0.as_bytes()[..]].concat())
                };
                let gone = life
                    .queue
                    .extract_if(.., |ticket, _| range.contains(&key(ticket)));
                life.left.extend(gone);
                if range.contains(&key_in_database(*database, b"i")) {
                    life.enter(transaction.version, State::Removed);
                }
                if in_database(&range.begin)
                    .is_none_or(|(id, rest)| id != *database || rest.first() != Some(&b'p'))
                {
                    continue;
                }
                let key = |page: u32, version: Version| {
                    let page = page.to_be_bytes();
                    key_in_database(*database, &[b"p", &page[..], version.as_bytes()].concat())
                };
                life.clear(*database, |page, version| {
                    range.contains(&key(page, version))
                })?;
            }
        }
        Ok(())
    }

    /// Follows a key of a database that was set.
    fn set(
        &mut self,
        database: DatabaseId,
        transaction: &Applied,
        (key, value): (&[u8], &[u8]),
        history: &History,
    ) -> Result<(), String> {
        let version = transaction.version;
        let life = self.databases.entry(database).or_default();
        match key {
            b"i" if value.get(1) == Some(&1) => life.enter(version, State::Loading),
            b"i" => life.enter(version, State::Live),
            // In the same transaction as the info, in whatever order.
            b"n" => {}
            _ if life.state() == State::Removed => {
                return Err(format!("{key:?} of {database} was set, which was removed"));
            }
            b"m" => life.set_lease(version, Lease::decode(value)?)?,
            [b'q', ticket @ ..] => {
                let ticket = ticket.try_into().map_err(|_| "a ticket is no version")?;
                let id = holder_of(value).ok_or("a place is of nobody")?;
                life.queue.insert(Ticket(Version::from_bytes(ticket)), id);
            }
            [b'p', rest @ ..] => {
                let writer = writer(life, transaction, database, history)?;
                let (page, record) = rest.split_first_chunk().ok_or("a short key")?;
                let record = record.try_into().map(Version::from_bytes);
                let record = record.map_err(|_| format!("{key:?} has no version"))?;
                let page = u32::from_be_bytes(*page);
                life.records.insert((record, page), writer);
            }
            _ => {}
        }
        Ok(())
    }

    fn add(
        &mut self,
        database: DatabaseId,
        version: Version,
        record: &[u8],
        history: &History,
    ) -> Result<(), String> {
        let life = self.databases.entry(database).or_default();
        let (id, time) = (commit_id(record)?, time(record)?);
        let commit = |writer, page_count| Commit {
            version,
            id,
            writer,
            page_count,
            time,
        };
        if life.birth_at(Version::MAX) == Some(version) {
            let Some(load) = history.loads.get(&database) else {
                let nothing = RoaringBitmap::new();
                return life.add(commit(id, PageCount::ZERO), &nothing);
            };
            let mut pages = RoaringBitmap::new();
            pages.insert_range(1..=load.page_count.get());
            return life.add(commit(load.writer, load.page_count), &pages);
        }
        let change = change(history, id, database)
            .ok_or_else(|| format!("{id} changed {database}, and nobody asked for that"))?;
        life.add(commit(id, change.page_count), &written(change))?;
        let places = self.commits.entry(id).or_default();
        match places.insert(database, version) {
            Some(twice) => Err(format!("{id} took effect at {twice} and at {version}")),
            None => Ok(()),
        }
    }
}

/// What a commit is to change in a database.
pub(crate) fn change(history: &History, id: CommitId, database: DatabaseId) -> Option<&Change> {
    let mut parts = history.commits.get(&id)?.request.participants.iter();
    let part = parts.find(|part| part.snapshot.database == database)?;
    part.change.as_ref()
}

/// The leases that a transaction sets.
fn leases(transaction: &Applied) -> Result<Vec<(DatabaseId, Lease)>, String> {
    let sets = transaction.sets.iter();
    let leases = sets.filter_map(|(key, value)| match in_database(key)? {
        (database, b"m") => Some(Lease::decode(value).map(|lease| (database, lease))),
        _ => None,
    });
    leases.collect()
}

/// Who writes the page records of a transaction: a load, a commit, or a step of one.
fn writer(
    life: &Database,
    transaction: &Applied,
    database: DatabaseId,
    history: &History,
) -> Result<CommitId, String> {
    if life.state() == State::Loading {
        let load = history.loads.get(&database);
        let load = load.ok_or_else(|| format!("nobody asked to load {database}"))?;
        return Ok(load.writer);
    }
    let mut sets = transaction.sets.iter();
    let commit = sets.find(|(key, _)| {
        in_database(key).is_some_and(|(id, rest)| id == database && rest.first() == Some(&b'l'))
    });
    if let Some((_, record)) = commit {
        return commit_id(record);
    }
    let leases = leases(transaction)?;
    let own = leases.iter().find(|(id, _)| *id == database);
    let publication = own.and_then(|(_, lease)| lease.publication);
    let publication = publication.filter(|it| !it.is_given_up);
    let step = publication.ok_or_else(|| format!("a page of {database} is of no commit"))?;
    Ok(step.commit)
}

/// The database in a key, and what follows (see `docs/format.md`).
pub(crate) fn in_database(key: &[u8]) -> Option<(DatabaseId, &[u8])> {
    let (id, rest) = key.strip_prefix(b"d")?.split_first_chunk()?;
    Some((DatabaseId::new(u64::from_be_bytes(*id)), rest))
}

pub(crate) fn key_in_database(database: DatabaseId, rest: &[u8]) -> Vec<u8> {
    [b"d", database.get().to_be_bytes().as_slice(), rest].concat()
}

fn time(record: &[u8]) -> Result<UnixMillis, String> {
    let time = record.get(1..7).ok_or("a commit record is too short")?;
    let bytes = time.iter().map(|byte| u64::from(*byte));
    Ok(UnixMillis::new(
        bytes.fold(0, |time, byte| time << 8 | byte),
    ))
}

fn commit_id(record: &[u8]) -> Result<CommitId, String> {
    let id = record.get(7..23).and_then(|id| id.try_into().ok());
    id.map(CommitId::from_bytes)
        .ok_or_else(|| "a commit record is too short".to_owned())
}
