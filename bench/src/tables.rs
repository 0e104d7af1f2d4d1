//! The results of runs beside what is expected of them: tables in Markdown, as the documentation
//! has them, and a chart of the ratios.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

use crate::kind::Kind;
use crate::line::median;
use crate::ratios;
use crate::report::Report;
use crate::targets::{BESIDE_BARE, BESIDE_SQLITE, Figure, Goal, Row, Target};

/// Which results.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Results of runs: each a `run.json`. Of several, medians and ranges are shown
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Draw the ratios beside SQLite into this file, as SVG
    #[arg(long, value_name = "FILE")]
    chart: Option<PathBuf>,
}

/// Prints the tables of which something was measured.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let reports = args.files.iter().map(|file| Report::read(file));
    let runs = Runs(reports.collect::<anyhow::Result<_>>()?);
    let tables: Vec<String> = [runs.beside_sqlite(), runs.beside_bare()]
        .into_iter()
        .flatten()
        .collect();
    ensure!(
        !tables.is_empty(),
        "no row of the tables was measured: see `run table` and `run fdb-table`"
    );
    println!("{}", tables.join("\n"));
    if let Some(chart) = &args.chart {
        write_chart(&runs, chart)?;
    }
    Ok(())
}

fn write_chart(runs: &Runs, file: &Path) -> anyhow::Result<()> {
    let ratio = |workload: &str, kind| {
        let values = runs.values(Figure::Beside(Kind::Sqlite), workload, kind);
        median(values)
    };
    let drawn = ratios::draw(ratio).context("nothing was measured beside SQLite")?;
    std::fs::write(file, drawn).with_context(|| file.display().to_string())?;
    eprintln!("chart: {}", file.display());
    Ok(())
}

/// What several runs have come to.
struct Runs(Vec<Report>);

impl Runs {
    /// A figure in each of the runs that have it.
    fn values(&self, figure: Figure, workload: &str, kind: Kind) -> Vec<f64> {
        let reports = self.0.iter();
        reports
            .filter_map(|report| figure.of(report, workload, kind))
            .collect()
    }

    /// The median, and the range if there are several; `None` if it was not measured.
    fn measured(&self, figure: Figure, workload: &str, kind: Kind) -> Option<(f64, String)> {
        let values = self.values(figure, workload, kind);
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let middle = median(values)?;
        let (low, high) = (figure.number(low), figure.number(high));
        let range = if low == high {
            String::new()
        } else {
            format!(" ({low} to {high})")
        };
        Some((middle, range))
    }

    /// What a subject has reached; in bold what misses the target.
    fn reached(&self, row: &Row, goal: &Goal) -> Option<String> {
        let (value, range) = self.measured(goal.figure, row.workload, goal.kind)?;
        let text = goal.figure.text(value);
        Some(if goal.target.is_met(value) {
            format!("{}{text}{range}", whose(goal.kind))
        } else {
            format!("{}**{text}**{range}", whose(goal.kind))
        })
    }

    /// Targets and figures of some subjects in a row.
    fn cells(&self, row: &Row, kinds: &[Kind]) -> [String; 2] {
        let goals = || row.goals.iter().filter(|goal| kinds.contains(&goal.kind));
        let reached: Vec<String> = goals().filter_map(|goal| self.reached(row, goal)).collect();
        [
            or_dash(&goals().map(wanted).collect::<Vec<_>>()),
            or_dash(&reached),
        ]
    }

    fn is_measured(&self, rows: &[Row]) -> bool {
        let mut goals = rows
            .iter()
            .flat_map(|row| row.goals.iter().map(move |goal| (row, goal)));
        goals.any(|(row, goal)| self.reached(row, goal).is_some())
    }

    fn beside_sqlite(&self) -> Option<String> {
        if !self.is_measured(BESIDE_SQLITE) {
            return None;
        }
        let header = [
            "work",
            "embedded store, target",
            "embedded store",
            "node on loopback, target",
            "node on loopback",
        ];
        let rows = BESIDE_SQLITE.iter().map(|row| {
            let [embedded_target, embedded] = self.cells(row, &[Kind::Embedded]);
            let [node_target, node] = self.cells(row, &[Kind::Node, Kind::NodeBounded]);
            let work = row.work.to_owned();
            [work, embedded_target, embedded, node_target, node]
        });
        let first = self.0.first()?;
        let about = format!(
            "Beside SQLite {} in WAL mode, {} processors. {}",
            first.sqlite(),
            first.processors(),
            self.how()
        );
        Some(markdown(&about, header, rows))
    }

    fn beside_bare(&self) -> Option<String> {
        if !self.is_measured(BESIDE_BARE) {
            return None;
        }
        let header = ["work", "bare client", "mvSQLite", "Verso, target", "Verso"];
        let rows = BESIDE_BARE.iter().map(|row| {
            let [target, verso] = self.cells(row, &[Kind::Fdb]);
            let bare = self.plain(row, Kind::Bare);
            let mvsqlite = self.plain(row, Kind::Mvsqlite);
            [row.work.to_owned(), bare, mvsqlite, target, verso]
        });
        let cluster = self.0.iter().find_map(Report::cluster)?;
        let about = format!("{cluster}. {}", self.how());
        Some(markdown(&about, header, rows))
    }

    /// The figures of a row by themselves, of who is only compared with.
    fn plain(&self, row: &Row, kind: Kind) -> String {
        let figures = row.goals.iter().flat_map(|goal| goal.figure.plain());
        let shown = figures.filter_map(|figure| {
            let (value, _) = self.measured(*figure, row.workload, kind)?;
            Some(figure.text(value))
        });
        or_dash(&shown.collect::<Vec<_>>())
    }

    fn how(&self) -> String {
        let what = "What misses its target is bold.";
        match self.0.len() {
            1 => format!("One run. {what}"),
            count => format!("Medians of {count} runs, with their ranges. {what}"),
        }
    }
}

/// Says of which subject a figure is, where a column has several.
fn whose(kind: Kind) -> &'static str {
    if kind == Kind::NodeBounded {
        "bounded: "
    } else {
        ""
    }
}

/// The target, for readers.
fn wanted(goal: &Goal) -> String {
    let (sign, value) = match goal.target {
        Target::AtLeast(value) => ("≥", value),
        Target::AtMost(value) => ("≤", value),
    };
    let text = match goal.figure {
        Figure::Errors => "no errors".to_owned(),
        Figure::P50 | Figure::P50Beside(_) => {
            let text = goal.figure.text(value);
            format!("p50 {sign} {}", text.trim_start_matches("p50 "))
        }
        Figure::Beside(Kind::Mvsqlite) => format!("{sign} {value} × mvSQLite"),
        Figure::Beside(Kind::Bare) => format!("{sign} {value} of bare"),
        Figure::Beside(_) => format!("{sign} {value}"),
        Figure::Slowest => format!("slowest {sign} {}", goal.figure.number(value)),
        Figure::Rate | Figure::Stored | Figure::PagesPerRequest | Figure::Reads | Figure::Bytes => {
            format!("{sign} {}", goal.figure.text(value))
        }
    };
    format!("{}{text}", whose(goal.kind))
}

fn or_dash(texts: &[String]) -> String {
    if texts.is_empty() {
        "–".to_owned()
    } else {
        texts.join(", ")
    }
}

fn markdown(about: &str, header: [&str; 5], rows: impl Iterator<Item = [String; 5]>) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let mut text = format!("{about}\n\n");
    text += &line(&header.map(str::to_owned));
    text += &line(&header.map(|_| "---".to_owned()));
    text.extend(rows.map(|row| line(&row)));
    text
}

#[cfg(test)]
mod tests {
    //! Goal: the tables show medians and ranges of several runs, and mark what misses a target.
    //! Method: reports of two lines, made up.

    use super::*;

    fn report(sqlite: f64, verso: f64) -> Report {
        let line = |subject: &str, rate: f64| {
            format!(
                r#"{{"workload": "update", "subject": "{subject}", "per_second": {rate},
                "range": [1, 2], "p50_micros": 1, "p99_micros": 1, "slowest": 1,
                "errors": 0, "first_error": null, "lost": 0, "reads": null, "bytes": null}}"#
            )
        };
        let lines = [line("sqlite", sqlite), line("embedded", verso)];
        let text = format!(
            r#"{{"sqlite": "3", "processors": 2, "cluster": null, "lines": [{}]}}"#,
            lines.join(",")
        );
        serde_json::from_str(&text).expect("a report")
    }

    fn row(runs: &Runs) -> String {
        let table = runs.beside_sqlite().expect("something was measured");
        let mut lines = table.lines();
        let found = lines.find(|line| line.contains("FULL"));
        found.expect("the row").to_owned()
    }

    #[test]
    fn a_run_has_no_range() {
        let runs = Runs(vec![report(100.0, 90.0)]);
        assert!(row(&runs).contains("| ≥ 0.8 | 0.90 | ≥ 0.6 | – |"));
        assert_eq!(runs.beside_bare(), None);
    }

    #[test]
    fn several_runs_have_one_and_what_misses_is_bold() {
        let runs = Runs(vec![
            report(100.0, 70.0),
            report(100.0, 90.0),
            report(100.0, 60.0),
        ]);
        assert!(row(&runs).contains("| **0.70** (0.60 to 0.90) |"));
    }
}
