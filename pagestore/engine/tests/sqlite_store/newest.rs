//! Whether a version is still the newest, told without a transaction.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use verso_engine::kv::sqlite::SqliteKv;
use verso_engine::kv::{Kv, KvTransaction as _};
use verso_pagestore::Durability;

use crate::support::{child, open, playing, put};

const COMMITS: u64 = 400;

/// The version that a transaction begins on.
fn begin(kv: &SqliteKv) -> u64 {
    kv.begin().unwrap().read_version().unwrap()
}

fn checkpoint(path: &Path, mode: &str) {
    let other = rusqlite::Connection::open(path).unwrap();
    let sql = format!("PRAGMA wal_checkpoint({mode})");
    let is_busy: i64 = other.query_row(&sql, (), |row| row.get(0)).unwrap();
    assert_eq!(is_busy, 0);
}

#[test]
fn it_is_so_until_somebody_commits() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    let (kv, other) = (open(&path), open(&path));
    let first = begin(&kv);
    assert!(kv.is_newest(first));
    assert!(!kv.is_newest(first + 1), "there is none");
    assert!(!other.is_newest(first), "it has not looked yet");
    for committer in [&kv, &other] {
        let before = begin(&kv);
        let committed = put(committer, b"k", b"v", Durability::Normal).unwrap();
        assert!(!kv.is_newest(before));
        assert_eq!(begin(&kv), committed.read_version);
        assert!(kv.is_newest(committed.read_version));
        assert!(!kv.is_newest(before));
    }
}

#[test]
fn the_log_may_be_copied_and_begun_anew() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    let kv = open(&path);
    for mode in ["PASSIVE", "FULL", "RESTART", "TRUNCATE"] {
        let version = put(&kv, b"k", b"v", Durability::Normal)
            .unwrap()
            .read_version;
        checkpoint(&path, mode);
        assert_eq!(begin(&kv), version, "{mode}");
        assert!(kv.is_newest(version), "{mode}");
        put(&kv, b"k", b"w", Durability::Normal).unwrap();
        assert!(!kv.is_newest(version), "{mode}");
    }
}

#[test]
fn it_is_known_again_after_a_suspension() {
    let directory = tempfile::tempdir().unwrap();
    let kv = open(&directory.path().join("store.db"));
    let version = begin(&kv);
    kv.suspend();
    kv.resume();
    assert!(!kv.is_newest(version), "others may have committed");
    assert_eq!(begin(&kv), version);
    assert!(kv.is_newest(version));
}

/// Tells each of its commits as soon as it is one.
#[test]
fn part_commit() {
    let Some(path) = playing("newest::part_commit") else {
        return;
    };
    let kv = open(&path);
    for _ in 0..COMMITS {
        let committed = put(&kv, b"k", b"v", Durability::Off).unwrap();
        println!("committed {}", committed.read_version);
        thread::yield_now();
    }
}

#[test]
fn no_commit_that_was_acknowledged_is_overlooked() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    let kv = open(&path);
    let acknowledged = AtomicU64::new(0);
    let ended = AtomicU64::new(0);
    let tell = |version| acknowledged.fetch_max(version, Ordering::SeqCst);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut part = child("newest::part_commit", &path);
                let mut process = part.stdout(Stdio::piped()).spawn().unwrap();
                let told = BufReader::new(process.stdout.take().unwrap());
                for line in told.lines().map(Result::unwrap) {
                    if let Some(version) = line.strip_prefix("committed ") {
                        tell(version.parse().unwrap());
                    }
                }
                assert!(process.wait().unwrap().success());
                ended.fetch_add(1, Ordering::SeqCst);
            });
            scope.spawn(|| {
                let own = open(&path);
                for _ in 0..COMMITS {
                    let committed = put(&own, b"k", b"v", Durability::Off).unwrap();
                    tell(committed.read_version);
                }
                ended.fetch_add(1, Ordering::SeqCst);
            });
        }
        let mut confirmed = 0_u64;
        while ended.load(Ordering::SeqCst) < 4 {
            let version = begin(&kv);
            loop {
                let before = acknowledged.load(Ordering::SeqCst);
                if !kv.is_newest(version) {
                    break;
                }
                assert!(version >= before, "{before} is newer than {version}");
                confirmed += 1;
                if ended.load(Ordering::SeqCst) == 4 {
                    break;
                }
            }
        }
        assert!(confirmed > 0);
    });
    assert_eq!(begin(&kv), acknowledged.load(Ordering::SeqCst));
}
