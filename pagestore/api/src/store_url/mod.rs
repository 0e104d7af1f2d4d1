//! Store URLs: which store, of which kind.

mod foundationdb;
mod nodes;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

pub use foundationdb::FoundationDbUrl;
pub use nodes::NodesUrl;

/// The environment variable that names the store where no `store=` parameter does.
pub const STORE_ENVIRONMENT_VARIABLE: &str = "VERSO_STORE";

/// The store where nothing names one: an embedded file in the working directory.
pub const DEFAULT_STORE: &str = "sqlite:verso.db";

/// Where a store is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum StoreUrl {
    /// `sqlite:PATH`: one embedded file.
    Sqlite(PathBuf),
    /// `http://HOST:PORT[,HOST:PORT…]` or `https://…`: page-store nodes.
    Nodes(NodesUrl),
    /// `fdb:CLUSTER_FILE[?prefix=NAME]`: a FoundationDB cluster.
    FoundationDb(FoundationDbUrl),
    /// `memory:NAME`: in the memory of this process, for tests.
    Memory(String),
}

/// A text is not the URL of a store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreUrlError {
    /// No scheme.
    #[error("'{url}' is not a store URL: write sqlite:PATH, for example {DEFAULT_STORE}")]
    NoScheme {
        /// The text.
        url: String,
    },
    /// A scheme that is not known.
    #[error(
        "unknown scheme '{scheme}:' in store URL '{url}': write sqlite:PATH, fdb:CLUSTER_FILE, \
         http://HOST:PORT, https://HOST:PORT or memory:NAME"
    )]
    UnknownScheme {
        /// The text.
        url: String,
        /// The part before the colon.
        scheme: String,
    },
    /// It does not name nodes as it should.
    #[error("the store URL '{url}' is not valid, {reason}: write http://HOST:PORT[,HOST:PORT…]")]
    Nodes {
        /// The text.
        url: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// It does not name a cluster as it should.
    #[error("the store URL '{url}' is not valid, {reason}: write fdb:CLUSTER_FILE?prefix=NAME")]
    FoundationDb {
        /// The text.
        url: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// The environment variable is not UTF-8.
    #[error("{STORE_ENVIRONMENT_VARIABLE} is {lossy:?}, which is not UTF-8: set it to a store URL")]
    NotUtf8 {
        /// Its value, with the replacement character for what is not UTF-8.
        lossy: String,
    },
    /// Nothing after the scheme.
    #[error("the store URL '{url}' names nothing: write a path or name after the colon")]
    Empty {
        /// The text.
        url: String,
    },
}

impl StoreUrl {
    /// Reads a store URL.
    ///
    /// # Errors
    /// If it has no scheme, an unknown one, or nothing behind it.
    pub fn parse(url: &str) -> Result<Self, StoreUrlError> {
        let Some((scheme, rest)) = url.split_once(':') else {
            return Err(StoreUrlError::NoScheme {
                url: url.to_owned(),
            });
        };
        let parsed = match scheme {
            "sqlite" => Self::Sqlite(PathBuf::from(rest)),
            "fdb" => Self::FoundationDb(FoundationDbUrl::parse(url, rest)?),
            "memory" => Self::Memory(rest.to_owned()),
            "http" | "https" => {
                let is_secure = scheme == "https";
                Self::Nodes(NodesUrl::parse(url, is_secure, rest)?)
            }
            _ => {
                return Err(StoreUrlError::UnknownScheme {
                    url: url.to_owned(),
                    scheme: scheme.to_owned(),
                });
            }
        };
        if rest.is_empty() {
            return Err(StoreUrlError::Empty {
                url: url.to_owned(),
            });
        }
        Ok(parsed)
    }

    /// The same store whatever the working directory is later: a relative path is made
    /// absolute.
    #[must_use]
    pub fn absolute(self) -> Self {
        match self {
            // Without a working directory there is nothing that the path could be relative to.
            Self::Sqlite(path) => Self::Sqlite(std::path::absolute(&path).unwrap_or(path)),
            Self::FoundationDb(cluster) => Self::FoundationDb(cluster.absolute()),
            Self::Memory(_) | Self::Nodes(_) => self,
        }
    }

    /// The store that `explicit` names, else the environment variable `VERSO_STORE`, else
    /// [`DEFAULT_STORE`].
    ///
    /// # Errors
    /// As for [`StoreUrl::parse`].
    pub fn resolve(explicit: Option<&str>) -> Result<Self, StoreUrlError> {
        if let Some(url) = explicit {
            return Self::parse(url);
        }
        let Some(url) = std::env::var_os(STORE_ENVIRONMENT_VARIABLE) else {
            return Self::parse(DEFAULT_STORE);
        };
        match url.to_str() {
            Some("") => Self::parse(DEFAULT_STORE),
            Some(url) => Self::parse(url),
            None => Err(StoreUrlError::NotUtf8 {
                lossy: url.to_string_lossy().into_owned(),
            }),
        }
    }
}

impl FromStr for StoreUrl {
    type Err = StoreUrlError;

    fn from_str(url: &str) -> Result<Self, Self::Err> {
        Self::parse(url)
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(formatter, "sqlite:{}", path.display()),
            Self::FoundationDb(cluster) => cluster.fmt(formatter),
            Self::Nodes(nodes) => nodes.fmt(formatter),
            Self::Memory(name) => write!(formatter, "memory:{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_shown() {
        for url in ["sqlite:verso.db", "sqlite:/var/lib/a b.db", "memory:test"] {
            assert_eq!(StoreUrl::parse(url).unwrap().to_string(), url);
        }
        assert!(matches!(
            StoreUrl::parse("verso.db"),
            Err(StoreUrlError::NoScheme { .. })
        ));
        assert!(matches!(
            StoreUrl::parse("redis:x"),
            Err(StoreUrlError::UnknownScheme { .. })
        ));
        assert!(matches!(
            StoreUrl::parse("sqlite:"),
            Err(StoreUrlError::Empty { .. })
        ));
    }
}
