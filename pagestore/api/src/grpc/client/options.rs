//! How a client proves who it is, and whom it trusts.

use std::fmt;
use std::fs;
use std::time::Duration;

use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

use crate::NodesUrl;

/// The environment variable that holds the client's token.
pub const TOKEN_ENVIRONMENT_VARIABLE: &str = "VERSO_TOKEN";

/// The environment variable that names a file with the client's token.
pub const TOKEN_FILE_ENVIRONMENT_VARIABLE: &str = "VERSO_TOKEN_FILE";

/// Lets a token go to nodes of other machines without TLS.
const INSECURE: &str = "VERSO_INSECURE";
/// A file with certificates of authorities to trust beside those of the system.
const AUTHORITY: &str = "VERSO_TLS_CA";
/// Files with the client's certificate and key, for nodes that ask for them.
const CERTIFICATE: &str = "VERSO_TLS_CERT";
const KEY: &str = "VERSO_TLS_KEY";

/// How a client reaches nodes.
#[derive(Clone)]
pub struct ClientOptions {
    /// For how long it asks nodes that do not answer. Whoever waits longer asks again.
    pub patience: Duration,
    pub(crate) bearer: Option<MetadataValue<Ascii>>,
    pub(crate) tls: ClientTlsConfig,
    is_insecure: bool,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            patience: Duration::from_secs(10),
            bearer: None,
            tls: ClientTlsConfig::new().with_native_roots(),
            is_insecure: false,
        }
    }
}

impl fmt::Debug for ClientOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ClientOptions")
            .field("patience", &self.patience)
            .field("has_token", &self.bearer.is_some())
            .finish_non_exhaustive()
    }
}

impl ClientOptions {
    /// What the environment says: `VERSO_TOKEN` or `VERSO_TOKEN_FILE`, `VERSO_TLS_CA`, and
    /// `VERSO_TLS_CERT` with `VERSO_TLS_KEY`, and `VERSO_INSECURE=1`, which lets a token go to
    /// other machines without TLS.
    ///
    /// # Errors
    /// A sentence, if a file cannot be read or a token cannot be sent.
    pub fn from_environment() -> Result<Self, String> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let mut options = Self::default();
        let token = match (
            variable(TOKEN_ENVIRONMENT_VARIABLE),
            variable(TOKEN_FILE_ENVIRONMENT_VARIABLE),
        ) {
            (Some(token), _) => Some(token),
            (None, Some(path)) => Some(read(TOKEN_FILE_ENVIRONMENT_VARIABLE, &path)?),
            (None, None) => None,
        };
        if let Some(token) = token {
            options = options.with_token(&token)?;
        }
        if let Some(path) = variable(AUTHORITY) {
            let authorities = Certificate::from_pem(read(AUTHORITY, &path)?);
            options.tls = options.tls.ca_certificate(authorities);
        }
        options.is_insecure = variable(INSECURE).is_some_and(|value| value == "1");
        match (variable(CERTIFICATE), variable(KEY)) {
            (Some(certificate), Some(key)) => {
                let (certificate, key) = (read(CERTIFICATE, &certificate)?, read(KEY, &key)?);
                options.tls = options.tls.identity(Identity::from_pem(certificate, key));
            }
            (None, None) => {}
            _ => return Err(format!("set both of {CERTIFICATE} and {KEY}, or none")),
        }
        Ok(options)
    }

    /// Whether a token may be sent to these nodes.
    ///
    /// # Errors
    /// A sentence, if others could read it on its way.
    pub(crate) fn check(&self, url: &NodesUrl) -> Result<(), String> {
        let is_exposed = !url.is_secure() && !url.is_of_this_machine();
        if self.bearer.is_some() && is_exposed && !self.is_insecure {
            return Err(format!(
                "a token would go to other machines in the clear: use https://, or set {INSECURE}=1 \
                 if something else protects the network"
            ));
        }
        Ok(())
    }

    /// With this token.
    ///
    /// # Errors
    /// A sentence, if it has characters that cannot be sent. It does not tell the token.
    pub fn with_token(mut self, token: &str) -> Result<Self, String> {
        let mut bearer: MetadataValue<Ascii> = format!("Bearer {}", token.trim())
            .parse()
            .map_err(|_| "the token has characters that cannot be sent".to_owned())?;
        bearer.set_sensitive(true);
        self.bearer = Some(bearer);
        Ok(self)
    }
}

fn read(variable: &str, path: &str) -> Result<String, String> {
    fs::read_to_string(path)
        .map_err(|error| format!("{variable} names {path}, which cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StoreUrl;

    #[test]
    fn a_token_leaves_the_machine_only_with_tls() {
        let nodes = |url: &str| match StoreUrl::parse(url) {
            Ok(StoreUrl::Nodes(nodes)) => nodes,
            other => panic!("{other:?}"),
        };
        let without = ClientOptions::default();
        let with = ClientOptions::default().with_token("secret").unwrap();
        for url in [
            "http://127.0.0.1:1",
            "http://localhost:1,127.0.0.2:1,[::1]:1",
            "https://db.example:1",
        ] {
            assert_eq!(with.check(&nodes(url)), Ok(()), "{url}");
        }
        for url in ["http://db.example:1", "http://127.0.0.1:1,10.0.0.1:1"] {
            let refusal = with.check(&nodes(url)).unwrap_err();
            assert!(refusal.contains("https://") && !refusal.contains("secret"));
            assert_eq!(without.check(&nodes(url)), Ok(()), "{url}");
            let insecure = ClientOptions {
                is_insecure: true,
                ..with.clone()
            };
            assert_eq!(insecure.check(&nodes(url)), Ok(()), "{url}");
        }
    }
}
