//! What takes the place of the bare client where there is no FoundationDB.

use std::path::Path;

use anyhow::bail;

use crate::protocol::Status;
use crate::session::Client;

const MISSING: &str = "build with `--features foundationdb` for `--cluster`";

/// Starts nothing.
pub(crate) fn start() {}

/// There is no client.
pub(crate) fn client(_cluster: &Path, _prefix: &str) -> anyhow::Result<Box<dyn Client>> {
    bail!(MISSING)
}

/// There is nothing to fill.
pub(crate) fn fill(_cluster: &Path, _prefix: &str, _pages: u32) -> anyhow::Result<()> {
    bail!(MISSING)
}

/// There is no cluster to ask.
pub(crate) fn status(_cluster: &Path) -> anyhow::Result<Status> {
    bail!(MISSING)
}

/// There is nothing to remove.
pub(crate) fn clear(_cluster: &Path, _text: &str) -> anyhow::Result<()> {
    bail!(MISSING)
}
