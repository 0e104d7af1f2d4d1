//! TLS: the node's certificate, and whose clients it takes.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

/// The files, in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The node's certificate, and those between it and an authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Authorities of clients. With it, clients without a certificate of theirs are refused.
    pub client_authorities: Option<PathBuf>,
}

/// A file for TLS cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{} cannot be used for TLS: {reason}", path.display())]
pub struct TlsError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

/// What connections begin with. Its files can be read again while a node serves.
#[derive(Clone)]
pub struct Tls {
    files: TlsFiles,
    config: Arc<ArcSwap<ServerConfig>>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Tls")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// If one does not hold what it should.
    pub fn read(files: TlsFiles) -> Result<Self, TlsError> {
        let config = Arc::new(ArcSwap::from_pointee(config(&files)?));
        Ok(Self { files, config })
    }

    /// Reads the files again, for the connections from now on.
    ///
    /// # Errors
    /// If one does not hold what it should. What they held before stays in force.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.config.store(Arc::new(config(&self.files)?));
        Ok(())
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.config.load_full())
    }
}

fn unusable(path: &Path) -> impl Fn(String) -> TlsError {
    let path = path.to_owned();
    move |reason| TlsError {
        path: path.clone(),
        reason,
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unusable = unusable(path);
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| unusable(error.to_string()));
    match found? {
        found if found.is_empty() => Err(unusable("it holds no certificate".to_owned())),
        found => Ok(found),
    }
}

fn config(files: &TlsFiles) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let chain = certificates(&files.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|error| unusable(&files.key)(error.to_string()))?;
    let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(&files.certificate)(error.to_string()))?;
    let config = match &files.client_authorities {
        None => config.with_no_client_auth(),
        Some(path) => {
            let unusable = unusable(path);
            let mut authorities = RootCertStore::empty();
            for certificate in certificates(path)? {
                authorities
                    .add(certificate)
                    .map_err(|error| unusable(error.to_string()))?;
            }
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), provider)
                    .build()
                    .map_err(|error| unusable(error.to_string()))?;
            config.with_client_cert_verifier(verifier)
        }
    };
    let mut config = config
        .with_single_cert(chain, key)
        .map_err(|error| unusable(&files.certificate)(error.to_string()))?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}
