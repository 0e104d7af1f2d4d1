//! No room on the disk.
//!
//! Method: a child process limits the size of its files, which fails writes in the middle
//! of a commit as a full disk does.

use std::path::Path;
use std::thread;

use verso_engine::kv::sqlite::SqliteKv;
use verso_engine::kv::{Kv, KvError, KvTransaction};
use verso_pagestore::Durability;

use crate::support::{child, get, number, open, playing, put, while_locked};

/// The largest file that this process may write from now on.
fn limit_files(bytes: u64) {
    // SAFETY: both calls only take values, and a pointer to a limit that outlives them.
    #[expect(unsafe_code, reason = "resource limits have no safe interface")]
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        let limit = libc::rlimit {
            rlim_cur: bytes,
            rlim_max: libc::RLIM_INFINITY,
        };
        assert_eq!(libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit), 0);
    }
}

fn log_size(store: &Path) -> u64 {
    let log = store.with_file_name("store.db-wal");
    std::fs::metadata(log).map_or(0, |metadata| metadata.len())
}

/// Size of SQLite's index of a small log.
const INDEX_SIZE: u64 = 32 << 10;

/// Sets two keys to `round`, with some bytes between them, different ones each time:
/// SQLite leaves out pages that do not change.
fn write(kv: &SqliteKv, round: u64, filler: usize) -> Result<(), KvError> {
    let mut transaction = kv.begin()?;
    transaction.set(b"a", &round.to_be_bytes());
    transaction.set(b"b", &round.to_le_bytes().repeat(filler / 8));
    transaction.set(b"c", &round.to_be_bytes());
    transaction.commit(Durability::Full).map(drop)
}

fn round_of(kv: &SqliteKv) -> u64 {
    let round = number(get(kv, b"a"));
    assert_eq!(number(get(kv, b"c")), round, "half a commit");
    round
}

#[test]
fn part_fill() {
    let Some(path) = playing("full::part_fill") else {
        return;
    };
    let mut acknowledged = 0;
    let mut failures = 0;
    for epoch in 0..20 {
        // The last handle's closing removed the log: it grows from the beginning again.
        let kv = open(&path);
        // Readers need the index of the log, and a limit below its size would hit them too.
        put(&kv, b"other", b"0", Durability::Full).unwrap();
        assert_eq!(round_of(&kv), acknowledged, "also for a new handle");
        for round in epoch * 10 + 1..epoch * 10 + 10_u64 {
            // Sometimes before the first page, sometimes in the middle, sometimes not.
            limit_files(log_size(&path).max(INDEX_SIZE) + round * 7919 % 90_000);
            match write(&kv, round, 60_000) {
                Ok(()) => acknowledged = round,
                Err(KvError::Full | KvError::Io(_)) => failures += 1,
                Err(error) => panic!("round {round}: {error:?}"),
            }
            assert_eq!(round_of(&kv), acknowledged, "a failed commit is not there");
            limit_files(libc::RLIM_INFINITY);
            if round % 3 == 0 {
                put(&kv, b"other", b"1", Durability::Full).expect("usable again");
            }
        }
    }
    assert!(failures > 50, "{failures} failures");
    assert!(acknowledged > 0);
    std::fs::write(
        path.with_file_name("acknowledged"),
        acknowledged.to_be_bytes(),
    )
    .unwrap();
    // Not even a clean end: what counts is on the disk.
    std::process::abort();
}

#[test]
fn a_full_disk_fails_the_commit_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    let status = child("full::part_fill", &path).status().unwrap();
    let acknowledged = std::fs::read(directory.path().join("acknowledged"));
    let acknowledged = acknowledged.unwrap_or_else(|_| panic!("the child failed: {status}"));
    let kv = open(&path);
    assert_eq!(round_of(&kv), number(Some(acknowledged)));
    write(&kv, 1000, 10).unwrap();
    assert_eq!(round_of(&kv), 1000);
}

#[test]
fn part_fill_in_company() {
    let Some(path) = playing("full::part_fill_in_company") else {
        return;
    };
    let kv = open(&path);
    put(&kv, b"first", b"0", Durability::Full).unwrap();
    while_locked(&path, |wait| {
        let commit = |key: &'static [u8], size, fits| {
            let kv = kv.clone();
            thread::spawn(move || {
                let result = put(&kv, key, &vec![1; size], Durability::Full);
                assert_eq!(result.is_ok(), fits, "{key:?}: {result:?}");
                if !fits {
                    assert!(
                        matches!(result, Err(KvError::Full | KvError::Io(_))),
                        "{result:?}"
                    );
                }
            })
        };
        let mut writers = vec![commit(b"first", 1, true)];
        wait();
        writers.push(commit(b"small 1", 1, true));
        writers.push(commit(b"large", 200_000, false));
        writers.push(commit(b"small 2", 1, true));
        wait();
        limit_files(log_size(&path) + 100_000);
        writers
    });
    limit_files(libc::RLIM_INFINITY);
    put(&kv, b"large", b"2", Durability::Full).unwrap();
}

/// Commits that are made together do not share each other's failures.
#[test]
fn a_commit_that_does_not_fit_fails_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    let status = child("full::part_fill_in_company", &path).status().unwrap();
    assert!(status.success());
    let kv = open(&path);
    for key in [&b"small 1"[..], b"small 2"] {
        assert_eq!(get(&kv, key), Some(vec![1]));
    }
    assert_eq!(get(&kv, b"large"), Some(b"2".to_vec()));
}
