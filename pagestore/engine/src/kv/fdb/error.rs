//! What FoundationDB's errors mean to the engine.
//!
//! The numbers are those of <https://apple.github.io/foundationdb/api-error-codes.html>.

use foundationdb::FdbError;

use crate::kv::KvError;

const TIMED_OUT: i32 = 1004;
const TRANSACTION_TOO_OLD: i32 = 1007;
const NOT_COMMITTED: i32 = 1020;
const TRANSACTION_CANCELLED: i32 = 1025;
const TRANSACTION_TIMED_OUT: i32 = 1031;
const DATABASE_LOCKED: i32 = 1038;
const NO_CLUSTER_FILE: i32 = 1515;
const CONNECTION_STRING_INVALID: i32 = 2104;

/// A failed read, or a failed commit that was not applied.
pub(super) fn refused(error: FdbError) -> KvError {
    let message = || format!("FoundationDB: {} ({})", error.message(), error.code());
    match error.code() {
        NOT_COMMITTED => KvError::Conflict,
        TRANSACTION_TOO_OLD => KvError::TooOld,
        TRANSACTION_TIMED_OUT | TIMED_OUT => {
            KvError::Busy("FoundationDB does not answer: see `fdbcli --exec status`".to_owned())
        }
        DATABASE_LOCKED => KvError::Busy(
            "the FoundationDB cluster is locked, by a restore or a switch-over: see `fdbcli \
             --exec status`"
                .to_owned(),
        ),
        NO_CLUSTER_FILE | CONNECTION_STRING_INVALID => KvError::Unavailable(message()),
        _ if error.is_retryable() => KvError::Again(message()),
        _ => KvError::Io(message()),
    }
}

/// A failed commit.
pub(super) fn failed_commit(error: FdbError) -> KvError {
    let is_unknown = error.is_maybe_committed()
        // Beside those that the client library counts: it gave up waiting for the answer.
        || [TRANSACTION_TIMED_OUT, TIMED_OUT, TRANSACTION_CANCELLED].contains(&error.code());
    if is_unknown {
        let (message, code) = (error.message(), error.code());
        return KvError::CommitUnknown(format!("FoundationDB: {message} ({code})"));
    }
    refused(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_whether_to_try_again() {
        let refused = |code| refused(FdbError::from_code(code));
        assert_eq!(refused(NOT_COMMITTED), KvError::Conflict);
        assert_eq!(refused(TRANSACTION_TOO_OLD), KvError::TooOld);
        // Future version, process behind, proxy out of memory, throttled.
        for code in [1009, 1037, 1042, 1051, 1078, 1213] {
            assert!(matches!(refused(code), KvError::Again(_)), "{code}");
        }
        for code in [TRANSACTION_TIMED_OUT, DATABASE_LOCKED] {
            assert!(matches!(refused(code), KvError::Busy(_)), "{code}");
        }
        assert!(matches!(refused(NO_CLUSTER_FILE), KvError::Unavailable(_)));
        // Operation failed.
        assert!(matches!(refused(1000), KvError::Io(_)));
    }

    #[test]
    fn a_commit_that_may_have_happened_is_unknown() {
        let failed = |code| failed_commit(FdbError::from_code(code));
        // Unknown result, cluster version changed, timed out, cancelled.
        for code in [1021, 1039, 1031, 1004, 1025] {
            assert!(matches!(failed(code), KvError::CommitUnknown(_)), "{code}");
        }
        assert_eq!(failed(NOT_COMMITTED), KvError::Conflict);
        assert!(matches!(failed(1042), KvError::Again(_)));
    }
}
