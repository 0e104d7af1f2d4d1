//! The table of metrics in `docs/operations.md` against a scrape.

use std::collections::BTreeMap;

use crate::node::Node;
use crate::scrape::parse;

const DOCUMENT: &str = include_str!("../../../../docs/operations.md");

/// Type and labels by name, from rows such as "| `name` | counter | `a`, `b` | meaning |".
fn documented() -> BTreeMap<String, (String, Vec<String>)> {
    let rows = DOCUMENT
        .lines()
        .filter(|line| line.starts_with("| `verso_") && line.matches('|').count() == 5);
    rows.map(|row| {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let mut labels: Vec<_> = cells[3]
            .split(',')
            .map(|label| label.trim().trim_matches('`').to_owned())
            .collect();
        labels.retain(|label| !label.is_empty());
        labels.sort();
        (
            cells[1].trim_matches('`').to_owned(),
            (cells[2].to_owned(), labels),
        )
    })
    .collect()
}

#[test]
fn the_table_and_the_metrics_agree() {
    let node = Node::start();
    node.work();
    let exported = parse(&node.get("/metrics").1);
    let exported: BTreeMap<_, _> = exported
        .into_iter()
        .map(|(name, metric)| (name, (metric.kind, metric.labels.into_iter().collect())))
        .collect();
    assert_eq!(documented(), exported);
}
