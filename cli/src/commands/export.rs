//! `verso export`: writes a database out as a SQLite file.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, bail};
use tempfile::NamedTempFile;
use verso_pagestore::{DatabaseName, Moment, PageNumber, PageSize, PageStore, Snapshot, StoreUrl};

use crate::args::{database_name, moment};
use crate::interrupt::Interrupt;
use crate::output::{self, database_bytes, human_bytes};
use crate::{header, store};

/// About how many bytes of pages are read from the store at once.
const BATCH_BYTES: usize = 1 << 20;

/// Write a database out as a SQLite file
///
/// The file appears under its name only when all of it is there and on disk. Writers go on
/// meanwhile: the file holds one version.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The database: a name in the store, not a file
    #[arg(value_name = "DB", value_parser = database_name())]
    database: DatabaseName,
    /// The file to write
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Write the database as of WHEN: a version (`verso log` shows them), a time such as
    /// 2026-01-31T12:00:00Z, or a time ago such as -15m
    #[arg(long, value_name = "WHEN", value_parser = moment, allow_hyphen_values = true)]
    at: Option<Moment>,
    /// Replace the file if it exists
    #[arg(long)]
    force: bool,
}

/// Runs the command.
pub(crate) fn run(url: &StoreUrl, args: &Args, out: &mut dyn Write) -> anyhow::Result<()> {
    let started = Instant::now();
    let interrupt = Interrupt::install()?;
    refuse_target(&args.file, args.force, url)?;
    let store = store::open_for(url, &args.database)?;
    let snapshot = match args.at {
        Some(moment) => store.snapshot_at(&args.database, moment)?,
        None => store.begin(&args.database, None)?.snapshot,
    };
    let folder = folder_of(&args.file);
    let mut temporary = temporary_file(folder)?;
    write_pages(
        store.as_ref(),
        &snapshot,
        temporary.as_file_mut(),
        &interrupt,
    )
    .with_context(|| format!("{} was not written", args.file.display()))?;
    publish(temporary, &args.file, args.force)?;
    let bytes = database_bytes(snapshot.page_size, snapshot.page_count);
    Ok(writeln!(
        out,
        "exported {} at version {} to {}: {} pages, {} in {:.2} s ({})",
        args.database,
        snapshot.version,
        args.file.display(),
        snapshot.page_count,
        human_bytes(bytes),
        started.elapsed().as_secs_f64(),
        output::speed(bytes, started.elapsed())
    )?)
}

/// Fails if the file must not be written.
fn refuse_target(file: &Path, force: bool, url: &StoreUrl) -> anyhow::Result<()> {
    let shown = file.display();
    // SQLite would play what these hold into the new file.
    for suffix in ["-wal", "-journal"] {
        let mut name = file.as_os_str().to_owned();
        name.push(suffix);
        if fs::metadata(&name).is_ok_and(|metadata| metadata.len() > 0) {
            bail!(
                "{} exists: it belongs to another database of that name; choose another name, \
                 or remove it",
                Path::new(&name).display()
            );
        }
    }
    let Ok(metadata) = fs::symlink_metadata(file) else {
        return Ok(());
    };
    if metadata.is_dir() {
        bail!("{shown} is a directory: name a file in it");
    }
    if !force {
        bail!("{shown} exists: choose another name, or replace it with --force");
    }
    if let StoreUrl::Sqlite(store) = url
        && let Ok(store) = fs::metadata(store)
        && (store.dev(), store.ino()) == (metadata.dev(), metadata.ino())
    {
        bail!("{shown} is the store itself: choose another name");
    }
    Ok(())
}

fn folder_of(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        Some(_) | None => Path::new("."),
    }
}

/// A file beside the target, so that it can be renamed, with the permissions of any new file.
fn temporary_file(folder: &Path) -> anyhow::Result<NamedTempFile> {
    tempfile::Builder::new()
        .prefix(".verso-export-")
        .permissions(fs::Permissions::from_mode(0o666))
        .tempfile_in(folder)
        .with_context(|| format!("no file can be made in {}", folder.display()))
}

fn write_pages(
    store: &dyn PageStore,
    snapshot: &Snapshot,
    file: &mut File,
    interrupt: &Interrupt,
) -> anyhow::Result<()> {
    // An empty file is an empty database to SQLite.
    let Some(page_size) = snapshot.page_size else {
        return Ok(());
    };
    let bar = output::bytes_bar("exporting", snapshot.page_count.bytes(page_size));
    let mut file = BufWriter::with_capacity(BATCH_BYTES, file);
    let numbers = 1..=snapshot.page_count.get();
    let mut batch = Vec::new();
    let per_batch = (BATCH_BYTES / page_size.length()).max(1);
    for number in numbers.filter_map(PageNumber::new) {
        batch.push(number);
        if batch.len() == per_batch {
            if interrupt.pressed() {
                bail!("interrupted");
            }
            bar.inc(write_batch(store, snapshot, page_size, &batch, &mut file)?);
            batch.clear();
        }
    }
    write_batch(store, snapshot, page_size, &batch, &mut file)?;
    file.flush()?;
    file.get_ref().sync_all()?;
    bar.finish_and_clear();
    Ok(())
}

/// Answers how many bytes were written.
fn write_batch(
    store: &dyn PageStore,
    snapshot: &Snapshot,
    page_size: PageSize,
    batch: &[PageNumber],
    file: &mut dyn Write,
) -> anyhow::Result<u64> {
    let mut written = 0;
    for (number, versioned) in batch.iter().zip(store.read(snapshot, batch)?) {
        if versioned.page.len() != page_size.length() {
            bail!(
                "page {number} has {} bytes instead of {page_size}",
                versioned.page.len()
            );
        }
        if *number == PageNumber::FIRST {
            let mut page = versioned.page.to_vec();
            header::to_file(&mut page, snapshot.page_count, change_counter(snapshot));
            file.write_all(&page)?;
        } else {
            file.write_all(&versioned.page)?;
        }
        written += u64::from(page_size.get());
    }
    Ok(written)
}

/// Not zero, and most likely another one for another version: whoever has an earlier
/// export in a cache sees that it changed.
fn change_counter(snapshot: &Snapshot) -> u32 {
    let low = snapshot.version.commit_version() & u64::from(u32::MAX);
    u32::try_from(low).unwrap_or(1).max(1)
}

/// Gives the file its name.
fn publish(temporary: NamedTempFile, file: &Path, force: bool) -> anyhow::Result<()> {
    let shown = file.display();
    let kept = if force {
        temporary.persist(file)
    } else {
        temporary.persist_noclobber(file)
    };
    kept.map_err(|error| error.error)
        .with_context(|| format!("{shown} cannot be written"))?;
    // The new name must be on disk too.
    File::open(folder_of(file))
        .and_then(|folder| folder.sync_all())
        .with_context(|| format!("the folder of {shown} cannot be synced"))
}
