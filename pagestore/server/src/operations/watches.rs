//! How many watches are open.

use metrics::{describe_gauge, gauge};

/// Open watches: a gauge.
const OPEN: &str = "verso_watch_open_watches";

/// A watch that is open, and counted for as long as this lives.
#[derive(Debug)]
pub(crate) struct OpenWatch(());

impl OpenWatch {
    /// Counts one more.
    pub(crate) fn new() -> Self {
        gauge!(OPEN).increment(1);
        Self(())
    }
}

impl Drop for OpenWatch {
    fn drop(&mut self) {
        gauge!(OPEN).decrement(1);
    }
}

pub(super) fn describe() {
    describe_gauge!(OPEN, "Open watches");
    gauge!(OPEN).set(0);
}
