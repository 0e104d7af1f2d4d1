//! The retried closure: how the engine runs short transactions.

use verso_pagestore::Durability;

use super::{Committed, Kv, KvError, KvTransaction};

/// How often a transaction is tried. Each loser lost to a transaction that committed, so
/// many losses in a row mean a very busy key, not a deadlock.
const ATTEMPTS: usize = 100;

/// Why a retried closure ended without a commit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RunError<E> {
    /// The store failed, or the transaction lost every time.
    #[error(transparent)]
    Kv(#[from] KvError),
    /// The closure gave up.
    #[error("given up")]
    Abort(E),
}

/// Runs `body` in a transaction and commits it, again on a fresh snapshot while the store
/// asks for that.
///
/// A commit with unknown result is run again too: `body` must notice its own earlier
/// success.
///
/// # Errors
/// What `body` aborts with, or the store's last error.
pub fn run<K: Kv, T, E>(
    kv: &K,
    durability: Durability,
    mut body: impl FnMut(&mut K::Transaction) -> Result<T, RunError<E>>,
) -> Result<(T, Committed), RunError<E>> {
    let mut last = KvError::Conflict;
    for _ in 0..ATTEMPTS {
        let mut transaction = kv.begin()?;
        let attempt =
            body(&mut transaction).and_then(|value| Ok((value, transaction.commit(durability)?)));
        match attempt {
            Err(RunError::Kv(error)) if error.is_retryable() => last = error,
            done => return done,
        }
    }
    Err(last.into())
}
