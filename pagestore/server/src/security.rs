//! What protects a node: tokens and TLS, each if it is wanted.

use crate::{Tls, Tokens};

/// Whom a node serves, and how. The default takes everybody.
#[derive(Debug, Clone, Default)]
pub struct Security {
    /// Who may do what; `None` lets everybody do everything.
    pub tokens: Option<Tokens>,
    /// How connections are protected; `None` leaves them in the clear.
    pub tls: Option<Tls>,
}

impl Security {
    /// Reads the files again. One that cannot be used is logged, and what it said before stays
    /// in force.
    pub fn reload(&self) {
        match self.tokens.as_ref().map(Tokens::reload) {
            Some(Ok(count)) => tracing::info!(count, "the tokens were read again"),
            Some(Err(error)) => tracing::error!(%error, "the tokens stay as they were"),
            None => {}
        }
        match self.tls.as_ref().map(Tls::reload) {
            Some(Ok(())) => tracing::info!("the certificates were read again"),
            Some(Err(error)) => tracing::error!(%error, "the certificates stay as they were"),
            None => {}
        }
    }
}
