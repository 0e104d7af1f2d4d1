//! The servers of a benchmark, in processes of their own: this program once more.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::net::TcpListener;
use tonic::transport::server::TcpIncoming;
use verso_pagestore::StoreUrl;
use verso_server::{Limits, Security, Server};

use crate::echo::Echo;
use crate::{memory, slow_sync};

const ANY: &str = "127.0.0.1:0";

/// Which server.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A node on the store of this URL; without it the bare service
    store: Option<String>,
    /// How much longer a sync takes than it does
    #[arg(long, value_parser = duration)]
    sync_delay: Option<Duration>,
}

/// A time with a unit.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.find(|character: char| character.is_ascii_alphabetic()) {
        Some(at) => text.split_at(at),
        None => (text, ""),
    };
    let number: u64 = number.parse().map_err(|_| "no number".to_owned())?;
    match unit {
        "us" => Ok(Duration::from_micros(number)),
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        _ => Err("a time is a whole number with us, ms or s".to_owned()),
    }
}

/// Serves until standard input ends.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    args.sync_delay.map(slow_sync::register).transpose()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let served = runtime.block_on(async {
        match &args.store {
            Some(store) => node(store).await,
            None => bare().await,
        }
    });
    let address = served?;
    println!("{address}");
    std::io::stdout().flush()?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

async fn node(store: &str) -> anyhow::Result<SocketAddr> {
    let store = verso_engine::open(&StoreUrl::parse(store)?)?;
    let server = Server::bind(ANY.parse()?, store, Limits::default(), Security::default()).await?;
    let address = server.address();
    tokio::spawn(server.run(std::future::pending()));
    Ok(address)
}

async fn bare() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind(ANY).await?;
    let address = listener.local_addr()?;
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let router = tonic::transport::Server::builder().add_service(Echo);
    tokio::spawn(router.serve_with_incoming(incoming));
    Ok(address)
}

/// A process that is ended with this value.
pub(crate) struct Ended(pub(crate) Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server that runs. It ends with this value.
pub(crate) struct Running {
    process: Ended,
    pub(crate) url: String,
}

impl Running {
    /// Starts one: a node on the store of a URL, or the bare service.
    pub(crate) fn start(store: Option<&str>, sync_delay: Option<Duration>) -> anyhow::Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .arg("server")
            .args(store)
            .args(sync_delay.map(|delay| format!("--sync-delay={}us", delay.as_micros())))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map(Ended)?;
        let output = process.0.stdout.take().context("it is piped")?;
        let mut address = String::new();
        BufReader::new(output).read_line(&mut address)?;
        ensure!(!address.is_empty(), "a server did not start");
        let url = format!("http://{}", address.trim_end());
        Ok(Self { process, url })
    }

    /// Bytes of it that are in memory.
    pub(crate) fn memory(&self) -> Option<u64> {
        memory::resident(self.process.0.id())
    }

    /// Host and port.
    pub(crate) fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }
}
