//! Charts of a run as SVG: what each subject does beside what it is compared with.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::kind::Kind;
use crate::report::Report;
use crate::workload::Group;
use crate::workloads::WORKLOADS;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Readable on white and on black: the background stays what it is.
pub(crate) const INK: RGBColor = RGBColor(128, 134, 139);
pub(crate) const COLORS: [RGBColor; 6] = [
    RGBColor(66, 133, 204),
    RGBColor(226, 133, 42),
    RGBColor(70, 160, 90),
    RGBColor(160, 100, 190),
    RGBColor(205, 85, 85),
    RGBColor(60, 160, 170),
];

const WIDTH: i32 = 860;
/// Where bars may be; left of it are names, right of it figures.
const LEFT: i32 = 190;
const RIGHT: i32 = 810;
/// Room for figures between names and the axis.
const NAMES: i32 = 48;
const BAR: i32 = 16;
const GAP: i32 = 12;
const HEAD: i32 = 56;
const FOOT: i32 = 30;

/// The ratios that the axis goes to, and those that it names.
const RANGE: (f64, f64) = (0.001, 10.0);
const TICKS: [f64; 5] = [0.001, 0.01, 0.1, 1.0, 10.0];

/// The bars of a workload.
struct Bars {
    workload: &'static str,
    /// Of each subject its ratio.
    ratios: Vec<(Kind, f64)>,
}

/// Writes a chart for each group that was measured; returns the files.
pub(crate) fn write(report: &Report, folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for group in Group::ALL {
        let bars = bars(report, group);
        if bars.is_empty() {
            continue;
        }
        let file = folder.join(format!("{}.svg", group.name()));
        draw(&file, group.title(), &bars)
            .map_err(|error| anyhow!("{}: {error}", file.display()))?;
        files.push(file);
    }
    Ok(files)
}

/// What is compared with something, in the order of the list.
fn bars(report: &Report, group: Group) -> Vec<Bars> {
    let mut all = Vec::new();
    for workload in WORKLOADS.iter().filter(|one| one.group == group) {
        let lines = report.lines().iter();
        let ratios: Vec<_> = lines
            .filter(|line| line.workload == workload.name)
            .filter_map(|line| {
                let base = report.line(workload.name, line.subject.beside()?)?;
                Some((line.subject, line.per_second / base.per_second))
            })
            .collect();
        if !ratios.is_empty() {
            all.push(Bars {
                workload: workload.name,
                ratios,
            });
        }
    }
    all
}

fn draw(file: &Path, title: &str, bars: &[Bars]) -> anyhow::Result<()> {
    let count: usize = bars.iter().map(|one| one.ratios.len()).sum();
    let body = i32::try_from(count)? * BAR + i32::try_from(bars.len())? * GAP;
    let height = HEAD + body + FOOT;
    let area = SVGBackend::new(file, (u32::try_from(WIDTH)?, u32::try_from(height)?));
    let area = area.into_drawing_area();
    text(&area, title, (LEFT, 4), 18, HPos::Left)?;
    legend(&area, &kinds(bars))?;
    axis(&area, HEAD, HEAD + body)?;
    let mut top = HEAD + GAP / 2;
    for one in bars {
        let middle = top + i32::try_from(one.ratios.len())? * BAR / 2 - 7;
        text(&area, one.workload, (LEFT - NAMES, middle), 15, HPos::Right)?;
        for (kind, ratio) in &one.ratios {
            bar(&area, top, *kind, *ratio, bars)?;
            top += BAR;
        }
        top += GAP;
    }
    area.present().map_err(failed)
}

/// The subjects that there are, each once.
fn kinds(bars: &[Bars]) -> Vec<Kind> {
    let mut kinds = Vec::new();
    for (kind, _) in bars.iter().flat_map(|one| &one.ratios) {
        if !kinds.contains(kind) {
            kinds.push(*kind);
        }
    }
    kinds
}

fn color(kind: Kind, bars: &[Bars]) -> RGBColor {
    let index = kinds(bars).iter().position(|one| *one == kind);
    let index = index.unwrap_or_default() % COLORS.len();
    COLORS.get(index).copied().unwrap_or(INK)
}

/// Where a ratio is; the axis is logarithmic.
fn place(ratio: f64) -> i32 {
    let (least, most) = (RANGE.0.log10(), RANGE.1.log10());
    let share = (ratio.log10().clamp(least, most) - least) / (most - least);
    #[expect(clippy::cast_possible_truncation, reason = "it lies on the picture")]
    let offset = (share * f64::from(RIGHT - LEFT)).round() as i32;
    LEFT + offset
}

fn bar(area: &Area<'_>, top: i32, kind: Kind, ratio: f64, bars: &[Bars]) -> anyhow::Result<()> {
    let (one, end) = (place(1.0), place(ratio));
    let corners = [(one.min(end), top), (one.max(end), top + BAR - 2)];
    area.draw(&Rectangle::new(corners, color(kind, bars).filled()))
        .map_err(failed)?;
    let (at, side) = if ratio < 1.0 {
        (end - 4, HPos::Right)
    } else {
        (end + 4, HPos::Left)
    };
    let digits = if ratio < 0.1 { 3 } else { 2 };
    text(area, &format!("{ratio:.digits$}"), (at, top), 14, side)
}

fn axis(area: &Area<'_>, top: i32, bottom: i32) -> anyhow::Result<()> {
    for tick in TICKS {
        let at = place(tick);
        let width = if tick.to_bits() == 1f64.to_bits() {
            2
        } else {
            1
        };
        let line = PathElement::new([(at, top), (at, bottom)], INK.mix(0.6).stroke_width(width));
        area.draw(&line).map_err(failed)?;
        text(
            area,
            &format!("{tick} ×"),
            (at, bottom + 6),
            11,
            HPos::Center,
        )?;
    }
    Ok(())
}

fn legend(area: &Area<'_>, kinds: &[Kind]) -> anyhow::Result<()> {
    let mut left = LEFT;
    for (kind, color) in kinds.iter().zip(COLORS.iter().cycle()) {
        let corners = [(left, 31), (left + 10, 41)];
        area.draw(&Rectangle::new(corners, color.filled()))
            .map_err(failed)?;
        text(area, kind.title(), (left + 15, 29), 15, HPos::Left)?;
        left += 30 + 7 * i32::try_from(kind.title().len())?;
    }
    Ok(())
}

fn text(
    area: &Area<'_>,
    text: &str,
    at: (i32, i32),
    size: i32,
    anchor: HPos,
) -> anyhow::Result<()> {
    let style = ("sans-serif", size).into_text_style(area).color(&INK);
    let style = style.pos(Pos::new(anchor, VPos::Top));
    area.draw(&Text::new(text.to_owned(), at, style))
        .map_err(failed)
}

pub(crate) fn failed<E: std::fmt::Display>(error: E) -> anyhow::Error {
    anyhow!("{error}")
}
