//! Runs workloads on all subjects, in turns: each workload has rounds, and in each round every
//! subject has one turn.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::ValueEnum as _;

use crate::chart;
use crate::cluster::{self, Cleaning};
use crate::kind::Kind;
use crate::line::Line;
use crate::protocol::Turn;
use crate::report::Report;
use crate::servers;
use crate::subjects::{Data, Peers, Subject};
use crate::targets;
use crate::workload::Scale;
use crate::workloads::{self, WORKLOADS, Workload};

/// What is measured, and for how long.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Workloads, or what their names begin with; `table` and `fdb-table` are those that
    /// `tables` shows; all without any
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Who is measured; without it all that can be
    #[arg(long, value_delimiter = ',')]
    on: Vec<Kind>,
    #[command(flatten)]
    peers: Peers,
    /// Rounds of each workload
    #[arg(long, default_value = "5")]
    rounds: u32,
    /// Length of a turn
    #[arg(long, default_value = "1")]
    seconds: f64,
    /// Rows of almost a page each that scans read; 10000 fit into the page cache, as a warm scan
    /// needs it
    #[arg(long, default_value = "10000")]
    big_rows: u32,
    /// Rows of a bulk load
    #[arg(long, default_value = "1000000")]
    bulk_rows: u32,
    /// Rows of YCSB's table, of a thousand bytes each
    #[arg(long, default_value = "100000")]
    records: u32,
    /// Warehouses of the order entry, of about 4 MB each
    #[arg(long, default_value = "4")]
    warehouses: u32,
    /// How much longer a sync of a file takes, such as 2ms: below SQLite and embedded stores alike
    #[arg(long, value_name = "TIME", value_parser = servers::duration)]
    sync_delay: Option<Duration>,
    /// Short turns and little data: to see that it works
    #[arg(long)]
    quick: bool,
    /// Folder of the file of results
    #[arg(long, default_value = "bench/results")]
    results: PathBuf,
}

/// How long after some work the cluster's counters show all of it: they are logged every 5 s.
const SETTLED: Duration = Duration::from_secs(7);

/// How many turns long commits are counted: the cluster reads something by itself, too.
const COUNTED: f64 = 5.0;

/// Runs the benchmark.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let (rounds, seconds) = if args.quick {
        (2, 0.1)
    } else {
        (args.rounds, args.seconds)
    };
    let data = Data {
        scale: args.scale(),
        sync_delay: args.sync_delay,
    };
    let workloads = args.workloads()?;
    let mut tables = Vec::new();
    for needed in workloads.iter().filter_map(|one| one.work.tables()) {
        if !tables.contains(&needed) {
            tables.push(needed);
        }
    }
    let folder = tempfile::tempdir()?;
    // Nobody else's keys begin with it.
    let name = format!("verso-bench-{}", std::process::id());
    let cluster = args.peers.cluster.as_deref();
    let _cleaning = Cleaning {
        cluster,
        text: &name,
    };
    let mut report = Report::new(cluster, args.sync_delay)?;
    let mut subjects = Vec::new();
    for kind in kinds(args)? {
        eprintln!("filling: {}", kind.title());
        let subject = Subject::start(kind, folder.path(), &args.peers, &data, &name)?;
        subject
            .fill(&tables)
            .with_context(|| format!("{} could not be filled", kind.title()))?;
        subjects.push(subject);
    }
    for workload in workloads {
        eprintln!("measuring: {}", workload.title);
        let lines = measure(workload, &mut subjects, rounds, seconds)?;
        report.add(lines);
        if let Some(file) = cluster
            && workload.work.commits()
            && workload.writers == 1
        {
            count(&mut report, workload, &mut subjects, file, seconds)?;
        }
        println!("{}\n", report.table(workload));
    }
    let file = report.write(&args.results)?;
    println!("results: {}", file.display());
    for chart in chart::write(&report, &args.results)? {
        println!("chart: {}", chart.display());
    }
    Ok(())
}

impl Args {
    fn workloads(&self) -> anyhow::Result<Vec<&'static Workload>> {
        if self.names.is_empty() {
            let wanted = |one: &&Workload| !self.quick || one.is_quick();
            return Ok(WORKLOADS.iter().filter(wanted).collect());
        }
        let mut found = Vec::new();
        for name in &self.names {
            let named = workloads::named(name);
            ensure!(
                !named.is_empty(),
                "there is no workload {name}; there are {}",
                names().join(", ")
            );
            for workload in named {
                let is_same = |one: &&Workload| one.name == workload.name;
                if !found.iter().any(is_same) {
                    found.push(workload);
                }
            }
        }
        Ok(found)
    }

    fn scale(&self) -> Scale {
        if self.quick {
            return Scale {
                big_rows: 500,
                bulk_rows: 10_000,
                records: 1000,
                warehouses: 1,
            };
        }
        Scale {
            big_rows: self.big_rows,
            bulk_rows: self.bulk_rows,
            records: self.records,
            warehouses: self.warehouses,
        }
    }
}

/// All names that there are.
fn names() -> Vec<&'static str> {
    let workloads = WORKLOADS.iter().map(|one| one.name);
    targets::NAMES.into_iter().chain(workloads).collect()
}

fn kinds(args: &Args) -> anyhow::Result<Vec<Kind>> {
    let can = |kind: &Kind| args.peers.has(*kind);
    let all = Kind::value_variants().iter().copied();
    if args.on.is_empty() {
        return Ok(all.filter(can).collect());
    }
    for kind in &args.on {
        ensure!(
            can(kind),
            "{} needs to be told where it is: see `--help`",
            kind.title()
        );
    }
    Ok(args.on.clone())
}

fn measure(
    workload: &Workload,
    subjects: &mut [Subject],
    rounds: u32,
    seconds: f64,
) -> anyhow::Result<Vec<Line>> {
    let mut turns: Vec<Vec<Turn>> = vec![Vec::new(); subjects.len()];
    for subject in &mut *subjects {
        subject.ready(workload)?;
    }
    let before = stored(workload, subjects)?;
    // The first round warms connections and caches, and does not count.
    for round in 0..=rounds {
        for (subject, turns) in subjects.iter_mut().zip(&mut turns) {
            if !subject.kind.takes(workload) || (round == 0 && workload.work.is_cold()) {
                continue;
            }
            let turn = subject
                .turn(workload, seconds)
                .with_context(|| format!("{}: {}", subject.kind.title(), workload.title))?;
            turns.push(turn);
        }
    }
    let after = stored(workload, subjects)?;
    let mut lines = Vec::new();
    let growth = before.into_iter().zip(after);
    for ((subject, turns), stored) in subjects.iter_mut().zip(turns).zip(growth) {
        let context = format!("{}: {}", subject.kind.title(), workload.title);
        let lost = subject.lost(workload).context(context)?;
        let mut line = Line::of(subject.kind, workload, counted(workload, &turns), lost);
        if let (Some(line), (Some(before), Some(after))) = (&mut line, stored) {
            line.store(before, after, &turns);
        }
        lines.extend(line);
    }
    Ok(lines)
}

/// The turns without the first one, which warms.
fn counted<'a>(workload: &Workload, turns: &'a [Turn]) -> &'a [Turn] {
    let skipped = usize::from(!workload.work.is_cold());
    turns.get(skipped..).unwrap_or_default()
}

/// What the stores of all subjects hold, if the workload adds something to it.
fn stored(workload: &Workload, subjects: &[Subject]) -> anyhow::Result<Vec<Option<u64>>> {
    let stored = |subject: &Subject| {
        let wanted = workload.work.commits() && subject.kind.takes(workload);
        if wanted { subject.stored() } else { Ok(None) }
    };
    subjects.iter().map(stored).collect()
}

/// Counts what one commit makes the cluster read and write, by the cluster's own counters.
fn count(
    report: &mut Report,
    workload: &Workload,
    subjects: &mut [Subject],
    file: &Path,
    seconds: f64,
) -> anyhow::Result<()> {
    for subject in subjects.iter_mut().filter(|one| one.kind.in_cluster()) {
        std::thread::sleep(SETTLED);
        let before = cluster::status(file)?;
        let turn = subject.turn(workload, seconds * COUNTED)?;
        std::thread::sleep(SETTLED);
        let after = cluster::status(file)?;
        let commits: u64 = turn.operations.iter().sum();
        report.count(subject.kind, workload, commits, &before, &after);
    }
    Ok(())
}
