//! How many connections are open.

use metrics::{counter, describe_counter, describe_gauge, gauge};

/// Open connections: a gauge.
const OPEN: &str = "verso_connection_open_connections";

/// Connections that were accepted: a counter.
const ACCEPTED: &str = "verso_connection_accepted_total";

/// Connections that were closed at once, because there were too many: a counter.
const REFUSED: &str = "verso_connection_refused_total";

/// A connection, counted for as long as this lives.
#[derive(Debug)]
pub(crate) struct OpenConnection(());

impl OpenConnection {
    /// Counts one more.
    pub(crate) fn new() -> Self {
        counter!(ACCEPTED).increment(1);
        gauge!(OPEN).increment(1);
        Self(())
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        gauge!(OPEN).decrement(1);
    }
}

/// Counts a connection that was closed at once.
pub(crate) fn refused() {
    counter!(REFUSED).increment(1);
}

pub(super) fn describe() {
    describe_gauge!(OPEN, "Open connections");
    describe_counter!(ACCEPTED, "Connections that were accepted");
    describe_counter!(
        REFUSED,
        "Connections that were closed at once, because there were too many"
    );
    gauge!(OPEN).set(0);
    counter!(ACCEPTED).absolute(0);
    counter!(REFUSED).absolute(0);
}
