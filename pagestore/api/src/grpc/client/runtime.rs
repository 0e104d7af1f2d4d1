//! The thread that talks to nodes, and the connections to them. Both come with the first
//! request, and go when the process forks or the store is closed.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tonic::transport::{Channel, Endpoint};

use super::ClientOptions;
use crate::NodesUrl;

/// A node that does not answer a ping for this long is dead, and what was asked of it is asked
/// of another.
const PING_INTERVAL: Duration = Duration::from_secs(1);
const PING_PATIENCE: Duration = Duration::from_secs(2);
const CONNECT_PATIENCE: Duration = Duration::from_secs(2);

/// Bytes under way to a client, of one request and of all.
const STREAM_WINDOW: u32 = 2 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;

/// The running client.
pub(super) struct Connected {
    runtime: Runtime,
    /// One for each node of the URL.
    channels: Arc<[Channel]>,
}

impl Connected {
    pub(super) fn new(url: &NodesUrl, options: &ClientOptions) -> Result<Self, String> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("verso-client")
            .enable_all()
            .build()
            .map_err(|error| format!("no thread for it can be started: {error}"))?;
        // Channels belong to a runtime.
        let guard = runtime.enter();
        let channels = url.addresses().map(|address| channel(&address, options));
        let channels = channels.collect::<Result<_, _>>()?;
        drop(guard);
        Ok(Self { runtime, channels })
    }

    pub(super) fn channels(&self) -> Arc<[Channel]> {
        Arc::clone(&self.channels)
    }

    /// Runs a request to its end, on any thread, also one that belongs to another runtime.
    /// `None` if it panicked.
    pub(super) fn run<T: Send + 'static>(
        &self,
        request: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let (sender, receiver) = mpsc::sync_channel(1);
        self.runtime.spawn(async move {
            // Nobody else receives, so there is room.
            let _ = sender.send(request.await);
        });
        receiver.recv().ok()
    }

    /// Runs a task until it ends, or the client does.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(task);
    }

    /// Ends the thread and the connections.
    pub(super) fn close(self) {
        drop(self.channels);
        let runtime = self.runtime;
        // On a thread of its own: this one may belong to another runtime, where none may block.
        let ended = std::thread::Builder::new()
            .spawn(move || runtime.shutdown_timeout(Duration::from_secs(1)));
        // Without a thread the runtime was dropped, which ends it too.
        if let Ok(ended) = ended {
            let _ = ended.join();
        }
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
        .initial_connection_window_size(CONNECTION_WINDOW);
    if address.starts_with("https:") {
        let tls = options.tls.clone();
        endpoint = endpoint
            .tls_config(tls)
            .map_err(|error| format!("TLS cannot be set up: {error}"))?;
    }
    Ok(endpoint.connect_lazy())
}
