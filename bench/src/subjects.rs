//! Who is measured: SQLite, Verso on each kind of store, and its peers; with the servers that
//! they need.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use clap::ValueEnum;
use serde::Serialize;

use crate::servers::{Ended, Running};
use crate::session::Session;
use crate::worker::{Reply, Request, Turn};
use crate::workload::Workload;

/// What is measured by the same workloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// SQLite on a file of its own, in WAL mode
    Sqlite,
    /// Verso on an embedded store
    Embedded,
    /// Verso through one node on an embedded store
    Node,
    /// Verso through three nodes on an embedded store
    Nodes,
    /// A bare client of the FoundationDB cluster
    Bare,
    /// Verso on the FoundationDB cluster
    Fdb,
    /// Verso through one node on the FoundationDB cluster
    FdbNode,
    /// mvSQLite on the FoundationDB cluster
    Mvsqlite,
}

impl Kind {
    /// How it is called in keys.
    fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }

    /// How it is called in tables.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite, WAL",
            Self::Embedded => "Verso, embedded",
            Self::Node => "Verso, one node",
            Self::Nodes => "Verso, three nodes",
            Self::Bare => "bare FoundationDB client",
            Self::Fdb => "Verso, FoundationDB",
            Self::FdbNode => "Verso, FoundationDB, one node",
            Self::Mvsqlite => "mvSQLite, FoundationDB",
        }
    }

    /// Whether it must keep every promise: no update is ever lost.
    pub(crate) fn is_ours(self) -> bool {
        matches!(
            self,
            Self::Embedded | Self::Node | Self::Nodes | Self::Fdb | Self::FdbNode
        )
    }

    /// Whether it keeps its data in the cluster.
    pub(crate) fn in_cluster(self) -> bool {
        matches!(
            self,
            Self::Bare | Self::Fdb | Self::FdbNode | Self::Mvsqlite
        )
    }

    /// What it is compared with.
    pub(crate) fn beside(self) -> Option<Self> {
        match self {
            Self::Sqlite | Self::Bare => None,
            Self::Embedded | Self::Node | Self::Nodes => Some(Self::Sqlite),
            Self::Fdb | Self::FdbNode | Self::Mvsqlite => Some(Self::Bare),
        }
    }

    /// Whether the workload is anything to it.
    pub(crate) fn takes(self, workload: &Workload) -> bool {
        self.in_cluster() || workload.writers <= 16
    }
}

/// Where the peers are.
#[derive(Debug, clap::Args)]
pub(crate) struct Peers {
    /// Cluster file of a FoundationDB cluster; what is measured there is removed afterwards
    #[arg(long, value_name = "FILE")]
    pub(crate) cluster: Option<PathBuf>,
    /// mvSQLite's server `mvstore`
    #[arg(long, value_name = "FILE", requires_all = ["mvsqlite", "cluster"])]
    pub(crate) mvstore: Option<PathBuf>,
    /// mvSQLite's patched `libsqlite3.so`
    #[arg(long, value_name = "FILE", requires = "mvstore")]
    pub(crate) mvsqlite: Option<PathBuf>,
}

/// One that is measured, with its servers, which end with it.
pub(crate) struct Subject {
    pub(crate) kind: Kind,
    session: Session,
    environment: Vec<(&'static str, String)>,
    worker: Option<Worker>,
    _servers: Vec<Running>,
    _server: Option<Ended>,
}

/// How long a server may take to listen.
const PATIENCE: Duration = Duration::from_secs(10);

const DATABASE: &str = "bench.db";

impl Subject {
    /// Starts what it needs. `name` is one that no other run uses.
    pub(crate) fn start(
        kind: Kind,
        folder: &Path,
        peers: &Peers,
        name: &str,
    ) -> anyhow::Result<Self> {
        let prefix = format!("{name}-{}", kind.name());
        let mut servers = Vec::new();
        let mut server = None;
        let mut environment = Vec::new();
        let cluster = || peers.cluster.clone().context("`--cluster` is needed");
        let file = |name: &str| format!("sqlite:{}", folder.join(name).display());
        let in_cluster = || -> anyhow::Result<String> {
            Ok(format!("fdb:{}?prefix={prefix}", cluster()?.display()))
        };
        let session = match kind {
            Kind::Sqlite => Session::Plain {
                path: folder.join("plain.db"),
            },
            Kind::Embedded => verso(&file("embedded.db")),
            Kind::Node | Kind::Nodes => {
                let count = if kind == Kind::Node { 1 } else { 3 };
                let store = file(&format!("nodes{count}.db"));
                for _ in 0..count {
                    servers.push(Running::start(Some(store.as_str()))?);
                }
                let addresses: Vec<&str> = servers.iter().map(Running::address).collect();
                verso(&format!("http://{}", addresses.join(",")))
            }
            Kind::Bare => Session::Bare {
                cluster: cluster()?,
                prefix,
            },
            Kind::Fdb => verso(&in_cluster()?),
            Kind::FdbNode => {
                servers.push(Running::start(Some(&in_cluster()?))?);
                let url = servers.first().map(|one| one.url.clone());
                verso(&url.context("it was started")?)
            }
            Kind::Mvsqlite => {
                let (mvstore, url) = start_mvstore(peers, &prefix)?;
                server = Some(mvstore);
                environment.push(("MVSQLITE_DATA_PLANE", url));
                // It logs a line for each conflict.
                environment.push(("RUST_LOG", "off".to_owned()));
                Session::Library {
                    library: peers.mvsqlite.clone().context("`--mvsqlite` is needed")?,
                    name: DATABASE.to_owned(),
                }
            }
        };
        Ok(Self {
            kind,
            session,
            environment,
            worker: None,
            _servers: servers,
            _server: server,
        })
    }

    /// Fills its database.
    pub(crate) fn fill(&self, big_rows: u32) -> anyhow::Result<()> {
        let mut worker = self.worker()?;
        worker.ask(&Request::Fill { big_rows })?;
        Ok(())
    }

    fn worker(&self) -> anyhow::Result<Worker> {
        Worker::start(&self.session, &self.environment)
    }

    /// Forgets the process that worked until now.
    pub(crate) fn rest(&mut self) {
        self.worker = None;
    }

    /// Works for so many seconds, in the process that worked before unless the work wants a
    /// fresh one.
    pub(crate) fn turn(&mut self, workload: &Workload, seconds: f64) -> anyhow::Result<Turn> {
        if workload.work.is_cold() {
            self.rest();
        }
        let mut worker = match self.worker.take() {
            Some(worker) => worker,
            None => self.worker()?,
        };
        let reply = worker.ask(&Request::Turn {
            work: workload.work,
            writers: workload.writers,
            seconds,
            synchronous: "FULL".to_owned(),
        })?;
        self.worker = Some(worker);
        let Reply::Turn(turn) = reply else {
            bail!("an unexpected answer: {reply:?}");
        };
        ensure!(
            turn.lost == 0 || !self.kind.is_ours(),
            "{} lost {} updates",
            self.kind.title(),
            turn.lost
        );
        Ok(turn)
    }
}

fn verso(store: &str) -> Session {
    let store = store.replace('?', "%3F").replace('&', "%26");
    Session::Verso {
        uri: format!("file:{DATABASE}?vfs=verso&store={store}"),
    }
}

/// Starts `mvstore`; returns its URL. It creates databases that it does not know.
fn start_mvstore(peers: &Peers, prefix: &str) -> anyhow::Result<(Ended, String)> {
    let program = peers.mvstore.as_ref().context("`--mvstore` is needed")?;
    let cluster = peers.cluster.as_ref().context("`--cluster` is needed")?;
    // It cannot choose ports itself.
    let free = || -> anyhow::Result<_> { Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?) };
    let (data, admin) = (free()?, free()?);
    let server = Command::new(program)
        .args(["--data-plane", &data.to_string()])
        .args(["--admin-api", &admin.to_string()])
        .args(["--metadata-prefix", &format!("{prefix}-meta")])
        .args(["--raw-data-prefix", &format!("{prefix}-data")])
        .arg("--auto-create-namespace")
        .arg("--cluster")
        .arg(cluster)
        .env("RUST_LOG", "error")
        .stdout(Stdio::null())
        .spawn()
        .with_context(|| format!("{} cannot be started", program.display()))?;
    let server = Ended(server);
    let began = Instant::now();
    while let Err(error) = TcpStream::connect(data) {
        ensure!(
            began.elapsed() < PATIENCE,
            "mvstore does not listen: {error}"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok((server, format!("http://{data}")))
}

/// A process that works. It ends with this value.
pub(crate) struct Worker {
    process: Ended,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Worker {
    /// Starts one.
    pub(crate) fn start(
        session: &Session,
        environment: &[(&'static str, String)],
    ) -> anyhow::Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .arg("worker")
            .envs(environment.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map(Ended)?;
        let mut input = process.0.stdin.take().context("it is piped")?;
        let output = process.0.stdout.take().context("it is piped")?;
        writeln!(input, "{}", serde_json::to_string(session)?)?;
        Ok(Self {
            process,
            input,
            output: BufReader::new(output),
        })
    }

    /// Asks, and waits for the answer.
    pub(crate) fn ask(&mut self, request: &Request) -> anyhow::Result<Reply> {
        writeln!(self.input, "{}", serde_json::to_string(request)?)?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        if line.is_empty() {
            let status = self.process.0.wait()?;
            bail!("a worker ended: {status}");
        }
        let reply = serde_json::from_str(&line)?;
        if let Reply::Failed(reason) = reply {
            bail!("{reason}");
        }
        Ok(reply)
    }
}
