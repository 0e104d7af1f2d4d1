//! Whether a version is still the newest, told without a transaction.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use verso_engine::kv::sqlite::SqliteKv;
use verso_engine::kv::{Isolation, KeyRange, Kv, KvError, KvTransaction, LateRanges};
use verso_pagestore::{Durability, Mark};

use crate::support::{child, get, open, playing, put};

const COMMITS: u64 = 400;

/// What a transaction begins on, and the mark of that.
fn begin(kv: &SqliteKv) -> (u64, Mark) {
    let mark = kv.mark().expect("this store has marks");
    (kv.begin().unwrap().read_version().unwrap(), mark)
}

fn is_newest(kv: &SqliteKv, mark: Mark) -> bool {
    kv.mark() == Some(mark)
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
    assert_ne!(kv.mark(), other.mark(), "each looks by itself");
    for committer in [&kv, &other] {
        let (version, mark) = begin(&kv);
        assert!(is_newest(&kv, mark));
        let committed = put(committer, b"k", b"v", Durability::Normal).unwrap();
        assert_eq!(committed.read_version, version + 1);
        assert!(!is_newest(&kv, mark));
        assert_eq!(committer.mark(), committed.mark, "nobody else commits");
    }
}

#[test]
fn a_read_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let kv = open(&directory.path().join("store.db"));
    let (_, mark) = begin(&kv);
    assert_eq!(get(&kv, b"k"), None);
    assert!(is_newest(&kv, mark));
}

#[test]
fn the_log_may_be_copied_and_begun_anew() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    let kv = open(&path);
    for mode in ["PASSIVE", "FULL", "RESTART", "TRUNCATE"] {
        put(&kv, b"k", b"v", Durability::Normal).unwrap();
        checkpoint(&path, mode);
        let (_, mark) = begin(&kv);
        assert!(is_newest(&kv, mark), "{mode}");
        put(&kv, b"k", b"w", Durability::Normal).unwrap();
        assert!(!is_newest(&kv, mark), "{mode}");
    }
}

/// The same version, and another state.
#[test]
fn a_store_that_was_put_back_has_other_marks() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    let kv = open(&path);
    let lost = put(&kv, b"k", b"lost", Durability::Normal).unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    let undo = "BEGIN; DELETE FROM commits WHERE version = (SELECT max(version) FROM commits);
                DELETE FROM kv WHERE key = x'6b'; COMMIT";
    other.execute_batch(undo).unwrap();
    assert_eq!(get(&kv, b"k"), None);
    let again = put(&kv, b"k", b"again", Durability::Normal).unwrap();
    assert_eq!(again.read_version, lost.read_version);
    assert_ne!(again.mark, lost.mark);
    assert!(!is_newest(&kv, lost.mark.unwrap()));
}

/// While nobody has the file open, others may commit and close it, and leave an empty log as before.
#[test]
fn it_is_not_known_after_a_suspension() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    drop(open(&path));
    let kv = open(&path);
    let (_, mark) = begin(&kv);
    kv.suspend();
    put(&open(&path), b"k", b"v", Durability::Normal).unwrap();
    kv.resume();
    assert!(!is_newest(&kv, mark));
    let (_, mark) = begin(&kv);
    assert!(is_newest(&kv, mark));
    put(&kv, b"k", b"v", Durability::Normal).unwrap();
    assert!(!is_newest(&kv, mark));
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

/// The mark of an own commit, or else that of a begin.
fn latest(kv: &SqliteKv, commits: bool, tell: impl Fn(u64)) -> (u64, Mark) {
    if commits {
        let own = put(kv, b"own", b"v", Durability::Off).unwrap();
        tell(own.read_version);
        if let Some(mark) = own.mark {
            return (own.read_version, mark);
        }
    }
    begin(kv)
}

#[test]
fn no_commit_that_was_acknowledged_is_overlooked() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    let kv = open(&path);
    let acknowledged = AtomicU64::new(0);
    let ended = AtomicU64::new(0);
    let tell = |version| {
        acknowledged.fetch_max(version, Ordering::SeqCst);
    };
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
        let all_ended = || ended.load(Ordering::SeqCst) == 4;
        let mut confirmed = 0_u64;
        for round in 0_u64.. {
            if all_ended() {
                break;
            }
            let (version, mark) = latest(&kv, round.is_multiple_of(2), tell);
            while !all_ended() {
                let before = acknowledged.load(Ordering::SeqCst);
                if !is_newest(&kv, mark) {
                    break;
                }
                assert!(version >= before, "{before} is newer than {version}");
                confirmed += 1;
            }
        }
        assert!(confirmed > 0);
    });
    assert_eq!(begin(&kv).0, acknowledged.load(Ordering::SeqCst));
}

/// Ranges that tell when somebody wants to know them.
fn late(key: &'static [u8], computed: &Arc<AtomicU64>) -> LateRanges {
    let computed = Arc::clone(computed);
    LateRanges {
        most: 1,
        longest: 2 * key.len() + 1,
        ranges: Box::new(move || {
            computed.fetch_add(1, Ordering::Relaxed);
            vec![KeyRange::single(key)]
        }),
    }
}

#[test]
fn late_ranges_are_computed_only_after_others_committed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    let (kv, other) = (open(&path), open(&path));
    put(&kv, b"a", b"0", Durability::Normal).unwrap();
    let computed = Arc::new(AtomicU64::new(0));
    let mut expected = 0;
    for (overtaken, result) in [
        (None, Ok(())),
        (Some(b"b"), Ok(())),
        (None, Ok(())),
        (Some(b"a"), Err(KvError::Conflict)),
    ] {
        let mut transaction = kv.begin().unwrap();
        get_in(&mut transaction, b"c");
        transaction.add_read_conflicts(late(b"a", &computed));
        transaction.set(b"d", b"1");
        if let Some(key) = overtaken {
            put(&other, key, b"2", Durability::Normal).unwrap();
            expected += 1;
        }
        let committed = transaction.commit(Durability::Normal);
        assert_eq!(committed.map(|_| ()), result, "{overtaken:?}");
        assert_eq!(computed.load(Ordering::Relaxed), expected, "{overtaken:?}");
    }
}

/// Reads a key, so that the transaction has a snapshot.
fn get_in(transaction: &mut impl KvTransaction, key: &[u8]) {
    let value = transaction.get(key, Isolation::Snapshot);
    assert_eq!(value, Ok(None));
}
