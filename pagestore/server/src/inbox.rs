//! Requests on the way to the node: only so many bytes of them at once.
//!
//! A request says first how long it is. It takes as much room of its connection and of the node
//! before more of it is taken from its stream, and keeps the room until it is answered. Once it has
//! come, it takes a place for its answer. Watches last, and take no room: their messages are small.

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

use crate::outbox::{Place, Places};

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

    async fn take(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Status> {
        let kibibytes = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.0).acquire_many_owned(kibibytes).await;
        permit.map_err(|_| Status::unavailable("the node is shutting down"))
    }
}

/// What one request has taken. Dropping the last reference gives it back.
#[derive(Default)]
pub(crate) struct Taken {
    room: Vec<OwnedSemaphorePermit>,
    place: Option<Place>,
}

impl Taken {
    /// The place for the answer.
    pub(crate) const fn place(&mut self) -> Option<Place> {
        self.place.take()
    }
}

/// Where a request finds room, in this order, and a place for its answer.
#[derive(Clone)]
pub(crate) struct Rooms {
    pub(crate) of: Vec<Room>,
    pub(crate) places: Places,
    pub(crate) patience: Duration,
    pub(crate) taken: Arc<Mutex<Taken>>,
}

impl Rooms {
    async fn take_room(self, bytes: usize) -> Result<(), Status> {
        let take = async {
            for room in &self.of {
                let permit = room.take(bytes).await?;
                self.taken.lock().room.push(permit);
            }
            Ok(())
        };
        let full = |_| Status::resource_exhausted("the node has too many bytes of requests");
        tokio::time::timeout(self.patience, take)
            .await
            .map_err(full)?
    }

    async fn take_place(self) -> Result<(), Status> {
        let place = self.places.take().await?;
        self.taken.lock().place = Some(place);
        Ok(())
    }
}

type Taking = Pin<Box<dyn Future<Output = Result<(), Status>> + Send>>;

/// The body of a request that takes room.
pub(crate) struct RoomyBody {
    body: Body,
    rooms: Rooms,
    /// Most bytes of the message.
    most_bytes: usize,
    messages: Messages,
    has_begun: bool,
    has_come: bool,
    /// What is handed on once there is room, or a place.
    waiting: Option<(Taking, Option<Frame<Bytes>>)>,
}

impl RoomyBody {
    pub(crate) fn new(body: Body, rooms: Rooms, most_bytes: usize) -> Self {
        Self {
            body,
            rooms,
            most_bytes,
            messages: Messages::default(),
            has_begun: false,
            has_come: false,
            waiting: None,
        }
    }

    /// Follows the message. The room to take, if this says how much.
    fn follow(&mut self, data: &[u8]) -> Result<Option<usize>, Status> {
        let Begun { messages, longest } = self.messages.follow(data);
        if messages == 0 {
            return Ok(None);
        }
        if messages > 1 || std::mem::replace(&mut self.has_begun, true) {
            return Err(Status::invalid_argument("more than one message"));
        }
        if longest > self.most_bytes {
            return Err(Status::out_of_range(format!(
                "a message of {longest} bytes, and at most {} are taken here",
                self.most_bytes
            )));
        }
        Ok(Some(longest))
    }

    /// Waits for room before a part is handed on, and for a place before the end is.
    fn wait_for(&mut self, frame: Option<Frame<Bytes>>) -> Result<Option<Frame<Bytes>>, Status> {
        let rooms = self.rooms.clone();
        let taking: Taking = match frame.as_ref().and_then(Frame::data_ref) {
            Some(data) => match self.follow(data)? {
                Some(bytes) => Box::pin(rooms.take_room(bytes)),
                None => return Ok(frame),
            },
            None if std::mem::replace(&mut self.has_come, true) => return Ok(frame),
            None if !self.has_begun || self.messages.is_inside() => {
                // Also of a client that gave it up: HTTP/2 does not tell us.
                let cut = "the request ended before its message did";
                return Err(Status::invalid_argument(cut));
            }
            None => Box::pin(rooms.take_place()),
        };
        self.waiting = Some((taking, frame));
        Ok(None)
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
                let frame = self.waiting.take().and_then(|(_, frame)| frame);
                return Poll::Ready(match took {
                    Ok(()) => frame.map(Ok),
                    Err(status) => Some(Err(status)),
                });
            }
            let frame = ready!(http_body::Body::poll_frame(
                Pin::new(&mut self.body),
                context
            ));
            let frame = frame.transpose().map_err(|status| broken_off(&status));
            let frame = match frame.and_then(|frame| self.wait_for(frame)) {
                Ok(frame) => frame,
                Err(status) => return Poll::Ready(Some(Err(status))),
            };
            if self.waiting.is_none() {
                return Poll::Ready(frame.map(Ok));
            }
        }
    }
}

/// A connection that breaks in the middle of a request is the client's affair.
fn broken_off(status: &Status) -> Status {
    // tonic takes Cancelled here for the end of the request.
    Status::invalid_argument(format!("the request broke off: {}", status.message()))
}

/// The body of a request of many messages, all of which must be small.
pub(crate) struct SmallBody {
    body: Body,
    messages: Messages,
    most_bytes: usize,
}

impl SmallBody {
    pub(crate) fn new(body: Body, most_bytes: usize) -> Self {
        Self {
            body,
            messages: Messages::default(),
            most_bytes,
        }
    }
}

impl http_body::Body for SmallBody {
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
        let most = self.most_bytes;
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
            && self.messages.follow(data).longest > most
        {
            let refused = Status::out_of_range(format!("messages here have at most {most} bytes"));
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
    /// Whether a message has begun and not ended.
    const fn is_inside(&self) -> bool {
        self.left > 0 || !self.prefix.is_empty()
    }

    /// Follows some bytes. The messages that begin in them: how many, and how long the longest is.
    fn follow(&mut self, mut data: &[u8]) -> Begun {
        let mut begun = Begun::default();
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
                begun.messages += 1;
                begun.longest = begun.longest.max(self.left);
                self.prefix.clear();
            }
        }
        begun
    }
}

/// Messages that begin in some bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Begun {
    messages: usize,
    longest: usize,
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
            let begun: Vec<_> = stream
                .chunks(size)
                .map(|part| messages.follow(part))
                .collect();
            let longest = begun.iter().map(|begun| begun.longest).max();
            assert_eq!(longest, Some(300), "in pieces of {size}");
            let count: usize = begun.iter().map(|begun| begun.messages).sum();
            assert_eq!(count, 4, "in pieces of {size}");
            assert_eq!((messages.left, messages.prefix.len()), (0, 0));
        }
    }
}
