//! Store URLs: which store, of which kind.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

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
    /// `memory:NAME`: in the memory of this process, for tests.
    Memory(String),
}

/// Page-store nodes of one store.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NodesUrl {
    is_secure: bool,
    nodes: Vec<String>,
}

impl NodesUrl {
    fn parse(url: &str, is_secure: bool, rest: &str) -> Result<Self, StoreUrlError> {
        let bad = |reason: &'static str| StoreUrlError::Nodes {
            url: url.to_owned(),
            reason,
        };
        let list = rest
            .strip_prefix("//")
            .ok_or_else(|| bad("two slashes are missing"))?;
        let list = list.strip_suffix('/').unwrap_or(list);
        let nodes: Vec<String> = list.split(',').map(str::to_owned).collect();
        for node in &nodes {
            let port = node
                .rsplit_once(':')
                .map(|(host, port)| (host.is_empty(), port));
            match port {
                Some((false, port)) if port.parse::<u16>().is_ok_and(|port| port > 0) => {}
                _ => return Err(bad("each node needs a host and a port")),
            }
            let is_part_of_address = |c: char| {
                c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']')
            };
            if !node.chars().all(is_part_of_address) {
                return Err(bad("a node is a host and a port, and nothing else"));
            }
        }
        Ok(Self { is_secure, nodes })
    }

    /// Host and port of each node, in the order of the URL.
    #[must_use]
    pub fn nodes(&self) -> &[String] {
        &self.nodes
    }

    /// Whether the way to the nodes is protected by TLS.
    #[must_use]
    pub const fn is_secure(&self) -> bool {
        self.is_secure
    }

    /// Whether all nodes run on this machine, by their addresses.
    #[must_use]
    pub fn is_of_this_machine(&self) -> bool {
        self.nodes.iter().all(|node| {
            let host = node
                .rsplit_once(':')
                .map_or(node.as_str(), |(host, _)| host);
            let host = host.trim_start_matches('[').trim_end_matches(']');
            let address: Option<IpAddr> = host.parse().ok();
            host == "localhost" || address.is_some_and(|address| address.is_loopback())
        })
    }

    /// The URL of each node.
    pub fn addresses(&self) -> impl Iterator<Item = String> + '_ {
        let scheme = self.scheme();
        self.nodes
            .iter()
            .map(move |node| format!("{scheme}//{node}"))
    }

    const fn scheme(&self) -> &'static str {
        if self.is_secure { "https:" } else { "http:" }
    }
}

impl fmt::Display for NodesUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}//{}", self.scheme(), self.nodes.join(","))
    }
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
        "unknown scheme '{scheme}:' in store URL '{url}': this build knows sqlite:, http:, https: \
         and memory:"
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

    #[test]
    fn nodes_have_hosts_and_ports() {
        for url in [
            "http://127.0.0.1:4801",
            "https://a.example:1,b-2:65535,[::1]:80",
        ] {
            assert_eq!(StoreUrl::parse(url).unwrap().to_string(), url);
        }
        for bad in [
            "http:",
            "http://",
            "http:a:1",
            "http://a",
            "http://a:",
            "http://a:0",
            "http://:1",
            "http://a:1,",
            "http://a:1/x",
            "http://user@a:1",
            "http://a:65536",
            "http://a b:1",
        ] {
            assert!(
                matches!(StoreUrl::parse(bad), Err(StoreUrlError::Nodes { .. })),
                "{bad}"
            );
        }
        let StoreUrl::Nodes(nodes) = StoreUrl::parse("http://a:1,b:2/").unwrap() else {
            panic!("these are nodes");
        };
        assert_eq!(nodes.nodes(), ["a:1", "b:2"]);
        assert_eq!(
            nodes.addresses().collect::<Vec<_>>(),
            ["http://a:1", "http://b:2"]
        );
    }
}
