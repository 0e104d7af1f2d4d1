//! A worker process: it holds the clients of one subject, and works when it is told to.

use std::io::{BufRead as _, Write as _};
use std::path::Path;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use hdrhistogram::Histogram;

use crate::numbers::Numbers;
use crate::protocol::{Reply, Request, Setup, Turn};
use crate::sent::Sent;
use crate::session::{Client, Session};
use crate::sql::Failure;
use crate::workload::{Synchronous, Tables, Work, big, content};
use crate::{bare, memory, orders, slow_sync, ycsb};

/// Latencies are counted in nanoseconds, up to a minute, with three digits.
const LONGEST: u64 = 60_000_000_000;
const DIGITS: u8 = 3;

/// How long a writer lets pass after a statement that failed for another reason than
/// `SQLITE_BUSY`, so that a server that is gone is not asked in a loop.
const REST: Duration = Duration::from_millis(1);

struct Worker {
    setup: Setup,
    clients: Vec<Box<dyn Client>>,
    turns: u32,
    /// What was counted before the first turn.
    before: Option<i64>,
    /// What was done in all turns.
    units: u64,
}

/// What one writer did.
struct Done {
    operations: u64,
    units: u64,
    conflicts: u64,
    wrong: u64,
    errors: u64,
    first_error: Option<String>,
    latencies: Histogram<u64>,
}

/// Works until standard input ends. Its first line is the session.
pub(crate) fn run() -> anyhow::Result<()> {
    let mut lines = std::io::stdin().lock().lines();
    let first = lines.next().context("the setup is told first")??;
    let setup: Setup = serde_json::from_str(&first)?;
    setup.sync_delay.map(slow_sync::register).transpose()?;
    let _client = matches!(setup.session, Session::Bare { .. }).then(bare::start);
    verso_vfs::register(verso_vfs::Options::new(verso_open::open))?;
    let mut worker = Worker {
        setup,
        clients: Vec::new(),
        turns: 0,
        before: None,
        units: 0,
    };
    for line in lines {
        let request = serde_json::from_str(&line?)?;
        let reply = worker
            .answer(request)
            .unwrap_or_else(|error| Reply::Failed(format!("{error:#}")));
        let mut output = std::io::stdout().lock();
        serde_json::to_writer(&mut output, &reply)?;
        output.write_all(b"\n")?;
        output.flush()?;
    }
    Ok(())
}

impl Worker {
    fn answer(&mut self, request: Request) -> anyhow::Result<Reply> {
        match request {
            Request::Fill(tables) => {
                self.fill(&tables)?;
                Ok(Reply::Done)
            }
            Request::Grow { before, rows } => {
                let mut sql = self.setup.session.sql(Synchronous::Off)?;
                for statement in big(before, rows) {
                    sql.run(&statement, &[])?;
                }
                Ok(Reply::Done)
            }
            Request::Age { commits } => {
                self.age(commits)?;
                Ok(Reply::Done)
            }
            Request::Turn {
                work,
                writers,
                seconds,
                synchronous,
            } => {
                let limit = Duration::from_secs_f64(seconds);
                let turn = self.turn(work, writers, limit, synchronous)?;
                Ok(Reply::Turn(turn))
            }
            Request::Count { work, writers } => Ok(Reply::Lost(self.lost(work, writers)?)),
            Request::Remove => {
                self.clients.clear();
                self.setup.session.remove()?;
                Ok(Reply::Done)
            }
            Request::Status => Ok(Reply::Status(bare::status(self.cluster()?)?)),
            Request::Clear { text } => {
                bare::clear(self.cluster()?, &text)?;
                Ok(Reply::Done)
            }
        }
    }

    fn cluster(&self) -> anyhow::Result<&Path> {
        let Session::Bare { cluster, .. } = &self.setup.session else {
            bail!("only a bare client knows the cluster");
        };
        Ok(cluster)
    }

    fn fill(&self, tables: &[Tables]) -> anyhow::Result<()> {
        let Setup { session, scale, .. } = &self.setup;
        if let Session::Bare { cluster, prefix } = session {
            return bare::fill(cluster, prefix, scale.big_rows);
        }
        let mut sql = session.sql(Synchronous::Normal)?;
        for statement in content(scale.big_rows) {
            sql.run(&statement, &[])
                .with_context(|| statement.clone())?;
        }
        for table in tables {
            match table {
                Tables::Ycsb => ycsb::fill(sql.as_mut(), scale.records)?,
                Tables::Orders => orders::fill(sql.as_mut(), scale.warehouses)?,
            }
        }
        Ok(())
    }

    fn age(&self, commits: u64) -> anyhow::Result<()> {
        let mut client = self.setup.open(Synchronous::Off)?;
        client.prepare(Work::UpdateBig)?;
        let mut numbers = Numbers::new(u32::try_from(commits)?);
        for _ in 0..commits {
            client.operate(Work::UpdateBig, 0, &mut numbers)?;
        }
        Ok(())
    }

    /// Gets so many clients ready.
    fn prepare(
        &mut self,
        work: Work,
        writers: usize,
        synchronous: Synchronous,
    ) -> anyhow::Result<()> {
        while self.clients.len() < writers {
            self.clients.push(self.setup.open(synchronous)?);
        }
        for client in self.clients.iter_mut().take(writers) {
            client.prepare(work)?;
        }
        if self.turns == 0
            && let Some(client) = self.clients.first_mut()
        {
            self.before = client.counted(work, writers)?;
        }
        self.turns += 1;
        Ok(())
    }

    /// Lets so many clients work at once.
    fn turn(
        &mut self,
        work: Work,
        writers: usize,
        limit: Duration,
        synchronous: Synchronous,
    ) -> anyhow::Result<Turn> {
        if work == Work::FirstQuery {
            return self.first_query(synchronous);
        }
        self.prepare(work, writers, synchronous)?;
        let limit = if work.is_single() {
            Duration::ZERO
        } else {
            limit
        };
        let before = self.sent(writers)?;
        let turns = self.turns;
        let barrier = &Barrier::new(writers);
        let began = Instant::now();
        let done: Vec<anyhow::Result<Done>> = std::thread::scope(|scope| {
            let threads: Vec<_> = self
                .clients
                .iter_mut()
                .take(writers)
                .enumerate()
                .map(|(writer, client)| {
                    let seed = turns * 1000 + u32::try_from(writer).unwrap_or_default();
                    scope.spawn(move || {
                        barrier.wait();
                        work_on(client.as_mut(), work, writer, Numbers::new(seed), limit)
                    })
                })
                .collect();
            threads.into_iter().map(joined).collect()
        });
        let seconds = began.elapsed().as_secs_f64();
        let done: Vec<Done> = done.into_iter().collect::<anyhow::Result<_>>()?;
        let mut turn = summary(&done, seconds)?;
        self.sent(writers)?.count(before, &mut turn);
        self.units += turn.units;
        if let Some(client) = self.clients.first_mut() {
            client.check(work)?;
        }
        Ok(turn)
    }

    /// What these clients have asked and sent.
    fn sent(&mut self, writers: usize) -> anyhow::Result<Sent> {
        Sent::by(self.clients.iter_mut().take(writers))
    }

    /// By how much the database has less than was done.
    fn lost(&mut self, work: Work, writers: usize) -> anyhow::Result<i64> {
        let (Some(before), Some(client)) = (self.before, self.clients.first_mut()) else {
            return Ok(0);
        };
        let after = client.counted(work, writers)?.unwrap_or_default();
        Ok(i64::try_from(self.units)? - (after - before))
    }

    /// Opens and asks; a client stays for no second turn.
    fn first_query(&self, synchronous: Synchronous) -> anyhow::Result<Turn> {
        let began = Instant::now();
        let mut client = self.setup.open(synchronous)?;
        let mut done = work_on(
            client.as_mut(),
            Work::FirstQuery,
            0,
            Numbers::new(1),
            Duration::ZERO,
        )?;
        let took = began.elapsed();
        done.latencies.reset();
        done.latencies.saturating_record(nanos(took));
        let mut turn = summary(&[done], took.as_secs_f64())?;
        Sent::by([&mut client])?.count(Sent::default(), &mut turn);
        Ok(turn)
    }
}

fn joined<T>(thread: std::thread::ScopedJoinHandle<'_, anyhow::Result<T>>) -> anyhow::Result<T> {
    thread
        .join()
        .unwrap_or_else(|_| Err(anyhow::anyhow!("a writer panicked")))
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Works until the time is over. An operation that fails is begun again; its latency is that of
/// all attempts together.
fn work_on(
    client: &mut dyn Client,
    work: Work,
    writer: usize,
    mut numbers: Numbers,
    limit: Duration,
) -> anyhow::Result<Done> {
    let mut done = Done {
        operations: 0,
        units: 0,
        conflicts: 0,
        wrong: 0,
        errors: 0,
        first_error: None,
        latencies: Histogram::new_with_max(LONGEST, DIGITS)?,
    };
    let most = client.most(work);
    let began = Instant::now();
    let mut operation = began;
    loop {
        match client.operate(work, writer, &mut numbers) {
            Ok(units) => {
                let now = Instant::now();
                done.latencies.saturating_record(nanos(now - operation));
                done.operations += 1;
                done.units += units;
                operation = now;
            }
            Err(error) => {
                match error.failure {
                    Failure::Conflict => done.conflicts += 1,
                    Failure::Busy => done.errors += 1,
                    Failure::Wrong => done.wrong += 1,
                    Failure::Other => {
                        done.errors += 1;
                        std::thread::sleep(REST);
                    }
                }
                done.first_error.get_or_insert(error.message);
            }
        }
        if began.elapsed() >= limit || done.operations >= most {
            return Ok(done);
        }
    }
}

fn summary(done: &[Done], seconds: f64) -> anyhow::Result<Turn> {
    let mut latencies = Histogram::<u64>::new_with_max(LONGEST, DIGITS)?;
    for one in done {
        latencies.add(&one.latencies)?;
    }
    let operations: Vec<u64> = done.iter().map(|one| one.operations).collect();
    let first_error = done.iter().find_map(|one| one.first_error.clone());
    ensure!(
        operations.iter().any(|one| *one > 0),
        "nothing was done: {}",
        first_error.unwrap_or_default()
    );
    #[expect(clippy::cast_precision_loss, reason = "no latency is that long")]
    let micros = |quantile| latencies.value_at_quantile(quantile) as f64 / 1000.0;
    Ok(Turn {
        operations,
        units: done.iter().map(|one| one.units).sum(),
        seconds,
        p50_micros: micros(0.5),
        p99_micros: micros(0.99),
        errors: done.iter().map(|one| one.errors).sum(),
        first_error,
        conflicts: done.iter().map(|one| one.conflicts).sum(),
        wrong: done.iter().map(|one| one.wrong).sum(),
        requests: None,
        traffic: None,
        memory: memory::resident(std::process::id()),
        node_memory: None,
    })
}
