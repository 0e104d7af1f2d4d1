//! The connections to nodes. They come with the first request, and go when the process forks or the
//! store is closed.

use std::sync::Arc;
use std::time::Duration;

use tonic::transport::{Channel, Endpoint};

use super::ClientOptions;
use super::connector::Connector;
use super::driver::Driver;
use crate::NodesUrl;

/// A node that does not answer a ping for this long is dead, and what was asked of it is asked
/// of another.
const PING_INTERVAL: Duration = Duration::from_secs(1);
const PING_PATIENCE: Duration = Duration::from_secs(2);
const CONNECT_PATIENCE: Duration = Duration::from_secs(2);

/// Bytes under way to a client, of one request and of all.
const STREAM_WINDOW: u32 = 2 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;

/// A node writes so many bytes of an answer at once.
const FRAME: u32 = 64 << 10;

/// The running client.
pub(super) struct Connected {
    /// One for each node of the URL.
    channels: Arc<[Channel]>,
    driver: Driver,
}

impl Connected {
    pub(super) fn new(url: &NodesUrl, options: &ClientOptions) -> Result<Self, String> {
        let driver = Driver::new()?;
        // Channels belong to a runtime.
        let guard = driver.enter();
        let channels = url.addresses().map(|address| channel(&address, options));
        let channels = channels.collect::<Result<_, _>>()?;
        drop(guard);
        Ok(Self { channels, driver })
    }

    pub(super) fn channels(&self) -> Arc<[Channel]> {
        Arc::clone(&self.channels)
    }

    /// What runs requests.
    pub(super) const fn driver(&self) -> &Driver {
        &self.driver
    }
}

fn channel(address: &str, options: &ClientOptions) -> Result<Channel, String> {
    let describe = |error: tonic::transport::Error| format!("{address} is no address: {error}");
    let mut endpoint = Endpoint::from_shared(address.to_owned())
        .map_err(describe)?
        .connect_timeout(CONNECT_PATIENCE)
        .http2_keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_PATIENCE)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME);
    if address.starts_with("https:") {
        let tls = options.tls.clone();
        endpoint = endpoint
            .tls_config(tls)
            .map_err(|error| format!("TLS cannot be set up: {error}"))?;
    }
    Ok(endpoint.connect_with_connector_lazy(Connector::new()))
}
