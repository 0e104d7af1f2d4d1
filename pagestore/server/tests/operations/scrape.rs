//! Reads the text that a node answers a scrape with.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tonic::body::Body;
use tonic::transport::Endpoint;
use tower::Service as _;
use verso_pagestore::{Bound, DatabaseId, DatabaseName, Version};
use verso_server::Limits;

use crate::node::Node;

const A_MINUTE: Duration = Duration::from_mins(1);

/// A metric of a scrape.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Metric {
    pub(crate) kind: String,
    pub(crate) labels: BTreeSet<String>,
    /// Names of its series: those of a histogram have endings.
    pub(crate) series: BTreeMap<String, BTreeSet<String>>,
}

/// The metrics of a text by their names.
pub(crate) fn parse(text: &str) -> BTreeMap<String, Metric> {
    let mut metrics = BTreeMap::<String, Metric>::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(declared) = line.strip_prefix("# TYPE ") {
            let (name, kind) = declared.split_once(' ').unwrap();
            metrics.entry(name.to_owned()).or_default().kind = kind.to_owned();
        } else if !line.starts_with('#') {
            sample(line, &mut metrics);
        }
    }
    metrics
}

/// Sorts in one line such as `name{label="value"} 1`. No value of ours has a comma.
fn sample(line: &str, metrics: &mut BTreeMap<String, Metric>) {
    let series = line.rsplit_once(' ').unwrap().0;
    let (name, labels) = series.split_once('{').unwrap_or((series, ""));
    let labels: BTreeSet<_> = labels
        .trim_end_matches('}')
        .split(',')
        .filter_map(|label| label.split_once('='))
        .map(|(label, _)| label.to_owned())
        .collect();
    let base = ["_bucket", "_sum", "_count"]
        .iter()
        .filter_map(|ending| name.strip_suffix(ending))
        .find(|base| metrics.contains_key(*base))
        .unwrap_or(name)
        .to_owned();
    let metric = metrics.get_mut(&base).expect("its type is declared first");
    let own = labels.iter().filter(|label| *label != "le");
    metric.labels.extend(own.cloned());
    let series = metric.series.entry(name.to_owned()).or_default();
    series.extend(labels);
}

/// The value of a sample.
fn value(text: &str, series: &str) -> f64 {
    found(text, series).unwrap_or_else(|| panic!("no {series} in:\n{text}"))
}

/// The value of a sample, if there is one.
fn found(text: &str, series: &str) -> Option<f64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(series))?;
    Some(rest.trim().parse().unwrap())
}

#[test]
fn a_scrape_tells_what_was_done_and_no_names() {
    let node = Node::start();
    node.work();
    let (status, text) = node.get("/metrics");
    assert_eq!(status, 200);
    // Other tests of this process count too.
    for series in [
        r#"verso_request_requests_total{method="Begin",result="ok"}"#,
        r#"verso_request_requests_total{method="Begin",result="not_found"}"#,
        r#"verso_request_requests_total{method="Commit",result="aborted"}"#,
        r#"verso_request_duration_seconds_count{method="Read"}"#,
        r#"verso_store_duration_seconds_count{operation="commit"}"#,
        r#"verso_commit_commits_total{result="committed"}"#,
        r#"verso_commit_conflicts_total{reason="page"}"#,
        r#"verso_lease_answers_total{answer="granted"}"#,
        r#"verso_lease_answers_total{answer="waiting"}"#,
        "verso_page_read_pages_total",
        "verso_page_written_pages_total",
        "verso_work_wait_seconds_count",
        "verso_connection_accepted_total",
        "verso_connection_open_connections",
        "verso_process_start_time_seconds",
    ] {
        assert!(value(&text, series) >= 1.0, "{series} in:\n{text}");
    }
    let pages = value(&text, "verso_page_written_pages_total");
    let bytes = value(&text, "verso_page_written_bytes_total");
    assert!((bytes - 4096.0 * pages).abs() < 1.0, "{bytes} of {pages}");
    assert!(value(&text, "verso_store_failures_total{kind=\"io\"}") < 1.0);
    assert!(!text.contains("secret-name"), "{text}");
    let shortest = r#"verso_store_duration_seconds_bucket{operation="read",le="0.00005"}"#;
    assert!(found(&text, shortest).is_some());
    let handed_over = r#"verso_lease_answers_total{answer="handed_over"}"#;
    assert!(
        found(&text, handed_over).is_some(),
        "it is there before the first"
    );
}

/// Waits until a sample has a value.
fn until(node: &Node, series: &str, is_wanted: impl Fn(f64) -> bool) {
    let deadline = Instant::now() + A_MINUTE;
    loop {
        let found = found(&node.get("/metrics").1, series);
        if is_wanted(found.unwrap_or(0.0)) {
            return;
        }
        assert!(Instant::now() < deadline, "{series} stays {found:?}");
    }
}

#[test]
fn watches_count_while_clients_have_them_open() {
    let mut node = Node::start();
    let series = "verso_watch_open_watches";
    assert!(value(&node.get("/metrics").1, series) < 1.0);
    let name = DatabaseName::new("watched").unwrap();
    let database = DatabaseId::random().unwrap();
    node.client.create(&name, database).unwrap();
    let bound = Bound {
        age: Duration::from_hours(1),
        at_least: Version::MIN,
    };
    node.client.begin_within(&name, None, bound).unwrap();
    until(&node, series, |open| open > 0.0);
    node.leave();
    until(&node, series, |open| open < 1.0);
}

#[test]
fn an_overloaded_node_refuses_and_clients_come_again() {
    let limits = Limits {
        running: 1,
        waiting: 1,
        ..Limits::default()
    };
    let node = Node::start_with(limits);
    let name = DatabaseName::new("wanted").unwrap();
    let database = DatabaseId::random().unwrap();
    node.client.create(&name, database).unwrap();
    let (ended, began) = (AtomicBool::new(false), Instant::now());
    std::thread::scope(|scope| {
        let clients = [(); 8].map(|()| {
            scope.spawn(|| {
                while !ended.load(Ordering::Relaxed) && began.elapsed() < A_MINUTE {
                    // What the store must be asked for: a begin is answered at once.
                    node.client.info(&name).unwrap();
                }
            })
        });
        until(&node, "verso_work_refused_requests_total", |count| {
            count > 10.0
        });
        ended.store(true, Ordering::Relaxed);
        for client in clients {
            client.join().expect("every request is answered");
        }
    });
}

#[test]
fn clients_cannot_make_up_labels() {
    let node = Node::start();
    let channel = Endpoint::from_shared(format!("http://{}", node.address)).unwrap();
    for path in ["/verso.v1.PageStore/Invented", "/invented.Service/Begin"] {
        let request = http::Request::post(path).body(Body::empty()).unwrap();
        let request = node.runtime.block_on(async {
            let mut channel = channel.connect().await.unwrap();
            std::future::poll_fn(|context| channel.poll_ready(context))
                .await
                .unwrap();
            channel.call(request).await
        });
        request.unwrap();
    }
    let series = r#"verso_request_requests_total{method="other",result="unimplemented"}"#;
    until(&node, series, |count| count > 1.0);
    let text = node.get("/metrics").1;
    assert!(!text.to_lowercase().contains("invented"), "{text}");
}
