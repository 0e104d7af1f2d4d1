//! Answers on the way to clients: only so many at once, however slowly they are read.
//!
//! An answer has a place of its connection and one of the node before it is made, and each of its
//! parts (some 256 KiB) keeps its places until it was written to the socket. A client that takes
//! too long over a part loses its connection.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::Frame;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::HeaderMap;

use crate::Limits;
use crate::inbox::Room;

/// What is on the way over one connection, in both directions.
#[derive(Debug)]
pub(crate) struct Outbox {
    peer: SocketAddr,
    places: Arc<Semaphore>,
    pub(crate) watches: Arc<Semaphore>,
    /// For what the client sends.
    pub(crate) room: Room,
    /// Since when parts wait to be written.
    parts: Mutex<BTreeMap<u64, Instant>>,
    count: AtomicU64,
    patience: Duration,
}

impl Outbox {
    pub(crate) fn new(peer: SocketAddr, limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            peer,
            places: Arc::new(Semaphore::new(limits.replies_per_connection)),
            watches: Arc::new(Semaphore::new(limits.watches_per_connection)),
            room: Room::new(limits.request_bytes_per_connection),
            parts: Mutex::default(),
            count: AtomicU64::default(),
            patience: limits.stall,
        })
    }

    /// Who is at the other end.
    pub(crate) const fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Whether the client has not taken what was sent to it for too long. Asked whenever there is
    /// something to do with the connection: there are pings.
    pub(crate) fn is_stuck(&self) -> bool {
        let parts = self.parts.lock();
        let oldest = parts.first_key_value();
        oldest.is_some_and(|(_, since)| since.elapsed() > self.patience)
    }
}

/// A part of an answer that waits to be written.
struct Part {
    outbox: Arc<Outbox>,
    number: u64,
}

impl Part {
    fn new(outbox: &Arc<Outbox>) -> Self {
        let number = outbox.count.fetch_add(1, Ordering::Relaxed);
        outbox.parts.lock().insert(number, Instant::now());
        Self {
            outbox: Arc::clone(outbox),
            number,
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.outbox.parts.lock().remove(&self.number);
    }
}

/// Bytes that keep what they took until nobody needs them any more.
struct Held {
    bytes: Bytes,
    _part: Option<Part>,
    _place: Option<Place>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The places that a part of an answer has. Dropping them gives them back.
pub(crate) struct Place {
    _of: Vec<OwnedSemaphorePermit>,
}

/// Where an answer finds places: in its connection, and in the node.
#[derive(Clone)]
pub(crate) struct Places {
    pub(crate) connection: Option<Arc<Outbox>>,
    pub(crate) node: Arc<Semaphore>,
    pub(crate) patience: Duration,
}

impl Places {
    pub(crate) async fn take(self) -> Result<Place, Status> {
        let of_connection = self.connection.map(|outbox| Arc::clone(&outbox.places));
        let take = async {
            let mut taken = Vec::with_capacity(2);
            for places in of_connection.into_iter().chain([self.node]) {
                let place = places.acquire_owned().await;
                taken.push(place.map_err(|_| Status::unavailable("the node is shutting down"))?);
            }
            Ok(Place { _of: taken })
        };
        let full = |_| Status::resource_exhausted("too many answers wait to be read");
        tokio::time::timeout(self.patience, take)
            .await
            .map_err(full)?
    }
}

type Taking = Pin<Box<dyn Future<Output = Result<Place, Status>> + Send>>;

/// Of the next part of an answer.
enum Next {
    /// It needs none: the answer is not taken in parts, or has none left.
    Free,
    Wanted,
    Taking(Taking),
    Taken(Place),
}

/// How an answer is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// At once. What follows its data must always get through: it says that the work was done.
    Whole,
    /// In parts, each when the one before was taken.
    InParts,
}

/// The body of an answer, whose parts are counted.
pub(crate) struct CountedBody {
    body: Body,
    places: Places,
    answer: Answer,
    next: Next,
    has_ended: bool,
}

impl CountedBody {
    /// With the place for its first part.
    pub(crate) fn new(body: Body, places: Places, answer: Answer, place: Option<Place>) -> Self {
        Self {
            body,
            places,
            answer,
            next: place.map_or(Next::Free, Next::Taken),
            has_ended: false,
        }
    }

    /// Ends the answer with a status.
    fn end(&mut self, status: &Status) -> Result<Frame<Bytes>, Status> {
        self.has_ended = true;
        let status = Status::unavailable(status.message());
        let mut trailers = HeaderMap::new();
        status.add_header(&mut trailers)?;
        Ok(Frame::trailers(trailers))
    }

    fn hold(&mut self, bytes: Bytes) -> Frame<Bytes> {
        let next = match self.answer {
            Answer::Whole => Next::Free,
            Answer::InParts => Next::Wanted,
        };
        let place = match std::mem::replace(&mut self.next, next) {
            Next::Taken(place) => Some(place),
            Next::Free | Next::Wanted | Next::Taking(_) => None,
        };
        Frame::data(Bytes::from_owner(Held {
            bytes,
            _part: self.places.connection.as_ref().map(Part::new),
            _place: place,
        }))
    }
}

impl http_body::Body for CountedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        if this.has_ended {
            return Poll::Ready(None);
        }
        loop {
            match &mut this.next {
                Next::Wanted => this.next = Next::Taking(Box::pin(this.places.clone().take())),
                Next::Taking(taking) => match ready!(taking.as_mut().poll(context)) {
                    Ok(taken) => this.next = Next::Taken(taken),
                    Err(status) => return Poll::Ready(Some(this.end(&status))),
                },
                Next::Free | Next::Taken(_) => break,
            }
        }
        let frame = ready!(http_body::Body::poll_frame(
            Pin::new(&mut this.body),
            context
        ));
        Poll::Ready(frame.map(|frame| {
            Ok(match frame?.into_data() {
                Ok(data) => this.hold(data),
                Err(other) => other,
            })
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.has_ended || http_body::Body::is_end_stream(&self.body)
    }
}

/// A body that keeps something as long as it lives, and whose parts must be taken in time.
pub(crate) struct KeepingBody<T> {
    pub(crate) body: CountedBody,
    pub(crate) _kept: T,
}

impl<T: Unpin> http_body::Body for KeepingBody<T> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}
