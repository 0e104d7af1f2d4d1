//! Requests on the way to the node: only so many bytes of them at once.
//!
//! Each part of a request takes room of its connection and room of the node, in KiB, and keeps
//! it until the request is answered. A client that finds no room waits, since nothing more is
//! taken from its stream. Watches last, and take no room: their messages must be small.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;
use tonic::body::Body;

/// Most bytes of one message of a watch.
const MOST_BYTES_OF_WATCH: usize = 64 << 10;

/// What stands before each message: whether it is compressed, and its length.
/// <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>
const PREFIX: usize = 5;

/// Room for requests, of a connection or of a node.
#[derive(Debug, Clone)]
pub(crate) struct Room(Arc<Semaphore>);

impl Room {
    pub(crate) fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes >> 10)))
    }
}

/// The room that one request has taken. Dropping the last reference gives it back.
pub(crate) type Taken = Arc<Mutex<Vec<OwnedSemaphorePermit>>>;

/// Where a request finds room: in its connection first.
#[derive(Clone)]
pub(crate) struct Rooms {
    pub(crate) rooms: Vec<Room>,
    pub(crate) patience: Duration,
}

impl Rooms {
    async fn take(self, bytes: usize, taken: Taken) -> Result<(), Status> {
        let kibibytes = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX);
        let take = async {
            for Room(room) in self.rooms {
                let permit = room.acquire_many_owned(kibibytes).await;
                let closed = |_| Status::unavailable("the node is shutting down");
                taken.lock().push(permit.map_err(closed)?);
            }
            Ok(())
        };
        let full = |_| Status::resource_exhausted("the node has too many bytes of requests");
        tokio::time::timeout(self.patience, take)
            .await
            .map_err(full)?
    }
}

type Taking = Pin<Box<dyn Future<Output = Result<(), Status>> + Send>>;

/// The body of a request that takes room.
pub(crate) struct RoomyBody {
    body: Body,
    rooms: Rooms,
    taken: Taken,
    /// What has come, and waits for room.
    waiting: Option<(Taking, Bytes)>,
}

impl RoomyBody {
    pub(crate) fn new(body: Body, rooms: Rooms, taken: Taken) -> Self {
        Self {
            body,
            rooms,
            taken,
            waiting: None,
        }
    }
}

impl http_body::Body for RoomyBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        loop {
            if let Some((taking, _)) = &mut self.waiting {
                let took = ready!(taking.as_mut().poll(context));
                let data = self.waiting.take().map(|(_, data)| Frame::data(data));
                return Poll::Ready(data.map(|data| took.map(|()| data)));
            }
            let frame = ready!(http_body::Body::poll_frame(
                Pin::new(&mut self.body),
                context
            ));
            match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => {
                    let taking = self.rooms.clone().take(data.len(), Arc::clone(&self.taken));
                    self.waiting = Some((Box::pin(taking), data));
                }
                Some(Ok(Err(other))) => return Poll::Ready(Some(Ok(other))),
                Some(Err(status)) => return Poll::Ready(Some(Err(status))),
                None => return Poll::Ready(None),
            }
        }
    }
}

/// The body of a watch, whose messages must be small.
pub(crate) struct WatchBody {
    body: Body,
    messages: Messages,
}

impl WatchBody {
    pub(crate) fn new(body: Body) -> Self {
        let messages = Messages::default();
        Self { body, messages }
    }
}

impl http_body::Body for WatchBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(http_body::Body::poll_frame(
            Pin::new(&mut self.body),
            context
        ));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
            && self.messages.follow(data) > MOST_BYTES_OF_WATCH
        {
            let refused = Status::out_of_range("a watch takes messages of at most 64 KiB");
            return Poll::Ready(Some(Err(refused)));
        }
        Poll::Ready(frame)
    }
}

/// Where in a stream of messages its bytes are.
#[derive(Default)]
struct Messages {
    prefix: Vec<u8>,
    /// Of the message that has begun.
    left: usize,
}

impl Messages {
    /// Follows some bytes. The length of the longest message that begins in them.
    fn follow(&mut self, mut data: &[u8]) -> usize {
        let mut longest = 0;
        while !data.is_empty() {
            if self.left > 0 {
                let (_, rest) = data.split_at(self.left.min(data.len()));
                self.left -= data.len() - rest.len();
                data = rest;
                continue;
            }
            let missing = (PREFIX - self.prefix.len()).min(data.len());
            let (more, rest) = data.split_at(missing);
            self.prefix.extend_from_slice(more);
            data = rest;
            if let [_, length @ ..] = &self.prefix[..]
                && let Ok(length) = <[u8; 4]>::try_from(length)
            {
                self.left = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
                longest = longest.max(self.left);
                self.prefix.clear();
            }
        }
        longest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_found_wherever_they_are_cut() {
        let message = |length: u32| {
            let body = vec![0xff; usize::try_from(length).unwrap()];
            [&[0][..], &length.to_be_bytes(), &body].concat()
        };
        let stream = [message(3), message(0), message(300), message(7)].concat();
        for size in 1..stream.len() {
            let mut messages = Messages::default();
            let lengths = stream.chunks(size).map(|chunk| messages.follow(chunk));
            assert_eq!(lengths.max(), Some(300), "in pieces of {size}");
            assert_eq!((messages.left, messages.prefix.len()), (0, 0));
        }
    }
}
