//! `verso serve`: a page-store node.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use verso_pagestore::{PageStore, StoreUrl};
use verso_server::{Limits, Operations, Server};

use crate::error::UsageError;
use crate::logs::{self, LogArgs};
use crate::store;

/// Serve the store to other machines: run a page-store node
///
/// Any number of nodes may serve one store, on one machine or many. Clients name them all:
/// --store http://HOST:PORT,HOST:PORT. A node keeps nothing that matters; ending it loses nothing.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The address to listen at
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:4801")]
    listen: SocketAddr,
    /// Listen beyond this machine without TLS and tokens
    #[arg(long)]
    insecure: bool,
    /// Serve metrics and health at this address, by plain HTTP: /metrics, /healthz, /readyz
    #[arg(long, value_name = "ADDR")]
    metrics: Option<SocketAddr>,
    #[command(flatten)]
    logs: LogArgs,
}

/// Runs the command, until SIGINT or SIGTERM.
pub(crate) fn run(url: &StoreUrl, args: &Args, out: &mut dyn Write) -> anyhow::Result<()> {
    if let StoreUrl::Nodes(_) = url {
        let reason = "a node serves the store itself, not other nodes: give --store sqlite:PATH";
        return Err(UsageError(reason.to_owned()).into());
    }
    if !args.listen.ip().is_loopback() && !args.insecure {
        let reason = "listening beyond this machine needs TLS and tokens, or --insecure";
        return Err(UsageError(reason.to_owned()).into());
    }
    logs::install(&args.logs)?;
    let store = store::open(url)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the node's threads cannot be started")?;
    runtime.block_on(serve(url, store, args, out))
}

async fn serve(
    url: &StoreUrl,
    store: Arc<dyn PageStore>,
    args: &Args,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    // `systemctl reload` sends it, and it must not end the node.
    let _hangup = signal(SignalKind::hangup())?;
    let operations = match args.metrics {
        Some(address) => Some(Operations::bind(address, Arc::clone(&store)).await?),
        None => None,
    };
    let life = operations.as_ref().map(Operations::life);
    let server = Server::bind(args.listen, store, Limits::default()).await?;
    // Whoever started it on port 0 reads here which one it got.
    writeln!(out, "serving {url} at http://{}", server.address())?;
    if let Some(operations) = operations {
        writeln!(out, "metrics at http://{}/metrics", operations.address())?;
        // It ends with the process: whoever asks is answered until then.
        tokio::spawn(operations.run());
    }
    out.flush()?;
    let shutdown = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        if let Some(life) = life {
            life.end();
        }
        tracing::info!("shutting down: requests under way are finished");
    };
    Ok(server.run(shutdown).await?)
}
