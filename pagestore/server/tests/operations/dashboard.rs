//! The dashboard for Grafana against a scrape: its queries ask for nothing that a node does not
//! export, and everything that a node exports is on it.

use std::collections::{BTreeMap, BTreeSet};

use promql_parser::parser::{Expr, LabelModifier, VectorSelector};
use serde_json::Value;

use crate::node::Node;
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
    /// Walks a query. `around` has the labels that the expressions around it group by.
    fn walk(&mut self, expression: &Expr, around: &[String]) {
        match expression {
            Expr::Aggregate(aggregate) => {
                let mut around = around.to_vec();
                around.extend(labels(aggregate.modifier.as_ref()));
                self.walk(&aggregate.expr, &around);
            }
            Expr::Binary(binary) => {
                assert!(
                    binary
                        .modifier
                        .as_ref()
                        .is_none_or(|it| it.matching.is_none())
                );
                self.walk(&binary.lhs, around);
                self.walk(&binary.rhs, around);
            }
            Expr::Call(call) => {
                let mut around = around.to_vec();
                if call.func.name == "histogram_quantile" {
                    around.push("le".to_owned());
                }
                call.args
                    .args
                    .iter()
                    .for_each(|part| self.walk(part, &around));
            }
            Expr::Unary(unary) => self.walk(&unary.expr, around),
            Expr::Paren(paren) => self.walk(&paren.expr, around),
            Expr::Subquery(subquery) => self.walk(&subquery.expr, around),
            Expr::VectorSelector(selector) => self.select(selector, around),
            Expr::MatrixSelector(selector) => self.select(&selector.vs, around),
            Expr::NumberLiteral(_) | Expr::StringLiteral(_) => {}
            Expr::Extension(_) => panic!("no query has extensions"),
        }
    }

    fn select(&mut self, selector: &VectorSelector, around: &[String]) {
        let name = selector.name.clone().expect("a metric has a name");
        let matchers = selector.matchers.matchers.iter();
        let labels = matchers.map(|matcher| matcher.name.clone());
        let uses = self.0.entry(name).or_default();
        uses.extend(labels.chain(around.iter().cloned()));
    }
}

fn labels(modifier: Option<&LabelModifier>) -> Vec<String> {
    modifier.map_or_else(Vec::new, |modifier| modifier.labels().labels.clone())
}

fn exported() -> BTreeMap<String, Metric> {
    let node = Node::start();
    node.work();
    parse(&node.get("/metrics").1)
}

#[test]
fn the_dashboard_and_the_metrics_agree() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let mut uses = Uses::default();
    for query in queries(&dashboard) {
        let expression = promql_parser::parser::parse(&query);
        uses.walk(
            &expression.unwrap_or_else(|error| panic!("{query}: {error}")),
            &[],
        );
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
