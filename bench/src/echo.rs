//! A bare tonic service: it answers with so many bytes as it is asked for, and does nothing else.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tonic::body::Body;
use tonic::codegen::http;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::server::{NamedService, UnaryService};
use tonic::transport::Channel;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

const PATH: &str = "/verso.bench.Echo/Echo";

/// The messages are `google.protobuf.UInt32Value` and `BytesValue`.
type Codec<Send, Receive> = ProstCodec<Send, Receive>;

/// The service.
#[derive(Clone)]
pub(crate) struct Echo;

impl NamedService for Echo {
    const NAME: &'static str = "verso.bench.Echo";
}

struct Answer;

impl UnaryService<u32> for Answer {
    type Response = Bytes;
    type Future = Ready<Result<Response<Bytes>, Status>>;

    fn call(&mut self, request: Request<u32>) -> Self::Future {
        let length = usize::try_from(request.into_inner()).unwrap_or(0);
        ready(Ok(Response::new(vec![7; length].into())))
    }
}

impl tonic::codegen::Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async move {
            let mut grpc = tonic::server::Grpc::new(Codec::<Bytes, u32>::default());
            Ok(grpc.unary(Answer, request).await)
        })
    }
}

/// Asks for so many bytes.
pub(crate) async fn ask(channel: Channel, length: u32) -> Result<Bytes, Status> {
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready()
        .await
        .map_err(|error| Status::unavailable(error.to_string()))?;
    let codec = Codec::<u32, Bytes>::default();
    let path = PathAndQuery::from_static(PATH);
    let answer = grpc.unary(Request::new(length), path, codec).await?;
    Ok(answer.into_inner())
}
