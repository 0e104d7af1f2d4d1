//! Two runs beside each other: what has become slower, and what only looks so.

use std::path::PathBuf;

use anyhow::ensure;
use comfy_table::{CellAlignment, Table, presets};

use crate::line::Line;
use crate::report::Report;

/// Which runs.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Results of the earlier run: a `run.json`
    old: PathBuf,
    /// Results of the later run
    new: PathBuf,
    /// Exit with 1 if something has become slower
    #[arg(long)]
    fail: bool,
}

/// One workload on one subject, in both runs.
struct Pair<'a> {
    old: &'a Line,
    new: &'a Line,
    /// New by old; of what has something beside it, the ratios to that are compared, so that a
    /// slower machine is no regression.
    change: f64,
}

impl<'a> Pair<'a> {
    fn of(old: (&'a Report, &'a Line), new: (&'a Report, &'a Line)) -> Self {
        let rate = |(report, line): (&Report, &Line)| {
            let base = line.subject.beside();
            let base = base.and_then(|base| report.line(&line.workload, base));
            base.map(|base| line.per_second / base.per_second)
        };
        let change = match (rate(old), rate(new)) {
            (Some(old), Some(new)) => new / old,
            _ => new.1.per_second / old.1.per_second,
        };
        Self {
            old: old.1,
            new: new.1,
            change,
        }
    }

    /// Whether even the best of the new turns is behind the worst of the old ones. What others
    /// are compared with only tells how fast the machine was.
    fn is_slower(&self) -> bool {
        if self.new.subject.beside().is_none() {
            return false;
        }
        let highest = self.new.range.1 / self.new.per_second;
        let lowest = self.old.range.0 / self.old.per_second;
        self.change * highest < lowest
    }

    /// Whether even the worst of the new turns is ahead of the best of the old ones.
    fn is_faster(&self) -> bool {
        if self.new.subject.beside().is_none() {
            return false;
        }
        let lowest = self.new.range.0 / self.new.per_second;
        let highest = self.old.range.1 / self.old.per_second;
        self.change * lowest > highest
    }

    fn row(&self) -> Vec<String> {
        let mark = if self.is_slower() {
            "slower"
        } else if self.is_faster() {
            "faster"
        } else {
            ""
        };
        vec![
            self.new.workload.clone(),
            self.new.subject.title().to_owned(),
            format!("{:.0}", self.old.per_second),
            format!("{:.0}", self.new.per_second),
            format!("{:.2}", self.new.per_second / self.old.per_second),
            format!("{:.2}", self.change),
            mark.to_owned(),
        ]
    }
}

/// Compares two runs.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let (old, new) = (Report::read(&args.old)?, Report::read(&args.new)?);
    let pairs: Vec<Pair<'_>> = new
        .lines()
        .iter()
        .filter_map(|line| {
            let before = old.line(&line.workload, line.subject)?;
            Some(Pair::of((&old, before), (&new, line)))
        })
        .collect();
    ensure!(!pairs.is_empty(), "the two runs have nothing in common");
    println!("{}", table(&pairs));
    let slower = pairs.iter().filter(|pair| pair.is_slower()).count();
    println!("slower beyond the spread of both runs: {slower}");
    ensure!(
        slower == 0 || !args.fail,
        "{slower} workloads have become slower"
    );
    Ok(())
}

fn table(pairs: &[Pair<'_>]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["workload", "subject", "old", "new", "new/old", "beside", ""]);
    for pair in pairs {
        table.add_row(pair.row());
    }
    for column in table.column_iter_mut().skip(2).take(4) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

#[cfg(test)]
mod tests {
    //! Goal: a slower machine, and turns that differ as much within a run, are no regression.
    //! Method: reports of two lines, made up.

    use super::*;

    fn report(sqlite: f64, verso: (f64, f64, f64)) -> Report {
        let line = |subject: &str, (low, median, high): (f64, f64, f64)| {
            format!(
                r#"{{"workload": "update", "subject": "{subject}", "per_second": {median},
                "range": [{low}, {high}], "p50_micros": 1, "p99_micros": 1, "slowest": 1,
                "errors": 0, "first_error": null, "lost": 0, "reads": null, "bytes": null}}"#
            )
        };
        let lines = [
            line("sqlite", (sqlite, sqlite, sqlite)),
            line("embedded", verso),
        ];
        let text = format!(
            r#"{{"sqlite": "3", "processors": 2, "cluster": null, "lines": [{}]}}"#,
            lines.join(",")
        );
        serde_json::from_str(&text).expect("a report")
    }

    fn is_slower(old: &Report, new: &Report) -> bool {
        Pair::of((old, &old.lines()[1]), (new, &new.lines()[1])).is_slower()
    }

    #[test]
    fn only_what_is_beyond_the_spread_is_slower() {
        let old = report(1000.0, (900.0, 1000.0, 1100.0));
        assert!(is_slower(&old, &report(1000.0, (500.0, 600.0, 700.0))));
        assert!(!is_slower(&old, &report(1000.0, (500.0, 600.0, 950.0))));
    }

    #[test]
    fn a_slower_machine_is_no_regression() {
        let old = report(1000.0, (900.0, 1000.0, 1100.0));
        assert!(!is_slower(&old, &report(500.0, (450.0, 500.0, 550.0))));
    }
}
