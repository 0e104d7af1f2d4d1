//! Forks: a child must inherit no open file of a store.
//!
//! The embedded store is an SQLite file, and POSIX locks are not inherited by a child: a
//! child that used, or only closed, its parent's files could damage the store. So the
//! parent closes them for the moment of the fork.

use std::sync::Once;

use crate::process::{self, Process};

static INSTALLED: Once = Once::new();

/// Installs the handlers, once per process.
#[cfg(unix)]
pub(super) fn install() {
    INSTALLED.call_once(|| {
        // SAFETY: the handlers are safe functions that stay in memory. If there is no memory
        // for them, a fork is as dangerous as with SQLite itself, and nothing else is wrong.
        let installed =
            unsafe { libc::pthread_atfork(Some(before), Some(after_in_parent), Some(in_child)) };
        if installed == 0 {
            process::remember_id();
        }
    });
}

#[cfg(not(unix))]
pub(super) fn install() {}

extern "C" fn before() {
    let _ = std::panic::catch_unwind(|| {
        if let Some(process) = Process::existing() {
            process.suspend();
        }
    });
}

/// Only stores a number: the child has no other thread, and locks as they were.
extern "C" fn in_child() {
    process::remember_id();
}

extern "C" fn after_in_parent() {
    let _ = std::panic::catch_unwind(|| {
        if let Some(process) = Process::existing() {
            // SAFETY: `before` ran on this thread, and left the lock taken.
            unsafe { process.stores.force_unlock() };
            process.resume();
        }
    });
}
