//! The layer around all services: it counts every request, and logs it in a span of its own.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame, SizeHint};
use metrics::{Unit, counter, describe_counter, describe_histogram, histogram};
use tonic::{Code, Status};
use tower::{Layer, Service};
use tracing::{Instrument as _, Span};

use crate::outbox::Outbox;

/// Requests that have ended, by method and result: a counter.
const REQUESTS: &str = "verso_request_requests_total";

/// From a request's headers to the end of its answer, by method, in seconds: a histogram. Watches
/// are not in it: they end when somebody leaves.
const DURATION: &str = "verso_request_duration_seconds";

/// The method that lasts.
const WATCH: &str = "Watch";

/// What no method of ours has for a name.
const OTHER: &str = "other";

/// The methods, so that no client can make up a label.
const METHODS: [&str; 24] = [
    "Begin",
    "Read",
    "Commit",
    "Validate",
    "Stage",
    "Lease",
    "RenewLease",
    "ReleaseLease",
    "LeaveQueue",
    "SnapshotAt",
    WATCH,
    "Create",
    "NameOf",
    "List",
    "Info",
    "Log",
    "Rename",
    "Remove",
    "Verify",
    "LoadBegin",
    "LoadCopy",
    "LoadPages",
    "LoadFinish",
    "LoadAbort",
];

/// The method of a path such as `/verso.v1.PageStore/Begin`.
fn method(path: &str) -> &'static str {
    let mut parts = path.trim_start_matches('/').splitn(2, '/');
    let (service, name) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
    if service == "grpc.health.v1.Health" {
        return "Health";
    }
    if !matches!(service, "verso.v1.PageStore" | "verso.v1.Admin") {
        return OTHER;
    }
    let known = METHODS.into_iter().find(|known| *known == name);
    known.unwrap_or(OTHER)
}

/// How a request ended, as a label.
const fn result(code: Code) -> &'static str {
    match code {
        Code::Ok => "ok",
        Code::Cancelled => "cancelled",
        Code::Unknown => "unknown",
        Code::InvalidArgument => "invalid_argument",
        Code::DeadlineExceeded => "deadline_exceeded",
        Code::NotFound => "not_found",
        Code::AlreadyExists => "already_exists",
        Code::PermissionDenied => "permission_denied",
        Code::ResourceExhausted => "resource_exhausted",
        Code::FailedPrecondition => "failed_precondition",
        Code::Aborted => "aborted",
        Code::OutOfRange => "out_of_range",
        Code::Unimplemented => "unimplemented",
        Code::Internal => "internal",
        Code::Unavailable => "unavailable",
        Code::DataLoss => "data_loss",
        Code::Unauthenticated => "unauthenticated",
    }
}

/// Who asks.
fn peer(extensions: &http::Extensions) -> Option<SocketAddr> {
    extensions.get::<Arc<Outbox>>().map(|outbox| outbox.peer())
}

/// A request under way. It ends when this is dropped, and was cancelled if nothing else is known
/// by then.
struct Observation {
    method: &'static str,
    began: Instant,
    status: Status,
    span: Span,
}

impl Observation {
    /// Learns the result, if it is among these headers or trailers.
    fn learn(&mut self, headers: &HeaderMap) {
        if let Some(status) = Status::from_header_map(headers) {
            self.status = status;
        }
    }

    /// Logs the end. What is the client's own affair is of interest to who looks for it only.
    fn log(&self, seconds: f64) {
        let (code, reason) = (self.status.code(), self.status.message());
        let result = result(code);
        match code {
            Code::Unknown | Code::Internal | Code::Unavailable | Code::DataLoss => {
                tracing::warn!(parent: &self.span, result, seconds, reason, "request failed");
            }
            Code::ResourceExhausted | Code::DeadlineExceeded | Code::Unimplemented => {
                tracing::info!(parent: &self.span, result, seconds, reason, "request refused");
            }
            Code::Ok
            | Code::Cancelled
            | Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::FailedPrecondition
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unauthenticated => {
                tracing::debug!(parent: &self.span, result, seconds, reason, "request done");
            }
        }
    }
}

impl Drop for Observation {
    fn drop(&mut self) {
        let (method, seconds) = (self.method, self.began.elapsed().as_secs_f64());
        let result = result(self.status.code());
        counter!(REQUESTS, "method" => method, "result" => result).increment(1);
        if method != WATCH {
            histogram!(DURATION, "method" => method).record(seconds);
        }
        self.log(seconds);
    }
}

/// The layer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Requests {
    count: Arc<AtomicU64>,
}

impl<S> Layer<S> for Requests {
    type Service = Observed<S>;

    fn layer(&self, inner: S) -> Observed<S> {
        let requests = self.clone();
        Observed { inner, requests }
    }
}

impl Requests {
    fn observe<B>(&self, request: &Request<B>) -> Observation {
        let method = method(request.uri().path());
        let id = self.count.fetch_add(1, Ordering::Relaxed);
        let peer = peer(request.extensions()).map(tracing::field::display);
        Observation {
            method,
            began: Instant::now(),
            status: Status::cancelled("the client has gone"),
            // Its fields belong to lines of every level.
            span: tracing::error_span!("request", id, method, peer),
        }
    }
}

/// A service with the layer around it.
#[derive(Debug, Clone)]
pub(crate) struct Observed<S> {
    inner: S,
    requests: Requests,
}

impl<S, B, R> Service<Request<B>> for Observed<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    S::Error: 'static,
{
    type Response = Response<ObservedBody<R>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let mut observation = self.requests.observe(&request);
        let answer = self.inner.call(request);
        let answer = answer.instrument(observation.span.clone());
        Box::pin(async move {
            let answer = answer.await?;
            observation.learn(answer.headers());
            Ok(answer.map(|body| ObservedBody {
                body: Box::pin(body),
                observation,
            }))
        })
    }
}

/// The body of an answer. Its trailers tell how the request ended.
pub(crate) struct ObservedBody<R> {
    body: Pin<Box<R>>,
    observation: Observation,
}

impl<R: Body> Body for ObservedBody<R> {
    type Data = R::Data;
    type Error = R::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<R::Data>, R::Error>>> {
        let frame = self.body.as_mut().poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let Some(trailers) = frame.trailers_ref()
        {
            self.observation.learn(trailers);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

pub(super) fn describe() {
    describe_counter!(REQUESTS, "Requests that have ended, by method and result");
    describe_histogram!(
        DURATION,
        Unit::Seconds,
        "From a request's headers to the end of its answer, without watches"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_of_the_services_has_its_label() {
        let definition = include_str!("../../../api/proto/verso/v1/pagestore.proto");
        let rpcs = definition.lines().filter_map(|line| {
            let rest = line.trim_start().strip_prefix("rpc ")?;
            rest.split_once('(').map(|(name, _)| name)
        });
        assert_eq!(rpcs.collect::<Vec<_>>(), METHODS);
    }

    #[test]
    fn clients_cannot_make_up_labels() {
        assert_eq!(method("/verso.v1.PageStore/Begin"), "Begin");
        assert_eq!(method("/verso.v1.Admin/Rename"), "Rename");
        assert_eq!(method("/grpc.health.v1.Health/Check"), "Health");
        for path in [
            "",
            "/",
            "/Begin",
            "/verso.v1.PageStore/Other",
            "/x/Begin",
            "/verso.v1.PageStore",
        ] {
            assert_eq!(method(path), OTHER, "{path}");
        }
    }
}
