//! The operations side of a node: what it counts, and the plain HTTP address that tells of it.
//!
//! Requests are counted by a layer around all services ([`requests`]), the store's work by a
//! [`PageStore`](verso_pagestore::PageStore) around the store ([`store`]), and connections by the
//! streams of the listener ([`connections`]). Handlers count nothing. Without a recorder all of
//! it is without effect.

pub(crate) mod cache;
pub(crate) mod connections;
mod http;
mod outcomes;
mod ready;
mod recorder;
pub(crate) mod requests;
pub(crate) mod store;
pub(crate) mod watches;

pub use http::Operations;
pub use ready::Life;
