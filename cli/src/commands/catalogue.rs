//! `verso ls`, `info`, `rename` and `rm`: the databases of a store.

use std::io::{self, BufRead, IsTerminal, Write};

use anyhow::bail;
use comfy_table::Cell;
use serde_json::json;
use verso_pagestore::{
    CatalogueError, DatabaseInfo, DatabaseName, PageSize, PageStore, StoreError, StoreUrl,
};

use crate::args::{database_name, new_database_name};
use crate::error::UsageError;
use crate::output::{self, database_bytes, human_bytes, number_cell, printable};
use crate::store;

/// How many names are asked for at once.
const BATCH: usize = 1000;

/// List the databases of the store
#[derive(Debug, clap::Args)]
pub(crate) struct LsArgs {
    /// Print a JSON array
    #[arg(long)]
    json: bool,
}

/// Show what the store knows about a database
#[derive(Debug, clap::Args)]
pub(crate) struct InfoArgs {
    /// The database: a name in the store, not a file
    #[arg(value_name = "DB", value_parser = database_name())]
    database: DatabaseName,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// Give a database another name
///
/// Its versions, its history and its id stay. Open connections follow the database.
#[derive(Debug, clap::Args)]
pub(crate) struct RenameArgs {
    /// The database: a name in the store, not a file
    #[arg(value_name = "FROM", value_parser = database_name())]
    from: DatabaseName,
    /// Its new name
    #[arg(value_name = "TO", value_parser = new_database_name())]
    to: DatabaseName,
}

/// Remove a database with its whole history
///
/// Asks first where it can; elsewhere --yes must be given.
#[derive(Debug, clap::Args)]
pub(crate) struct RmArgs {
    /// The database: a name in the store, not a file
    #[arg(value_name = "DB", value_parser = database_name())]
    database: DatabaseName,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

/// Runs `verso ls`.
pub(crate) fn ls(url: &StoreUrl, args: &LsArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    // Looking must not make a store; one that does not exist has no databases.
    let databases = if store::is_missing(url) {
        output::note(&format!("the store {url} does not exist yet"));
        (Vec::new(), Vec::new())
    } else {
        list(store::open(url)?.as_ref())?
    };
    let (databases, damaged) = databases;
    if args.json {
        let list: Vec<_> = databases.iter().map(as_json).collect();
        serde_json::to_writer_pretty(&mut *out, &list)?;
        writeln!(out)?;
        return refuse_damaged(&damaged);
    }
    let mut table = output::table(&["name", "size", "pages", "version", "changed"]);
    for info in &databases {
        table.add_row(vec![
            Cell::new(info.name.as_str()),
            number_cell(human_bytes(database_bytes(info.page_size, info.page_count))),
            number_cell(info.page_count),
            Cell::new(info.version),
            Cell::new(info.committed),
        ]);
    }
    if databases.is_empty() && damaged.is_empty() {
        return Ok(writeln!(out, "no databases")?);
    }
    writeln!(out, "{table}")?;
    refuse_damaged(&damaged)
}

/// Fails if there are databases that cannot be read, and names them.
fn refuse_damaged(damaged: &[DatabaseName]) -> anyhow::Result<()> {
    if damaged.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = damaged
        .iter()
        .map(|name| printable(name.as_str()))
        .collect();
    bail!(
        "damaged, and not listed: {}; `verso info` says what is wrong",
        names.join(", ")
    )
}

/// All databases in the order of their names, and those that cannot be read.
fn list(store: &dyn PageStore) -> anyhow::Result<(Vec<DatabaseInfo>, Vec<DatabaseName>)> {
    let (mut databases, mut damaged) = (Vec::new(), Vec::new());
    let mut after: Option<DatabaseName> = None;
    loop {
        let batch = store.list(after.as_ref(), BATCH)?;
        let Some(last) = batch.last() else {
            return Ok((databases, damaged));
        };
        after = Some(last.name.clone());
        for entry in &batch {
            match store.info(&entry.name) {
                Ok(info) => databases.push(info),
                // Removed or renamed since it was listed.
                Err(CatalogueError::NoSuchDatabase { .. }) => {}
                Err(CatalogueError::Store(StoreError::Damaged { .. })) => {
                    damaged.push(entry.name.clone());
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Runs `verso info`.
pub(crate) fn info(url: &StoreUrl, args: &InfoArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let info = store::open_for(url, &args.database)?.info(&args.database)?;
    if args.json {
        serde_json::to_writer_pretty(&mut *out, &as_json(&info))?;
        return Ok(writeln!(out)?);
    }
    let page_size = info
        .page_size
        .map_or("not chosen yet".to_owned(), |size| format!("{size} bytes"));
    let bytes = database_bytes(info.page_size, info.page_count);
    let lines = [
        ("name", printable(info.name.as_str())),
        ("id", info.id.to_string()),
        ("created", info.created.to_string()),
        (
            "newest version",
            format!("{} of {}", info.version, info.committed),
        ),
        (
            "oldest version",
            format!("{} of {}", info.oldest, info.oldest_committed),
        ),
        ("page size", page_size),
        (
            "size",
            format!("{} pages, {}", info.page_count, human_bytes(bytes)),
        ),
        ("store", url.to_string()),
    ];
    for (what, value) in lines {
        writeln!(out, "{what:<15} {value}")?;
    }
    Ok(())
}

fn as_json(info: &DatabaseInfo) -> serde_json::Value {
    json!({
        "name": info.name.as_str(),
        "id": info.id.to_string(),
        "created": info.created.to_string(),
        "version": info.version.to_string(),
        "committed": info.committed.to_string(),
        "oldest_version": info.oldest.to_string(),
        "oldest_committed": info.oldest_committed.to_string(),
        "page_size": info.page_size.map(PageSize::get),
        "page_count": info.page_count.get(),
        "bytes": database_bytes(info.page_size, info.page_count),
    })
}

/// Runs `verso rename`.
pub(crate) fn rename(url: &StoreUrl, args: &RenameArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    store::open_for(url, &args.from)?.rename(&args.from, &args.to)?;
    Ok(writeln!(out, "renamed {} to {}", args.from, args.to)?)
}

/// Runs `verso rm`.
pub(crate) fn rm(url: &StoreUrl, args: &RmArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    if !args.yes && !io::stdin().is_terminal() {
        let reason = format!(
            "removing {} cannot be undone, and there is no terminal to ask on: add --yes",
            args.database
        );
        return Err(UsageError(reason).into());
    }
    let store = store::open_for(url, &args.database)?;
    if !args.yes {
        let info = store.info(&args.database)?;
        let bytes = human_bytes(database_bytes(info.page_size, info.page_count));
        write!(
            out,
            "Remove {} ({bytes}) with its whole history? [y/N] ",
            args.database
        )?;
        out.flush()?;
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer)?;
        if !matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes") {
            bail!("nothing was removed");
        }
    }
    store.remove(&args.database)?;
    Ok(writeln!(out, "removed {}", args.database)?)
}
