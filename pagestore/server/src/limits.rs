//! What a node takes before it says that it is too much.

use std::time::Duration;

/// The limits of a node. What exceeds one waits, is refused with an error that says which, or is
/// closed.
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
    /// For how long a new connection may take to say that it speaks TLS, and HTTP/2.
    pub handshake: Duration,
    /// Most bytes of requests that are not answered, over one connection.
    pub request_bytes_per_connection: usize,
    /// Most of them in the node.
    pub request_bytes: usize,
    /// Most watches over one connection.
    pub watches_per_connection: usize,
    /// Most answers, or parts of them of some 256 KiB, on the way over one connection.
    pub replies_per_connection: usize,
    /// Most of them in the node.
    pub replies: usize,
    /// For how long a request waits for room or for a place, and a part of an answer for its client.
    pub stall: Duration,
    /// For how long a request may take to come and to be answered.
    pub request: Duration,
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
            connections: 16_000,
            cache_bytes: 256 << 20,
            handshake: Duration::from_secs(10),
            request_bytes_per_connection: 64 << 20,
            request_bytes: 512 << 20,
            watches_per_connection: 256,
            replies_per_connection: 128,
            replies: 2048,
            stall: Duration::from_secs(30),
            request: Duration::from_mins(2),
            shutdown: Duration::from_secs(30),
        }
    }
}
