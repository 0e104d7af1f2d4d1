//! What one client may take of a node: a service around each service.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::NamedService;

use crate::Limits;
use crate::inbox::{Room, Rooms, RoomyBody, SmallBody, Taken};
use crate::outbox::{Answer, CountedBody, KeepingBody, Outbox, Places};

/// Most bytes of a message that carries no pages and no sets of pages.
const SMALL: usize = 64 << 10;

/// Most questions for the node's health, which anybody may ask, at once in the node, and how long
/// one may take.
const PUBLIC: usize = 1024;
const PUBLIC_PATIENCE: Duration = Duration::from_secs(10);

/// What a request may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Room for its message, and a place for its answer.
    Request(Answer),
    /// A place among those that last. Its messages and replies are small.
    Lasting,
    /// Next to nothing: it needs no token.
    Public,
    /// Nothing. It is not served.
    Refused,
}

fn kind(path: &str) -> Kind {
    match path {
        "/verso.v1.PageStore/Read" => Kind::Request(Answer::InParts),
        // It lasts, and needs no token. Clients ask with Check then, as the protocol says:
        // <https://github.com/grpc/grpc/blob/master/doc/health-checking.md>
        "/grpc.health.v1.Health/Watch" => Kind::Refused,
        "/grpc.health.v1.Health/Check" => Kind::Public,
        "/verso.v1.PageStore/Watch" => Kind::Lasting,
        path if path.starts_with("/verso.v1.") => Kind::Request(Answer::Whole),
        // Descriptions of the service.
        _ => Kind::Lasting,
    }
}

/// What a node has for all requests.
#[derive(Clone)]
pub(crate) struct Bounds {
    places: Places,
    room: Room,
    public: Arc<Semaphore>,
    message_bytes: usize,
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
            public: Arc::new(Semaphore::new(PUBLIC)),
            message_bytes: limits.message_bytes,
            request: limits.request,
        }
    }

    /// A service within these bounds.
    pub(crate) fn around<S>(&self, service: S) -> Bounded<S> {
        let bounds = self.clone();
        Bounded { service, bounds }
    }

    /// As much as a message may have.
    fn most_bytes(&self, path: &str) -> usize {
        match path {
            "/verso.v1.PageStore/Commit"
            | "/verso.v1.PageStore/Validate"
            | "/verso.v1.PageStore/Stage"
            | "/verso.v1.Admin/LoadPages" => self.message_bytes,
            _ => SMALL.min(self.message_bytes),
        }
    }

    /// The places, with those of the connection.
    fn places(&self, connection: Option<&Arc<Outbox>>) -> Places {
        Places {
            connection: connection.cloned(),
            ..self.places.clone()
        }
    }
}

/// A service within bounds.
#[derive(Clone)]
pub(crate) struct Bounded<S> {
    service: S,
    bounds: Bounds,
}

impl<S: NamedService> NamedService for Bounded<S> {
    const NAME: &'static str = S::NAME;
}

type Answered = Result<http::Response<Body>, Infallible>;
type Answering = Pin<Box<dyn Future<Output = Answered> + Send>>;

impl<S, B> Service<http::Request<Body>> for Bounded<S>
where
    S: Service<http::Request<Body>, Response = http::Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send + 'static,
    B: http_body::Body<Data = Bytes, Error = Status> + Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answering;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Answering {
        let kind = kind(request.uri().path());
        let outbox = request.extensions().get::<Arc<Outbox>>().cloned();
        match kind {
            Kind::Request(answer) => self.request(request, outbox, answer),
            Kind::Lasting => {
                let places = outbox.as_ref().map(|outbox| &outbox.watches);
                let places = Arc::clone(places.unwrap_or(&self.bounds.public));
                self.small(request, outbox.as_ref(), places, self.bounds.request)
            }
            Kind::Public => {
                let places = Arc::clone(&self.bounds.public);
                self.small(request, outbox.as_ref(), places, PUBLIC_PATIENCE)
            }
            Kind::Refused => refused(Status::unimplemented("ask with Check")),
        }
    }
}

fn refused(status: Status) -> Answering {
    Box::pin(async move { Ok(status.into_http()) })
}

impl<S, B> Bounded<S>
where
    S: Service<http::Request<Body>, Response = http::Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send + 'static,
    B: http_body::Body<Data = Bytes, Error = Status> + Send + 'static,
{
    fn request(
        &mut self,
        request: http::Request<Body>,
        outbox: Option<Arc<Outbox>>,
        answer: Answer,
    ) -> Answering {
        let places = self.bounds.places(outbox.as_ref());
        let taken = Arc::new(Mutex::new(Taken::default()));
        let of_connection = outbox.map(|outbox| outbox.room.clone());
        let rooms = Rooms {
            of: of_connection
                .into_iter()
                .chain([self.bounds.room.clone()])
                .collect(),
            places: places.clone(),
            patience: places.patience,
            taken: Arc::clone(&taken),
        };
        let most_bytes = self.bounds.most_bytes(request.uri().path());
        let request = request.map(|body| Body::new(RoomyBody::new(body, rooms, most_bytes)));
        let (answering, patience) = (self.service.call(request), self.bounds.request);
        Box::pin(async move {
            let Ok(answered) = tokio::time::timeout(patience, answering).await else {
                let late = "the request took too long to come or to be answered";
                return Ok(Status::deadline_exceeded(late).into_http());
            };
            let place = taken.lock().place();
            drop(taken);
            let counted = |body| CountedBody::new(Body::new(body), places, answer, place);
            Ok(answered?.map(|body| Body::new(counted(body))))
        })
    }

    /// A request of small messages and replies, of which there may be many.
    fn small(
        &mut self,
        request: http::Request<Body>,
        outbox: Option<&Arc<Outbox>>,
        places: Arc<Semaphore>,
        patience: Duration,
    ) -> Answering {
        let Ok(kept) = places.try_acquire_owned() else {
            let full = "too many watches over this connection, or too many questions at once";
            return refused(Status::resource_exhausted(full));
        };
        let places = self.bounds.places(outbox);
        let request = request.map(|body| Body::new(SmallBody::new(body, SMALL)));
        let answering = self.service.call(request);
        Box::pin(async move {
            // Its first message must come in time.
            let Ok(answered) = tokio::time::timeout(patience, answering).await else {
                let late = "the request does not say what it wants";
                return Ok(Status::deadline_exceeded(late).into_http());
            };
            Ok(answered?.map(|body| {
                Body::new(KeepingBody {
                    body: CountedBody::new(Body::new(body), places, Answer::Whole, None),
                    _kept: kept,
                })
            }))
        })
    }
}
