//! The worker processes: started, watched and waited for.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Read as _, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use indicatif::{ProgressBar, ProgressStyle};
use verso_pagestore::{DatabaseName, StoreUrl};

use super::dataset::Made;
use super::worker::Counts;
use crate::interrupt::Interrupt;
use crate::output::{self, number_cell};

/// How many processes write.
const WRITERS: u32 = 4;
/// How many read.
const READERS: u32 = 2;
/// How often the counts on the screen change.
const REDRAW_EVERY: Duration = Duration::from_millis(200);
/// How often a line is printed where there is no screen.
const LINE_EVERY: Duration = Duration::from_secs(1);
/// How long workers may take to end after their time is up.
const GRACE: Duration = Duration::from_secs(30);

/// What is seen here, for the user.
pub(super) const EXPLANATION: &str = "\
All of them use ordinary SQLite on the same database. Plain SQLite would let one writer in at
a time. Here they work side by side, each on a snapshot of its own; a commit goes through
unless a page that it read was changed by another commit meanwhile. That is a conflict: the
transaction is rolled back and run again. The writers place orders under ids of their own, but
they sell from the same stock, so conflicts are certain.";

/// What every worker did, in the end.
pub(super) struct Totals {
    /// The writers', from the one with number 1 on.
    pub(super) writers: Vec<Counts>,
    readers: Vec<Counts>,
}

impl Totals {
    /// The sum of one count over all writers.
    pub(super) fn sum(&self, count: impl Fn(&Counts) -> u64) -> u64 {
        self.writers.iter().map(count).sum()
    }
}

/// Lets the workers work for a while, and answers what they did.
pub(super) fn work(
    store: &StoreUrl,
    database: &DatabaseName,
    made: Made,
    length: Duration,
    interrupt: &Interrupt,
    out: &mut dyn Write,
) -> anyhow::Result<Totals> {
    let job = Job {
        store,
        database,
        made,
        length,
    };
    let mut workers = Vec::new();
    for number in 1..=WRITERS {
        workers.push(Worker::start(&job, "writer", number)?);
    }
    for number in 1..=READERS {
        workers.push(Worker::start(&job, "reader", number)?);
    }
    watch(&mut workers, length, interrupt, out)?;
    let mut totals = Totals {
        writers: Vec::new(),
        readers: Vec::new(),
    };
    for worker in workers {
        let of_its_kind = if worker.role == "writer" {
            &mut totals.writers
        } else {
            &mut totals.readers
        };
        of_its_kind.push(worker.end()?);
    }
    print(&totals, length, out)?;
    Ok(totals)
}

/// What all workers are told.
struct Job<'a> {
    store: &'a StoreUrl,
    database: &'a DatabaseName,
    made: Made,
    length: Duration,
}

/// A child process; killed if it is dropped before its end.
struct Worker {
    role: &'static str,
    number: u32,
    child: Child,
    counts: Arc<Mutex<Counts>>,
    listener: Option<JoinHandle<()>>,
}

impl Worker {
    fn start(job: &Job<'_>, role: &'static str, number: u32) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("the path of verso cannot be found")?;
        let arguments: [(&str, OsString); 5] = [
            ("--role", role.into()),
            ("--number", number.to_string().into()),
            ("--milliseconds", job.length.as_millis().to_string().into()),
            ("--customers", job.made.customers.to_string().into()),
            ("--products", job.made.products.to_string().into()),
        ];
        let mut command = Command::new(program);
        command.arg("--store").arg(job.store.to_string());
        command.arg("demo-worker").arg(job.database.as_str());
        for (name, value) in arguments {
            command.arg(name).arg(value);
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("{role} {number} cannot be started"))?;
        let counts = Arc::default();
        let stdout = child.stdout.take();
        let mut worker = Self {
            role,
            number,
            child,
            counts,
            listener: None,
        };
        if let Some(stdout) = stdout {
            worker.listener = Some(listen(stdout, Arc::clone(&worker.counts))?);
        }
        Ok(worker)
    }

    fn counts(&self) -> Counts {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a worker that has ended did.
    fn end(mut self) -> anyhow::Result<Counts> {
        let status = self.child.wait()?;
        if let Some(listener) = self.listener.take() {
            listener
                .join()
                .map_err(|_| anyhow!("the listener of a worker panicked"))?;
        }
        if !status.success() {
            let mut said = String::new();
            if let Some(mut stderr) = self.child.stderr.take() {
                stderr.read_to_string(&mut said)?;
            }
            let said = said.trim();
            let reason = if said.is_empty() {
                "it said nothing"
            } else {
                said
            };
            bail!("{} {} failed ({status}): {reason}", self.role, self.number);
        }
        Ok(self.counts())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Keeps the newest counts that a worker tells.
fn listen(stdout: ChildStdout, counts: Arc<Mutex<Counts>>) -> anyhow::Result<JoinHandle<()>> {
    let listener = move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if let Ok(told) = serde_json::from_str(&line) {
                *counts.lock().unwrap_or_else(PoisonError::into_inner) = told;
            }
        }
    };
    Ok(thread::Builder::new()
        .name("listener".to_owned())
        .spawn(listener)?)
}

/// Shows what the workers do until all have ended.
fn watch(
    workers: &mut [Worker],
    length: Duration,
    interrupt: &Interrupt,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let style =
        ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
    let block = ProgressBar::new_spinner().with_style(style);
    let started = Instant::now();
    let mut next_line = LINE_EVERY;
    loop {
        thread::sleep(REDRAW_EVERY);
        if interrupt.pressed() {
            bail!("interrupted");
        }
        let elapsed = started.elapsed();
        if block.is_hidden() && elapsed >= next_line {
            next_line += LINE_EVERY;
            writeln!(out, "{}", summary(workers, elapsed))?;
            out.flush()?;
        }
        block.set_message(live(workers, elapsed));
        let mut running = false;
        for worker in workers.iter_mut() {
            running |= worker.child.try_wait()?.is_none();
        }
        if !running {
            block.finish_and_clear();
            return Ok(());
        }
        if elapsed > length + GRACE {
            bail!("the workers did not end in time");
        }
    }
}

fn live(workers: &[Worker], elapsed: Duration) -> String {
    let mut block = String::new();
    for worker in workers {
        let Counts {
            commits,
            conflicts,
            reads,
            ..
        } = worker.counts();
        let name = format!("{} {}", worker.role, worker.number);
        let line = if worker.role == "writer" {
            format!("  {name}  {commits:>8} commits  {conflicts:>8} conflicts, run again\n")
        } else {
            format!("  {name}  {reads:>8} reads\n")
        };
        block.push_str(&line);
    }
    block + &summary(workers, elapsed)
}

fn summary(workers: &[Worker], elapsed: Duration) -> String {
    let counts: Vec<Counts> = workers.iter().map(Worker::counts).collect();
    let sum = |count: fn(&Counts) -> u64| counts.iter().map(count).sum::<u64>();
    format!(
        "  {:4.1} s  {:>9} commits  {:>8} conflicts  {:>9} reads",
        elapsed.as_secs_f64(),
        sum(|counts| counts.commits),
        sum(|counts| counts.conflicts),
        sum(|counts| counts.reads)
    )
}

fn print(totals: &Totals, length: Duration, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut table = output::table(&["process", "commits", "conflicts", "reads", "a second"]);
    let seconds = length.as_secs().max(1);
    let writers = totals
        .writers
        .iter()
        .enumerate()
        .map(|(index, of)| ("writer", index, of));
    let readers = totals
        .readers
        .iter()
        .enumerate()
        .map(|(index, of)| ("reader", index, of));
    for (role, index, counts) in writers.chain(readers) {
        table.add_row(vec![
            format!("{role} {}", index + 1).into(),
            number_cell(counts.commits),
            number_cell(counts.conflicts),
            number_cell(counts.reads),
            number_cell((counts.commits + counts.reads) / seconds),
        ]);
    }
    Ok(writeln!(out, "{table}\n")?)
}
