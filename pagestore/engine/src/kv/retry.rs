//! The retried closure: how the engine runs short transactions.

use std::time::Duration;

use verso_pagestore::Durability;

use super::{Committed, Kv, KvError, KvTransaction};

/// How often a transaction is tried. Each loser lost to a transaction that committed, so
/// many losses in a row mean a very busy key, not a deadlock.
const ATTEMPTS: usize = 100;

/// The first pause where a store asks for one; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(5);

/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How long the pauses may be in all.
const LONGEST_PAUSES: Duration = Duration::from_secs(30);

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
    attempts(kv, || {
        let mut transaction = kv.begin()?;
        let value = body(&mut transaction)?;
        Ok((value, transaction.commit(durability)?))
    })
}

/// Runs `body`, which only reads, again on a fresh snapshot while the store asks for that.
///
/// # Errors
/// What `body` aborts with, or the store's last error.
pub fn look<K: Kv, T, E>(
    kv: &K,
    mut body: impl FnMut(&mut K::Transaction) -> Result<T, RunError<E>>,
) -> Result<T, RunError<E>> {
    attempts(kv, || body(&mut kv.begin()?))
}

/// Tries something again while the store asks for that, and pauses before where it asks for
/// that too.
pub(crate) fn attempts<K: Kv, T, E>(
    kv: &K,
    mut attempt: impl FnMut() -> Result<T, RunError<E>>,
) -> Result<T, RunError<E>> {
    let mut last = KvError::Conflict;
    let (mut pause, mut pauses) = (FIRST_PAUSE, Duration::ZERO);
    for _ in 0..ATTEMPTS {
        last = match attempt() {
            Err(RunError::Kv(error)) if error.is_retryable() => error,
            done => return done,
        };
        if let KvError::Again(_) = last {
            if pauses >= LONGEST_PAUSES {
                break;
            }
            kv.pause(pause);
            pauses += pause;
            pause = LONGEST_PAUSE.min(2 * pause);
        }
    }
    Err(last.into())
}
