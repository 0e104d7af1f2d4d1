//! Requests through one page-store node on loopback, beside a bare tonic service that answers
//! with as many bytes. Both are processes of their own, and one client asks one thing at a time.

use std::path::Path;

use anyhow::{Context as _, ensure};
use rusqlite::Connection;
use tonic::transport::Channel;
use verso_pagestore::grpc::{ClientOptions, connect};
use verso_pagestore::{DatabaseName, PageNumber, Since, StoreUrl};

use crate::echo;
use crate::numbers::Numbers;
use crate::servers::Running;
use crate::turns::{Contender, measure};

const DATABASE: &str = "bench.db";
const ROWS: u32 = 20_000;

const SMALL: &str = "bare service, 100 bytes";
const PAGE: &str = "bare service, 4096 bytes";
const STRICT: &str = "SELECT by key, strict";
const EMBEDDED: &str = "SELECT by key, embedded";

/// How much is measured.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How often each contender has its turn
    #[arg(long, default_value = "20")]
    rounds: u32,
    /// How often it does its work in a turn
    #[arg(long, default_value = "500")]
    times: u32,
}

fn open(store: &str, parameters: &str) -> anyhow::Result<Connection> {
    let uri = format!("file:{DATABASE}?vfs=verso&store={store}{parameters}");
    Ok(Connection::open(uri)?)
}

fn fill(store: &Path) -> anyhow::Result<()> {
    let db = open(&format!("sqlite:{}", store.display()), "")?;
    db.execute_batch(&format!(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, value TEXT);
         WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS})
         INSERT INTO t SELECT i, hex(randomblob(50)) FROM n;"
    ))?;
    Ok(())
}

/// Selects one row by its key, in a transaction of its own.
fn select(db: &Connection) -> impl FnMut() -> anyhow::Result<()> {
    let mut numbers = Numbers::new(1);
    move || {
        let mut statement = db.prepare_cached("SELECT value FROM t WHERE id = ?")?;
        let value: String = statement.query_row([numbers.below(ROWS) + 1], |row| row.get(0))?;
        ensure!(value.len() == 100, "a wrong row");
        Ok(())
    }
}

/// Runs the benchmark.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    verso_vfs::register(verso_vfs::Options::new(verso_open::open))?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("store.db");
    fill(&path)?;
    let store = format!("sqlite:{}", path.display());
    let (node, bare) = (
        Running::start(Some(&store), None)?,
        Running::start(None, None)?,
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let channel = runtime.block_on(Channel::from_shared(bare.url.clone())?.connect())?;
    let ask = |length| {
        let answer = runtime.block_on(echo::ask(channel.clone(), length))?;
        ensure!(u32::try_from(answer.len())? == length, "a wrong answer");
        Ok(())
    };

    let StoreUrl::Nodes(nodes) = StoreUrl::parse(&node.url)? else {
        anyhow::bail!("{} is the URL of a node", node.url);
    };
    let store = connect(&nodes, ClientOptions::default())?;
    let name = DatabaseName::new(DATABASE)?;
    let snapshot = store.begin(&name, None)?.snapshot;
    let since = Some(Since {
        database: snapshot.database,
        version: snapshot.version,
        commit: snapshot.commit,
    });
    let mut numbers = Numbers::new(2);
    let pages = snapshot.page_count.get();
    let read = || {
        let page = PageNumber::new(numbers.below(pages) + 1).context("a page")?;
        ensure!(store.read(&snapshot, &[page])?.len() == 1, "a page");
        Ok(())
    };
    let begin = || {
        store.begin(&name, since)?;
        Ok(())
    };
    let strict = open(&node.url, "")?;
    let bounded = open(&node.url, "&freshness=bounded:1000")?;
    let embedded = open(&format!("sqlite:{}", path.display()), "")?;
    measure(
        &mut [
            Contender::new(SMALL, None, || ask(100))?,
            Contender::new("begin, strict", Some(SMALL), begin)?,
            Contender::new(PAGE, None, || ask(4096))?,
            Contender::new("read of a page", Some(PAGE), read)?,
            Contender::new(EMBEDDED, None, select(&embedded))?,
            Contender::new(STRICT, Some(SMALL), select(&strict))?,
            Contender::new("SELECT by key, bounded", Some(EMBEDDED), select(&bounded))?,
        ],
        args.rounds,
        args.times,
    )
}
