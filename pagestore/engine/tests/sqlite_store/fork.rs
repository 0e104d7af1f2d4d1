//! A fork between suspension and resumption.

use std::path::Path;

use verso_engine::kv::Kv;
use verso_pagestore::Durability;

use crate::support::{child, get, increment, number, open, playing};

/// Files of the store that this process has open.
fn open_files(store: &Path) -> Vec<std::path::PathBuf> {
    let store = store.to_str().unwrap();
    std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok())
        .filter(|target| {
            target
                .to_str()
                .is_some_and(|target| target.starts_with(store))
        })
        .collect()
}

/// No other thread of this process does anything at the fork: the harness waits for this
/// one.
#[test]
#[expect(unsafe_code, reason = "fork and its companions have no safe interface")]
fn part_fork() {
    const ROUNDS: u64 = 50;
    let Some(path) = playing("fork::part_fork") else {
        return;
    };
    let kv = open(&path);
    increment(&kv, &[b"before"], Durability::Off);
    assert!(!open_files(&path).is_empty(), "this test sees open files");
    kv.suspend();
    assert_eq!(open_files(&path), <[&Path; 0]>::default());
    // SAFETY: the child opens its own store and ends without unwinding into the harness.
    let forked = unsafe { libc::fork() };
    assert!(forked >= 0);
    if forked == 0 {
        let done = std::panic::catch_unwind(|| {
            let own = open(&path);
            for _ in 0..ROUNDS {
                increment(&own, &[b"shared", b"child"], Durability::Off);
            }
        });
        // SAFETY: it ends the process at once.
        unsafe {
            libc::_exit(i32::from(done.is_err()));
        }
    }
    kv.resume();
    for _ in 0..ROUNDS {
        increment(&kv, &[b"shared", b"parent"], Durability::Off);
    }
    let mut status = -1;
    // SAFETY: the status outlives the call.
    let waited = unsafe { libc::waitpid(forked, &raw mut status, 0) };
    assert_eq!((waited, status), (forked, 0));
    assert_eq!(number(get(&kv, b"shared")), 2 * ROUNDS);
    assert_eq!(number(get(&kv, b"child")), ROUNDS);
}

#[test]
fn parent_and_child_go_on_after_a_fork() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    assert!(child("fork::part_fork", &path).status().unwrap().success());
    assert_eq!(number(get(&open(&path), b"parent")), 50);
}
