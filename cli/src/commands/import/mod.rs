//! `verso import`: takes a SQLite file into the store, every page as it is.

mod source;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::bail;
use bytes::Bytes;
use indicatif::ProgressBar;
use verso_pagestore::{
    DatabaseId, DatabaseName, PageCount, PageNumber, PageSize, PageStore, PageWrite, StoreUrl,
    Version,
};

use self::source::Source;
use crate::args::new_database_name;
use crate::interrupt::Interrupt;
use crate::output::{self, human_bytes};
use crate::store;

/// About how many bytes of pages are sent to the store at once.
const BATCH_BYTES: u32 = 1 << 20;

/// Take a SQLite file into the store as a new database
///
/// Every page is kept as it is. The file is only read, and may be in use, in WAL mode too:
/// what its committed transactions wrote is taken. All or nothing: the database appears
/// when all of it is there.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A SQLite 3 file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The name of the new database
    #[arg(value_name = "DB", value_parser = new_database_name())]
    database: DatabaseName,
}

/// What was imported.
pub(crate) struct Imported {
    /// The first version.
    pub(crate) version: Version,
    page_size: PageSize,
    page_count: PageCount,
    elapsed: Duration,
}

/// Runs the command.
pub(crate) fn run(url: &StoreUrl, args: &Args, out: &mut dyn Write) -> anyhow::Result<()> {
    let interrupt = Interrupt::install()?;
    let source = Source::open(&args.file)?;
    source.refuse_store(url)?;
    let store = store::open(url)?;
    let imported = import(source, store.as_ref(), &args.database, &interrupt)?;
    print(&imported, &args.file, &args.database, out)
}

/// Imports a file into an open store.
pub(crate) fn import_file(
    file: &Path,
    store: &dyn PageStore,
    database: &DatabaseName,
    interrupt: &Interrupt,
) -> anyhow::Result<Imported> {
    import(Source::open(file)?, store, database, interrupt)
}

/// Says what was imported.
pub(crate) fn print(
    imported: &Imported,
    file: &Path,
    database: &DatabaseName,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let bytes = imported.page_count.bytes(imported.page_size);
    Ok(writeln!(
        out,
        "imported {} as {database}: {} pages of {} bytes, {} in {:.2} s ({}), version {}",
        file.display(),
        imported.page_count,
        imported.page_size,
        human_bytes(bytes),
        imported.elapsed.as_secs_f64(),
        output::speed(bytes, imported.elapsed),
        imported.version
    )?)
}

fn import(
    mut source: Source,
    store: &dyn PageStore,
    database: &DatabaseName,
    interrupt: &Interrupt,
) -> anyhow::Result<Imported> {
    let started = Instant::now();
    let (page_size, page_count) = (source.page_size(), source.page_count());
    let load = Load::begin(store, database)?;
    let bar = output::bytes_bar("importing", page_count.bytes(page_size));
    copy_pages(&mut source, &load, &bar, interrupt)?;
    bar.finish_and_clear();
    source.confirm()?;
    let version = load.finish(database, page_size, page_count)?;
    Ok(Imported {
        version,
        page_size,
        page_count,
        elapsed: started.elapsed(),
    })
}

fn copy_pages(
    source: &mut Source,
    load: &Load<'_>,
    bar: &ProgressBar,
    interrupt: &Interrupt,
) -> anyhow::Result<()> {
    let per_batch = (BATCH_BYTES / source.page_size().get()).max(1);
    let mut next = 1;
    while next <= source.page_count().get() {
        if interrupt.pressed() {
            bail!("interrupted: nothing was imported");
        }
        let count = per_batch.min(source.page_count().get() - next + 1);
        let bytes = source.read(next, count)?;
        let length = u64::try_from(bytes.len())?;
        load.pages(&split(next, bytes, source.page_size())?)?;
        bar.inc(length);
        let Some(following) = next.checked_add(count) else {
            break;
        };
        next = following;
    }
    Ok(())
}

/// Pages that lie one behind the other, from this number on.
fn split(first: u32, mut bytes: Bytes, page_size: PageSize) -> anyhow::Result<Vec<PageWrite>> {
    let mut pages = Vec::with_capacity(bytes.len() / page_size.length());
    let mut index = u64::from(first) - 1;
    while bytes.len() >= page_size.length() {
        let Some(number) = PageNumber::from_index(index) else {
            bail!("page {} has no number: the file is too large", index + 1);
        };
        pages.push(PageWrite {
            number,
            page: bytes.split_to(page_size.length()),
        });
        index += 1;
    }
    Ok(pages)
}

/// A load under way, given up if it is dropped before its end.
struct Load<'a> {
    store: &'a dyn PageStore,
    database: DatabaseId,
    finished: bool,
}

impl<'a> Load<'a> {
    fn begin(store: &'a dyn PageStore, name: &DatabaseName) -> anyhow::Result<Self> {
        let database = DatabaseId::random()?;
        store.load_begin(name, database)?;
        Ok(Self {
            store,
            database,
            finished: false,
        })
    }

    fn pages(&self, pages: &[PageWrite]) -> anyhow::Result<()> {
        Ok(self.store.load_pages(self.database, pages)?)
    }

    fn finish(
        mut self,
        name: &DatabaseName,
        page_size: PageSize,
        page_count: PageCount,
    ) -> anyhow::Result<Version> {
        let version = self
            .store
            .load_finish(self.database, name, page_size, page_count)?;
        self.finished = true;
        Ok(version)
    }
}

impl Drop for Load<'_> {
    fn drop(&mut self) {
        if !self.finished
            && let Err(error) = self.store.load_abort(self.database)
        {
            // The failure that led here is the one to report; nobody sees these pages.
            output::note(&format!(
                "verso: pages of the import stay in the store: {error}"
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_split_into_numbered_pages() {
        let size = PageSize::MIN;
        let bytes: Bytes = [vec![1; 512], vec![2; 512]].concat().into();
        let pages = split(7, bytes, size).unwrap();
        let shown: Vec<_> = pages
            .iter()
            .map(|write| (write.number.get(), write.page[0]))
            .collect();
        assert_eq!(shown, [(7, 1), (8, 2)]);
    }
}
