//! `verso serve`: a page-store node.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use verso_pagestore::{PageStore, StoreUrl, parse_bytes};
use verso_server::{Limits, Operations, Security, Server, Tls, TlsFiles, Tokens};

use crate::error::UsageError;
use crate::logs::{self, LogArgs};
use crate::store;

/// Serve the store to other machines: run a page-store node
///
/// Any number of nodes may serve one store, on one machine or many. Clients name them all:
/// --store http://HOST:PORT,HOST:PORT. A node keeps nothing that matters; ending it loses nothing.
///
/// SIGHUP makes a node read its files of tokens and certificates again. One that cannot be used is
/// logged, and the old one stays in force.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The address to listen at
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:4801")]
    listen: SocketAddr,
    /// Serve only who has a token of this file, see docs/operations.md. Without it everybody may
    /// do everything
    #[arg(long, value_name = "FILE")]
    tokens: Option<PathBuf>,
    /// Speak TLS, with the certificate (chain) in this PEM file
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The private key of the certificate, a PEM file
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Take only clients with a certificate of an authority in this PEM file
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_client_ca: Option<PathBuf>,
    /// Listen beyond this machine also without TLS or tokens
    #[arg(long)]
    insecure: bool,
    /// Memory for pages and the last commits of databases, such as 1GiB; 0 for none
    #[arg(long, value_name = "BYTES", default_value = "256MiB", value_parser = parse_bytes)]
    cache: u64,
    /// Serve metrics and health at this address, by plain HTTP: /metrics, /healthz, /readyz
    #[arg(long, value_name = "ADDR")]
    metrics: Option<SocketAddr>,
    #[command(flatten)]
    logs: LogArgs,
}

impl Args {
    /// Refuses to serve other machines without protection, unless that is wanted.
    fn check(&self) -> Result<(), UsageError> {
        let missing = match (&self.tls_cert, &self.tokens) {
            (Some(_), Some(_)) => return Ok(()),
            (None, Some(_)) => "TLS (--tls-cert and --tls-key)",
            (Some(_), None) => "tokens (--tokens)",
            (None, None) => "TLS (--tls-cert and --tls-key) and tokens (--tokens)",
        };
        if self.listen.ip().is_loopback() || self.insecure {
            return Ok(());
        }
        let listen = self.listen;
        Err(UsageError(format!(
            "listening beyond this machine, at {listen}, needs {missing}, or else --insecure"
        )))
    }

    fn security(&self) -> anyhow::Result<Security> {
        let tokens = self.tokens.as_deref().map(Tokens::read).transpose()?;
        let files = self.tls_cert.clone().zip(self.tls_key.clone());
        let tls = files.map(|(certificate, key)| {
            Tls::read(TlsFiles {
                certificate,
                key,
                client_authorities: self.tls_client_ca.clone(),
            })
        });
        Ok(Security {
            tokens,
            tls: tls.transpose()?,
        })
    }
}

/// Files that a node has open beside its connections, or more.
const OTHER_FILES: u64 = 256;

/// The limits of this process. Each connection is an open file, so it may open as many as the
/// system lets it.
fn limits(args: &Args) -> Limits {
    let mut limits = Limits {
        cache_bytes: args.cache,
        ..Limits::default()
    };
    let wanted = limits.connections as u64 + OTHER_FILES;
    let files = rlimit::increase_nofile_limit(wanted)
        .or_else(|_| rlimit::Resource::NOFILE.get_soft())
        .unwrap_or(wanted);
    if files < wanted {
        let connections = files.saturating_sub(OTHER_FILES).max(files / 2);
        limits.connections = usize::try_from(connections).unwrap_or(limits.connections);
        tracing::warn!(
            files,
            connections,
            "this process may open few files, so it takes few connections: raise `ulimit -n`"
        );
    }
    limits
}

/// Runs the command, until SIGINT or SIGTERM.
pub(crate) fn run(url: &StoreUrl, args: &Args, out: &mut dyn Write) -> anyhow::Result<()> {
    if let StoreUrl::Nodes(_) = url {
        let reason = "a node serves the store itself, not other nodes: give --store sqlite:PATH";
        return Err(UsageError(reason.to_owned()).into());
    }
    args.check()?;
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
    let limits = limits(args);
    let mut hangup = signal(SignalKind::hangup())?;
    let security = args.security()?;
    let scheme = security.tls.as_ref().map_or("http", |_| "https");
    let operations = match args.metrics {
        Some(address) => Some(Operations::bind(address, Arc::clone(&store)).await?),
        None => None,
    };
    let life = operations.as_ref().map(Operations::life);
    let server = Server::bind(args.listen, store, limits, security.clone()).await?;
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            security.reload();
        }
    });
    // Whoever started it on port 0 reads here which one it got.
    writeln!(out, "serving {url} at {scheme}://{}", server.address())?;
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
