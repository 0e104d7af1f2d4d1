//! A running node: its listener, its services, and its end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tonic::server::NamedService as _;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::server::Router;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::server::HealthReporter;
use tower::layer::util::{Identity, Stack};
use verso_pagestore::PageStore;
use verso_pagestore::grpc::proto;
use verso_pagestore::grpc::proto::admin_server::AdminServer;
use verso_pagestore::grpc::proto::page_store_server::PageStoreServer;

use crate::access::Access;
use crate::admin::Administration;
use crate::bounds::Bounds;
use crate::incoming::incoming;
use crate::look::Lookers;
use crate::operations::requests::Requests;
use crate::operations::store::Metered;
use crate::service::Transactions;
use crate::work::Work;
use crate::{Limits, Security, Tls};

/// A node could not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be listened at.
    #[error("cannot listen at {address}: {reason}; choose another address with --listen")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        reason: io::Error,
    },
    /// The address of the metrics cannot be listened at.
    #[error("cannot serve metrics at {address}: {reason}; choose another address with --metrics")]
    Metrics {
        /// The address.
        address: SocketAddr,
        /// Why.
        reason: io::Error,
    },
    /// The service could not be set up.
    #[error("the service cannot be set up: {0}")]
    Setup(String),
    /// The listener failed.
    #[error("the node stopped serving: {0}")]
    Transport(#[from] tonic::transport::Error),
}

/// A connection is looked at so often: whether anybody is there, and takes what was sent.
const LONGEST_SILENCE: Duration = Duration::from_secs(10);

/// What is around all services.
type Layers = Stack<Requests, Identity>;

/// A node that listens, and serves once it is [run](Server::run).
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    router: Router<Layers>,
    limits: Limits,
    tls: Option<Tls>,
    lookers: Arc<Lookers>,
    reporter: HealthReporter,
}

impl Server {
    /// Listens at an address; port 0 stands for any that is free.
    ///
    /// # Errors
    /// If the address is taken or not one of this machine.
    pub async fn bind(
        address: SocketAddr,
        store: Arc<dyn PageStore>,
        limits: Limits,
        security: Security,
    ) -> Result<Self, ServeError> {
        let refused = |reason| ServeError::Listen { address, reason };
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let work = Work::new(Arc::new(Metered(store)), &limits);
        let access = Access::new(security.tokens, work.clone());
        let lookers = Arc::new(Lookers::default());
        let (reporter, health) = tonic_health::server::health_reporter();
        let transactions = Transactions {
            work: work.clone(),
            limits: limits.clone(),
            lookers: Arc::clone(&lookers),
        };
        let router = router(transactions, health, &access, &limits)?;
        reporter
            .set_serving::<PageStoreServer<Transactions>>()
            .await;
        reporter.set_serving::<AdminServer<Administration>>().await;
        Ok(Self {
            listener,
            address,
            router,
            limits,
            tls: security.tls,
            lookers,
            reporter,
        })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown` comes, and then finishes what is under way.
    ///
    /// # Errors
    /// If the listener fails.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), ServeError> {
        let (told, end) = tokio::sync::oneshot::channel();
        let (lookers, reporter) = (Arc::clone(&self.lookers), self.reporter);
        let shutdown = async move {
            shutdown.await;
            let ending = ServingStatus::NotServing;
            for service in [
                "",
                PageStoreServer::<Transactions>::NAME,
                AdminServer::<Administration>::NAME,
            ] {
                reporter.set_service_status(service, ending).await;
            }
            // Watches would go on as long as their clients do.
            lookers.close();
            // Nobody waits for it any more if the listener has failed.
            let _ = told.send(());
        };
        let incoming = incoming(self.listener, self.tls, &self.limits);
        let serving = self.router.serve_with_incoming_shutdown(incoming, shutdown);
        let deadline = async {
            if end.await.is_ok() {
                tokio::time::sleep(self.limits.shutdown).await;
            } else {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            served = serving => Ok(served?),
            () = deadline => {
                tracing::warn!("requests that took too long were given up at the shutdown");
                Ok(())
            }
        }
    }
}

fn router(
    transactions: Transactions,
    health: HealthServer<impl Health>,
    access: &Access,
    limits: &Limits,
) -> Result<Router<Layers>, ServeError> {
    let work = transactions.work.clone();
    let administration = Administration { work };
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .map_err(|error| ServeError::Setup(error.to_string()))?;
    let transactions =
        PageStoreServer::new(transactions).max_decoding_message_size(limits.message_bytes);
    let administration =
        AdminServer::new(administration).max_decoding_message_size(limits.message_bytes);
    let transactions = InterceptedService::new(transactions, access.clone());
    let administration = InterceptedService::new(administration, access.clone());
    let reflection = reflection.max_decoding_message_size(4 << 10);
    let reflection = InterceptedService::new(reflection, access.clone());
    let bounds = Bounds::new(limits);
    let router = tonic::transport::Server::builder()
        // The outermost, so that what other layers refuse is counted too.
        .layer(Requests::default())
        .max_concurrent_streams(limits.streams_per_connection)
        .http2_keepalive_interval(Some(limits.stall.min(LONGEST_SILENCE)))
        .http2_keepalive_timeout(Some(2 * LONGEST_SILENCE))
        // What a client may send before anybody looks at it.
        .initial_stream_window_size(128 << 10)
        .initial_connection_window_size(256 << 10)
        // Health needs no token, and what it is asked is short.
        .add_service(bounds.around(health.max_decoding_message_size(1 << 10)))
        .add_service(bounds.around(reflection))
        .add_service(bounds.around(transactions))
        .add_service(bounds.around(administration));
    Ok(router)
}
