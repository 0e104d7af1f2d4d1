//! Security of a node: who may do what, TLS, and clients that mean harm.
//!
//! Nodes run inside the test on a store in memory, but for those whose memory is measured: these
//! are processes of the command `verso`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod harm;
mod nodes;
mod tls;
mod tokens;
