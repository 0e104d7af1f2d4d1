//! Connections that write once what HTTP/2 hands over in several parts.
//!
//! The headers of a request are ready before its message is, and would be written alone: another call
//! of the system, and another packet that wakes the node for nothing. So a connection with something
//! to write lets all else that is ready go first.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tonic::codegen::Service;
use tonic::codegen::http::Uri;

/// Connects to nodes.
pub(super) struct Connector(HttpConnector);

type TcpError = <HttpConnector as Service<Uri>>::Error;
type Connecting = Pin<Box<dyn Future<Output = Result<TokioIo<Gathering>, TcpError>> + Send>>;

impl Connector {
    pub(super) fn new() -> Self {
        let mut connector = HttpConnector::new();
        // Requests are small, and nobody is to wait for their acknowledgement.
        connector.set_nodelay(true);
        connector.enforce_http(false);
        Self(connector)
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Gathering>;
    type Error = TcpError;
    type Future = Connecting;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), TcpError>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, uri: Uri) -> Connecting {
        let connecting = self.0.call(uri);
        Box::pin(async move {
            let stream = connecting.await?.into_inner();
            Ok(TokioIo::new(Gathering {
                stream,
                turn: Turn::Theirs,
            }))
        })
    }
}

/// A connection that gathers what it writes.
pub(super) struct Gathering {
    stream: TcpStream,
    turn: Turn,
}

/// Who goes first when there is something to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// The tasks that are ready: they may have more to write.
    Theirs,
    /// The connection, until all is written.
    Ours,
}

impl Gathering {
    /// Ready if it is the connection's turn, which comes when it is polled again.
    fn turn(&mut self, context: &Context<'_>) -> Poll<()> {
        match std::mem::replace(&mut self.turn, Turn::Ours) {
            Turn::Ours => Poll::Ready(()),
            Turn::Theirs => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }
}

impl AsyncRead for Gathering {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Gathering {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        std::task::ready!(self.turn(context));
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        std::task::ready!(self.turn(context));
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // All that was handed over is written.
        self.turn = Turn::Theirs;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
