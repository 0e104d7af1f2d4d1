//! The FoundationDB cluster that subjects keep their data in, reached by a process that ends.

use std::path::Path;

use anyhow::bail;

use crate::process::Worker;
use crate::protocol::{Reply, Request, Setup, Status};
use crate::session::Session;

fn ask(cluster: &Path, request: &Request) -> anyhow::Result<Reply> {
    let setup = Setup::new(Session::Bare {
        cluster: cluster.to_owned(),
        prefix: String::new(),
    });
    Worker::start(&setup, &[])?.ask(request)
}

/// What the cluster says of itself.
pub(crate) fn status(cluster: &Path) -> anyhow::Result<Status> {
    let reply = ask(cluster, &Request::Status)?;
    let Reply::Status(status) = reply else {
        bail!("an unexpected answer: {reply:?}");
    };
    Ok(status)
}

/// Removes all keys that begin with a text.
fn clear(cluster: &Path, text: &str) -> anyhow::Result<()> {
    let text = text.to_owned();
    ask(cluster, &Request::Clear { text }).map(|_| ())
}

/// Removes what subjects have written into the cluster when it is dropped, also if the benchmark
/// fails.
pub(crate) struct Cleaning<'a> {
    pub(crate) cluster: Option<&'a Path>,
    /// What all their keys begin with.
    pub(crate) text: &'a str,
}

impl Drop for Cleaning<'_> {
    fn drop(&mut self) {
        let Some(cluster) = self.cluster else {
            return;
        };
        if let Err(error) = clear(cluster, self.text) {
            eprintln!(
                "keys that begin with {} stay in the cluster: {error:#}",
                self.text
            );
        }
    }
}
