//! A page-store node: serves a store to clients on other machines, over gRPC.
//!
//! A node keeps no state that matters. Any number of nodes may serve one store, a client may ask
//! any of them, and killing one loses nothing. A connection goes through `incoming`
//! (limits, TLS), a request `bounds` (`inbox` and `outbox`) → `access` (whose it is) → `service` or `admin`
//! (validated messages, and what the caller may do) → `work` (limits, and threads that may block) →
//! `warm` (what the node remembers) → the page store. What the node remembers is answered without the
//! limits of `work`.

mod access;
mod admin;
mod auth;
mod bounds;
mod inbox;
mod incoming;
mod limits;
mod look;
mod operations;
mod outbox;
mod read;
mod security;
mod serve;
mod service;
mod tls;
mod turn;
mod warm;
mod watch;
mod work;

pub use auth::{Tokens, TokensError};
pub use limits::Limits;
pub use operations::{Life, Operations};
pub use security::Security;
pub use serve::{ServeError, Server};
pub use tls::{Tls, TlsError, TlsFiles};
pub use warm::{CacheStatistics, Warm};
