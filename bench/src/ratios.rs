//! A chart for people who have not read anything yet: the rates of the main kinds of work beside
//! SQLite's.

use std::fmt::Write as _;

use crate::kind::Kind;

/// What is drawn, and in which words.
const ROWS: [(&str, &str, &str); 9] = [
    ("select", "point SELECT", "warm, autocommit"),
    (
        "select-100",
        "100 point SELECTs",
        "in one transaction, warm",
    ),
    ("scan", "full scan", "warm"),
    (
        "scan-cold",
        "full scan",
        "in a process that has read nothing",
    ),
    ("update", "UPDATE of a row", "1 writer, synchronous FULL"),
    (
        "update-normal",
        "UPDATE of a row",
        "1 writer, synchronous NORMAL",
    ),
    ("bulk-load", "bulk load", "in one transaction"),
    ("same-row", "UPDATE of the same row", "16 writers"),
    (
        "update-16-slow-sync",
        "UPDATE of a row of one’s own",
        "16 writers, a sync takes 2 ms",
    ),
];

/// Who is drawn, with a colour.
const KINDS: [(Kind, &str, &str); 3] = [
    (Kind::Embedded, "embedded store", "#3b82c4"),
    (Kind::Node, "one node on loopback", "#e0812b"),
    (Kind::NodeBounded, "one node, bounded freshness", "#5a9e5f"),
];

const WIDTH: f64 = 860.0;
const LEFT: f64 = 306.0;
/// Room for figures between names and the axis.
const FIGURES: f64 = 44.0;
const RIGHT: f64 = 816.0;
const TOP: f64 = 104.0;
const BAR: f64 = 15.0;
const ROW_GAP: f64 = 14.0;
/// Rows of two lines need as much.
const ROW_LEAST: f64 = 32.0;

/// What the axis goes over, and what it names. It is logarithmic: twice as fast is as far from
/// SQLite as half as fast.
const RANGE: (f64, f64) = (0.02, 25.0);
const TICKS: [f64; 8] = [0.02, 0.05, 0.1, 0.3, 1.0, 3.0, 10.0, 25.0];

/// The background comes with the ink, so that both are readable wherever the chart is shown.
const STYLE: &str = "text{font-family:system-ui,-apple-system,'Segoe UI','Helvetica Neue',\
'DejaVu Sans',sans-serif;fill:#1f2328;font-size:14px}.title{font-size:19px;font-weight:600}\
.small{font-size:12.5px;fill:#59636e}.axis{stroke:#d1d9e0}.one{stroke:#59636e;stroke-width:1.5}\
.card{fill:#fff;stroke:#d1d9e0}@media(prefers-color-scheme:dark){text{fill:#f0f6fc}\
.small{fill:#9198a1}.axis{stroke:#3d444d}.one{stroke:#9198a1}.card{fill:#0d1117;stroke:#3d444d}}";

/// Draws what `ratio` knows of a workload and a subject; `None` if that is nothing.
pub(crate) fn draw(ratio: impl Fn(&str, Kind) -> Option<f64>) -> Option<String> {
    let mut rows = String::new();
    let mut top = TOP;
    for (workload, name, more) in ROWS {
        let bars: Vec<(f64, &str)> = KINDS
            .iter()
            .filter_map(|(kind, _, color)| Some((ratio(workload, *kind)?, *color)))
            .collect();
        if !bars.is_empty() {
            top = row(&mut rows, top, (name, more), &bars);
        }
    }
    if rows.is_empty() {
        return None;
    }
    let bottom = top - ROW_GAP / 2.0;
    let height = bottom + 56.0;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         width=\"{WIDTH}\" height=\"{height}\" role=\"img\" \
         aria-label=\"Rates of Verso beside those of SQLite\">\n<style>{STYLE}</style>\n\
         <rect class=\"card\" x=\"0.5\" y=\"0.5\" width=\"{}\" height=\"{}\" rx=\"8\"/>\n",
        WIDTH - 1.0,
        height - 1.0,
    );
    text += "<text class=\"title\" x=\"24\" y=\"36\">How fast Verso is beside SQLite in WAL \
             mode</text>\n";
    legend(&mut text);
    axis(&mut text, bottom);
    text += &rows;
    text += "</svg>\n";
    Some(text)
}

fn legend(text: &mut String) {
    let mut left = 24.0;
    for (_, name, color) in KINDS {
        let _ = writeln!(
            text,
            "<rect x=\"{left}\" y=\"55\" width=\"12\" height=\"12\" rx=\"2\" fill=\"{color}\"/>\
             <text x=\"{}\" y=\"66\">{name}</text>",
            left + 19.0,
        );
        let letters = u32::try_from(name.len()).unwrap_or_default();
        left += 48.0 + 7.4 * f64::from(letters);
    }
}

fn axis(text: &mut String, bottom: f64) {
    let top = TOP - 8.0;
    for tick in TICKS {
        let at = place(tick);
        let is_one = tick.total_cmp(&1.0).is_eq();
        let class = if is_one { "one" } else { "axis" };
        let _ = writeln!(
            text,
            "<line class=\"{class}\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{top}\" y2=\"{bottom}\"/>\
             <text class=\"small\" x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            bottom + 19.0,
            if is_one {
                "1 = SQLite".to_owned()
            } else {
                format!("{tick} ×")
            },
        );
    }
    for (at, anchor, words) in [
        (place(1.0) - 12.0, "end", "← slower"),
        (place(1.0) + 12.0, "start", "faster →"),
    ] {
        let _ = writeln!(
            text,
            "<text class=\"small\" x=\"{at:.1}\" y=\"{}\" text-anchor=\"{anchor}\">{words}</text>",
            bottom + 40.0,
        );
    }
}

/// Draws a row, and returns where the next one begins.
fn row(text: &mut String, top: f64, (name, more): (&str, &str), bars: &[(f64, &str)]) -> f64 {
    let count = u32::try_from(bars.len()).unwrap_or_default();
    let high = (BAR * f64::from(count)).max(ROW_LEAST);
    let middle = top + high / 2.0;
    let _ = writeln!(
        text,
        "<text x=\"{0}\" y=\"{1:.1}\" text-anchor=\"end\">{name}</text>\
         <text class=\"small\" x=\"{0}\" y=\"{2:.1}\" text-anchor=\"end\">{more}</text>",
        LEFT - FIGURES,
        middle - 3.0,
        middle + 13.0,
    );
    let mut at = middle - BAR * f64::from(count) / 2.0;
    for (ratio, color) in bars {
        bar(text, at, *ratio, color);
        at += BAR;
    }
    top + high + ROW_GAP
}

fn bar(text: &mut String, top: f64, ratio: f64, color: &str) {
    let (one, end) = (place(1.0), place(ratio));
    let (label, anchor) = if ratio < 1.0 {
        (end - 5.0, "end")
    } else {
        (end + 5.0, "start")
    };
    let digits = if ratio < 9.95 { 2 } else { 1 };
    let _ = writeln!(
        text,
        "<rect x=\"{:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{}\" fill=\"{color}\"/>\
         <text class=\"small\" x=\"{label:.1}\" y=\"{:.1}\" \
         text-anchor=\"{anchor}\">{ratio:.digits$}</text>",
        one.min(end),
        (one - end).abs().max(1.0),
        BAR - 2.0,
        top + BAR - 4.0,
    );
}

/// Where a ratio is.
fn place(ratio: f64) -> f64 {
    let (least, most) = (RANGE.0.ln(), RANGE.1.ln());
    LEFT + (ratio.ln().clamp(least, most) - least) / (most - least) * (RIGHT - LEFT)
}
