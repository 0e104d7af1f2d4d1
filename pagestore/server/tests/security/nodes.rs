//! Nodes to ask.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sha2::{Digest as _, Sha256};
use tonic::transport::Channel;
use tonic::{Request, Status};
use verso_pagestore::grpc::proto;
use verso_pagestore::grpc::proto::admin_client::AdminClient;
use verso_pagestore::grpc::proto::page_store_client::PageStoreClient;
use verso_pagestore::{PageStore, StoreUrl};
use verso_server::{Limits, Security, Server};

pub(crate) fn store() -> Arc<dyn PageStore> {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let name = format!("security-{}", COUNT.fetch_add(1, Ordering::Relaxed));
    verso_engine::open(&StoreUrl::Memory(name)).unwrap()
}

/// Starts a node, which serves until the test ends.
pub(crate) async fn start(
    store: Arc<dyn PageStore>,
    limits: Limits,
    security: Security,
) -> SocketAddr {
    let any = "127.0.0.1:0".parse().unwrap();
    let server = Server::bind(any, store, limits, security).await.unwrap();
    let address = server.address();
    tokio::spawn(server.run(std::future::pending()));
    address
}

pub(crate) async fn channel(address: SocketAddr) -> Channel {
    let endpoint = Channel::from_shared(format!("http://{address}")).unwrap();
    endpoint.connect().await.unwrap()
}

/// An entry of a file of tokens.
pub(crate) fn entry(token: &str, patterns: &str, access: &str) -> String {
    let digest = Sha256::digest(token.as_bytes());
    let digest: [u8; 32] = digest.into();
    let number = |half: &[u8]| u128::from_be_bytes(half.try_into().unwrap());
    let hex = format!(
        "{:032x}{:032x}",
        number(&digest[..16]),
        number(&digest[16..])
    );
    format!(
        "[[token]]\nname = 'of {access}'\nsha256 = '{hex}'\ndatabases = [{patterns}]\naccess = '{access}'\n"
    )
}

pub(crate) fn with<M>(token: &str, message: M) -> Request<M> {
    let mut request = Request::new(message);
    if !token.is_empty() {
        let bearer = format!("Bearer {token}").parse().unwrap();
        request.metadata_mut().insert("authorization", bearer);
    }
    request
}

/// What a test asks a node with.
#[derive(Clone)]
pub(crate) struct Asker {
    pub(crate) store: PageStoreClient<Channel>,
    pub(crate) admin: AdminClient<Channel>,
}

impl Asker {
    pub(crate) fn new(channel: Channel) -> Self {
        Self {
            store: PageStoreClient::new(channel.clone()),
            admin: AdminClient::new(channel),
        }
    }

    pub(crate) async fn begin(
        &mut self,
        token: &str,
        name: &str,
    ) -> Result<proto::Snapshot, Status> {
        let message = proto::BeginRequest {
            name: name.to_owned(),
            since: None,
        };
        let begun = self.store.begin(with(token, message)).await?;
        Ok(begun.into_inner().snapshot.unwrap())
    }

    pub(crate) async fn names(&mut self, token: &str) -> Vec<String> {
        let message = proto::ListRequest {
            after: String::new(),
            limit: 1000,
        };
        let list = self.admin.list(with(token, message)).await.unwrap();
        let databases = list.into_inner().databases;
        databases.into_iter().map(|entry| entry.name).collect()
    }
}
