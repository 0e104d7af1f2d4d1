//! Pages: their numbers, counts, sizes and contents.

use std::fmt;
use std::num::NonZeroU32;

use bytes::Bytes;

use crate::Version;

/// The number of a page, from 1, as in SQLite's file format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageNumber(NonZeroU32);

impl PageNumber {
    /// Page 1, which holds SQLite's database header.
    pub const FIRST: Self = Self(NonZeroU32::MIN);

    /// The page with this number; `None` for 0.
    #[must_use]
    pub const fn new(number: u32) -> Option<Self> {
        match NonZeroU32::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// The page at this index, counted from 0; `None` beyond the last possible page.
    #[must_use]
    pub fn from_index(index: u64) -> Option<Self> {
        u32::try_from(index)
            .ok()?
            .checked_add(1)
            .and_then(Self::new)
    }

    /// The number, from 1.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0.get()
    }

    /// Where the page begins in a file of pages of this size, in bytes.
    #[must_use]
    pub fn offset(self, size: PageSize) -> u64 {
        u64::from(self.get() - 1) * u64::from(size.get())
    }
}

impl fmt::Display for PageNumber {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// A number of pages; also the number of the last page of a database that has so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PageCount(u32);

impl PageCount {
    /// No pages: the size of an empty database.
    pub const ZERO: Self = Self(0);

    /// A count of so many pages.
    #[must_use]
    pub const fn new(count: u32) -> Self {
        Self(count)
    }

    /// The number of pages.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Whether a database of this size has the page.
    #[must_use]
    pub const fn contains(self, page: PageNumber) -> bool {
        page.get() <= self.0
    }

    /// The size of a file with so many pages, in bytes.
    #[must_use]
    pub fn bytes(self, size: PageSize) -> u64 {
        u64::from(self.0) * u64::from(size.get())
    }
}

impl fmt::Display for PageCount {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// The size of a database's pages in bytes: a power of two from 512 to 65536.
///
/// The same sizes as SQLite's <https://www.sqlite.org/fileformat2.html#page_size>.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageSize(u32);

/// A number is not a page size of SQLite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a page size: expected a power of two from 512 to 65536")]
pub struct InvalidPageSize(pub u64);

impl PageSize {
    /// The smallest page size, 512 bytes.
    pub const MIN: Self = Self(512);
    /// The largest page size, 65536 bytes.
    pub const MAX: Self = Self(65536);

    /// This page size.
    ///
    /// # Errors
    /// If the number is not a power of two from 512 to 65536.
    pub const fn new(bytes: u32) -> Result<Self, InvalidPageSize> {
        if bytes.is_power_of_two() && bytes >= Self::MIN.0 && bytes <= Self::MAX.0 {
            Ok(Self(bytes))
        } else {
            Err(InvalidPageSize(bytes as u64))
        }
    }

    /// Bytes per page.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Bytes per page, as a length in memory.
    #[must_use]
    pub const fn length(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for PageSize {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// The full content of one page. Its length is the database's page size.
pub type Page = Bytes;

/// What a reader needs to know a page's content: its newest record may be a delta against the one
/// before, that another one, and so on down to a record of the whole page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Chain {
    deltas: u8,
    bytes: u32,
}

impl Chain {
    /// The newest record has the whole page.
    pub const WHOLE: Self = Self {
        deltas: 0,
        bytes: 0,
    };

    /// Most deltas on top of a whole page.
    pub const MOST_DELTAS: u8 = 48;

    /// A chain of so many deltas that have so many bytes together.
    #[must_use]
    pub const fn new(deltas: u8, bytes: u32) -> Self {
        Self { deltas, bytes }
    }

    /// How many deltas there are on top of the whole page.
    #[must_use]
    pub const fn deltas(self) -> u8 {
        self.deltas
    }

    /// How many bytes the deltas have together.
    #[must_use]
    pub const fn bytes(self) -> u32 {
        self.bytes
    }

    /// The chain with one delta more, of so many bytes.
    #[must_use]
    pub fn with(self, delta: usize) -> Self {
        let delta = u32::try_from(delta).unwrap_or(u32::MAX);
        Self {
            deltas: self.deltas.saturating_add(1),
            bytes: self.bytes.saturating_add(delta),
        }
    }

    /// Whether pages of this size may have such a chain. It is short, so that one read brings it,
    /// and smaller than a page.
    #[must_use]
    pub const fn is_short(self, page_size: PageSize) -> bool {
        self.deltas <= Self::MOST_DELTAS && self.bytes < page_size.get()
    }
}

/// The content of a page, and the version of the commit that wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionedPage {
    /// The commit that wrote it: at or below the version of the snapshot it was read from.
    pub version: Version,
    /// The content.
    pub page: Page,
    /// How it is stored.
    pub chain: Chain,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_sizes_are_those_of_sqlite() {
        let valid: Vec<u32> = (0..=200_000)
            .filter(|&size| PageSize::new(size).is_ok())
            .collect();
        assert_eq!(valid, [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536]);
    }

    #[test]
    fn numbers_start_at_one() {
        assert_eq!(PageNumber::new(0), None);
        assert_eq!(PageNumber::from_index(0), Some(PageNumber::FIRST));
        assert_eq!(PageNumber::from_index(u64::from(u32::MAX)), None);
        let size = PageSize::new(4096).unwrap();
        assert_eq!(
            PageNumber::new(u32::MAX).unwrap().offset(size),
            4_294_967_294 * 4096
        );
    }
}
