//! Errors as gRPC statuses: a code that every client understands, a message for people, and an
//! `Error` message as the details, from which our client makes the same error again.

use prost::Message as _;
use tonic::{Code, Status};

use super::proto::error::{self, Kind, store};
use super::{InvalidMessage, convert, proto};
use crate::{
    BeginError, CatalogueError, CommitError, Conflict, DatabaseId, LeaseError, LoadError,
    MomentError, ReadError, StoreError,
};

/// A failure of a request, ready to be sent.
#[derive(Debug, Clone)]
pub struct ServiceError {
    kind: Kind,
    message: String,
}

impl From<ServiceError> for Status {
    fn from(error: ServiceError) -> Self {
        let code = code(&error.kind);
        let details = proto::Error {
            kind: Some(error.kind),
        };
        Self::with_details(code, error.message, details.encode_to_vec().into())
    }
}

impl From<InvalidMessage> for Status {
    fn from(error: InvalidMessage) -> Self {
        Self::invalid_argument(error.to_string())
    }
}

fn code(kind: &Kind) -> Code {
    match kind {
        Kind::NoSuchDatabase(_) | Kind::Removed(_) | Kind::NoSuchVersion(_) => Code::NotFound,
        Kind::Exists(_) => Code::AlreadyExists,
        Kind::Conflict(_) | Kind::Leased(_) | Kind::LeaseLost(_) => Code::Aborted,
        Kind::Corrupt(_) => Code::DataLoss,
        Kind::TooLarge(_) => Code::ResourceExhausted,
        Kind::Invalid(_) => Code::InvalidArgument,
        Kind::Unknown(_) => Code::Unknown,
        Kind::LoadEnded(_) => Code::FailedPrecondition,
        Kind::TooEarly(_) => Code::OutOfRange,
        Kind::Store(store) => match store.kind() {
            store::Kind::Unavailable | store::Kind::Busy => Code::Unavailable,
            store::Kind::Full => Code::ResourceExhausted,
            store::Kind::NotAStore | store::Kind::OtherFormat => Code::FailedPrecondition,
            store::Kind::Damaged => Code::DataLoss,
            store::Kind::Io | store::Kind::Unspecified => Code::Internal,
        },
    }
}

/// What a node says of its failure, if it is one that a node tells of.
pub(crate) fn kind_of(status: &Status) -> Option<Kind> {
    if status.details().is_empty() {
        return None;
    }
    proto::Error::decode(status.details()).ok()?.kind
}

fn name(name: &crate::DatabaseName) -> error::Name {
    error::Name {
        name: name.to_string(),
    }
}

const fn database(id: DatabaseId) -> error::Database {
    error::Database { database: id.get() }
}

fn store_kind(error: StoreError) -> Kind {
    let (kind, reason, found, known) = match error {
        // The latter two are what clients of nodes find, and a node is none.
        StoreError::Unavailable { reason, .. }
        | StoreError::Unreachable { reason, .. }
        | StoreError::Denied { reason, .. } => (store::Kind::Unavailable, reason, 0, 0),
        StoreError::Busy { reason, .. } => (store::Kind::Busy, reason, 0, 0),
        StoreError::Full { .. } => (store::Kind::Full, String::new(), 0, 0),
        StoreError::NotAStore { reason, .. } => (store::Kind::NotAStore, reason, 0, 0),
        StoreError::OtherFormat { found, known, .. } => {
            (store::Kind::OtherFormat, String::new(), found, known)
        }
        StoreError::Damaged { reason, .. } => (store::Kind::Damaged, reason, 0, 0),
        StoreError::Io { reason, .. } => (store::Kind::Io, reason, 0, 0),
    };
    Kind::Store(error::Store {
        kind: kind.into(),
        reason,
        found,
        known,
    })
}

/// The error of the store behind a node, which the client knows by this URL. What no request of
/// that kind can fail with is a failure of the node.
pub(crate) fn store_error(kind: Kind, url: &str) -> StoreError {
    let store = url.to_owned();
    let Kind::Store(failure) = kind else {
        let reason = format!("a node answered with an error that does not belong here: {kind:?}");
        return StoreError::Io { store, reason };
    };
    let kind = failure.kind();
    let error::Store {
        reason,
        found,
        known,
        ..
    } = failure;
    match kind {
        store::Kind::Unavailable => StoreError::Unavailable { store, reason },
        store::Kind::Busy => StoreError::Busy { store, reason },
        store::Kind::Full => StoreError::Full { store },
        store::Kind::NotAStore => StoreError::NotAStore { store, reason },
        store::Kind::OtherFormat => StoreError::OtherFormat {
            store,
            found,
            known,
        },
        store::Kind::Damaged => StoreError::Damaged { store, reason },
        store::Kind::Io | store::Kind::Unspecified => StoreError::Io { store, reason },
    }
}

/// Implements the way of one operation's errors to the wire, with the message of the error.
macro_rules! service_error {
    ($error:ident, $($pattern:pat => $kind:expr,)*) => {
        impl From<$error> for ServiceError {
            fn from(error: $error) -> Self {
                let error = match error {
                    $error::Store(error) => $error::Store(error.behind_node()),
                    error => error,
                };
                let message = error.to_string();
                let kind = match error {
                    $($pattern => $kind,)*
                    $error::Store(error) => store_kind(error),
                };
                Self { kind, message }
            }
        }
    };
}

impl From<StoreError> for ServiceError {
    fn from(error: StoreError) -> Self {
        let error = error.behind_node();
        let message = error.to_string();
        let kind = store_kind(error);
        Self { kind, message }
    }
}

service_error! { BeginError,
    BeginError::NoSuchDatabase { name: missing } => Kind::NoSuchDatabase(name(&missing)),
}

service_error! { ReadError,
    ReadError::Corrupt { database, page, version, reason } => Kind::Corrupt(error::Corrupt {
        database: database.get(),
        page: page.get(),
        version: version.into(),
        reason,
    }),
    ReadError::Removed { database: id } => Kind::Removed(database(id)),
}

service_error! { CommitError,
    CommitError::Conflict(conflict) => Kind::Conflict(error::Conflict {
        database: conflict.database.get(),
        page: conflict.page.get(),
        winner: conflict.winner.into(),
    }),
    CommitError::Leased { database: id } => Kind::Leased(database(id)),
    CommitError::LeaseLost { database: id } => Kind::LeaseLost(database(id)),
    CommitError::Removed { database: id } => Kind::Removed(database(id)),
    CommitError::TooLarge { bytes, limit } => Kind::TooLarge(error::TooLarge { bytes, limit }),
    CommitError::Invalid { reason } => Kind::Invalid(reason),
    CommitError::Unknown { reason } => Kind::Unknown(reason),
}

service_error! { LeaseError,
    LeaseError::Removed { database: id } => Kind::Removed(database(id)),
    LeaseError::Lost { database: id } => Kind::LeaseLost(database(id)),
}

service_error! { CatalogueError,
    CatalogueError::NoSuchDatabase { name: missing } => Kind::NoSuchDatabase(name(&missing)),
    CatalogueError::Exists { name: taken } => Kind::Exists(name(&taken)),
}

service_error! { MomentError,
    MomentError::NoSuchDatabase { name: missing } => Kind::NoSuchDatabase(name(&missing)),
    MomentError::NoSuchVersion { name, version } => Kind::NoSuchVersion(error::NoSuchVersion {
        name: name.to_string(),
        version: version.into(),
    }),
    MomentError::TooEarly { name, time, oldest } => Kind::TooEarly(error::TooEarly {
        name: name.to_string(),
        time_ms: time.get(),
        oldest_ms: oldest.get(),
    }),
}

service_error! { LoadError,
    LoadError::Exists { name: taken } => Kind::Exists(name(&taken)),
    LoadError::Ended { database: id } => Kind::LoadEnded(database(id)),
}

/// An error that a node may answer an operation with.
pub(crate) trait FromKind: Sized + From<StoreError> {
    /// The error, from a node of the store with this URL; `None` if the operation has no such
    /// error of its own.
    fn from_kind(kind: Kind) -> Result<Option<Self>, InvalidMessage>;
}

/// The error that a node answered an operation with.
pub(crate) fn operation_error<E: FromKind>(kind: Kind, url: &str) -> E {
    match E::from_kind(kind.clone()) {
        Ok(Some(error)) => error,
        Ok(None) => store_error(kind, url).into(),
        Err(invalid) => StoreError::Io {
            store: url.to_owned(),
            reason: invalid.to_string(),
        }
        .into(),
    }
}

impl FromKind for StoreError {
    fn from_kind(_: Kind) -> Result<Option<Self>, InvalidMessage> {
        Ok(None)
    }
}

/// Implements the way back.
macro_rules! from_kind {
    ($error:ident, $($pattern:pat => $value:expr,)*) => {
        impl FromKind for $error {
            fn from_kind(kind: Kind) -> Result<Option<Self>, InvalidMessage> {
                Ok(Some(match kind {
                    $($pattern => $value,)*
                    _ => return Ok(None),
                }))
            }
        }
    };
}

from_kind! { BeginError,
    Kind::NoSuchDatabase(missing) => Self::NoSuchDatabase { name: convert::name(missing.name)? },
}

from_kind! { ReadError,
    Kind::Corrupt(corrupt) => Self::Corrupt {
        database: DatabaseId::new(corrupt.database),
        page: convert::page_number(corrupt.page)?,
        version: (&corrupt.version).try_into()?,
        reason: corrupt.reason,
    },
    Kind::Removed(removed) => Self::Removed { database: DatabaseId::new(removed.database) },
}

from_kind! { CommitError,
    Kind::Conflict(conflict) => Self::Conflict(Conflict {
        database: DatabaseId::new(conflict.database),
        page: convert::page_number(conflict.page)?,
        winner: (&conflict.winner).try_into()?,
    }),
    Kind::Leased(leased) => Self::Leased { database: DatabaseId::new(leased.database) },
    Kind::LeaseLost(lost) => Self::LeaseLost { database: DatabaseId::new(lost.database) },
    Kind::Removed(removed) => Self::Removed { database: DatabaseId::new(removed.database) },
    Kind::TooLarge(error::TooLarge { bytes, limit }) => Self::TooLarge { bytes, limit },
    Kind::Invalid(reason) => Self::Invalid { reason },
    Kind::Unknown(reason) => Self::Unknown { reason },
}

from_kind! { LeaseError,
    Kind::Removed(removed) => Self::Removed { database: DatabaseId::new(removed.database) },
    Kind::LeaseLost(lost) => Self::Lost { database: DatabaseId::new(lost.database) },
}

from_kind! { CatalogueError,
    Kind::NoSuchDatabase(missing) => Self::NoSuchDatabase { name: convert::name(missing.name)? },
    Kind::Exists(taken) => Self::Exists { name: convert::name(taken.name)? },
}

from_kind! { MomentError,
    Kind::NoSuchDatabase(missing) => Self::NoSuchDatabase { name: convert::name(missing.name)? },
    Kind::NoSuchVersion(missing) => Self::NoSuchVersion {
        name: convert::name(missing.name)?,
        version: (&missing.version).try_into()?,
    },
    Kind::TooEarly(early) => Self::TooEarly {
        name: convert::name(early.name)?,
        time: convert::time(early.time_ms),
        oldest: convert::time(early.oldest_ms),
    },
}

from_kind! { LoadError,
    Kind::Exists(taken) => Self::Exists { name: convert::name(taken.name)? },
    Kind::LoadEnded(ended) => Self::Ended { database: DatabaseId::new(ended.database) },
}
