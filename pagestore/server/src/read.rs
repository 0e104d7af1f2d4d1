//! The pages of one read, which are read as the client takes them.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio_stream::Stream;
use tonic::Status;
use verso_pagestore::grpc::proto;
use verso_pagestore::{PageNumber, PageSize, Snapshot, VersionedPage};

use crate::work::Work;

/// About so many bytes of pages are in one message of an answer.
const BYTES_PER_REPLY: usize = 256 << 10;

/// And at most so many pages, whatever the client says of their size.
const PAGES_PER_REPLY: usize = 64;

type Reading = Pin<Box<dyn Future<Output = Result<Vec<VersionedPage>, Status>> + Send>>;

/// The messages that pages go in.
pub(crate) struct Pages {
    work: Work,
    snapshot: Snapshot,
    rest: std::vec::IntoIter<PageNumber>,
    reading: Option<Reading>,
    read: Vec<VersionedPage>,
}

impl Pages {
    /// Reads the first of the pages.
    pub(crate) async fn new(
        work: Work,
        snapshot: Snapshot,
        pages: Vec<PageNumber>,
    ) -> Result<Self, Status> {
        let mut pages = Self {
            work,
            snapshot,
            rest: pages.into_iter(),
            reading: None,
            read: Vec::new(),
        };
        if let Some(reading) = pages.next_part() {
            pages.read = reading.await?;
        }
        Ok(pages)
    }

    fn next_part(&mut self) -> Option<Reading> {
        let length = self.snapshot.page_size.map_or(1, PageSize::length);
        let most = (BYTES_PER_REPLY / length).clamp(1, PAGES_PER_REPLY);
        let part: Vec<_> = self.rest.by_ref().take(most).collect();
        if part.is_empty() {
            return None;
        }
        let (work, snapshot) = (self.work.clone(), self.snapshot);
        Some(Box::pin(async move { work.read(snapshot, part).await }))
    }
}

impl Stream for Pages {
    type Item = Result<proto::ReadReply, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut read = std::mem::take(&mut self.read);
        if read.is_empty() {
            if self.reading.is_none() {
                self.reading = self.next_part();
            }
            let Some(reading) = &mut self.reading else {
                return Poll::Ready(None);
            };
            let came = ready!(reading.as_mut().poll(context));
            self.reading = None;
            read = came?;
        }
        let pages = read.into_iter().map(proto::VersionedPage::from).collect();
        Poll::Ready(Some(Ok(proto::ReadReply { pages })))
    }
}
