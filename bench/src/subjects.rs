//! Who is measured: SQLite, Verso on each kind of store, and its peers; with the servers that
//! they need.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rusqlite::{Connection, OpenFlags};

use crate::kind::Kind;
use crate::process::Worker;
use crate::protocol::{Reply, Request, Setup, Turn};
use crate::rqlite;
use crate::servers::{Ended, Running};
use crate::session::Session;
use crate::workload::{Scale, Tables};
use crate::workloads::Workload;

/// Where the peers are.
#[derive(Debug, Default, clap::Args)]
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
    /// libSQL as a shared library with SQLite's functions
    #[arg(long, value_name = "LIBRARY")]
    pub(crate) libsql: Option<PathBuf>,
    /// rqlite's server `rqlited`
    #[arg(long, value_name = "FILE")]
    pub(crate) rqlited: Option<PathBuf>,
    /// A store to measure as well; what is written there is removed afterwards
    #[arg(long, value_name = "URL")]
    pub(crate) store: Option<String>,
}

/// The data of all subjects, and what lies below them.
#[derive(Debug, Clone)]
pub(crate) struct Data {
    pub(crate) scale: Scale,
    /// How much longer a sync takes than it does.
    pub(crate) sync_delay: Option<Duration>,
}

/// One that is measured, with its servers, which end with it.
pub(crate) struct Subject {
    pub(crate) kind: Kind,
    setup: Setup,
    environment: Vec<(&'static str, String)>,
    worker: Option<Worker>,
    nodes: Vec<Running>,
    /// The store that its nodes serve.
    served: Option<String>,
    /// How much longer a sync takes where the workload does not say.
    sync_delay: Option<Duration>,
    /// The file of an embedded store.
    file: Option<PathBuf>,
    _server: Option<Ended>,
}

/// How long a server may take to listen.
const PATIENCE: Duration = Duration::from_secs(10);

const DATABASE: &str = "bench.db";

/// The bounded freshness of who has it.
const FRESHNESS: &str = "bounded:1000";

impl Peers {
    /// Whether a subject can be measured.
    pub(crate) fn has(&self, kind: Kind) -> bool {
        (!kind.in_cluster() || self.cluster.is_some())
            && (kind != Kind::Mvsqlite || self.mvsqlite.is_some())
            && (kind != Kind::Store || self.store.is_some())
            && (kind != Kind::Libsql || self.libsql.is_some())
            && (kind != Kind::Rqlite || self.rqlited.is_some())
    }
}

impl Subject {
    /// Starts what it needs. `name` is one that no other run uses.
    pub(crate) fn start(
        kind: Kind,
        folder: &Path,
        peers: &Peers,
        data: &Data,
        name: &str,
    ) -> anyhow::Result<Self> {
        let prefix = format!("{name}-{}", kind.name());
        let mut behind_nodes = None;
        let mut server = None;
        let mut environment = Vec::new();
        let cluster = || peers.cluster.clone().context("`--cluster` is needed");
        let file = folder.join(kind.file().unwrap_or_default());
        let file = format!("sqlite:{}", file.display());
        let in_cluster = || -> anyhow::Result<String> {
            Ok(format!("fdb:{}?prefix={prefix}", cluster()?.display()))
        };
        let session = match kind {
            Kind::Sqlite => Session::Plain {
                path: folder.join("plain.db"),
            },
            Kind::Embedded => verso(&file),
            Kind::Node | Kind::Nodes => verso(behind_nodes.insert(file)),
            Kind::NodeBounded => {
                environment.push(("VERSO_FRESHNESS", FRESHNESS.to_owned()));
                verso(behind_nodes.insert(file))
            }
            Kind::Store => Session::Verso {
                store: peers.store.clone().context("`--store` is needed")?,
                name: format!("{name}.db"),
            },
            Kind::Bare => Session::Bare {
                cluster: cluster()?,
                prefix,
            },
            Kind::Fdb => verso(&in_cluster()?),
            Kind::FdbNode => verso(behind_nodes.insert(in_cluster()?)),
            Kind::Libsql => Session::LibraryFile {
                library: peers.libsql.clone().context("`--libsql` is needed")?,
                path: folder.join("libsql.db").display().to_string(),
            },
            Kind::Rqlite => {
                let program = peers.rqlited.as_ref().context("`--rqlited` is needed")?;
                let (rqlited, url) = rqlite::start(program, folder)?;
                server = Some(rqlited);
                Session::Rqlite { url }
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
        let mut subject = Self {
            kind,
            setup: Setup {
                session,
                scale: data.scale,
                sync_delay: data.sync_delay,
            },
            environment,
            worker: None,
            nodes: Vec::new(),
            served: behind_nodes,
            sync_delay: data.sync_delay,
            file: kind.file().map(|name| folder.join(name)),
            _server: server,
        };
        subject.start_nodes()?;
        Ok(subject)
    }

    /// Starts its nodes, if it has any. Those that ran before end first.
    fn start_nodes(&mut self) -> anyhow::Result<()> {
        let Some(store) = &self.served else {
            return Ok(());
        };
        self.nodes.clear();
        let count = if self.kind == Kind::Nodes { 3 } else { 1 };
        for _ in 0..count {
            let node = Running::start(Some(store), self.setup.sync_delay)?;
            self.nodes.push(node);
        }
        let addresses: Vec<&str> = self.nodes.iter().map(Running::address).collect();
        self.setup.session = verso(&format!("http://{}", addresses.join(",")));
        Ok(())
    }

    /// Fills its database, and these tables.
    pub(crate) fn fill(&self, tables: &[Tables]) -> anyhow::Result<()> {
        self.ask(&Request::Fill(tables.to_vec()))
    }

    /// Lets a process of its own prepare something.
    pub(crate) fn ask(&self, request: &Request) -> anyhow::Result<()> {
        self.worker()?.ask(request).map(drop)
    }

    fn worker(&self) -> anyhow::Result<Worker> {
        Worker::start(&self.setup, &self.environment)
    }

    /// Gets ready for another workload: in a process of its own, and with syncs that take as
    /// long as the workload says.
    pub(crate) fn ready(&mut self, workload: &Workload) -> anyhow::Result<()> {
        self.rest();
        let sync_delay = workload.sync_delay.or(self.sync_delay);
        if self.setup.sync_delay != sync_delay && self.kind.takes(workload) {
            self.setup.sync_delay = sync_delay;
            self.start_nodes()?;
        }
        Ok(())
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
            synchronous: workload.synchronous,
        })?;
        self.worker = Some(worker);
        let Reply::Turn(mut turn) = reply else {
            bail!("an unexpected answer: {reply:?}");
        };
        turn.node_memory = self.nodes.iter().map(Running::memory).sum();
        ensure!(
            turn.wrong == 0 || !self.must_be_right(),
            "{} wrong answers: {}",
            turn.wrong,
            turn.first_error.unwrap_or_default()
        );
        Ok(turn)
    }

    /// Counts, after the turns of a workload, what was acknowledged and is not there.
    pub(crate) fn lost(&mut self, workload: &Workload) -> anyhow::Result<i64> {
        let Some(worker) = &mut self.worker else {
            return Ok(0);
        };
        let reply = worker.ask(&Request::Count {
            work: workload.work,
            writers: workload.writers,
        })?;
        let Reply::Lost(lost) = reply else {
            bail!("an unexpected answer: {reply:?}");
        };
        ensure!(
            lost == 0 || !self.must_be_right(),
            "{lost} updates are lost"
        );
        Ok(lost)
    }

    /// Bytes of keys and values in its store, where that is a file of its own.
    pub(crate) fn stored(&self) -> anyhow::Result<Option<u64>> {
        let Some(file) = &self.file else {
            return Ok(None);
        };
        let db = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        // The pairs of the newest commits are not in their table yet.
        let sum = "SELECT (SELECT sum(length(key) + length(value)) FROM kv) + \
             (SELECT ifnull(sum(length(pairs)), 0) FROM commits WHERE version > \
                 (SELECT flushed FROM commits ORDER BY version DESC LIMIT 1))";
        let bytes: i64 = db.query_row(sum, (), |row| row.get(0))?;
        Ok(Some(u64::try_from(bytes)?))
    }

    /// Whether a wrong result is an error of the benchmark, or a figure.
    fn must_be_right(&self) -> bool {
        self.kind.is_ours() || self.kind == Kind::Sqlite
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        if self.kind != Kind::Store {
            return;
        }
        self.rest();
        let removed = self
            .worker()
            .and_then(|mut worker| worker.ask(&Request::Remove));
        if let Err(error) = removed {
            eprintln!("databases of the benchmark stay in the given store: {error:#}");
        }
    }
}

fn verso(store: &str) -> Session {
    Session::Verso {
        store: store.to_owned(),
        name: DATABASE.to_owned(),
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
