//! What the cache of pages is good for.

use metrics::{counter, describe_counter, describe_gauge, gauge};

/// Pages that were answered from memory: a counter.
const HITS: &str = "verso_cache_hit_pages_total";

/// Pages that the store was asked for: a counter.
const MISSES: &str = "verso_cache_missed_pages_total";

/// Bytes that the pages in memory take: a gauge.
const BYTES: &str = "verso_cache_held_bytes";

/// Counts pages that were answered from memory.
pub(crate) fn hit(pages: usize) {
    counter!(HITS).increment(pages as u64);
}

/// Counts pages that the store was asked for.
pub(crate) fn missed(pages: usize) {
    counter!(MISSES).increment(pages as u64);
}

/// Tells how many bytes the pages in memory take.
#[expect(clippy::cast_precision_loss, reason = "no memory is that large")]
pub(crate) fn holds(bytes: u64) {
    gauge!(BYTES).set(bytes as f64);
}

pub(super) fn describe() {
    describe_counter!(HITS, "Pages that were answered from memory");
    describe_counter!(MISSES, "Pages that the store was asked for");
    describe_gauge!(BYTES, "Bytes that the pages in memory take");
    counter!(HITS).absolute(0);
    counter!(MISSES).absolute(0);
    gauge!(BYTES).set(0);
}
