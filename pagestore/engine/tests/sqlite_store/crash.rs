//! Processes that are killed while they write.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use verso_engine::kv::sqlite::{SqliteKv, SqliteOptions};
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
    // So that many kills meet a commit that flushes.
    let options = SqliteOptions {
        longest_tail: 5,
        ..SqliteOptions::default()
    };
    let kv = SqliteKv::open_with(&path, options).unwrap();
    let last = consistent_number(&kv, &prefix);
    write_numbers(&kv, &prefix, last, &mut acknowledged);
}

/// A process that writes until it is killed, at the latest when a test ends.
struct Writer(Child);

impl Writer {
    fn start(store: &Path, prefix: &str) -> Self {
        let mut command = child("crash::part_write", store);
        command
            .env("VERSO_TEST_PREFIX", prefix)
            .stdout(Stdio::null());
        Self(command.spawn().unwrap())
    }

    /// Waits until it has committed something.
    fn get_going(&self, log: &Path) {
        let before = last_acknowledged(log);
        let deadline = Instant::now() + Duration::from_mins(1);
        while last_acknowledged(log) == before {
            assert!(
                Instant::now() < deadline,
                "{} does not get going",
                self.0.id()
            );
            thread::sleep(Duration::from_micros(200));
        }
    }

    fn is_running(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Only a process that has ended by itself cannot be killed, and then all is well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One process is killed again and again, at moments spread over what it does; another one
/// writes on unharmed.
#[test]
fn acknowledged_commits_survive_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    let survivors_log = directory.path().join("survivor");
    let mut survivor = Writer::start(&path, "survivor");
    let mut survivors = 0;
    let mut there = 0;
    for round in 0..40_u32 {
        let log = directory.path().join("victim");
        let victim = Writer::start(&path, "victim");
        // In some rounds it dies while it opens the store.
        if round % 4 != 0 {
            victim.get_going(&log);
        }
        thread::sleep(Duration::from_micros(u64::from(round) * 997 % 20_000));
        drop(victim);

        let kv = open(&path);
        let acknowledged = last_acknowledged(&log);
        there = expected(acknowledged, there, consistent_number(&kv, "victim"));
        let acknowledged = last_acknowledged(&survivors_log);
        assert!(consistent_number(&kv, "survivor") >= acknowledged);
        survivors += u64::from(survivor.is_running());
    }
    survivor.get_going(&survivors_log);
    drop(survivor);
    assert_eq!(survivors, 40, "the other process must not notice");
    assert!(last_acknowledged(&survivors_log) > 0);
    assert_eq!(integrity(&path), "ok");
}

/// All processes die at once, so the next one recovers the log.
#[test]
fn the_last_process_may_be_killed_too() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    let log = directory.path().join("victim");
    let mut there = 0;
    for round in 0..20_u32 {
        let victim = Writer::start(&path, "victim");
        if round % 4 != 0 {
            victim.get_going(&log);
        }
        thread::sleep(Duration::from_micros(u64::from(round) * 1499 % 20_000));
        drop(victim);
        let acknowledged = last_acknowledged(&log);
        there = expected(
            acknowledged,
            there,
            consistent_number(&open(&path), "victim"),
        );
    }
    assert!(last_acknowledged(&log) >= 15);
    assert_eq!(integrity(&path), "ok");
}

/// Checks the number found after a kill: everything that was acknowledged is there, and of
/// the rest at most the one commit that was under way.
fn expected(acknowledged: u64, before: u64, found: u64) -> u64 {
    assert!(
        (acknowledged..=acknowledged.max(before) + 1).contains(&found),
        "{acknowledged} was acknowledged, {before} was there before, {found} is there"
    );
    found
}

fn integrity(path: &Path) -> String {
    let connection = rusqlite::Connection::open(path).unwrap();
    connection
        .query_row("PRAGMA integrity_check", (), |row| row.get(0))
        .unwrap()
}
