//! The newest commits, which are not in the table of pairs yet: they are read and flushed by
//! several handles at once, as by several processes.

use std::collections::BTreeMap;
use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use verso_engine::kv::sqlite::{SqliteKv, SqliteOptions};
use verso_engine::kv::{Isolation, KeyRange, KeyValue, Kv, KvError, KvTransaction, RangeQuery};
use verso_pagestore::Durability;

use crate::support::{get, open, put, scan};

/// More than goes into the tail.
const LARGE: usize = 40 << 10;

fn open_with(path: &Path, longest_tail: u64) -> SqliteKv {
    let options = SqliteOptions {
        longest_tail,
        ..SqliteOptions::default()
    };
    SqliteKv::open_with(path, options).unwrap()
}

fn in_table(path: &Path) -> Vec<Vec<u8>> {
    let connection = rusqlite::Connection::open(path).unwrap();
    let mut keys = connection
        .prepare("SELECT key FROM kv ORDER BY key")
        .unwrap();
    let keys = keys.query_map((), |row| row.get(0)).unwrap();
    keys.map(Result::unwrap).collect()
}

#[derive(Debug, Clone)]
enum Change {
    Set(u8, u8),
    SetLarge(u8, u8),
    Clear(u8),
    ClearRange(u8, u8),
}

fn change() -> impl Strategy<Value = Change> {
    let key = || 0..12_u8;
    prop_oneof![
        12 => (key(), any::<u8>()).prop_map(|(key, value)| Change::Set(key, value)),
        6 => key().prop_map(Change::Clear),
        1 => (key(), any::<u8>()).prop_map(|(key, value)| Change::SetLarge(key, value)),
        1 => (key(), key()).prop_map(|(from, to)| Change::ClearRange(from, to)),
    ]
}

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

fn apply(transaction: &mut impl KvTransaction, model: &mut Model, change: &Change) {
    let mut set = |key: u8, value: Vec<u8>| {
        transaction.set(&[key], &value);
        model.insert(vec![key], value);
    };
    match *change {
        Change::Set(key, value) => set(key, vec![value; usize::from(value)]),
        Change::SetLarge(key, value) => set(key, vec![value; LARGE]),
        Change::Clear(key) => {
            transaction.clear(&[key]);
            model.remove([key].as_slice());
        }
        Change::ClearRange(from, to) => {
            transaction.clear_range(&KeyRange::new([from], [to]));
            model.retain(|key, _| !(from..to).contains(&key[0]));
        }
    }
}

/// All pairs, and those of a range in both directions.
fn look(transaction: &mut impl KvTransaction) -> Vec<Vec<KeyValue>> {
    let all = KeyRange::prefix(b"");
    let some = KeyRange::new([3], [9]);
    let queries = [
        RangeQuery::first(usize::MAX, all.clone()),
        RangeQuery::last(usize::MAX, all),
        RangeQuery::first(2, some.clone()),
        RangeQuery::last(3, some),
    ];
    let found = queries.iter().map(|query| {
        let found = transaction.range(query, Isolation::Snapshot).unwrap();
        for (key, value) in &found {
            let alone = transaction.get(key, Isolation::Snapshot).unwrap();
            assert_eq!(alone.as_ref(), Some(value));
        }
        found
    });
    found.collect()
}

fn expected(model: &Model) -> Vec<Vec<KeyValue>> {
    let all: Vec<_> = model.clone().into_iter().collect();
    let some = |(key, _): &&KeyValue| (3..9).contains(&key[0]);
    let first = all.iter().filter(some).take(2).cloned().collect();
    let last = all.iter().rev().filter(some).take(3).cloned().collect();
    vec![all.clone(), all.into_iter().rev().collect(), first, last]
}

/// Commits by handles that flush after different numbers of commits, one that comes and goes, and
/// a reader that keeps its snapshot for a while.
fn play(commits: &[(usize, Vec<Change>)]) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    let handles = [1, 3, 5, 1000].map(|longest| open_with(&path, longest));
    let mut model = Model::new();
    let mut reader = handles[3].begin().unwrap();
    let mut seen = look(&mut reader);
    for (index, (handle, changes)) in commits.iter().enumerate() {
        let passing;
        let kv = if let Some(kv) = handles.get(*handle) {
            kv
        } else {
            passing = open_with(&path, 4);
            &passing
        };
        let mut transaction = kv.begin().unwrap();
        for change in changes {
            apply(&mut transaction, &mut model, change);
        }
        transaction.commit(Durability::Off).unwrap();
        assert_eq!(look(&mut reader), seen, "a snapshot does not move");
        for handle in &handles {
            assert_eq!(look(&mut handle.begin().unwrap()), expected(&model));
        }
        if index % 7 == 0 {
            reader = handles[index % 4].begin().unwrap();
            seen = look(&mut reader);
        }
    }
    drop(reader);
    drop(handles);
    assert_eq!(in_table(&path), model.into_keys().collect::<Vec<_>>());
}

#[test]
fn handles_agree_whoever_flushes() {
    let config = Config {
        cases: 40,
        failure_persistence: None,
        ..Config::default()
    };
    let commits = vec((0..5_usize, vec(change(), 1..4)), 1..60);
    let result = TestRunner::new(config).run(&commits, |commits| {
        play(&commits);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

/// The same version, the same last flush, and other commits: after a store was put back.
#[test]
fn another_past_of_the_same_length_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    let kv = open(&path);
    put(&kv, b"a", b"kept", Durability::Normal).unwrap();
    let lost = put(&kv, b"b", b"lost", Durability::Normal).unwrap();
    assert_eq!(get(&kv, b"b"), Some(b"lost".to_vec()));
    rusqlite::Connection::open(&path)
        .unwrap()
        .execute(
            "DELETE FROM commits WHERE version = (SELECT max(version) FROM commits)",
            (),
        )
        .unwrap();
    let other = open(&path);
    let instead = put(&other, b"c", b"instead", Durability::Normal).unwrap();
    assert_eq!(instead.read_version, lost.read_version);
    let pairs = scan(&kv, KeyRange::prefix(b""));
    let keys: Vec<_> = pairs.into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, [b"a", b"c"]);
}

#[test]
fn whoever_closes_the_store_flushes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    let kv = open(&path);
    put(&kv, b"k", b"v", Durability::Full).unwrap();
    assert!(in_table(&path).is_empty());
    drop(open(&path));
    assert!(in_table(&path).is_empty(), "it has only looked");
    drop(kv);
    assert_eq!(in_table(&path), [b"k"]);
    assert_eq!(get(&open(&path), b"k"), Some(b"v".to_vec()));
}

#[test]
fn closing_waits_for_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    let kv = open(&path);
    put(&kv, b"k", b"v", Durability::Full).unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    // It would wait for half a minute, and then this test would be slow.
    drop(kv);
    other.execute_batch("ROLLBACK").unwrap();
    assert!(in_table(&path).is_empty());
    assert_eq!(get(&open(&path), b"k"), Some(b"v".to_vec()));
}

#[test]
fn damage_is_noticed() {
    for damage in [
        "UPDATE commits SET pairs = x'05' WHERE version = 3",
        "UPDATE commits SET pairs = substr(pairs, 1, 3) WHERE version = 3",
        "UPDATE commits SET flushed = 9 WHERE version = 4",
        "UPDATE commits SET flushed = -1 WHERE version = 4",
        "DELETE FROM commits WHERE version = 3",
        "DELETE FROM commits WHERE version = 1",
        "DELETE FROM commits",
    ] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.db");
        let writer = open(&path);
        for key in [b"a", b"b", b"c"] {
            put(&writer, key, b"value", Durability::Full).unwrap();
        }
        let other = rusqlite::Connection::open(&path).unwrap();
        assert!(other.execute(damage, ()).unwrap() > 0, "{damage}");
        let kv = open(&path);
        let read = kv.begin().unwrap().get(b"a", Isolation::Snapshot);
        assert!(
            matches!(read, Err(KvError::Damaged(_))),
            "{damage}: {read:?}"
        );
    }
}

#[test]
fn a_recent_transaction_finds_what_was_flushed_meanwhile() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    let (slow, often) = (open_with(&path, 1000), open_with(&path, 2));
    let mut versions = Vec::new();
    for number in 0..20_u8 {
        // One handle flushes what the other has in its tail, or the other way around.
        let kv = if number % 3 == 0 { &slow } else { &often };
        let mut transaction = kv.begin().unwrap();
        transaction.set(&[number], &[number]);
        versions.push(transaction.commit(Durability::Off).unwrap().read_version);
        for kv in [&slow, &often] {
            let mut transaction = kv.begin_recent(versions[usize::from(number)]).unwrap();
            for before in 0..=number {
                let found = transaction.get(&[before], Isolation::Snapshot).unwrap();
                assert_eq!(found, Some(vec![before]), "after {number}");
            }
            let all = RangeQuery::first(100, KeyRange::prefix(b""));
            let found = transaction.range(&all, Isolation::Snapshot).unwrap();
            assert_eq!(found.len(), usize::from(number) + 1);
        }
    }
    // A transaction that knows a tail, which is flushed between two of its reads.
    let mut transaction = slow.begin_recent(versions[0]).unwrap();
    assert!(
        transaction
            .get(&[0], Isolation::Snapshot)
            .unwrap()
            .is_some()
    );
    for number in 20..30_u8 {
        put(&often, &[number], b"new", Durability::Off).unwrap();
    }
    for number in 0..20_u8 {
        let found = transaction.get(&[number], Isolation::Snapshot).unwrap();
        assert_eq!(found, Some(vec![number]));
    }
}
