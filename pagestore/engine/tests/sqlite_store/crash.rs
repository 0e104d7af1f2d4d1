//! Processes that are killed while they write.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use verso_engine::kv::sqlite::SqliteKv;
use verso_engine::kv::{KeyRange, Kv, KvTransaction};
use verso_pagestore::Durability;

use crate::support::{child, number, open, playing, scan};

/// Keys that every transaction sets to the same number.
const KEYS: u64 = 20;

/// Writes the numbers after `last` one by one, and notes each once it is committed.
fn write_numbers(kv: &SqliteKv, prefix: &str, last: u64, acknowledged: &mut File) {
    for number in last + 1.. {
        let mut transaction = kv.begin().unwrap();
        for key in 0..KEYS {
            let key = format!("{prefix}/{key}").into_bytes();
            // Some transactions are larger than SQLite's cache, others small.
            let filler = if number % 10 == 0 { 50_000 } else { 100 };
            let value = [&number.to_be_bytes()[..], &vec![0; filler]].concat();
            transaction.set(&key, &value);
        }
        transaction.commit(Durability::Normal).unwrap();
        acknowledged.write_all(&number.to_be_bytes()).unwrap();
    }
}

/// The number that all keys have.
fn consistent_number(kv: &SqliteKv, prefix: &str) -> u64 {
    let pairs = scan(kv, KeyRange::prefix(format!("{prefix}/").as_bytes()));
    let mut numbers: Vec<_> = pairs
        .into_iter()
        .map(|(_, value)| number(Some(value[..8].to_vec())))
        .collect();
    assert!(
        numbers.is_empty() || numbers.len() == 20,
        "half a commit: {numbers:?}"
    );
    numbers.dedup();
    assert!(numbers.len() <= 1, "half a commit: {numbers:?}");
    numbers.first().copied().unwrap_or(0)
}

fn last_acknowledged(log: &Path) -> u64 {
    let bytes = std::fs::read(log).unwrap_or_default();
    let (whole, _torn) = bytes.as_chunks::<8>();
    whole.last().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

#[test]
#[ignore = "a part that child processes play"]
fn part_write() {
    let Some(path) = playing("crash::part_write") else {
        return;
    };
    let prefix = std::env::var("VERSO_TEST_PREFIX").unwrap();
    let log = path.with_file_name(&prefix);
    let mut acknowledged = OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .unwrap();
    let kv = open(&path);
    let last = consistent_number(&kv, &prefix);
    write_numbers(&kv, &prefix, last, &mut acknowledged);
}

/// One process is killed again and again, at moments spread over what it does; another one
/// writes on unharmed.
#[test]
fn acknowledged_commits_survive_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    let start = |prefix: &str| {
        child("crash::part_write", &path)
            .env("VERSO_TEST_PREFIX", prefix)
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    };
    let mut survivor = start("survivor");
    let mut survivors = 0;
    for round in 0..40_u32 {
        let log = directory.path().join("victim");
        let before = last_acknowledged(&log);
        let mut victim = start("victim");
        // Let it get going, except in some rounds, where it dies while it opens the store.
        let deadline = Instant::now() + Duration::from_secs(30);
        while round % 4 != 0 && last_acknowledged(&log) == before {
            assert!(Instant::now() < deadline, "the victim does not get going");
            thread::sleep(Duration::from_micros(200));
        }
        thread::sleep(Duration::from_micros(u64::from(round) * 997 % 20_000));
        victim.kill().unwrap();
        victim.wait().unwrap();

        let kv = open(&path);
        let acknowledged = last_acknowledged(&log);
        let found = consistent_number(&kv, "victim");
        assert!(
            found == acknowledged || found == acknowledged + 1,
            "{acknowledged} was acknowledged, {found} is there"
        );
        let acknowledged = last_acknowledged(&directory.path().join("survivor"));
        assert!(consistent_number(&kv, "survivor") >= acknowledged);
        survivors += u64::from(survivor.try_wait().unwrap().is_none());
    }
    survivor.kill().unwrap();
    survivor.wait().unwrap();
    assert_eq!(survivors, 40, "the other process must not notice");
    assert!(last_acknowledged(&directory.path().join("survivor")) > 40);
    assert_eq!(integrity(&path), "ok");
}

/// All processes die at once, so the next one recovers the log.
#[test]
fn the_last_process_may_be_killed_too() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    let log = directory.path().join("victim");
    for round in 0..20_u32 {
        let mut victim = child("crash::part_write", &path)
            .env("VERSO_TEST_PREFIX", "victim")
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        thread::sleep(Duration::from_millis(10 + u64::from(round) * 7 % 60));
        victim.kill().unwrap();
        victim.wait().unwrap();
        let acknowledged = last_acknowledged(&log);
        let found = consistent_number(&open(&path), "victim");
        assert!(
            found == acknowledged || found == acknowledged + 1,
            "{acknowledged} was acknowledged, {found} is there"
        );
    }
    assert!(last_acknowledged(&log) > 20);
    assert_eq!(integrity(&path), "ok");
}

fn integrity(path: &Path) -> String {
    let connection = rusqlite::Connection::open(path).unwrap();
    connection
        .query_row("PRAGMA integrity_check", (), |row| row.get(0))
        .unwrap()
}
