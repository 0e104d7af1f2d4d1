//! `verso copy`: a database from one store to another, going on where an earlier run ended.

mod pages;

use std::fs;
use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{anyhow, bail};
use verso_pagestore::{
    CopyBegun, DatabaseId, DatabaseName, LoadError, Moment, Origin, PageCount, PageSize, PageStore,
    ReadError, Snapshot, StoreUrl, Version,
};

use self::pages::{Next, Pages};
use crate::args::{database_name, lasting, moment, new_database_name, openable, parse_store};
use crate::error::UsageError;
use crate::interrupt::Interrupt;
use crate::output::{self, human_bytes};
use crate::store;

/// Copy a database from one store to another, with the stores of any kind
///
/// The copy is one state of the database: the newest when the command starts, or that of --at.
/// Writers go on meanwhile. All or nothing: the name appears when all of it is there. The history
/// before that state is not copied.
///
/// A copy that was interrupted goes on where it was when the same command runs again, from
/// whatever machine, if the state to copy is still the same. If not, it starts afresh.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The store to copy from, such as sqlite:PATH or http://HOST:PORT
    #[arg(value_name = "SRC_STORE", value_parser = parse_store)]
    from: StoreUrl,
    /// The database: a name in that store
    #[arg(value_name = "DB", value_parser = database_name())]
    database: DatabaseName,
    /// The store to copy to
    #[arg(value_name = "DST_STORE", value_parser = parse_store)]
    to: StoreUrl,
    /// The name of the copy, if it is to be another
    #[arg(long = "as", value_name = "NAME", value_parser = new_database_name())]
    name: Option<DatabaseName>,
    /// Copy the database as of WHEN: a version (`verso log` shows them), a time such as
    /// 2026-01-31T12:00:00Z, or a time ago such as -15m
    #[arg(long, value_name = "WHEN", value_parser = moment, allow_hyphen_values = true)]
    at: Option<Moment>,
}

/// A copy to make.
struct Job<'a> {
    args: &'a Args,
    /// Of the copy.
    name: DatabaseName,
    source: Arc<dyn PageStore>,
    target: Arc<dyn PageStore>,
    snapshot: Snapshot,
}

/// Why pages are not copied to the end.
enum Stopped {
    /// By Ctrl-C.
    Interrupted,
    /// By a failure, after which another run may go on.
    Failed(anyhow::Error),
    /// By a failure that no other run gets past.
    Hopeless(anyhow::Error),
}

/// Runs the command.
pub(crate) fn run(args: &Args, out: &mut dyn Write) -> anyhow::Result<()> {
    let started = Instant::now();
    let interrupt = Interrupt::install()?;
    let (from, to) = (lasting(args.from.clone())?, lasting(args.to.clone())?);
    let name = args.name.clone().map_or_else(
        || openable(args.database.clone()).map_err(|error| UsageError(error.to_string())),
        Ok,
    )?;
    let is_within = is_same_store(&from, &to);
    if is_within && name == args.database {
        let reason = format!(
            "{from} is both stores, where {name} exists already: give the copy another name with \
             --as"
        );
        return Err(UsageError(reason).into());
    }
    if store::is_missing(&from) {
        bail!(
            "no such database: {}; the store {from} does not exist",
            args.database
        );
    }
    let source = store::open(&from)?;
    let snapshot = match args.at {
        Some(moment) => source.snapshot_at(&args.database, moment)?,
        None => source.begin(&args.database, None)?.snapshot,
    };
    let target = if is_within {
        Arc::clone(&source)
    } else {
        store::open(&to)?
    };
    let job = Job {
        args,
        name,
        source,
        target,
        snapshot,
    };
    job.run(started, &interrupt, out)
}

/// Whether two URLs are seen to name one store. If it is not seen, the name is found to be taken.
fn is_same_store(one: &StoreUrl, other: &StoreUrl) -> bool {
    let plain = |url: &StoreUrl| match url {
        StoreUrl::Sqlite(path) => {
            fs::canonicalize(path).map_or_else(|_| url.clone().absolute(), StoreUrl::Sqlite)
        }
        StoreUrl::FoundationDb(_) | StoreUrl::Nodes(_) | StoreUrl::Memory(_) => {
            url.clone().absolute()
        }
    };
    plain(one) == plain(other)
}

impl Job<'_> {
    fn run(
        &self,
        started: Instant,
        interrupt: &Interrupt,
        out: &mut dyn Write,
    ) -> anyhow::Result<()> {
        let Some(page_size) = self.snapshot.page_size else {
            self.target.create(&self.name, DatabaseId::random()?)?;
            let version = self.target.begin(&self.name, None)?.snapshot.version;
            return Ok(writeln!(
                out,
                "copied {}: it is empty, version {version}",
                self.what()
            )?);
        };
        let origin = Origin::from(&self.snapshot);
        let begun = self
            .target
            .load_copy(&self.name, DatabaseId::random()?, origin)?;
        self.note_start(&begun);
        let version = self.load(&begun, page_size, interrupt)?;
        let loaded = self
            .snapshot
            .page_count
            .get()
            .saturating_sub(begun.loaded.get());
        let bytes = PageCount::new(loaded).bytes(page_size);
        let resumed = match begun.loaded {
            PageCount::ZERO => String::new(),
            before => format!(", resumed at page {}", u64::from(before.get()) + 1),
        };
        let elapsed = started.elapsed();
        Ok(writeln!(
            out,
            "copied {}: {} pages of {page_size} bytes{resumed}, {} in {:.2} s ({}), version {version}",
            self.what(),
            self.snapshot.page_count,
            human_bytes(bytes),
            elapsed.as_secs_f64(),
            output::speed(bytes, elapsed),
        )?)
    }

    /// What is copied to where.
    fn what(&self) -> String {
        let Args {
            from, database, to, ..
        } = self.args;
        let version = self.snapshot.version;
        let name = if self.name == *database {
            String::new()
        } else {
            format!(" as {}", self.name)
        };
        format!("{database} at version {version} from {from} to {to}{name}")
    }

    /// Says what an earlier run means to this one.
    fn note_start(&self, begun: &CopyBegun) {
        let Args { database, to, .. } = self.args;
        if let Some(version) = begun.removed {
            output::note(&format!(
                "verso: an unfinished copy to {} in {to} was of another state (version {version}), \
                 and was removed; {database} is copied afresh",
                self.name
            ));
        }
        if begun.loaded > PageCount::ZERO {
            output::note(&format!(
                "verso: going on behind page {} of {}, where an earlier run ended",
                begun.loaded, self.snapshot.page_count
            ));
        }
    }

    /// Copies what is missing, and gives the copy its name.
    fn load(
        &self,
        begun: &CopyBegun,
        page_size: PageSize,
        interrupt: &Interrupt,
    ) -> anyhow::Result<Version> {
        let mut loaded = begun.loaded;
        let copied = self
            .copy_pages(begun.database, page_size, &mut loaded, interrupt)
            .and_then(|()| self.finish(begun.database, page_size));
        let kept = || {
            format!(
                "{} keeps {loaded} of {} pages, which nobody sees: run the same command again to go \
                 on, with --at {} if {} is written to meanwhile",
                self.args.to, self.snapshot.page_count, self.snapshot.version, self.args.database
            )
        };
        match copied {
            Ok(version) => Ok(version),
            Err(Stopped::Interrupted) => Err(anyhow!("interrupted: {}", kept())),
            Err(Stopped::Failed(error)) => {
                Err(anyhow!("{error:#} (the copy is not finished: {})", kept()))
            }
            Err(Stopped::Hopeless(error)) => {
                // Gone already, if another copy has taken the place of this one.
                let _ = self.target.load_abort(begun.database);
                Err(error)
            }
        }
    }

    fn copy_pages(
        &self,
        database: DatabaseId,
        page_size: PageSize,
        loaded: &mut PageCount,
        interrupt: &Interrupt,
    ) -> Result<(), Stopped> {
        let Snapshot { page_count, .. } = self.snapshot;
        let bar = output::bytes_bar("copying", page_count.bytes(page_size));
        bar.set_position(loaded.bytes(page_size));
        bar.reset_eta();
        if *loaded >= page_count {
            return Ok(());
        }
        let first = loaded.get() + 1;
        let pages =
            Pages::from(first, &self.source, self.snapshot, page_size).map_err(Stopped::Failed)?;
        while *loaded < page_count {
            let next = pages.next(interrupt).map_err(|error| self.unread(error))?;
            let Next::Pages(pages) = next else {
                return Err(Stopped::Interrupted);
            };
            self.target
                .load_pages(database, &pages)
                .map_err(|error| self.unloaded(error))?;
            if let Some(last) = pages.last() {
                *loaded = PageCount::new(last.number.get());
            }
            bar.set_position(loaded.bytes(page_size));
        }
        bar.finish_and_clear();
        Ok(())
    }

    fn finish(&self, database: DatabaseId, page_size: PageSize) -> Result<Version, Stopped> {
        self.target
            .load_finish(database, &self.name, page_size, self.snapshot.page_count)
            .map_err(|error| self.unloaded(error))
    }

    /// A failure of the source.
    fn unread(&self, error: anyhow::Error) -> Stopped {
        let Args { from, database, .. } = self.args;
        if !matches!(error.downcast_ref(), Some(ReadError::Removed { .. })) {
            return Stopped::Failed(error);
        }
        Stopped::Hopeless(anyhow!(
            "version {} of {database} can no longer be read from {from}, since {error}; nothing was \
             copied",
            self.snapshot.version
        ))
    }

    /// A failure of the target.
    fn unloaded(&self, error: LoadError) -> Stopped {
        let Args { to, .. } = self.args;
        match error {
            LoadError::Exists { .. } => Stopped::Hopeless(anyhow!(
                "{error}; it came into being while it was copied, and the copy was given up"
            )),
            LoadError::Ended { .. } => Stopped::Hopeless(anyhow!(
                "another copy to {} in {to} finished this one or took its place: look with `verso \
                 --store {to} info {}`",
                self.name,
                self.name
            )),
            LoadError::Store(_) => Stopped::Failed(error.into()),
        }
    }
}
