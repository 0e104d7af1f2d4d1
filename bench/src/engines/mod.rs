//! Would another key-value store on one machine make the embedded store faster? The reads and
//! commits that Verso makes on its own, on SQLite as Verso uses it and on others.

mod fjall;
mod lmdb;
mod redb;
mod sqlite;
mod store;

use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use comfy_table::{CellAlignment, Table, presets};

use crate::line::median;
use crate::numbers::Numbers;

/// How much is measured.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Page records that are there
    #[arg(long, default_value = "20000")]
    pages: u32,
    /// How often each engine has its turn
    #[arg(long, default_value = "5")]
    rounds: u32,
    /// Length of a turn
    #[arg(long, default_value = "1")]
    seconds: f64,
}

/// A key and its value.
type Pair = (Vec<u8>, Vec<u8>);

/// What one commit writes.
struct Commit {
    /// Its number. The newest one that is there must be the one before.
    version: u64,
    /// Its write conflict set, which is kept below its number.
    writes: Vec<u8>,
    pairs: Vec<Pair>,
}

/// What the keys of commits begin with, where an engine has them beside the others.
const COMMITS: &[u8] = b"c";
const BEHIND_COMMITS: &[u8] = b"d";

/// So many commits stay; a quarter of them is removed at once.
const WINDOW: u64 = 2048;

impl Commit {
    /// The key of a commit.
    fn key(version: u64) -> Vec<u8> {
        [COMMITS, &version.to_be_bytes()].concat()
    }

    /// The commits that go with this one.
    fn pruned(&self) -> Range<u64> {
        let part = WINDOW / 4;
        let end = self.version.saturating_sub(WINDOW);
        if self.version.is_multiple_of(part) {
            end.saturating_sub(part)..end
        } else {
            0..0
        }
    }
}

/// A commit's number from its key.
fn version(key: &[u8]) -> anyhow::Result<u64> {
    let number = key.strip_prefix(COMMITS).context("no key of a commit")?;
    Ok(u64::from_be_bytes(number.try_into()?))
}

/// Sees that nobody has committed since the commit's snapshot.
fn check(commit: &Commit, newest: u64) -> anyhow::Result<()> {
    let expected = commit.version;
    ensure!(newest + 1 == expected, "{newest} is not before {expected}");
    Ok(())
}

/// A key-value store in a folder that does what Verso wants of one. Each call is a transaction,
/// and begins by looking for the newest commit.
trait Engine {
    /// Commits on the condition that the commit before is the newest.
    fn commit(&mut self, commit: &Commit) -> anyhow::Result<()>;

    /// The last value of a range of keys: how the record of a page is found.
    fn last(&mut self, keys: &Range<Vec<u8>>) -> anyhow::Result<Option<Vec<u8>>>;

    /// All values of a range of keys.
    fn all(&mut self, keys: &Range<Vec<u8>>) -> anyhow::Result<Vec<Vec<u8>>>;
}

/// Opens an engine: with a sync for each commit, or with none.
type Open = fn(&Path, bool) -> anyhow::Result<Box<dyn Engine>>;

const ENGINES: [(&str, Open); 7] = [
    ("Verso's store", store::open),
    ("SQLite, all pairs in place", sqlite::open),
    ("SQLite, WITHOUT ROWID", sqlite::open_one_tree),
    ("redb, one process", redb::open),
    (ALWAYS_SYNCED, redb::open_shared),
    ("fjall", fjall::open),
    ("LMDB", lmdb::open),
];

/// The one that has no commits without a sync.
const ALWAYS_SYNCED: &str = "redb, several processes";

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Measure {
    Durable,
    Unsynced,
    Reads,
    Ranges,
}

const MEASURES: [Measure; 4] = [
    Measure::Durable,
    Measure::Unsynced,
    Measure::Reads,
    Measure::Ranges,
];

/// Pages of a range.
const RANGE: u32 = 64;

/// Bytes of a page record, of a delta, of a commit record and of a write conflict set.
const RECORD: usize = 1500;
const DELTA: usize = 100;
const LOGGED: usize = 50;
const WRITES: usize = 60;

/// Page records that are written by one commit while the store is filled.
const BATCH: u32 = 500;

/// One engine that is measured, in two folders.
struct Contender {
    name: &'static str,
    durable: Store,
    unsynced: Store,
    /// Of each measure the turns.
    turns: [Vec<Turn>; 4],
}

/// What came of a turn.
#[derive(Debug, Clone, Copy)]
struct Turn {
    /// Operations per second.
    rate: f64,
    /// What the processors did for one, in microseconds, on all threads.
    cpu_micros: f64,
}

/// One folder.
struct Store {
    engine: Box<dyn Engine>,
    folder: tempfile::TempDir,
    /// MiB on the disk when it was filled.
    filled: f64,
    commits: u64,
    numbers: Numbers,
}

/// Runs the benchmark.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let mut contenders = Vec::new();
    for (name, open) in ENGINES {
        eprintln!("filling: {name}");
        contenders.push(Contender {
            name,
            durable: Store::filled(open, true, args.pages).context(name)?,
            unsynced: Store::filled(open, false, args.pages).context(name)?,
            turns: Default::default(),
        });
    }
    let limit = Duration::from_secs_f64(args.seconds);
    for (index, measure) in MEASURES.into_iter().enumerate() {
        eprintln!("measuring: {measure:?}");
        for round in 0..=args.rounds {
            for contender in contenders.iter_mut().filter(|one| one.can(measure)) {
                let turn = contender.turn(measure, args.pages, limit);
                let turn = turn.context(contender.name)?;
                // The first round warms.
                if round > 0
                    && let Some(turns) = contender.turns.get_mut(index)
                {
                    turns.push(turn);
                }
            }
        }
    }
    println!("{}", table(&contenders)?);
    Ok(())
}

impl Contender {
    fn can(&self, measure: Measure) -> bool {
        measure != Measure::Unsynced || self.name != ALWAYS_SYNCED
    }

    fn turn(&mut self, measure: Measure, pages: u32, limit: Duration) -> anyhow::Result<Turn> {
        let store = match measure {
            Measure::Durable => &mut self.durable,
            Measure::Unsynced | Measure::Reads | Measure::Ranges => &mut self.unsynced,
        };
        let (began, cpu) = (Instant::now(), cpu_time());
        let mut done = 0;
        while began.elapsed() < limit {
            done += match measure {
                Measure::Durable | Measure::Unsynced => store.commit(pages)?,
                Measure::Reads => store.read(pages)?,
                Measure::Ranges => store.read_range(pages)?,
            };
        }
        let cpu = cpu_time().saturating_sub(cpu);
        Ok(Turn {
            rate: f64::from(done) / began.elapsed().as_secs_f64(),
            cpu_micros: cpu.as_secs_f64() * 1e6 / f64::from(done),
        })
    }
}

impl Store {
    fn filled(open: Open, is_durable: bool, pages: u32) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut store = Self {
            engine: open(folder.path(), is_durable)?,
            folder,
            filled: 0.0,
            commits: 0,
            numbers: Numbers::new(1),
        };
        for first in (0..pages).step_by(BATCH as usize) {
            let numbers = first..pages.min(first + BATCH);
            store.write(numbers, RECORD)?;
        }
        store.filled = store.size()?;
        Ok(store)
    }

    /// Commits records of these pages.
    fn write(&mut self, pages: Range<u32>, length: usize) -> anyhow::Result<()> {
        let version = self.commits + 1;
        let mut pairs: Vec<Pair> = pages
            .map(|page| (page_key(page, version), self.noise(length)))
            .collect();
        let log = [BEHIND_COMMITS, &[0; 8], b"l", &stamp(version)].concat();
        pairs.push((log, self.noise(LOGGED)));
        let writes = self.noise(WRITES);
        self.engine.commit(&Commit {
            version,
            writes,
            pairs,
        })?;
        self.commits = version;
        Ok(())
    }

    /// Bytes that cannot be compressed any more.
    fn noise(&mut self, length: usize) -> Vec<u8> {
        let mut byte = || u8::try_from(self.numbers.below(256)).unwrap_or_default();
        (0..length).map(|_| byte()).collect()
    }

    fn commit(&mut self, pages: u32) -> anyhow::Result<u32> {
        let page = self.numbers.below(pages);
        self.write(page..page + 1, DELTA)?;
        Ok(1)
    }

    fn read(&mut self, pages: u32) -> anyhow::Result<u32> {
        let page = self.numbers.below(pages);
        let found = self
            .engine
            .last(&(page_prefix(page)..page_prefix(page + 1)))?;
        let length = found.context("a page is missing")?.len();
        ensure!([RECORD, DELTA].contains(&length), "a wrong record");
        Ok(1)
    }

    fn read_range(&mut self, pages: u32) -> anyhow::Result<u32> {
        let first = self.numbers.below(pages - RANGE);
        let keys = page_prefix(first)..page_prefix(first + RANGE);
        let found = self.engine.all(&keys)?;
        let whole = found.iter().filter(|value| value.len() == RECORD).count();
        ensure!(whole == RANGE as usize, "{whole} pages instead of {RANGE}");
        Ok(RANGE)
    }

    /// MiB that the folder takes on the disk.
    fn size(&self) -> anyhow::Result<f64> {
        use std::os::unix::fs::MetadataExt as _;

        let mut blocks = 0;
        let mut folders = vec![self.folder.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder)? {
                let (path, about) = entry.and_then(|one| Ok((one.path(), one.metadata()?)))?;
                blocks += about.blocks();
                if about.is_dir() {
                    folders.push(path);
                }
            }
        }
        // Of 512 bytes each (`stat(2)`).
        Ok(f64::from(u32::try_from(blocks)?) / 2048.0)
    }
}

/// The keys of Verso: `docs/format.md`.
fn page_prefix(page: u32) -> Vec<u8> {
    [BEHIND_COMMITS, &[0; 8], b"p", &page.to_be_bytes()].concat()
}

fn page_key(page: u32, version: u64) -> Vec<u8> {
    [page_prefix(page).as_slice(), &stamp(version)].concat()
}

fn stamp(version: u64) -> Vec<u8> {
    [&version.to_be_bytes()[..], &[0; 2]].concat()
}

/// Time of the processors that this process has used.
#[expect(unsafe_code, reason = "the system's own interface")]
fn cpu_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the place is one for a time (`clock_gettime(2)`).
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanos = u32::try_from(time.tv_nsec).unwrap_or_default();
    Duration::new(seconds, nanos)
}

/// The medians, and beside them those of the first engine.
fn table(contenders: &[Contender]) -> anyhow::Result<Table> {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    let mut header = vec!["engine"];
    for what in [
        "commits/s, synced",
        "commits/s, not synced",
        "reads/s",
        "pages/s of ranges",
    ] {
        header.extend([what, "beside", "CPU µs"]);
    }
    header.push("MiB");
    table.set_header(header);
    let rates = |one: &Contender| {
        one.turns
            .clone()
            .map(|turns| middle(&turns, |one| one.rate))
    };
    let base = contenders.first().map(rates).context("there is none")?;
    for one in contenders {
        let mut row = vec![one.name.to_owned()];
        let cpu = one.turns.clone();
        let cpu = cpu.map(|turns| middle(&turns, |one| one.cpu_micros));
        for ((rate, base), cpu) in rates(one).into_iter().zip(base).zip(cpu) {
            let ratio = rate.zip(base).map(|(rate, base)| rate / base);
            row.extend([number(rate, 0), number(ratio, 2), number(cpu, 1)]);
        }
        row.push(format!("{:.0}", one.durable.filled));
        table.add_row(row);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    Ok(table)
}

fn middle(turns: &[Turn], of: fn(&Turn) -> f64) -> Option<f64> {
    median(turns.iter().map(of).collect())
}

fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.digits$}"))
}
