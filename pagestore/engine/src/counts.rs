//! What the engine counts.

use std::sync::Once;

use metrics::{counter, describe_counter};
use verso_pagestore::CommitError;

use crate::kv::{KvError, RunError};

/// Attempts at commits, by kind and result: a counter.
const ATTEMPTS: &str = "verso_engine_commit_attempts_total";

/// Counts an attempt at a commit.
pub(crate) fn attempt<T>(kind: &'static str, result: &Result<T, RunError<CommitError>>) {
    static DESCRIBED: Once = Once::new();
    DESCRIBED.call_once(|| {
        describe_counter!(ATTEMPTS, "Attempts at commits, by kind and result");
    });
    let result = match result {
        Ok(_) => "committed",
        Err(RunError::Abort(_)) => "refused",
        Err(RunError::Kv(KvError::Conflict)) => "conflict",
        Err(RunError::Kv(KvError::TooOld)) => "too_old",
        Err(RunError::Kv(KvError::CommitUnknown(_))) => "unknown",
        Err(RunError::Kv(_)) => "failed",
    };
    counter!(ATTEMPTS, "kind" => kind, "result" => result).increment(1);
}
