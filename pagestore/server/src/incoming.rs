//! Connections as they come: how many, and none that dawdles.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Sleep, sleep, timeout};
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

use crate::Limits;
use crate::operations::connections::{self, OpenConnection};
use crate::outbox::Outbox;
use crate::tls::Tls;

/// Connections that wait to be served.
const QUEUE: usize = 64;

/// After the listener failed, as when there are no more file descriptors.
const PAUSE: Duration = Duration::from_millis(50);

/// HTTP/2 begins with so many bytes of the client.
const PREFACE: usize = 24;

/// The connections to a listener, once they are set up.
pub(crate) fn incoming(
    listener: TcpListener,
    tls: Option<Tls>,
    limits: &Limits,
) -> ReceiverStream<io::Result<Connection>> {
    let (sender, receiver) = mpsc::channel(QUEUE);
    tokio::spawn(accept(listener, tls, limits.clone(), sender));
    ReceiverStream::new(receiver)
}

type Sender = mpsc::Sender<io::Result<Connection>>;

async fn accept(listener: TcpListener, tls: Option<Tls>, limits: Limits, sender: Sender) {
    let places = Arc::new(Semaphore::new(limits.connections));
    let mut refusals = Refusals::default();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = sender.closed() => return,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(PAUSE).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            connections::refused();
            refusals.count(limits.connections);
            continue;
        };
        let (sender, limits, open) = (sender.clone(), limits.clone(), OpenConnection::new());
        let acceptor = tls.as_ref().map(Tls::acceptor);
        // On its own: a slow handshake holds nobody else up.
        tokio::spawn(async move {
            // Answers are small, and nobody is to wait for their acknowledgement.
            let _ = stream.set_nodelay(true);
            let transport = match acceptor {
                None => Transport::Plain(stream),
                Some(acceptor) => match timeout(limits.handshake, acceptor.accept(stream)).await {
                    Ok(Ok(stream)) => Transport::Tls(Box::new(stream)),
                    Ok(Err(error)) => return tracing::debug!(%error, "a TLS handshake failed"),
                    Err(_) => return tracing::debug!("a TLS handshake took too long"),
                },
            };
            let connection = Connection {
                transport,
                preface: Some((0, Box::pin(sleep(limits.handshake)))),
                outbox: Outbox::new(peer, &limits),
                _place: place,
                _open: open,
            };
            // Nobody serves it any more at the shutdown.
            let _ = sender.send(Ok(connection)).await;
        });
    }
}

/// Connections that were refused: one line of the log a second tells of them.
#[derive(Default)]
struct Refusals {
    count: usize,
    told: Option<Instant>,
}

impl Refusals {
    fn count(&mut self, limit: usize) {
        self.count += 1;
        if self.told.is_none_or(|told| told.elapsed().as_secs() >= 1) {
            let refused = self.count;
            tracing::warn!(refused, limit, "too many connections: new ones are closed");
            *self = Self {
                count: 0,
                told: Some(Instant::now()),
            };
        }
    }
}

enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection. It gives its place back when it is dropped.
pub(crate) struct Connection {
    transport: Transport,
    /// How much came of what a client begins with, and until when all of it must.
    preface: Option<(usize, Pin<Box<Sleep>>)>,
    outbox: Arc<Outbox>,
    _place: OwnedSemaphorePermit,
    _open: OpenConnection,
}

impl Connected for Connection {
    type ConnectInfo = Arc<Outbox>;

    fn connect_info(&self) -> Self::ConnectInfo {
        Arc::clone(&self.outbox)
    }
}

impl Connection {
    fn check(&self) -> io::Result<()> {
        if self.outbox.is_stuck() {
            let reason = "the client takes no answers";
            return Err(io::Error::new(io::ErrorKind::TimedOut, reason));
        }
        Ok(())
    }

    fn transport(&mut self) -> Pin<&mut (dyn Stream + Send)> {
        match &mut self.transport {
            Transport::Plain(stream) => Pin::new(stream) as Pin<&mut (dyn Stream + Send)>,
            Transport::Tls(stream) => Pin::new(&mut **stream),
        }
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check()?;
        let before = buffer.filled().len();
        let read = self.transport().poll_read(context, buffer);
        let Some((came, deadline)) = &mut self.preface else {
            return read;
        };
        *came += buffer.filled().len() - before;
        if *came >= PREFACE {
            self.preface = None;
        } else if read.is_pending() && deadline.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        self.transport().poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        self.transport().poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.transport {
            Transport::Plain(stream) => stream.is_write_vectored(),
            Transport::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        self.transport().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.transport().poll_shutdown(context)
    }
}
