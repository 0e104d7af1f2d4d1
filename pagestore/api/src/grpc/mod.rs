//! The page-store service: its messages (`proto/verso/v1/pagestore.proto`), their conversions to
//! and from the domain types, and a client that is a [`PageStore`](crate::PageStore).
//!
//! Conversions are the one place where messages are looked at: what they yield is valid.

mod administer;
mod client;
mod codec;
mod commits;
mod convert;
mod leases;
mod status;

/// The generated messages, clients and servers.
#[allow(
    clippy::pedantic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub,
    reason = "generated"
)]
pub mod proto {
    tonic::include_proto!("verso.v1");

    /// The description of the service, for the reflection service: an encoded
    /// `google.protobuf.FileDescriptorSet`.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/pagestore.bin"));
}

pub use client::{
    ClientOptions, TOKEN_ENVIRONMENT_VARIABLE, TOKEN_FILE_ENVIRONMENT_VARIABLE, connect,
};
pub use convert::{InvalidMessage, optional_version, page_size, pages_from, required};
pub use status::ServiceError;
