//! How many connections are open.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use metrics::{counter, describe_counter, describe_gauge, gauge};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::Connected;

/// Open connections: a gauge.
const OPEN: &str = "verso_connection_open_connections";

/// Connections that were accepted: a counter.
const ACCEPTED: &str = "verso_connection_accepted_total";

/// A connection, counted for as long as this lives.
#[derive(Debug)]
pub(crate) struct Counted<Io>(Io);

impl<Io> Counted<Io> {
    pub(crate) fn new(io: Io) -> Self {
        counter!(ACCEPTED).increment(1);
        gauge!(OPEN).increment(1);
        Self(io)
    }
}

impl<Io> Drop for Counted<Io> {
    fn drop(&mut self) {
        gauge!(OPEN).decrement(1);
    }
}

impl<Io: Connected> Connected for Counted<Io> {
    type ConnectInfo = Io::ConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.0.connect_info()
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for Counted<Io> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for Counted<Io> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }
}

pub(super) fn describe() {
    describe_gauge!(OPEN, "Open connections");
    describe_counter!(ACCEPTED, "Connections that were accepted");
    gauge!(OPEN).set(0);
    counter!(ACCEPTED).absolute(0);
}
