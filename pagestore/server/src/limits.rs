//! What a node takes before it says that it is too much.

use std::time::Duration;

/// The limits of a node. What exceeds one is refused with an error that says which.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Most bytes of one message.
    pub message_bytes: usize,
    /// Most pages in one read.
    pub pages_per_read: usize,
    /// Most requests that are worked on at once.
    pub running: usize,
    /// Most requests that wait to be worked on. Clients ask another node, or later.
    pub waiting: usize,
    /// Most streams of one connection: requests and watches.
    pub streams_per_connection: u32,
    /// Most connections.
    pub connections: usize,
    /// Most bytes of the cache of pages and commits; 0 for none.
    pub cache_bytes: u64,
    /// For how long a shutdown waits for requests under way.
    pub shutdown: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes: 16 << 20,
            pages_per_read: 4096,
            running: 64,
            waiting: 1024,
            streams_per_connection: 1024,
            connections: 20_000,
            cache_bytes: 256 << 20,
            shutdown: Duration::from_secs(30),
        }
    }
}
