//! Conversions of what the catalogue tells.

use super::convert::{
    optional_page_size, optional_version, page_number, page_set, page_set_bytes, page_size_or_zero,
    required, time,
};
use super::{InvalidMessage, convert, proto};
use crate::{
    CommitRecord, CopyBegun, CorruptRecord, DatabaseEntry, DatabaseId, DatabaseInfo, DatabaseName,
    Moment, Origin, PageCount, RecordPosition, VerifyReport,
};

impl TryFrom<proto::DatabaseEntry> for DatabaseEntry {
    type Error = InvalidMessage;

    fn try_from(message: proto::DatabaseEntry) -> Result<Self, InvalidMessage> {
        Ok(Self {
            name: convert::name(message.name)?,
            id: DatabaseId::new(message.database),
        })
    }
}

impl From<DatabaseEntry> for proto::DatabaseEntry {
    fn from(entry: DatabaseEntry) -> Self {
        Self {
            name: entry.name.to_string(),
            database: entry.id.get(),
        }
    }
}

impl proto::InfoReply {
    /// What the store knows about the database of this name.
    pub(crate) fn into_info(self, name: DatabaseName) -> Result<DatabaseInfo, InvalidMessage> {
        Ok(DatabaseInfo {
            name,
            id: DatabaseId::new(self.database),
            created: time(self.created_ms),
            version: (&self.version).try_into()?,
            committed: time(self.committed_ms),
            oldest: (&self.oldest).try_into()?,
            oldest_committed: time(self.oldest_committed_ms),
            page_size: optional_page_size(self.page_size)?,
            page_count: PageCount::new(self.page_count),
        })
    }
}

impl From<DatabaseInfo> for proto::InfoReply {
    fn from(info: DatabaseInfo) -> Self {
        Self {
            database: info.id.get(),
            created_ms: info.created.get(),
            version: info.version.into(),
            committed_ms: info.committed.get(),
            oldest: info.oldest.into(),
            oldest_committed_ms: info.oldest_committed.get(),
            page_size: page_size_or_zero(info.page_size),
            page_count: info.page_count.get(),
        }
    }
}

impl TryFrom<proto::CommitRecord> for CommitRecord {
    type Error = InvalidMessage;

    fn try_from(message: proto::CommitRecord) -> Result<Self, InvalidMessage> {
        Ok(Self {
            version: (&message.version).try_into()?,
            time: time(message.time_ms),
            id: (&message.id).try_into()?,
            pages: page_set(&message.pages)?,
            page_size: optional_page_size(message.page_size)?,
            page_count: PageCount::new(message.page_count),
        })
    }
}

impl From<CommitRecord> for proto::CommitRecord {
    fn from(record: CommitRecord) -> Self {
        Self {
            version: record.version.into(),
            time_ms: record.time.get(),
            id: record.id.into(),
            pages: page_set_bytes(&record.pages),
            page_size: page_size_or_zero(record.page_size),
            page_count: record.page_count.get(),
        }
    }
}

impl TryFrom<proto::RecordPosition> for RecordPosition {
    type Error = InvalidMessage;

    fn try_from(message: proto::RecordPosition) -> Result<Self, InvalidMessage> {
        Ok(Self {
            page: page_number(message.page)?,
            version: (&message.version).try_into()?,
        })
    }
}

impl From<RecordPosition> for proto::RecordPosition {
    fn from(position: RecordPosition) -> Self {
        Self {
            page: position.page.get(),
            version: position.version.into(),
        }
    }
}

impl TryFrom<proto::VerifyReply> for VerifyReport {
    type Error = InvalidMessage;

    fn try_from(message: proto::VerifyReply) -> Result<Self, InvalidMessage> {
        let corrupt = message.corrupt.into_iter().map(|record| {
            Ok(CorruptRecord {
                position: required("position", record.position)?.try_into()?,
                reason: record.reason,
            })
        });
        Ok(Self {
            records: message.records,
            bytes: message.bytes,
            corrupt: corrupt.collect::<Result<_, InvalidMessage>>()?,
            last: message.last.map(TryInto::try_into).transpose()?,
        })
    }
}

impl From<VerifyReport> for proto::VerifyReply {
    fn from(report: VerifyReport) -> Self {
        let corrupt = report
            .corrupt
            .into_iter()
            .map(|record| proto::CorruptRecord {
                position: Some(record.position.into()),
                reason: record.reason,
            });
        Self {
            records: report.records,
            bytes: report.bytes,
            corrupt: corrupt.collect(),
            last: report.last.map(Into::into),
        }
    }
}

impl TryFrom<proto::Origin> for Origin {
    type Error = InvalidMessage;

    fn try_from(message: proto::Origin) -> Result<Self, InvalidMessage> {
        Ok(Self {
            database: DatabaseId::new(message.database),
            version: (&message.version).try_into()?,
            commit: (&message.commit).try_into()?,
        })
    }
}

impl From<Origin> for proto::Origin {
    fn from(origin: Origin) -> Self {
        Self {
            database: origin.database.get(),
            version: origin.version.into(),
            commit: origin.commit.into(),
        }
    }
}

impl TryFrom<proto::LoadCopyReply> for CopyBegun {
    type Error = InvalidMessage;

    fn try_from(message: proto::LoadCopyReply) -> Result<Self, InvalidMessage> {
        Ok(Self {
            database: DatabaseId::new(message.database),
            loaded: PageCount::new(message.loaded),
            removed: optional_version(&message.removed)?,
        })
    }
}

impl From<CopyBegun> for proto::LoadCopyReply {
    fn from(begun: CopyBegun) -> Self {
        Self {
            database: begun.database.get(),
            loaded: begun.loaded.get(),
            removed: begun.removed.map(Into::into).unwrap_or_default(),
        }
    }
}

impl TryFrom<proto::snapshot_at_request::Moment> for Moment {
    type Error = InvalidMessage;

    fn try_from(message: proto::snapshot_at_request::Moment) -> Result<Self, InvalidMessage> {
        use proto::snapshot_at_request::Moment as Message;
        Ok(match message {
            Message::Version(version) => Self::Version((&version).try_into()?),
            Message::TimeMs(milliseconds) => Self::Time(time(milliseconds)),
            Message::ReadVersion(version) => Self::ReadVersion(version),
        })
    }
}

impl From<Moment> for proto::snapshot_at_request::Moment {
    fn from(moment: Moment) -> Self {
        match moment {
            Moment::Version(version) => Self::Version(version.into()),
            Moment::Time(time) => Self::TimeMs(time.get()),
            Moment::ReadVersion(version) => Self::ReadVersion(version),
        }
    }
}
