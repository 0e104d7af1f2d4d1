//! Contenders that run in turns, and what their latencies are.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use comfy_table::{CellAlignment, Table, presets};
use hdrhistogram::Histogram;

/// Latencies are counted in nanoseconds, up to a minute, with three digits.
const LONGEST: Duration = Duration::from_mins(1);
const DIGITS: u8 = 3;

/// One kind of work, whose latency is measured.
pub(crate) struct Contender<'a> {
    name: &'static str,
    /// The name of the one that it is compared with.
    beside: Option<&'static str>,
    work: Box<dyn FnMut() -> anyhow::Result<()> + 'a>,
    latencies: Histogram<u64>,
}

impl<'a> Contender<'a> {
    pub(crate) fn new(
        name: &'static str,
        beside: Option<&'static str>,
        work: impl FnMut() -> anyhow::Result<()> + 'a,
    ) -> anyhow::Result<Self> {
        let longest = u64::try_from(LONGEST.as_nanos())?;
        Ok(Self {
            name,
            beside,
            work: Box::new(work),
            latencies: Histogram::new_with_max(longest, DIGITS)?,
        })
    }

    fn run(&mut self, times: u32) -> anyhow::Result<()> {
        for _ in 0..times {
            let began = Instant::now();
            (self.work)().with_context(|| self.name)?;
            let took = u64::try_from(began.elapsed().as_nanos())?;
            self.latencies.saturating_record(took);
        }
        Ok(())
    }
}

/// Lets all of them work, each `times` times in each of the rounds, and prints what came of it.
pub(crate) fn measure(
    contenders: &mut [Contender<'_>],
    rounds: u32,
    times: u32,
) -> anyhow::Result<()> {
    // Connections, caches and branch predictors are warm.
    for contender in &mut *contenders {
        contender.run(times)?;
        contender.latencies.reset();
    }
    for _ in 0..rounds {
        for contender in &mut *contenders {
            contender.run(times)?;
        }
    }
    println!("{}", table(contenders));
    Ok(())
}

fn table(contenders: &[Contender<'_>]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["work", "p50 µs", "p90 µs", "p99 µs", "p50 beside"]);
    let median = |contender: &Contender<'_>| contender.latencies.value_at_quantile(0.5);
    for contender in contenders {
        let at = |quantile| micros(contender.latencies.value_at_quantile(quantile));
        let other = contenders
            .iter()
            .find(|other| contender.beside == Some(other.name));
        let ratio = other.map_or_else(String::new, |other| {
            let ratio = nanos(median(contender)) / nanos(median(other));
            format!("{ratio:.2} × {}", other.name)
        });
        table.add_row([contender.name.to_owned(), at(0.5), at(0.9), at(0.99), ratio]);
    }
    for column in table.column_iter_mut().skip(1).take(3) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

#[expect(clippy::cast_precision_loss, reason = "no latency is that long")]
fn nanos(value: u64) -> f64 {
    value as f64
}

fn micros(value: u64) -> String {
    format!("{:.1}", nanos(value) / 1000.0)
}
