//! Security of a node: who may do what, TLS, and clients that mean harm.
//!
//! Nodes run inside the test on a store in memory. What needs a process of its own is tested with the
//! command `verso`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod harm;
mod nodes;
mod requests;
mod tls;
mod tokens;
