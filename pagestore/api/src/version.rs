//! Versions and snapshots: names of moments in a database's life.

use std::fmt;
use std::str::FromStr;

use crate::{CommitId, DatabaseId, LeaseStanding, PageCount, PageSize};

/// The version that a commit made: 10 bytes whose byte order is commit order.
///
/// It is the versionstamp that the key-value store gave the commit (see FoundationDB's
/// "versionstamp": 8 bytes of commit version and 2 bytes of order within a batch, both
/// big-endian). Shown and parsed as 20 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version([u8; 10]);

impl Version {
    /// Below every version that a commit can make.
    pub const MIN: Self = Self([0; 10]);
    /// Above every version that a commit can make.
    pub const MAX: Self = Self([0xff; 10]);
    /// Length in bytes.
    pub const LENGTH: usize = 10;

    /// The version with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 10]) -> Self {
        Self(bytes)
    }

    /// The version of a commit: the store's commit version, and the order within its batch.
    #[must_use]
    pub fn from_commit(commit_version: u64, batch_order: u16) -> Self {
        let mut bytes = [0; 10];
        let (high, low) = bytes.split_at_mut(8);
        high.copy_from_slice(&commit_version.to_be_bytes());
        low.copy_from_slice(&batch_order.to_be_bytes());
        Self(bytes)
    }

    /// The bytes, in the order that keys hold them.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 10] {
        &self.0
    }

    /// The store's commit version: the first eight bytes.
    #[must_use]
    pub fn commit_version(&self) -> u64 {
        self.0
            .iter()
            .take(8)
            .fold(0, |value, &byte| value << 8 | u64::from(byte))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Version({self})")
    }
}

/// A text is not a version: 20 hex digits were expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not a version: expected 20 hex digits, as `verso log` shows them")]
pub struct ParseVersionError {
    text: String,
}

impl FromStr for Version {
    type Err = ParseVersionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseVersionError {
            text: text.to_owned(),
        };
        if text.len() != 20 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(error());
        }
        // 20 hex digits are 80 bits: they fit in a u128 and leave its upper six bytes zero.
        let value = u128::from_str_radix(text, 16).map_err(|_| error())?;
        let mut bytes = [0; 10];
        bytes.copy_from_slice(value.to_be_bytes().split_at(6).1);
        Ok(Self(bytes))
    }
}

/// Stands for everything that is committed to a store, in all of its databases. As long as it is the
/// same, nothing was committed. It means something only to the process that got it from its store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark(u64);

impl Mark {
    /// A mark, of a hash of what tells states of the store apart.
    #[must_use]
    pub const fn new(hash: u64) -> Self {
        Self(hash)
    }
}

/// A database at one version: what a transaction reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snapshot {
    /// The database, whatever its name is now.
    pub database: DatabaseId,
    /// The newest commit that the snapshot contains.
    pub version: Version,
    /// The id of that commit. Versions count on from where a store is, so a store that was put
    /// back to an older state may give a version again; the id tells the two apart.
    pub commit: CommitId,
    /// The key-value store's read version at which this was learnt: a commit may check for
    /// conflicts from there on. Only the store that gave it can use it.
    pub read_version: u64,
    /// The writer lease when the snapshot was learnt by a begin: the commit may leave everything
    /// but conflicts unchecked if it can go on from there. Unknown of a snapshot that is made of
    /// an own commit: others may have the same commit version.
    pub lease: LeaseStanding,
    /// What the store had committed when this was learnt, where it can tell without a request.
    pub mark: Option<Mark>,
    /// Size of the database's pages; `None` until the first commit with pages fixes it.
    pub page_size: Option<PageSize>,
    /// Number of pages.
    pub page_count: PageCount,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_as_twenty_hex_digits_and_parsed_back() {
        let version = Version::from_commit(0x0102_0304_0506_0708, 0x0a0b);
        assert_eq!(version.to_string(), "01020304050607080a0b");
        assert_eq!("01020304050607080A0B".parse(), Ok(version));
        assert_eq!(version.commit_version(), 0x0102_0304_0506_0708);
        for bad in [
            "",
            "0102",
            "01020304050607080a0",
            "01020304050607080a0g",
            "+1020304050607080a0b",
        ] {
            assert!(bad.parse::<Version>().is_err(), "{bad}");
        }
    }

    #[test]
    fn order_is_commit_order() {
        assert!(Version::from_commit(1, 9) < Version::from_commit(2, 0));
        assert!(Version::from_commit(2, 0) < Version::from_commit(2, 1));
        assert!(Version::from_commit(255, 0) < Version::from_commit(256, 0));
    }
}
