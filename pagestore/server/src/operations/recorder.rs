//! The recorder that all counts go to, one per process.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use metrics::{describe_gauge, gauge};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

use super::{cache, connections, requests, store, watches};
use crate::work;

/// The running build, in the labels `version` and `target`: a gauge that is 1.
const BUILD: &str = "verso_process_build_info";

/// When the process began to count, in seconds since 1970: a gauge.
const STARTED: &str = "verso_process_start_time_seconds";

/// Upper bounds of the buckets of durations, in seconds: from a page out of memory to a store
/// that hangs.
const BUCKETS: &[f64] = &[
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5, 5.0, 10.0,
];

/// How often what was counted is summed up.
const UPKEEP: Duration = Duration::from_secs(5);

/// Installs the recorder, unless that was done before. What was counted earlier is lost.
///
/// # Errors
/// A sentence, if the process has a recorder of somebody else.
pub(super) fn install() -> Result<PrometheusHandle, String> {
    static RECORDER: OnceLock<Result<PrometheusHandle, String>> = OnceLock::new();
    RECORDER.get_or_init(first_install).clone()
}

fn first_install() -> Result<PrometheusHandle, String> {
    let builder = PrometheusBuilder::new().set_buckets(BUCKETS);
    let recorder = builder.map_err(|error| error.to_string())?.build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).map_err(|error| error.to_string())?;
    describe();
    Ok(handle)
}

/// Sums up from time to time, so that memory is bounded also if nobody scrapes.
pub(super) async fn keep_up(handle: PrometheusHandle) {
    loop {
        tokio::time::sleep(UPKEEP).await;
        handle.run_upkeep();
    }
}

#[expect(clippy::cast_precision_loss, reason = "seconds fit for a while")]
fn describe() {
    requests::describe();
    work::describe();
    store::describe();
    watches::describe();
    connections::describe();
    cache::describe();
    describe_gauge!(BUILD, "The running build: always 1");
    describe_gauge!(STARTED, "When the node started, in seconds since 1970");
    gauge!(BUILD, "version" => env!("CARGO_PKG_VERSION"), "target" => target()).set(1);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    gauge!(STARTED).set(now.unwrap_or_default().as_secs() as f64);
}

/// Such as `x86_64-linux`.
fn target() -> String {
    format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS)
}
