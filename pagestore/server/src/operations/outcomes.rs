//! How requests of a store end, as labels: every value is one of these lists.

use verso_pagestore::{
    BeginError, CatalogueError, CommitError, CommitOutcome, LeaseError, LoadError, MomentError,
    ReadError, StoreError,
};

/// The kinds of failures of a store.
pub(super) const FAILURE_KINDS: [&str; 7] = [
    "unavailable",
    "busy",
    "full",
    "not_a_store",
    "other_format",
    "damaged",
    "io",
];

/// The results of commits.
pub(super) const COMMIT_RESULTS: [&str; 9] = [
    "committed",
    "conflict",
    "leased",
    "lease_lost",
    "removed",
    "too_large",
    "invalid",
    "store_failed",
    "unknown",
];

/// Why a commit lost.
pub(super) const CONFLICT_REASONS: [&str; 3] = ["page", "leased", "lease_lost"];

/// An error that may be a failure of the store.
pub(super) trait Failure {
    fn store(&self) -> Option<&StoreError>;
}

impl Failure for StoreError {
    fn store(&self) -> Option<&StoreError> {
        Some(self)
    }
}

macro_rules! failure {
    ($($error:ident),*) => {$(
        impl Failure for $error {
            fn store(&self) -> Option<&StoreError> {
                if let Self::Store(error) = self { Some(error) } else { None }
            }
        }
    )*};
}

failure!(
    BeginError,
    ReadError,
    CommitError,
    LeaseError,
    CatalogueError,
    MomentError,
    LoadError
);

pub(super) const fn kind(error: &StoreError) -> &'static str {
    match error {
        StoreError::Unavailable { .. }
        | StoreError::Unreachable { .. }
        | StoreError::Denied { .. } => "unavailable",
        StoreError::Busy { .. } => "busy",
        StoreError::Full { .. } => "full",
        StoreError::NotAStore { .. } => "not_a_store",
        StoreError::OtherFormat { .. } => "other_format",
        StoreError::Damaged { .. } => "damaged",
        StoreError::Io { .. } => "io",
    }
}

pub(super) const fn commit_result(result: &Result<CommitOutcome, CommitError>) -> &'static str {
    match result {
        Ok(_) => "committed",
        Err(CommitError::Conflict(_)) => "conflict",
        Err(CommitError::Leased { .. }) => "leased",
        Err(CommitError::LeaseLost { .. }) => "lease_lost",
        Err(CommitError::Removed { .. }) => "removed",
        Err(CommitError::TooLarge { .. }) => "too_large",
        Err(CommitError::Invalid { .. }) => "invalid",
        Err(CommitError::Store(_)) => "store_failed",
        Err(CommitError::Unknown { .. }) => "unknown",
    }
}

pub(super) const fn conflict_reason(error: &CommitError) -> Option<&'static str> {
    match error {
        CommitError::Conflict(_) => Some("page"),
        CommitError::Leased { .. } => Some("leased"),
        CommitError::LeaseLost { .. } => Some("lease_lost"),
        CommitError::Removed { .. }
        | CommitError::TooLarge { .. }
        | CommitError::Invalid { .. }
        | CommitError::Store(_)
        | CommitError::Unknown { .. } => None,
    }
}
