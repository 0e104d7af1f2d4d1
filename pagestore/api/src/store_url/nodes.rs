//! URLs of page-store nodes.

use std::fmt;
use std::net::IpAddr;

use super::StoreUrlError;

/// Page-store nodes of one store.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NodesUrl {
    is_secure: bool,
    nodes: Vec<String>,
}

impl NodesUrl {
    pub(super) fn parse(url: &str, is_secure: bool, rest: &str) -> Result<Self, StoreUrlError> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StoreUrl;

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
