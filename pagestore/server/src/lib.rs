//! A page-store node: serves a store to clients on other machines, over gRPC.
//!
//! A node keeps no state that matters. Any number of nodes may serve one store, a client may ask
//! any of them, and killing one loses nothing. A request goes `service` or `admin` (validated
//! messages) → `work` (limits) → the page store.

mod admin;
mod limits;
mod operations;
mod serve;
mod service;
mod watch;
mod work;

pub use limits::Limits;
pub use operations::{Life, Operations};
pub use serve::{ServeError, Server};
