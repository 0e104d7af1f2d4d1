//! Goal: `PRAGMA synchronous` of the committing connection decides whether its commits wait
//! for the disk.
//! Method: this binary defines `fsync` and `fdatasync` itself, and the linker prefers a
//! program's own functions to the C library's. They count per thread.
#![cfg(target_os = "linux")]
#![expect(unsafe_code, reason = "takes the place of functions of the C library")]

use std::cell::Cell;
use std::ffi::{c_int, c_long};

use rusqlite::Connection;
use verso_tests::TestStore;

thread_local! {
    static SYNCS: Cell<u64> = const { Cell::new(0) };
}

fn sync(call: c_long, descriptor: c_int) -> c_int {
    SYNCS.set(SYNCS.get() + 1);
    // SAFETY: the system call only takes the descriptor, and refuses one that is not open.
    c_int::try_from(unsafe { libc::syscall(call, descriptor) }).unwrap_or(-1)
}

// SAFETY: it has the signature and the meaning of the C library's function.
#[unsafe(no_mangle)]
extern "C" fn fsync(descriptor: c_int) -> c_int {
    sync(libc::SYS_fsync, descriptor)
}

// SAFETY: it has the signature and the meaning of the C library's function.
#[unsafe(no_mangle)]
extern "C" fn fdatasync(descriptor: c_int) -> c_int {
    sync(libc::SYS_fdatasync, descriptor)
}

/// How many syncs a statement takes.
fn syncs(db: &Connection, sql: &str) -> u64 {
    let before = SYNCS.get();
    db.execute_batch(sql).expect("nobody is in the way");
    SYNCS.get() - before
}

#[test]
fn each_level_waits_for_the_disk_as_it_says() {
    let store = TestStore::embedded();
    let (full, other) = (store.connect("app.db"), store.connect("app.db"));
    full.execute_batch("CREATE TABLE t (n INTEGER); INSERT INTO t VALUES (0)")
        .unwrap();
    other.execute_batch("SELECT * FROM t").unwrap();
    let update = "UPDATE t SET n = n + 1";
    for _ in 0..3 {
        // SQLite's default is FULL, and another connection's choice does not change it.
        assert_eq!(syncs(&full, update), 1);
        for (level, expected) in [("NORMAL", 0), ("OFF", 0), ("EXTRA", 1), ("FULL", 1)] {
            other
                .execute_batch(&format!("PRAGMA synchronous = {level}"))
                .unwrap();
            assert_eq!(syncs(&other, update), expected, "{level}");
        }
        other.execute_batch("PRAGMA synchronous = OFF").unwrap();
    }
}
