//! What a connection counts of its dealings with one database.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The counts since the database was opened.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    /// Pages that the page cache had.
    pub(crate) cache_hits: Counter,
    /// Pages that were not in memory, but in the page cache on disk.
    pub(crate) disk_hits: Counter,
    /// Pages that were read from the store.
    pub(crate) pages_read: Counter,
    /// Requests to the store, of any kind.
    pub(crate) requests: Counter,
    /// Commits that changed the database.
    pub(crate) commits: Counter,
    /// Commits that were refused because of a page of this database.
    pub(crate) conflicts: Counter,
    /// Statements that SQLite was told to run again.
    pub(crate) retries: Counter,
    /// Waits for the writer lease.
    waits: Counter,
    wait_micros: Counter,
}

impl Stats {
    /// Counts a wait for the writer lease.
    pub(crate) fn waited(&self, duration: Duration) {
        self.waits.add(1);
        self.wait_micros
            .add(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
    }

    /// The counts as JSON.
    pub(crate) fn describe(&self) -> String {
        json!({
            "cache_hits": self.cache_hits.get(),
            "disk_hits": self.disk_hits.get(),
            "pages_read": self.pages_read.get(),
            "requests": self.requests.get(),
            "commits": self.commits.get(),
            "conflicts": self.conflicts.get(),
            "retries": self.retries.get(),
            "waits": self.waits.get(),
            "wait_ms": self.wait_micros.get() / 1000,
        })
        .to_string()
    }
}
