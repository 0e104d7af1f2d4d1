//! Charts of growth as SVG: the median of each kind of work against the size.

use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use plotters::prelude::*;

use crate::chart::{COLORS, INK, failed};
use crate::growth::{Axis, Point};
use crate::kind::Kind;

const SIZE: (u32, u32) = (860, 460);

/// Writes a chart of each axis; returns the files.
pub(crate) fn write(points: &[Point], folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for (axis, name, title) in [
        (Axis::Bytes, "growth-size.svg", "bytes of the database"),
        (
            Axis::Versions,
            "growth-versions.svg",
            "versions of the database",
        ),
    ] {
        let points: Vec<&Point> = points.iter().filter(|one| one.axis == axis).collect();
        let file = folder.join(name);
        draw(&file, title, &points).map_err(|error| anyhow!("{}: {error}", file.display()))?;
        files.push(file);
    }
    Ok(files)
}

/// Room for the legend above the lines.
const ABOVE: f64 = 50.0;

/// The range of values, with room around it.
fn range(values: impl Iterator<Item = f64> + Clone, above: f64) -> Range<f64> {
    let least = values.clone().fold(f64::INFINITY, f64::min);
    let most = values.fold(f64::MIN_POSITIVE, f64::max);
    least * 0.8..most * above
}

#[expect(clippy::cast_precision_loss, reason = "it is drawn")]
fn place(point: &Point) -> (f64, f64) {
    (point.size as f64, point.p50_micros)
}

/// A number with the prefix of its unit.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "plotters wants it so")]
fn short(value: &f64) -> String {
    let prefixes = [(1e9, "G"), (1e6, "M"), (1e3, "k")];
    let found = prefixes.iter().find(|(least, _)| value >= least);
    found.map_or_else(
        || format!("{value}"),
        |(least, prefix)| format!("{}{prefix}", value / least),
    )
}

fn draw(file: &Path, title: &str, points: &[&Point]) -> anyhow::Result<()> {
    let area = SVGBackend::new(file, SIZE).into_drawing_area();
    let places = points.iter().map(|point| place(point));
    let mut chart = ChartBuilder::on(&area)
        .margin(12)
        .margin_right(30)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d(
            range(places.clone().map(|place| place.0), 1.25).log_scale(),
            range(places.map(|place| place.1), ABOVE).log_scale(),
        )
        .map_err(failed)?;
    let font = ("sans-serif", 15).into_font().color(&INK);
    chart
        .configure_mesh()
        .axis_style(INK)
        .bold_line_style(INK.mix(0.3))
        .light_line_style(TRANSPARENT)
        .label_style(font.clone())
        .x_label_formatter(&short)
        .y_label_formatter(&short)
        .x_desc(title)
        .y_desc("p50, microseconds")
        .draw()
        .map_err(failed)?;
    let mut measures: Vec<&str> = points.iter().map(|one| one.measure).collect();
    measures.sort_unstable();
    measures.dedup();
    for (measure, color) in measures.into_iter().zip(COLORS) {
        for kind in [Kind::Sqlite, Kind::Embedded] {
            let line = points
                .iter()
                .filter(|one| one.measure == measure && one.subject == kind);
            // Thin is SQLite, thick is Verso.
            let width = if kind == Kind::Sqlite { 1 } else { 3 };
            let style = color.stroke_width(width);
            chart
                .draw_series(LineSeries::new(line.map(|point| place(point)), style))
                .map_err(failed)?
                .label(format!("{measure}, {}", kind.title()))
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], style));
        }
    }
    chart
        .configure_series_labels()
        .border_style(INK)
        .label_font(font)
        .position(SeriesLabelPosition::UpperLeft)
        .draw()
        .map_err(failed)?;
    area.present().map_err(failed)
}
