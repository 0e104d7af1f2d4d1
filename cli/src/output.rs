//! Words and tables for people.

use std::io::{self, Write};
use std::time::Duration;

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table};
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use verso_pagestore::{PageCount, PageSize};

/// Writes a line to standard error; a closed standard error is nobody's problem.
pub(crate) fn note(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// An empty table in the one style of this program. Nothing in it is ever wrapped.
pub(crate) fn table(header: &[&str]) -> Table {
    let mut table = bare_table();
    table.set_header(header.iter().map(|name| Cell::new(printable(name))));
    table
}

/// The same without a header.
pub(crate) fn bare_table() -> Table {
    let mut table = Table::new();
    table
        .load_style(UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Disabled);
    table
}

/// A cell with a number.
pub(crate) fn number_cell(number: impl ToString) -> Cell {
    Cell::new(number).set_alignment(CellAlignment::Right)
}

/// A text whose control characters cannot act on a terminal. Line breaks and tabs stay.
pub(crate) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() && character != '\n' && character != '\t' {
            shown.extend(character.escape_unicode());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// The size of a database in bytes; nothing while it has no page size.
pub(crate) fn database_bytes(page_size: Option<PageSize>, page_count: PageCount) -> u64 {
    page_size.map_or(0, |size| page_count.bytes(size))
}

/// A size such as `1.50 MiB`.
pub(crate) fn human_bytes(bytes: u64) -> String {
    HumanBytes(bytes).to_string()
}

/// How fast so many bytes were moved, such as `212 MB/s`.
pub(crate) fn speed(bytes: u64, elapsed: Duration) -> String {
    let micros = elapsed.as_micros().max(1);
    // Bytes per microsecond are megabytes per second.
    let tenths = u128::from(bytes) * 10 / micros;
    if tenths < 1000 {
        format!("{}.{} MB/s", tenths / 10, tenths % 10)
    } else {
        format!("{} MB/s", tenths / 10)
    }
}

/// A bar over so many bytes on standard error; invisible where that is no terminal.
pub(crate) fn bytes_bar(what: &'static str, total: u64) -> ProgressBar {
    let template = "{msg} [{bar:32}] {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
    bar(what, total, template)
}

/// A bar over so many things on standard error; invisible where that is no terminal.
pub(crate) fn count_bar(what: &'static str, total: u64) -> ProgressBar {
    bar(what, total, "{msg} [{bar:32}] {pos} of {len}, {eta} left")
}

fn bar(what: &'static str, total: u64, template: &str) -> ProgressBar {
    let style =
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(total)
        .with_style(style.progress_chars("=> "))
        .with_message(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_are_in_megabytes_per_second() {
        assert_eq!(speed(1_500_000, Duration::from_secs(1)), "1.5 MB/s");
        assert_eq!(speed(500_000_000, Duration::from_secs(1)), "500 MB/s");
        assert_eq!(speed(0, Duration::ZERO), "0.0 MB/s");
    }

    #[test]
    fn control_characters_are_shown_not_sent() {
        assert_eq!(printable("a\u{1b}[2Jb\nc"), "a\\u{1b}[2Jb\nc");
    }
}
