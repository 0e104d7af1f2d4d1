//! Conversions of the types that most messages share.

use bytes::Bytes;
use roaring::RoaringBitmap;

use super::leases::{standing, standing_message};
use super::proto;
use crate::{
    Begun, Chain, Changes, CommitId, CommitPages, DatabaseId, DatabaseName, Page, PageCount,
    PageDelta, PageNumber, PageSize, PageWrite, Since, Snapshot, UnixMillis, Version,
    VersionedPage,
};

/// A message is not valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid message: {field} {reason}")]
pub struct InvalidMessage {
    /// Which field.
    pub field: &'static str,
    /// What is wrong with it.
    pub reason: String,
}

impl InvalidMessage {
    pub(crate) fn new(field: &'static str, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Self { field, reason }
    }
}

/// A field that must be there.
///
/// # Errors
/// If it is not.
pub fn required<T>(field: &'static str, value: Option<T>) -> Result<T, InvalidMessage> {
    value.ok_or_else(|| InvalidMessage::new(field, "is missing"))
}

fn fixed<const N: usize>(field: &'static str, bytes: &[u8]) -> Result<[u8; N], InvalidMessage> {
    bytes
        .try_into()
        .map_err(|_| InvalidMessage::new(field, format!("has {} bytes, not {N}", bytes.len())))
}

impl TryFrom<&Bytes> for Version {
    type Error = InvalidMessage;

    fn try_from(bytes: &Bytes) -> Result<Self, InvalidMessage> {
        fixed("version", bytes).map(Self::from_bytes)
    }
}

impl From<Version> for Bytes {
    fn from(version: Version) -> Self {
        Self::copy_from_slice(version.as_bytes())
    }
}

impl TryFrom<&Bytes> for CommitId {
    type Error = InvalidMessage;

    fn try_from(bytes: &Bytes) -> Result<Self, InvalidMessage> {
        fixed("commit id", bytes).map(Self::from_bytes)
    }
}

impl From<CommitId> for Bytes {
    fn from(id: CommitId) -> Self {
        Self::copy_from_slice(id.as_bytes())
    }
}

/// A version that may be left out.
///
/// # Errors
/// If there is one that is not valid.
pub fn optional_version(bytes: &Bytes) -> Result<Option<Version>, InvalidMessage> {
    (!bytes.is_empty())
        .then(|| Version::try_from(bytes))
        .transpose()
}

pub(crate) fn name(text: String) -> Result<DatabaseName, InvalidMessage> {
    DatabaseName::new(text).map_err(|error| InvalidMessage::new("name", error.to_string()))
}

pub(crate) fn page_number(number: u32) -> Result<PageNumber, InvalidMessage> {
    PageNumber::new(number).ok_or_else(|| InvalidMessage::new("page number", "is 0"))
}

/// A page size.
///
/// # Errors
/// If it is none.
pub fn page_size(bytes: u32) -> Result<PageSize, InvalidMessage> {
    PageSize::new(bytes).map_err(|error| InvalidMessage::new("page size", error.to_string()))
}

/// A page size that is 0 while a database is empty.
pub(crate) fn optional_page_size(bytes: u32) -> Result<Option<PageSize>, InvalidMessage> {
    (bytes != 0).then(|| page_size(bytes)).transpose()
}

pub(crate) const fn page_size_or_zero(size: Option<PageSize>) -> u32 {
    match size {
        Some(size) => size.get(),
        None => 0,
    }
}

/// Reads a set of pages, which may be empty bytes.
pub(crate) fn page_set(bytes: &Bytes) -> Result<RoaringBitmap, InvalidMessage> {
    if bytes.is_empty() {
        return Ok(RoaringBitmap::new());
    }
    RoaringBitmap::deserialize_from(&bytes[..])
        .map_err(|error| InvalidMessage::new("set of pages", error.to_string()))
}

/// The portable form of a set of pages.
pub(crate) fn page_set_bytes(pages: &RoaringBitmap) -> Bytes {
    if pages.is_empty() {
        return Bytes::new();
    }
    let mut bytes = Vec::with_capacity(pages.serialized_size());
    pages
        .serialize_into(&mut bytes)
        .expect("writing to memory does not fail");
    bytes.into()
}

impl TryFrom<proto::Snapshot> for Snapshot {
    type Error = InvalidMessage;

    fn try_from(message: proto::Snapshot) -> Result<Self, InvalidMessage> {
        Ok(Self {
            database: DatabaseId::new(message.database),
            version: (&message.version).try_into()?,
            commit: (&message.commit).try_into()?,
            read_version: message.read_version,
            lease: standing(message.lease)?,
            mark: None,
            page_size: optional_page_size(message.page_size)?,
            page_count: PageCount::new(message.page_count),
        })
    }
}

impl From<Snapshot> for proto::Snapshot {
    fn from(snapshot: Snapshot) -> Self {
        Self {
            database: snapshot.database.get(),
            version: snapshot.version.into(),
            commit: snapshot.commit.into(),
            read_version: snapshot.read_version,
            lease: standing_message(snapshot.lease),
            page_size: page_size_or_zero(snapshot.page_size),
            page_count: snapshot.page_count.get(),
        }
    }
}

impl TryFrom<proto::Since> for Since {
    type Error = InvalidMessage;

    fn try_from(message: proto::Since) -> Result<Self, InvalidMessage> {
        Ok(Self {
            database: DatabaseId::new(message.database),
            version: (&message.version).try_into()?,
            commit: (&message.commit).try_into()?,
        })
    }
}

impl From<Since> for proto::Since {
    fn from(since: Since) -> Self {
        Self {
            database: since.database.get(),
            version: since.version.into(),
            commit: since.commit.into(),
        }
    }
}

impl TryFrom<proto::Changes> for Changes {
    type Error = InvalidMessage;

    fn try_from(message: proto::Changes) -> Result<Self, InvalidMessage> {
        use proto::changes::Kind;
        match message.kind() {
            Kind::Commits => message
                .commits
                .into_iter()
                .map(|commit| {
                    Ok(CommitPages {
                        version: (&commit.version).try_into()?,
                        commit: (&commit.commit).try_into()?,
                        pages: page_set(&commit.pages)?,
                    })
                })
                .collect::<Result<_, _>>()
                .map(Self::Commits),
            Kind::Unknown => Ok(Self::Unknown),
            Kind::Diverged => Ok(Self::Diverged),
            Kind::Unspecified => Err(InvalidMessage::new("changes", "have no known kind")),
        }
    }
}

impl From<Changes> for proto::Changes {
    fn from(changes: Changes) -> Self {
        use proto::changes::Kind;
        let (kind, commits) = match changes {
            Changes::Commits(commits) => (Kind::Commits, commits),
            Changes::Unknown => (Kind::Unknown, Vec::new()),
            Changes::Diverged => (Kind::Diverged, Vec::new()),
        };
        let message = |commit: CommitPages| proto::CommitPages {
            version: commit.version.into(),
            commit: commit.commit.into(),
            pages: page_set_bytes(&commit.pages),
        };
        Self {
            kind: kind.into(),
            commits: commits.into_iter().map(message).collect(),
        }
    }
}

impl TryFrom<proto::BeginReply> for Begun {
    type Error = InvalidMessage;

    fn try_from(message: proto::BeginReply) -> Result<Self, InvalidMessage> {
        Ok(Self {
            snapshot: required("snapshot", message.snapshot)?.try_into()?,
            changes: required("changes", message.changes)?.try_into()?,
        })
    }
}

impl From<Begun> for proto::BeginReply {
    fn from(begun: Begun) -> Self {
        Self {
            snapshot: Some(begun.snapshot.into()),
            changes: Some(begun.changes.into()),
        }
    }
}

impl TryFrom<proto::VersionedPage> for VersionedPage {
    type Error = InvalidMessage;

    fn try_from(message: proto::VersionedPage) -> Result<Self, InvalidMessage> {
        Ok(Self {
            version: (&message.version).try_into()?,
            page: content(message.page)?,
            chain: chain(message.deltas, message.delta_bytes)?,
        })
    }
}

/// A page of an answer, copied out of the message that it came in: that is as long as many pages, and
/// would stay in memory with any of them that is kept.
pub(super) fn on_its_own(message: proto::VersionedPage) -> Result<VersionedPage, InvalidMessage> {
    let mut read = VersionedPage::try_from(message)?;
    read.page = Page::copy_from_slice(&read.page);
    Ok(read)
}

impl From<VersionedPage> for proto::VersionedPage {
    fn from(page: VersionedPage) -> Self {
        Self {
            version: page.version.into(),
            page: page.page,
            deltas: page.chain.deltas().into(),
            delta_bytes: page.chain.bytes(),
        }
    }
}

impl TryFrom<proto::PageWrite> for PageWrite {
    type Error = InvalidMessage;

    fn try_from(message: proto::PageWrite) -> Result<Self, InvalidMessage> {
        Ok(Self {
            number: page_number(message.number)?,
            page: content(message.page)?,
        })
    }
}

impl From<PageWrite> for proto::PageWrite {
    fn from(write: PageWrite) -> Self {
        Self {
            number: write.number.get(),
            page: write.page,
        }
    }
}

impl TryFrom<proto::PageDelta> for PageDelta {
    type Error = InvalidMessage;

    fn try_from(message: proto::PageDelta) -> Result<Self, InvalidMessage> {
        Ok(Self {
            number: page_number(message.number)?,
            chain: chain(message.deltas, message.delta_bytes)?,
            checksum: message.checksum,
            delta: message.delta,
        })
    }
}

impl From<PageDelta> for proto::PageDelta {
    fn from(delta: PageDelta) -> Self {
        Self {
            number: delta.number.get(),
            delta: delta.delta,
            checksum: delta.checksum,
            deltas: delta.chain.deltas().into(),
            delta_bytes: delta.chain.bytes(),
        }
    }
}

fn chain(deltas: u32, bytes: u32) -> Result<Chain, InvalidMessage> {
    let chain = u8::try_from(deltas).map(|deltas| Chain::new(deltas, bytes));
    let chain = chain.ok().filter(|chain| chain.is_short(PageSize::MAX));
    chain.ok_or_else(|| InvalidMessage::new("chain of deltas", "is too long"))
}

/// The content of a page, whose length must be that of a page.
fn content(page: Page) -> Result<Page, InvalidMessage> {
    let length = u32::try_from(page.len()).unwrap_or(u32::MAX);
    page_size(length).map(|_| page)
}

/// Pages that a message lists.
///
/// # Errors
/// If one is not valid.
pub fn pages_from(writes: Vec<proto::PageWrite>) -> Result<Vec<PageWrite>, InvalidMessage> {
    writes.into_iter().map(TryInto::try_into).collect()
}

pub(crate) const fn time(milliseconds: u64) -> UnixMillis {
    UnixMillis::new(milliseconds)
}
