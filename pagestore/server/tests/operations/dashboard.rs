//! The dashboard for Grafana against a scrape: its queries ask for nothing that a node does not
//! export, and everything that a node exports is on it.

use std::collections::{BTreeMap, BTreeSet};

use promql::{LabelMatchOp, Node, Op, ParserOptions, Vector};
use serde_json::Value;

use crate::node;
use crate::scrape::{Metric, parse};

const DASHBOARD: &str = include_str!("../../../../packaging/grafana/verso.json");

/// What Prometheus adds to every series.
const ADDED: [&str; 2] = ["instance", "job"];

/// Exported, and on no panel.
const EXEMPT: [&str; 0] = [];

/// The queries, with values for Grafana's variables.
fn queries(dashboard: &Value) -> Vec<String> {
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().unwrap());
    let queries = targets.map(|target| target["expr"].as_str().unwrap());
    queries
        .map(|query| {
            query
                .replace("$__rate_interval", "5m")
                .replace("$instance", ".*")
        })
        .collect()
}

/// What the queries use: series, each with labels.
#[derive(Default)]
struct Uses(BTreeMap<String, BTreeSet<String>>);

impl Uses {
    /// Walks a query. `around` has the labels that the expressions around it need.
    fn walk(&mut self, node: &Node, around: &[String]) {
        match node {
            Node::Operator { op, args } => {
                assert!(
                    matches!(op, Op::Div(None) | Op::Minus(None)),
                    "{op:?} is on no panel yet"
                );
                for part in args {
                    self.walk(part, around);
                }
            }
            Node::Function {
                name,
                args,
                aggregation,
            } => {
                let mut around = around.to_vec();
                around.extend(aggregation.iter().flat_map(|by| by.labels.clone()));
                if name == "histogram_quantile" {
                    around.push("le".to_owned());
                }
                assert!(takes(name, args), "{name} does not take {args:?}");
                for part in args {
                    self.walk(part, &around);
                }
            }
            Node::Negation(part) => self.walk(part, around),
            Node::Vector(vector) => self.select(vector, around),
            Node::Scalar(_) | Node::String(_) => {}
        }
    }

    fn select(&mut self, vector: &Vector, around: &[String]) {
        let (names, labels): (Vec<_>, Vec<_>) = vector
            .labels
            .iter()
            .partition(|label| label.name == "__name__");
        let [name] = &names[..] else {
            panic!("a metric has one name: {vector:?}");
        };
        assert_eq!(name.op, LabelMatchOp::Eq);
        let name = String::from_utf8(name.value.clone()).unwrap();
        let labels = labels.into_iter().map(|label| label.name.clone());
        let uses = self.0.entry(name).or_default();
        uses.extend(labels.chain(around.iter().cloned()));
    }
}

/// Whether a function takes these arguments. One that is not here is on no panel yet.
fn takes(function: &str, arguments: &[Node]) -> bool {
    let is_range =
        |node: &Node| matches!(node, Node::Vector(Vector { range, .. }) if range.is_some());
    match (function, arguments) {
        ("time", []) => true,
        ("rate", [part]) => is_range(part),
        ("sum", [part]) => {
            matches!(part, Node::Vector(_) | Node::Function { .. }) && !is_range(part)
        }
        ("histogram_quantile", [Node::Scalar(quantile), part]) => {
            (0.0..=1.0).contains(quantile)
                && matches!(part, Node::Function { name, .. } if name == "sum")
        }
        _ => false,
    }
}

fn query(text: &str) -> Node {
    promql::parse(text, &ParserOptions::default()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn exported() -> BTreeMap<String, Metric> {
    let node = node::Node::start();
    node.work();
    parse(&node.get("/metrics").1)
}

#[test]
fn the_dashboard_and_the_metrics_agree() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let mut uses = Uses::default();
    for text in queries(&dashboard) {
        uses.walk(&query(&text), &[]);
    }
    let exported = exported();
    let series: BTreeMap<_, _> = exported.values().flat_map(|it| &it.series).collect();
    for (name, labels) in &uses.0 {
        let known = series.get(name);
        let known = known.unwrap_or_else(|| panic!("no node exports {name}: {series:?}"));
        let mut own = labels
            .iter()
            .filter(|label| !ADDED.contains(&label.as_str()));
        let unknown = own.find(|label| !known.contains(*label));
        assert_eq!(unknown, None, "of {name}, which has {known:?}");
    }
    for (name, metric) in &exported {
        let is_used = metric
            .series
            .keys()
            .any(|series| uses.0.contains_key(series));
        let is_exempt = EXEMPT.contains(&name.as_str());
        assert!(is_used != is_exempt, "{name} is on a panel: {is_used}");
    }
}

#[test]
fn the_dashboard_can_be_imported() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64()).collect();
    assert_eq!(ids.len(), panels.len());
    let mut places = BTreeSet::new();
    for panel in panels {
        assert!(!panel["title"].as_str().unwrap().is_empty());
        let place = ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap());
        assert!(place[0] + place[2] <= 24, "{place:?}");
        assert!(
            places.insert([place[0], place[1]]),
            "two panels at {place:?}"
        );
    }
    assert!(dashboard["schemaVersion"].as_u64().unwrap() >= 36);
}
