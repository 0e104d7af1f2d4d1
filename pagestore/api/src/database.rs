//! Databases: names, ids, and what the catalogue tells about them.

use std::fmt;
use std::str::FromStr;

use crate::{PageCount, PageSize, UnixMillis, Version};

/// The name of a database inside a store: UTF-8, opaque, 1 to 512 bytes, no control
/// characters. `/` is a character like any other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DatabaseName(String);

/// A text cannot be the name of a database.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The name is empty.
    #[error("a database name cannot be empty: give it 1 to 512 bytes of UTF-8")]
    Empty,
    /// The name is longer than 512 bytes.
    #[error("the database name has {length} bytes: choose one of at most 512")]
    TooLong {
        /// Length in bytes.
        length: usize,
    },
    /// The name contains a control character.
    #[error(
        "the database name {name:?} contains the control character {character:?}: leave it out"
    )]
    ControlCharacter {
        /// The name.
        name: String,
        /// The first such character.
        character: char,
    },
    /// The bytes are not UTF-8.
    #[error("the database name {lossy:?} is not UTF-8: encode it as UTF-8")]
    NotUtf8 {
        /// The name, with the replacement character for what is not UTF-8.
        lossy: String,
    },
}

impl DatabaseName {
    /// The longest name, in bytes.
    pub const MAX_LENGTH: usize = 512;

    /// The name with this text.
    ///
    /// # Errors
    /// If it is empty, too long, or contains control characters.
    pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
        let text = text.into();
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > Self::MAX_LENGTH {
            return Err(NameError::TooLong { length: text.len() });
        }
        if let Some(character) = text.chars().find(|character| character.is_control()) {
            return Err(NameError::ControlCharacter {
                name: text,
                character,
            });
        }
        Ok(Self(text))
    }

    /// The name with these bytes.
    ///
    /// # Errors
    /// If they are not UTF-8, or as for [`DatabaseName::new`].
    pub fn from_utf8(bytes: &[u8]) -> Result<Self, NameError> {
        let text = std::str::from_utf8(bytes).map_err(|_| NameError::NotUtf8 {
            lossy: String::from_utf8_lossy(bytes).into_owned(),
        })?;
        Self::new(text)
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DatabaseName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl FromStr for DatabaseName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
    }
}

/// The fixed identity of a database. A rename moves the name, never the id.
///
/// Chosen at random when the database is created; shown as 16 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DatabaseId(u64);

impl DatabaseId {
    /// The id with this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// A new id from the operating system's random numbers. With 64 random bits, two of a million
    /// databases share one with probability 3e-8.
    ///
    /// # Errors
    /// If the operating system gives no random numbers.
    pub fn random() -> Result<Self, getrandom::Error> {
        getrandom::u64().map(Self)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for DatabaseId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

impl fmt::Debug for DatabaseId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "DatabaseId({self})")
    }
}

/// One line of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseEntry {
    /// The name.
    pub name: DatabaseName,
    /// What the name stands for now.
    pub id: DatabaseId,
}

/// What a store knows about a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseInfo {
    /// The name it was asked by.
    pub name: DatabaseName,
    /// Its id.
    pub id: DatabaseId,
    /// When it was created.
    pub created: UnixMillis,
    /// The newest version.
    pub version: Version,
    /// When the newest version was committed.
    pub committed: UnixMillis,
    /// The oldest version that can still be read.
    pub oldest: Version,
    /// When the oldest version was committed.
    pub oldest_committed: UnixMillis,
    /// Size of pages in bytes; `None` while the database is empty.
    pub page_size: Option<PageSize>,
    /// Number of pages at the newest version.
    pub page_count: PageCount,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        assert_eq!(
            DatabaseName::new("tenant-42/app.db").unwrap().as_str(),
            "tenant-42/app.db"
        );
        assert_eq!(
            DatabaseName::new("größe 🦀").unwrap().to_string(),
            "größe 🦀"
        );
        assert_eq!(DatabaseName::new(""), Err(NameError::Empty));
        assert!(DatabaseName::new("x".repeat(512)).is_ok());
        assert_eq!(
            DatabaseName::new("x".repeat(513)),
            Err(NameError::TooLong { length: 513 })
        );
        for character in ['\0', '\n', '\u{7f}', '\u{85}'] {
            assert!(matches!(
                DatabaseName::new(format!("a{character}b")),
                Err(NameError::ControlCharacter { .. })
            ));
        }
        assert!(matches!(
            DatabaseName::from_utf8(b"\xff"),
            Err(NameError::NotUtf8 { .. })
        ));
    }
}
