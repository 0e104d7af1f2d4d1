//! The page store: databases made of versioned pages.
//!
//! This crate is the vocabulary that every other crate of Verso shares: the domain
//! types, the [`PageStore`] trait and its errors. It does no input or output, but for the client
//! of page-store nodes (`grpc`, with the feature of that name).
//!
//! A [`PageStore`] holds databases by name. A transaction begins by learning a
//! [`Snapshot`], reads pages of it, and ends by sending a [`CommitRequest`] with the
//! pages it depends on and the pages it changes. The store accepts it only if none of
//! the pages it depends on has changed since the snapshot, so committed transactions
//! are serializable.

mod byte_count;
mod commit;
mod database;
pub mod delta;
mod error;
mod gate;
#[cfg(feature = "grpc")]
pub mod grpc;
pub mod header;
mod id;
mod lease;
mod load;
mod moment;
mod page;
mod store;
mod store_url;
mod version;

pub use byte_count::{ParseBytesError, parse_bytes};
pub use commit::{
    Change, CommitId, CommitOutcome, CommitRecord, CommitRequest, Durability, PageDelta, PageWrite,
    Participant,
};
pub use database::{DatabaseEntry, DatabaseId, DatabaseInfo, DatabaseName, NameError};
pub use error::{
    BeginError, CatalogueError, CommitError, Conflict, LeaseError, LoadError, MomentError,
    ReadError, StoreError,
};
pub use gate::{Gate, Pass};
pub use lease::{
    Lease, LeaseAnswer, LeaseId, LeaseRequest, LeaseStanding, LeaseView, Place, Ticket,
};
pub use load::{CopyBegun, Origin};
pub use moment::{Moment, ParseMomentError, UnixMillis};
pub use page::{Chain, InvalidPageSize, Page, PageCount, PageNumber, PageSize, VersionedPage};
pub use roaring::RoaringBitmap;
pub use store::{
    Begun, Bound, Changes, CommitPages, CorruptRecord, PageStore, Recent, RecordPosition, Since,
    Start, VerifyReport,
};
pub use store_url::{
    DEFAULT_STORE, FoundationDbUrl, NodesUrl, STORE_ENVIRONMENT_VARIABLE, StoreUrl, StoreUrlError,
};
pub use version::{Mark, ParseVersionError, Snapshot, Version};
