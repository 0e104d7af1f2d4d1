//! How the pages of a commit are sent: whole, or as what changed of them.

use verso_pagestore::{Chain, PageDelta, PageWrite, Snapshot};

use super::Database;
use crate::error::VfsError;
use crate::transaction::NewPage;

/// Most bytes of deltas in one commit. More are sent as whole pages, which can go in parts.
const MOST_DELTA_BYTES: usize = 1 << 20;

/// The pages of a commit.
#[derive(Default)]
pub(super) struct Written {
    /// Those that are sent whole.
    pub(super) writes: Vec<PageWrite>,
    pub(super) deltas: Vec<PageDelta>,
    /// All of them, as they will be.
    pub(super) pages: Vec<NewPage>,
}

impl Database {
    /// Makes deltas of pages that are in the cache as the snapshot has them, where that is worth
    /// it. For any other, reading it again would cost more than it saves.
    pub(super) fn written(
        &self,
        snapshot: &Snapshot,
        writes: Vec<PageWrite>,
    ) -> Result<Written, VfsError> {
        let (cache, database) = (self.store.cache(), self.cached(snapshot)?);
        let mut written = Written::default();
        let mut room = MOST_DELTA_BYTES;
        for write in writes {
            let number = write.number;
            let base = snapshot
                .page_count
                .contains(number)
                .then(|| cache.get(database, number, snapshot.version));
            let delta = base
                .flatten()
                .and_then(|base| PageDelta::between(number, &base, &write.page))
                .filter(|delta| delta.delta.len() <= room);
            written.pages.push(NewPage {
                number,
                page: write.page.clone(),
                chain: delta.as_ref().map_or(Chain::WHOLE, |delta| delta.chain),
            });
            match delta {
                Some(delta) => {
                    room -= delta.delta.len();
                    written.deltas.push(delta);
                }
                None => written.writes.push(write),
            }
        }
        Ok(written)
    }
}
