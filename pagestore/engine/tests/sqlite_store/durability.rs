//! What is synced when, and what a failing sync means.
//!
//! Method: this binary defines `fsync` and `fdatasync` itself, and the linker prefers a
//! program's own functions to the C library's. They count per thread, and may fail or take
//! long.

use std::cell::Cell;
use std::ffi::{c_int, c_long};
use std::sync::{Barrier, mpsc};
use std::thread;
use std::time::Duration;

use verso_engine::kv::sqlite::SqliteKv;
use verso_engine::kv::{Kv, KvError, KvTransaction};
use verso_pagestore::Durability;

use crate::support::{get, number, open, put, scan, while_locked};

thread_local! {
    static SYNCS: Cell<u64> = const { Cell::new(0) };
    static FAIL: Cell<bool> = const { Cell::new(false) };
    static DELAY: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

#[expect(unsafe_code, reason = "calls below the functions replaced here")]
fn sync(call: c_long, descriptor: c_int) -> c_int {
    SYNCS.set(SYNCS.get() + 1);
    thread::sleep(DELAY.get());
    // SAFETY: the system call only takes the descriptor, and refuses one that is not open.
    let result = unsafe { libc::syscall(call, descriptor) };
    if FAIL.get() {
        // SAFETY: the location is this thread's own.
        unsafe {
            *libc::__errno_location() = libc::EIO;
        }
        return -1;
    }
    c_int::try_from(result).unwrap_or(-1)
}

// SAFETY: it has the signature and the meaning of the C library's function.
#[expect(unsafe_code, reason = "takes the place of the C library's function")]
#[unsafe(no_mangle)]
extern "C" fn fsync(descriptor: c_int) -> c_int {
    sync(libc::SYS_fsync, descriptor)
}

// SAFETY: it has the signature and the meaning of the C library's function.
#[expect(unsafe_code, reason = "takes the place of the C library's function")]
#[unsafe(no_mangle)]
extern "C" fn fdatasync(descriptor: c_int) -> c_int {
    sync(libc::SYS_fdatasync, descriptor)
}

/// How many syncs this thread does meanwhile.
fn syncs<T>(work: impl FnOnce() -> T) -> (u64, T) {
    let before = SYNCS.get();
    let value = work();
    (SYNCS.get() - before, value)
}

fn store() -> (SqliteKv, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let (count, kv) = syncs(|| open(&directory.path().join("store.db")));
    assert!(count > 0, "a new store is synced, and this test sees it");
    (kv, directory)
}

#[test]
fn each_durability_syncs_what_it_says() {
    let (kv, _directory) = store();
    let count = |durability| syncs(|| put(&kv, b"a", b"1", durability).unwrap()).0;
    // The first commit of a log also syncs the log's header.
    count(Durability::Full);
    for _ in 0..3 {
        assert_eq!(count(Durability::Full), 1);
        assert_eq!(count(Durability::Normal), 0);
        assert_eq!(count(Durability::Off), 0);
    }

    // A commit of many pages makes SQLite copy the log to the file. Each has a content of
    // its own, because SQLite leaves out pages that do not change.
    let checkpoint = |content, durability| {
        let large = vec![content; 24 << 20];
        syncs(|| put(&kv, b"large", &large, durability).unwrap()).0
    };
    let log_and_file = checkpoint(1, Durability::Normal);
    assert!(log_and_file >= 2, "{log_and_file}");
    assert_eq!(checkpoint(2, Durability::Off), 0);
    let commit_log_and_file = checkpoint(3, Durability::Full);
    assert!(commit_log_and_file >= 3, "{commit_log_and_file}");
}

#[test]
fn reads_never_sync() {
    let (kv, _directory) = store();
    put(&kv, b"a", b"1", Durability::Full).unwrap();
    let (count, _) = syncs(|| {
        get(&kv, b"a");
        let mut reader = kv.begin().unwrap();
        reader.read_version().unwrap();
        reader.commit(Durability::Full).unwrap()
    });
    assert_eq!(count, 0);
}

/// Writers that wait while another one syncs are committed together by one sync.
#[test]
fn waiting_commits_share_a_sync() {
    const WRITERS: u64 = 8;
    const ROUNDS: u64 = 10;
    let (kv, _directory) = store();
    let barrier = Barrier::new(usize::try_from(WRITERS).unwrap());
    let total: u64 = thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (kv, barrier) = (&kv, &barrier);
                scope.spawn(move || {
                    DELAY.set(Duration::from_millis(3));
                    barrier.wait();
                    let (count, ()) = syncs(|| {
                        for round in 1..=ROUNDS {
                            let key = writer.to_be_bytes();
                            put(kv, &key, &round.to_be_bytes(), Durability::Full).unwrap();
                        }
                    });
                    count
                })
            })
            .collect();
        writers
            .into_iter()
            .map(|writer| writer.join().unwrap())
            .sum()
    });
    let pairs = scan(&kv, verso_engine::kv::KeyRange::prefix(b""));
    assert!(
        pairs
            .into_iter()
            .all(|(_, value)| number(Some(value)) == ROUNDS)
    );
    assert!(total >= ROUNDS, "each round of a writer waits for a sync");
    assert!(
        total < WRITERS * ROUNDS,
        "{total} syncs for {} commits",
        WRITERS * ROUNDS
    );
}

/// Commits that are made together survive what the strictest of them asks for.
#[test]
fn a_group_syncs_for_its_strictest_member() {
    let (kv, directory) = store();
    put(&kv, b"a", b"1", Durability::Full).unwrap();
    for durability in [Durability::Full, Durability::Off] {
        let (sender, counts) = mpsc::channel();
        while_locked(&directory.path().join("store.db"), |wait| {
            let commit = |key: &'static [u8], durability| {
                let (kv, sender) = (kv.clone(), sender.clone());
                thread::spawn(move || {
                    let (count, result) = syncs(|| put(&kv, key, b"2", durability));
                    result.unwrap();
                    sender.send(count).unwrap();
                })
            };
            // The first one waits for the lock, and the others for their turn.
            let mut writers = vec![commit(b"first", Durability::Off)];
            wait();
            writers.push(commit(b"off", Durability::Off));
            writers.push(commit(b"full", durability));
            wait();
            writers
        });
        drop(sender);
        let count: u64 = counts.iter().sum();
        assert_eq!(count, u64::from(durability == Durability::Full));
    }
}

/// After a failed sync nobody knows what is on the disk.
#[test]
fn a_failed_sync_leaves_the_commit_unknown() {
    let (kv, directory) = store();
    put(&kv, b"a", b"1", Durability::Full).unwrap();
    FAIL.set(true);
    let result = put(&kv, b"a", b"2", Durability::Full);
    FAIL.set(false);
    assert!(
        matches!(result, Err(KvError::CommitUnknown(_))),
        "{result:?}"
    );
    let value = get(&kv, b"a");
    assert!(value == Some(b"1".to_vec()) || value == Some(b"2".to_vec()));

    put(&kv, b"b", b"1", Durability::Full).expect("the store goes on");
    assert_eq!(get(&kv, b"a"), value, "whichever it was, it stays");
    let again = open(&directory.path().join("store.db"));
    assert_eq!(get(&again, b"a"), value);
    assert_eq!(get(&again, b"b"), Some(b"1".to_vec()));
}

/// Copying the log to the file without syncs could damage what others committed durably.
#[test]
fn commits_without_a_sync_stay_in_the_log_until_it_is_synced() {
    let (kv, directory) = store();
    let file = directory.path().join("store.db");
    let size = || std::fs::metadata(&file).unwrap().len();
    let before = size();
    let large = vec![7; 8 << 20];
    let (count, _) = syncs(|| put(&kv, b"large", &large, Durability::Off).unwrap());
    assert_eq!((count, size()), (0, before), "only the log has it");
    let (count, ()) = syncs(|| {
        for round in 0..1024_u64 {
            put(&kv, b"a", &round.to_be_bytes(), Durability::Off).unwrap();
        }
    });
    assert!(
        (2..10).contains(&count),
        "{count} syncs of the log and the file"
    );
    assert!(size() > before + (8 << 20), "the file has it now");
}
