//! URLs of stores in FoundationDB clusters.

use std::fmt;
use std::path::{Path, PathBuf};

use super::StoreUrlError;

/// A store in a FoundationDB cluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FoundationDbUrl {
    cluster_file: PathBuf,
    prefix: String,
}

impl FoundationDbUrl {
    /// The prefix of a store whose URL names none.
    pub const DEFAULT_PREFIX: &str = "verso";

    /// Most bytes of a prefix.
    pub const LONGEST_PREFIX: usize = 64;

    pub(super) fn parse(url: &str, rest: &str) -> Result<Self, StoreUrlError> {
        let bad = |reason: &'static str| StoreUrlError::FoundationDb {
            url: url.to_owned(),
            reason,
        };
        let (file, parameter) = match rest.split_once('?') {
            Some((file, parameter)) => (file, Some(parameter)),
            None => (rest, None),
        };
        if file.is_empty() {
            return Err(bad("the cluster file is missing"));
        }
        let prefix = match parameter {
            Some(parameter) => parameter
                .strip_prefix("prefix=")
                .ok_or_else(|| bad("only the parameter prefix= is known"))?,
            None => Self::DEFAULT_PREFIX,
        };
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '/');
        if prefix.is_empty() || prefix.len() > Self::LONGEST_PREFIX || !prefix.chars().all(is_plain)
        {
            return Err(bad(
                "a prefix has 1 to 64 letters, digits, dots, slashes, hyphens and underscores",
            ));
        }
        Ok(Self {
            cluster_file: PathBuf::from(file),
            prefix: prefix.to_owned(),
        })
    }

    /// Where the cluster is
    /// (<https://apple.github.io/foundationdb/administration.html#cluster-files>).
    #[must_use]
    pub fn cluster_file(&self) -> &Path {
        &self.cluster_file
    }

    /// The same cluster file whatever the working directory is later.
    pub(super) fn absolute(self) -> Self {
        let cluster_file = std::path::absolute(&self.cluster_file).unwrap_or(self.cluster_file);
        Self {
            cluster_file,
            ..self
        }
    }

    /// What tells the store from others in the cluster.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }
}

impl fmt::Display for FoundationDbUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            cluster_file,
            prefix,
        } = self;
        write!(formatter, "fdb:{}?prefix={prefix}", cluster_file.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StoreUrl;

    #[test]
    fn clusters_have_a_file_and_a_prefix() {
        let StoreUrl::FoundationDb(cluster) = StoreUrl::parse("fdb:/etc/fdb.cluster").unwrap()
        else {
            panic!("this is a cluster");
        };
        assert_eq!(cluster.cluster_file(), Path::new("/etc/fdb.cluster"));
        assert_eq!(cluster.prefix(), "verso");
        let url = "fdb:/etc/fdb.cluster?prefix=tests/a-1";
        assert_eq!(StoreUrl::parse(url).unwrap().to_string(), url);
        let relative = StoreUrl::parse("fdb:fdb.cluster").unwrap().absolute();
        let folder = std::env::current_dir().unwrap();
        assert_eq!(
            relative.to_string(),
            format!("fdb:{}/fdb.cluster?prefix=verso", folder.display())
        );
        let long = format!("fdb:a?prefix={}", "x".repeat(65));
        for bad in [
            "fdb:",
            "fdb:?prefix=a",
            "fdb:a?prefix=",
            "fdb:a?tenant=b",
            "fdb:a?prefix=b&c=d",
            "fdb:a?prefix=\u{e9}",
            &long,
        ] {
            assert!(
                matches!(
                    StoreUrl::parse(bad),
                    Err(StoreUrlError::FoundationDb { .. })
                ),
                "{bad}"
            );
        }
    }
}
