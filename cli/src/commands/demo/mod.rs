//! `verso demo`: the whole of Verso at work on one database, with what to look at.

mod crew;
mod dataset;
mod report;
mod worker;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use tempfile::TempDir;
use verso_pagestore::{DatabaseName, StoreUrl};

pub(crate) use self::worker::{Args as WorkerArgs, run as run_worker};
use crate::commands::import;
use crate::interrupt::Interrupt;
use crate::{connection, store};

/// The name of the database in the demonstration's store.
const DATABASE: &str = "shop";

/// See it all at work: import, several writers at once, time travel
///
/// Makes a SQLite file of a web shop, imports it into a store, lets 4 writers and 2 readers,
/// each a process of its own, work on it, checks that nothing was lost, and looks at the
/// past. Keeps nothing unless --dir is given.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many rows the shop has before the writers begin
    #[arg(long, value_name = "N", default_value_t = 100_000,
        value_parser = clap::value_parser!(u32).range(1_000..=20_000_000))]
    rows: u32,
    /// How long the writers and readers work
    #[arg(long, value_name = "S", default_value_t = 5,
        value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Work in DIR and keep the file and the store there
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Where the demonstration works.
struct Place {
    file: PathBuf,
    store: StoreUrl,
    /// Removed with everything in it at the end.
    _temporary: Option<TempDir>,
}

impl Place {
    fn choose(dir: Option<&Path>) -> anyhow::Result<Self> {
        let Some(dir) = dir else {
            let temporary = tempfile::Builder::new()
                .prefix("verso-demo-")
                .tempdir()
                .context("no temporary folder can be made: choose one with --dir")?;
            let folder = temporary.path().to_owned();
            return Self::within(&folder, Some(temporary));
        };
        fs::create_dir_all(dir).with_context(|| format!("{} cannot be made", dir.display()))?;
        let absolute =
            fs::canonicalize(dir).with_context(|| format!("{} cannot be used", dir.display()))?;
        Self::within(&absolute, None)
    }

    fn within(folder: &Path, temporary: Option<TempDir>) -> anyhow::Result<Self> {
        let (file, store) = (folder.join("shop.sqlite"), folder.join("verso.db"));
        for path in [&file, &store] {
            if path.exists() {
                bail!(
                    "{} exists: choose another --dir, or remove it",
                    path.display()
                );
            }
        }
        Ok(Self {
            file,
            store: StoreUrl::Sqlite(store),
            _temporary: temporary,
        })
    }
}

/// Runs the command.
pub(crate) fn run(args: &Args, out: &mut dyn Write) -> anyhow::Result<()> {
    let interrupt = Interrupt::install()?;
    let database = DatabaseName::new(DATABASE)?;
    let place = Place::choose(args.dir.as_deref())?;

    writeln!(out, "1. A SQLite file\n")?;
    let made = dataset::make(&place.file, args.rows)?;
    writeln!(
        out,
        "A web shop in plain SQLite: {} customers, {} products, {} orders, {} order items, and \
         a full-text index over the products' descriptions.\n",
        made.customers, made.products, made.orders, made.items
    )?;

    writeln!(out, "2. Import\n")?;
    out.flush()?;
    let page_store = store::open(&place.store)?;
    let imported = import::import_file(&place.file, page_store.as_ref(), &database, &interrupt)?;
    import::print(&imported, &place.file, &database, out)?;
    writeln!(
        out,
        "\nEvery page went into the store as it was. From now on a change adds new versions of \
         the pages it touches, and the old ones stay readable.\n"
    )?;

    writeln!(
        out,
        "3. Four writers and two readers, each a process of its own\n"
    )?;
    writeln!(out, "{}\n", crew::EXPLANATION)?;
    out.flush()?;
    let length = Duration::from_secs(args.seconds);
    let totals = crew::work(&place.store, &database, made, length, &interrupt, out)?;

    connection::register(&place.store)?;
    let before = imported.version;
    report::Report {
        store: page_store.as_ref(),
        database: &database,
        made,
        before,
        totals: &totals,
    }
    .print(out)?;
    try_next(args.dir.as_deref(), &place, before, out)
}

fn try_next(
    dir: Option<&Path>,
    place: &Place,
    before: verso_pagestore::Version,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    writeln!(out, "What to try next\n")?;
    if dir.is_none() {
        writeln!(
            out,
            "  verso demo --dir shop            the same, and keep the store to play with\n  \
             verso import FILE NAME           take a SQLite file of yours into a store\n  \
             verso sql NAME 'SELECT ...'      ask it something\n  \
             verso shell NAME                 work on it as in the sqlite3 shell\n  \
             verso log NAME                   see its commits; --at takes their versions\n  \
             verso export NAME FILE           and out again"
        )?;
        return Ok(());
    }
    writeln!(
        out,
        "  export VERSO_STORE='{}'\n  \
         verso sql {DATABASE} 'SELECT count(*) FROM orders'\n  \
         verso sql {DATABASE} --at {before} 'SELECT count(*) FROM orders'\n  \
         verso shell {DATABASE}\n  \
         verso log {DATABASE}\n  \
         verso check {DATABASE}\n  \
         verso export {DATABASE} copy.sqlite",
        place.store
    )?;
    Ok(())
}
