//! The pages of a snapshot in ascending order, read ahead while others are written.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use verso_pagestore::{PageNumber, PageSize, PageStore, PageWrite, ReadError, Snapshot};

use crate::interrupt::Interrupt;

/// About how many bytes of pages are read, sent and kept in one piece. Three pieces are in memory:
/// one that is read, one that waits, and one that is written.
const BATCH_BYTES: usize = 2 << 20;

/// How long Ctrl-C may go unnoticed.
const GLANCE: Duration = Duration::from_millis(50);

type Batch = Result<Vec<PageWrite>, ReadError>;

/// What a thread of its own reads. It ends by itself once nobody takes more.
pub(super) struct Pages(Receiver<Batch>);

/// What comes next.
pub(super) enum Next {
    /// The next pages.
    Pages(Vec<PageWrite>),
    /// Ctrl-C was pressed.
    Interrupted,
}

impl Pages {
    /// Begins to read the pages from this number on.
    pub(super) fn from(
        first: u32,
        source: &Arc<dyn PageStore>,
        snapshot: Snapshot,
        page_size: PageSize,
    ) -> anyhow::Result<Self> {
        let (sender, receiver) = sync_channel(1);
        let source = Arc::clone(source);
        thread::Builder::new()
            .name("verso-copy-read".to_owned())
            .spawn(move || read(source.as_ref(), &snapshot, page_size, first, &sender))
            .context("no thread can be started to read pages")?;
        Ok(Self(receiver))
    }

    /// Waits for the next pages, of which there must be some.
    pub(super) fn next(&self, interrupt: &Interrupt) -> anyhow::Result<Next> {
        loop {
            if interrupt.pressed() {
                return Ok(Next::Interrupted);
            }
            match self.0.recv_timeout(GLANCE) {
                Ok(batch) => return Ok(Next::Pages(batch?)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(anyhow!("the pages ended too early"));
                }
            }
        }
    }
}

fn read(
    source: &dyn PageStore,
    snapshot: &Snapshot,
    page_size: PageSize,
    first: u32,
    sender: &SyncSender<Batch>,
) {
    let per_batch = (BATCH_BYTES / page_size.length()).max(1);
    let mut numbers = (first..=snapshot.page_count.get()).filter_map(PageNumber::new);
    loop {
        let batch: Vec<PageNumber> = numbers.by_ref().take(per_batch).collect();
        if batch.is_empty() {
            return;
        }
        let read = source.read(snapshot, &batch).map(|pages| {
            let numbered = batch.into_iter().zip(pages);
            numbered
                .map(|(number, versioned)| PageWrite {
                    number,
                    page: versioned.page,
                })
                .collect()
        });
        let failed = read.is_err();
        if sender.send(read).is_err() || failed {
            return;
        }
    }
}
