//! How a client proves who it is, and whom it trusts.

use std::fmt;
use std::fs;
use std::time::Duration;

use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

/// The environment variable that holds the client's token.
pub const TOKEN_ENVIRONMENT_VARIABLE: &str = "VERSO_TOKEN";

/// The environment variable that names a file with the client's token.
pub const TOKEN_FILE_ENVIRONMENT_VARIABLE: &str = "VERSO_TOKEN_FILE";

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
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            patience: Duration::from_secs(10),
            bearer: None,
            tls: ClientTlsConfig::new().with_native_roots(),
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
    /// `VERSO_TLS_CERT` with `VERSO_TLS_KEY`.
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
