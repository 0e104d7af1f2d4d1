//! What the store may hold when nobody is at work.

use verso_engine::kv::{Isolation, KeyRange, KeyValue, Kv, KvTransaction, RangeQuery};

use verso_pagestore::{DatabaseId, DatabaseName, Version};

use crate::truth::{Database, State, Truth, in_database, key_in_database};
use crate::world::World;

/// Whether dead clients may have left something that others remove.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    Publications,
    Nothing,
}

/// What the store holds.
pub(crate) fn scan(world: &World) -> Vec<KeyValue> {
    let all = RangeQuery::first(usize::MAX, KeyRange::prefix(b""));
    let mut transaction = world.simulation.store().begin().expect("it is in memory");
    let pairs = transaction.range(&all, Isolation::Snapshot);
    pairs.expect("it is young")
}

/// Every key belongs to a database that has a name or is being loaded, and every page record to a
/// commit.
///
/// Two things are left by clients that died, until their database is removed: staged pages, and
/// tickets.
pub(crate) fn check_storage(pairs: &[KeyValue], truth: &Truth, left: Left) -> Result<(), String> {
    for (key, value) in pairs {
        let is_right = match (key.as_slice(), in_database(key)) {
            (b"m", _) => true,
            ([b'n', name @ ..], _) => {
                let id = DatabaseName::from_utf8(name).ok();
                let id = id.and_then(|name| truth.names.at(&name, Version::MAX));
                id.is_some_and(|id| id.get().to_be_bytes() == value.as_slice())
            }
            ([b'c', name @ ..], _) => is_of_copy(pairs, truth, name, value),
            (_, Some((database, rest))) => {
                let life = truth.databases.get(&database);
                life.is_some_and(|life| is_of_life(life, rest, left))
            }
            _ => false,
        };
        if !is_right {
            return Err(format!("{key:?} is left, which is nobody's"));
        }
    }
    truth
        .databases
        .iter()
        .try_for_each(|(id, life)| check_records(*id, life, left))
}

/// A copy that is not finished belongs to a load of the same name.
fn is_of_copy(pairs: &[KeyValue], truth: &Truth, name: &[u8], copy: &[u8]) -> bool {
    let Some(id) = copy.get(1..9).and_then(|id| id.try_into().ok()) else {
        return false;
    };
    let id = DatabaseId::new(u64::from_be_bytes(id));
    let own_name = key_in_database(id, b"n");
    let mut own = pairs.iter().filter(|(key, _)| *key == own_name);
    let life = truth.databases.get(&id);
    life.is_some_and(|life| life.state() == State::Loading)
        && own.next().is_some_and(|(_, own)| own == name)
}

/// Whether a database may have a key.
fn is_of_life(life: &Database, rest: &[u8], left: Left) -> bool {
    let publication = life.lease.and_then(|lease| lease.publication);
    let is_published = publication.is_some() && left == Left::Publications;
    match (life.state(), rest.first()) {
        (State::Loading, kind) => matches!(kind, Some(b'i' | b'n' | b'p')),
        (State::Live, Some(b'i' | b'n' | b'l' | b'p' | b'q' | b's')) => true,
        (State::Live, Some(b'm')) => publication.is_none() || is_published,
        (State::Live, Some(b'u')) => is_published,
        (State::Live | State::Removed, _) => false,
    }
}

/// Page records above the newest commit are those of a publication.
fn check_records(id: DatabaseId, life: &Database, left: Left) -> Result<(), String> {
    if life.state() != State::Live {
        return Ok(());
    }
    let publication = life.lease.and_then(|lease| lease.publication);
    let publication = publication.filter(|_| left == Left::Publications);
    for ((version, page), writer) in life.records_above_head() {
        if publication.is_none_or(|it| it.commit != *writer) {
            return Err(format!("page {page} of {id} at {version} is of no commit"));
        }
    }
    Ok(())
}
