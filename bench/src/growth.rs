//! What work costs as one database grows, and as its history does: the embedded store beside
//! plain SQLite.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::growth_chart;
use crate::kind::Kind;
use crate::protocol::Request;
use crate::subjects::{Data, Peers, Subject};
use crate::workload::{Group, Scale, Synchronous, Work};
use crate::workloads::Workload;

/// How far.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Size of the largest database, such as 10GiB
    #[arg(long, default_value = "10GiB", value_parser = bytes)]
    max_size: u64,
    /// Versions of the longest history
    #[arg(long, default_value = "1000000")]
    max_versions: u64,
    /// Rounds at each step
    #[arg(long, default_value = "3")]
    rounds: u32,
    /// Length of a turn
    #[arg(long, default_value = "0.5")]
    seconds: f64,
    /// Little data: to see that it works
    #[arg(long)]
    quick: bool,
    /// Folder of the file of results
    #[arg(long, default_value = "bench/results")]
    results: PathBuf,
    /// Folder of the databases
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

/// A number of bytes with a unit.
fn bytes(text: &str) -> Result<u64, String> {
    let at = text.find(|character: char| !character.is_ascii_digit());
    let (number, unit) = text.split_at(at.unwrap_or(text.len()));
    let number: u64 = number.parse().map_err(|_| "no number".to_owned())?;
    let factor = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err("a size is a whole number with B, KiB, MiB or GiB".to_owned()),
    };
    number
        .checked_mul(factor)
        .ok_or_else(|| "too large".to_owned())
}

/// Bytes that a row of `big` takes: a page.
const ROW: u64 = 4096;

/// The size of the database whose history grows.
const STILL: u64 = 10 << 20;

/// What is measured at each step.
const MEASURES: [Workload; 4] = [
    measure("commit", "autocommit UPDATE of any row", Work::UpdateBig),
    measure("cold", "point SELECT, cold page", Work::SelectCold),
    measure("warm", "point SELECT, warm", Work::SelectBig),
    measure("first", "first query of a process", Work::FirstQuery),
];

const fn measure(name: &'static str, title: &'static str, work: Work) -> Workload {
    Workload {
        name,
        title,
        group: Group::Reads,
        work,
        writers: 1,
        synchronous: Synchronous::Full,
        sync_delay: None,
    }
}

/// What grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Axis {
    Bytes,
    Versions,
}

/// What one measure came to at one step.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Point {
    pub(crate) axis: Axis,
    /// Bytes of the database, or versions.
    pub(crate) size: u64,
    pub(crate) subject: Kind,
    pub(crate) measure: &'static str,
    /// Median of the turns' medians.
    pub(crate) p50_micros: f64,
}

/// Runs the benchmark.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let (rounds, seconds) = if args.quick {
        (1, 0.05)
    } else {
        (args.rounds, args.seconds)
    };
    let mut points = Vec::new();
    for (axis, steps) in [
        (Axis::Bytes, args.sizes()),
        (Axis::Versions, args.versions()),
    ] {
        let folder = match &args.folder {
            Some(folder) => tempfile::tempdir_in(folder)?,
            None => tempfile::tempdir()?,
        };
        let mut growing = Growing::start(axis, folder.path())?;
        for step in steps {
            eprintln!("growing: {}", size(axis, step));
            growing.grow_to(step)?;
            points.extend(growing.measure(step, rounds, seconds)?);
        }
        println!("{}\n", table(axis, &points));
    }
    std::fs::create_dir_all(&args.results)?;
    let file = args.results.join("growth.json");
    std::fs::write(&file, serde_json::to_string_pretty(&points)? + "\n")?;
    println!("results: {}", file.display());
    for chart in growth_chart::write(&points, &args.results)? {
        println!("chart: {}", chart.display());
    }
    Ok(())
}

impl Args {
    fn sizes(&self) -> Vec<u64> {
        if self.quick {
            return vec![1 << 20, 4 << 20];
        }
        tenfold(STILL, self.max_size)
    }

    fn versions(&self) -> Vec<u64> {
        if self.quick {
            return vec![100, 1000];
        }
        tenfold(1000, self.max_versions)
    }
}

/// Steps of ten from the first to the last.
fn tenfold(first: u64, last: u64) -> Vec<u64> {
    let next = |step: &u64| step.checked_mul(10);
    let steps = std::iter::successors(Some(first), next).take_while(|step| *step < last);
    steps.chain([last.max(first)]).collect()
}

/// Databases that grow.
struct Growing {
    axis: Axis,
    subjects: Vec<Subject>,
    rows: u32,
    versions: u64,
}

impl Growing {
    fn start(axis: Axis, folder: &Path) -> anyhow::Result<Self> {
        let data = Data {
            scale: Scale::default(),
            sync_delay: None,
        };
        let peers = Peers::default();
        let mut subjects = Vec::new();
        for kind in [Kind::Sqlite, Kind::Embedded] {
            let subject = Subject::start(kind, folder, &peers, &data, "growth")?;
            subject.fill(&[])?;
            subjects.push(subject);
        }
        let mut growing = Self {
            axis,
            subjects,
            rows: 0,
            versions: 0,
        };
        if axis == Axis::Versions {
            growing.add_rows(STILL)?;
        }
        Ok(growing)
    }

    fn grow_to(&mut self, step: u64) -> anyhow::Result<()> {
        match self.axis {
            Axis::Bytes => self.add_rows(step),
            Axis::Versions => {
                let commits = step.saturating_sub(self.versions);
                self.versions = step;
                self.ask(&Request::Age { commits })
            }
        }
    }

    fn add_rows(&mut self, bytes: u64) -> anyhow::Result<()> {
        let wanted = u32::try_from(bytes / ROW).context("the database is too large")?;
        let before = self.rows;
        self.rows = wanted.max(before);
        self.ask(&Request::Grow {
            before,
            rows: self.rows - before,
        })
    }

    fn ask(&self, request: &Request) -> anyhow::Result<()> {
        self.subjects.iter().try_for_each(|one| one.ask(request))
    }

    /// Measures all subjects, in turns.
    fn measure(&mut self, step: u64, rounds: u32, seconds: f64) -> anyhow::Result<Vec<Point>> {
        let mut points = Vec::new();
        for measure in &MEASURES {
            let mut medians = vec![Vec::new(); self.subjects.len()];
            self.subjects.iter_mut().for_each(Subject::rest);
            for _ in 0..rounds {
                for (subject, medians) in self.subjects.iter_mut().zip(&mut medians) {
                    let turn = subject.turn(measure, seconds);
                    let turn = turn.with_context(|| subject.kind.title())?;
                    medians.push(turn.p50_micros);
                }
            }
            for (subject, mut medians) in self.subjects.iter().zip(medians) {
                medians.sort_by(f64::total_cmp);
                let median = medians.get(medians.len() / 2).copied();
                points.push(Point {
                    axis: self.axis,
                    size: step,
                    subject: subject.kind,
                    measure: measure.name,
                    p50_micros: median.context("there was no round")?,
                });
            }
        }
        Ok(points)
    }
}

fn size(axis: Axis, size: u64) -> String {
    match axis {
        Axis::Bytes => format!("{} MiB", size >> 20),
        Axis::Versions => format!("{size} versions"),
    }
}

/// The medians, in microseconds, and beside them those of SQLite.
fn table(axis: Axis, points: &[Point]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header([
        "size",
        "work",
        "SQLite, p50 µs",
        "Verso, p50 µs",
        "Verso/SQLite",
    ]);
    let of = |kind| {
        let points = points.iter().filter(move |one| one.axis == axis);
        points.filter(move |one| one.subject == kind)
    };
    for (sqlite, verso) in of(Kind::Sqlite).zip(of(Kind::Embedded)) {
        let measure = MEASURES.iter().find(|one| one.name == verso.measure);
        table.add_row([
            size(axis, verso.size),
            measure.map_or("", |one| one.title).to_owned(),
            format!("{:.1}", sqlite.p50_micros),
            format!("{:.1}", verso.p50_micros),
            format!("{:.2}", verso.p50_micros / sqlite.p50_micros),
        ]);
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

#[cfg(test)]
mod tests {
    //! Goal: sizes are read as they are written, and steps end where they are told to.
    //! Method: examples.

    use super::{bytes, tenfold};

    #[test]
    fn sizes_have_units() {
        assert_eq!(bytes("10GiB"), Ok(10 << 30));
        assert_eq!(bytes("512"), Ok(512));
        assert!(bytes("10 apples").is_err());
    }

    #[test]
    fn the_last_step_is_the_limit() {
        assert_eq!(tenfold(10, 1000), [10, 100, 1000]);
        assert_eq!(tenfold(10, 500), [10, 100, 500]);
        assert_eq!(tenfold(10, 5), [10]);
    }
}
