//! TLS: certificates that are good, and each kind that is not.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity};
use verso_server::{Limits, Security, Tls, TlsFiles};

use crate::nodes::{Asker, start, store};

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    /// A certificate and its key, in PEM.
    fn issue(&self, host: &str, year: i32) -> (String, String) {
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    fn install(&self, folder: &Path, host: &str, year: i32) {
        let (certificate, key) = self.issue(host, year);
        std::fs::write(folder.join("cert.pem"), certificate).unwrap();
        std::fs::write(folder.join("key.pem"), key).unwrap();
        std::fs::write(folder.join("ca.pem"), self.0.pem()).unwrap();
    }

    fn trust(&self) -> ClientTlsConfig {
        let certificate = Certificate::from_pem(self.0.pem());
        ClientTlsConfig::new()
            .ca_certificate(certificate)
            .domain_name("localhost")
    }
}

fn security(folder: &Path, mutual: bool) -> Security {
    let tls = Tls::read(TlsFiles {
        certificate: folder.join("cert.pem"),
        key: folder.join("key.pem"),
        client_authorities: mutual.then(|| folder.join("ca.pem")),
    });
    Security {
        tokens: None,
        tls: Some(tls.unwrap()),
    }
}

/// Whether a client with these settings is served.
async fn is_served(address: std::net::SocketAddr, tls: ClientTlsConfig) -> bool {
    let endpoint = Channel::from_shared(format!("https://{address}")).unwrap();
    let endpoint = endpoint.tls_config(tls).unwrap();
    let Ok(channel) = endpoint.connect().await else {
        return false;
    };
    let status = Asker::new(channel).begin("", "none").await.unwrap_err();
    status.code() == tonic::Code::NotFound
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_good_certificate_is_taken_and_a_reload_changes_it() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    authority.install(folder.path(), "localhost", 2999);
    let security = security(folder.path(), false);
    let address = start(store(), Limits::default(), security.clone()).await;
    assert!(is_served(address, authority.trust()).await);
    assert!(!is_served(address, authority.trust().domain_name("elsewhere")).await);
    assert!(!is_served(address, Authority::new().trust()).await);
    let endpoint = Channel::from_shared(format!("https://{address}")).unwrap();
    let endpoint = endpoint.tls_config(authority.trust()).unwrap();
    let mut old = Asker::new(endpoint.connect().await.unwrap());

    authority.install(folder.path(), "localhost", 2021);
    security.reload();
    assert!(
        !is_served(address, authority.trust()).await,
        "it has expired"
    );
    // Connections that there are go on.
    assert_eq!(
        old.begin("", "none").await.unwrap_err().code(),
        tonic::Code::NotFound
    );

    std::fs::write(folder.path().join("cert.pem"), "nonsense").unwrap();
    security.reload();
    assert!(
        !is_served(address, authority.trust()).await,
        "the old one stays"
    );
    let other = Authority::new();
    other.install(folder.path(), "localhost", 2999);
    security.reload();
    assert!(is_served(address, other.trust()).await);
    assert!(!is_served(address, authority.trust()).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn mutual_tls_takes_only_clients_of_the_authority() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    authority.install(folder.path(), "localhost", 2999);
    let address = start(store(), Limits::default(), security(folder.path(), true)).await;
    let with = |(certificate, key): (String, String)| {
        authority
            .trust()
            .identity(Identity::from_pem(certificate, key))
    };
    assert!(is_served(address, with(authority.issue("client", 2999))).await);
    assert!(
        !is_served(address, authority.trust()).await,
        "no certificate"
    );
    assert!(
        !is_served(address, with(authority.issue("client", 2021))).await,
        "expired"
    );
    assert!(
        !is_served(address, with(Authority::new().issue("client", 2999))).await,
        "of others"
    );
}
