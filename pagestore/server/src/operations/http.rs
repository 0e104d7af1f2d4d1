//! The plain HTTP address: `/metrics`, `/healthz` and `/readyz`.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use verso_pagestore::PageStore;

use super::ready::{Life, Readiness};
use super::recorder;
use crate::ServeError;

/// The format of an answer to a scrape.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The operations side of a node: an HTTP server without TLS, to be reached by operators only.
pub struct Operations {
    listener: TcpListener,
    address: SocketAddr,
    shared: Shared,
    life: Life,
}

#[derive(Clone)]
struct Shared {
    metrics: PrometheusHandle,
    readiness: Readiness,
}

impl Operations {
    /// Listens at an address, and begins to count; to be called before the node is bound. Port 0
    /// stands for any that is free.
    ///
    /// # Errors
    /// If the address is taken or not one of this machine, or the process counts otherwise.
    pub async fn bind(address: SocketAddr, store: Arc<dyn PageStore>) -> Result<Self, ServeError> {
        let refused = |reason| ServeError::Metrics { address, reason };
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let life = Life::default();
        let shared = Shared {
            metrics: recorder::install().map_err(ServeError::Setup)?,
            readiness: Readiness::of(store, life.clone()),
        };
        Ok(Self {
            listener,
            address,
            shared,
            life,
        })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// By which the node says that it ends.
    #[must_use]
    pub fn life(&self) -> Life {
        self.life.clone()
    }

    /// Serves for as long as it is polled: also while the node shuts down.
    pub async fn run(self) {
        let metrics = self.shared.metrics.clone();
        let router = Router::new()
            .route("/metrics", get(scrape))
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/readyz", get(ready))
            .with_state(self.shared);
        let serving = axum::serve(self.listener, router);
        tokio::select! {
            served = serving => {
                tracing::error!(?served, "metrics and health are not served any more");
            }
            () = recorder::keep_up(metrics) => {}
        }
    }
}

async fn scrape(State(shared): State<Shared>) -> impl IntoResponse {
    (
        [(header::CONTENT_TYPE, TEXT_FORMAT)],
        shared.metrics.render(),
    )
}

async fn ready(State(shared): State<Shared>) -> (StatusCode, String) {
    match shared.readiness.check().await {
        Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}
