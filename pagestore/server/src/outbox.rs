//! Answers on the way to clients: only so many at once, however slowly they are read.
//!
//! An answer takes a place on its connection and one in the node before it is made, and each of
//! its parts (some 256 KiB) keeps its places until it was written to the socket.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::NamedService;

use crate::Limits;
use crate::inbox::{self, Room, Rooms, RoomyBody, WatchBody};

/// Answers that last, and are small. They take no place.
const WATCH: &str = "/verso.v1.PageStore/Watch";

/// The answers on the way over one connection.
#[derive(Debug)]
pub(crate) struct Outbox {
    peer: SocketAddr,
    places: Arc<Semaphore>,
    /// For what the client sends.
    room: Room,
    is_stuck: AtomicBool,
}

impl Outbox {
    pub(crate) fn new(peer: SocketAddr, limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            peer,
            places: Arc::new(Semaphore::new(limits.replies_per_connection)),
            room: Room::new(limits.request_bytes_per_connection),
            is_stuck: AtomicBool::new(false),
        })
    }

    /// Who is at the other end.
    pub(crate) const fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Whether the client has not taken what was sent to it for too long.
    pub(crate) fn is_stuck(&self) -> bool {
        self.is_stuck.load(Ordering::Relaxed)
    }
}

/// Where an answer finds places.
#[derive(Clone)]
struct Places {
    connection: Option<Arc<Outbox>>,
    node: Arc<Semaphore>,
    patience: Duration,
}

/// The places that a part of an answer takes.
#[expect(dead_code, reason = "dropping them gives them back")]
struct Taken(Option<OwnedSemaphorePermit>, OwnedSemaphorePermit);

type Taking = Pin<Box<dyn Future<Output = Result<Taken, Status>> + Send>>;

impl Places {
    async fn take(self) -> Result<Taken, Status> {
        let full = |_| Status::resource_exhausted("too many answers wait to be read");
        let closed = |_| Status::unavailable("the node is shutting down");
        let on_connection = match self.connection {
            None => None,
            Some(outbox) => {
                let place = Arc::clone(&outbox.places).acquire_owned();
                let place = tokio::time::timeout(self.patience, place).await;
                let place = place.map_err(|waited| {
                    // The connection ends at its next sign of life: a ping is on its way.
                    outbox.is_stuck.store(true, Ordering::Relaxed);
                    tracing::warn!("a client reads no answers: its connection is closed");
                    full(waited)
                })?;
                Some(place.map_err(closed)?)
            }
        };
        let in_node = tokio::time::timeout(self.patience, self.node.acquire_owned()).await;
        let in_node = in_node.map_err(full)?.map_err(closed)?;
        Ok(Taken(on_connection, in_node))
    }
}

/// A service whose requests and answers are counted.
#[derive(Clone)]
pub(crate) struct Counted<S> {
    service: S,
    places: Places,
    room: Room,
    request: Duration,
}

/// The places and the room in a node, for its services.
pub(crate) struct Bounds {
    places: Places,
    room: Room,
    request: Duration,
}

impl Bounds {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            places: Places {
                connection: None,
                node: Arc::new(Semaphore::new(limits.replies)),
                patience: limits.stall,
            },
            room: Room::new(limits.request_bytes),
            request: limits.request,
        }
    }

    /// A service within these bounds.
    pub(crate) fn around<S>(&self, service: S) -> Counted<S> {
        Counted {
            service,
            places: self.places.clone(),
            room: self.room.clone(),
            request: self.request,
        }
    }
}

impl<S: NamedService> NamedService for Counted<S> {
    const NAME: &'static str = S::NAME;
}

type Answer = http::Response<Body>;

impl<S, B> Service<http::Request<Body>> for Counted<S>
where
    S: Service<http::Request<Body>, Response = http::Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
    B: http_body::Body<Data = Bytes, Error = Status> + Send + 'static,
{
    type Response = Answer;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        if request.uri().path() == WATCH {
            let request = request.map(|body| Body::new(WatchBody::new(body)));
            let answer = self.service.call(request);
            return Box::pin(async move { Ok(answer.await?.map(Body::new)) });
        }
        let mut places = self.places.clone();
        places.connection = request.extensions().get::<Arc<Outbox>>().cloned();
        let of_connection = places.connection.iter().map(|outbox| outbox.room.clone());
        let rooms = Rooms {
            rooms: of_connection.chain([self.room.clone()]).collect(),
            patience: places.patience,
        };
        let has_room = inbox::Taken::default();
        let request =
            request.map(|body| Body::new(RoomyBody::new(body, rooms, Arc::clone(&has_room))));
        // The one that is ready is taken, as `Service` asks for.
        let fresh = self.service.clone();
        let mut service = std::mem::replace(&mut self.service, fresh);
        let patience = self.request;
        Box::pin(async move {
            let taken = match places.clone().take().await {
                Ok(taken) => taken,
                Err(status) => return Ok(status.into_http()),
            };
            let Ok(answer) = tokio::time::timeout(patience, service.call(request)).await else {
                let late = "the request took too long to come or to be answered";
                return Ok(Status::deadline_exceeded(late).into_http());
            };
            drop(has_room);
            Ok(answer?.map(|body| {
                Body::new(CountedBody {
                    body: Body::new(body),
                    places,
                    place: Place::Taken(taken),
                    has_ended: false,
                })
            }))
        })
    }
}

/// Of the next part of an answer.
enum Place {
    None,
    Taking(Taking),
    Taken(Taken),
}

struct CountedBody {
    body: Body,
    places: Places,
    place: Place,
    has_ended: bool,
}

impl CountedBody {
    /// Ends the answer with a status.
    fn end(&mut self, status: &Status) -> Result<Frame<Bytes>, Status> {
        self.has_ended = true;
        let mut trailers = http::HeaderMap::new();
        let added = status.add_header(&mut trailers);
        added.map(|()| Frame::trailers(trailers))
    }
}

/// Bytes that keep their places until nobody needs them any more.
struct Part(
    Bytes,
    #[expect(dead_code, reason = "dropping it gives it back")] Taken,
);

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        &self.0
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
            match &mut this.place {
                Place::None => this.place = Place::Taking(Box::pin(this.places.clone().take())),
                Place::Taking(taking) => match ready!(taking.as_mut().poll(context)) {
                    Ok(taken) => this.place = Place::Taken(taken),
                    Err(status) => return Poll::Ready(Some(this.end(&status))),
                },
                Place::Taken(_) => break,
            }
        }
        let frame = ready!(http_body::Body::poll_frame(
            Pin::new(&mut this.body),
            context
        ));
        let place = std::mem::replace(&mut this.place, Place::None);
        let Place::Taken(taken) = place else {
            return Poll::Ready(frame);
        };
        Poll::Ready(frame.map(|frame| {
            Ok(match frame?.into_data() {
                Ok(data) => Frame::data(Bytes::from_owner(Part(data, taken))),
                Err(other) => other,
            })
        }))
    }

    fn is_end_stream(&self) -> bool {
        http_body::Body::is_end_stream(&self.body)
    }
}
