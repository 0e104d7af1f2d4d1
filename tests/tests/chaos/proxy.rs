//! A TCP proxy between clients and a node, which an adversary works: it delays, cuts, swallows
//! and refuses.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

/// How connections end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// As when a process closes them.
    Fin,
    /// As when a machine has forgotten them.
    Rst,
}

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// From clients to the node.
    Requests,
    /// From the node to clients.
    Replies,
}

/// A proxy at an address of its own.
pub(crate) struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    node: SocketAddr,
    is_closed: AtomicBool,
    refuses: AtomicBool,
    swallows_requests: AtomicBool,
    swallows_replies: AtomicBool,
    /// Of each piece, in microseconds.
    delay: AtomicU64,
    requests: AtomicU64,
    links: Mutex<Vec<Weak<Link>>>,
}

/// A connection of a client, and the one to the node. It is closed with the last reference.
struct Link {
    client: TcpStream,
    node: TcpStream,
    /// Whether bytes of a direction were swallowed, so that it can never work again.
    requests_torn: AtomicBool,
    replies_torn: AtomicBool,
    is_reset: AtomicBool,
}

impl Proxy {
    /// Starts a proxy for the node at this address.
    pub(crate) fn start(node: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it has an address");
        let shared = Arc::new(Shared {
            node: node.parse().expect("an address"),
            is_closed: AtomicBool::default(),
            refuses: AtomicBool::default(),
            swallows_requests: AtomicBool::default(),
            swallows_replies: AtomicBool::default(),
            delay: AtomicU64::default(),
            requests: AtomicU64::default(),
            links: Mutex::default(),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || accepting.accept(&listener));
        Self { address, shared }
    }

    /// Where clients find it.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many requests clients have sent through it.
    pub(crate) fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::SeqCst)
    }

    /// Ends all connections.
    pub(crate) fn cut(&self, how: Cut) {
        for link in self.shared.links().iter().filter_map(Weak::upgrade) {
            link.cut(how);
        }
    }

    /// Swallows all bytes of one direction from now on.
    pub(crate) fn swallow(&self, way: Way) {
        self.shared.swallows(way).store(true, Ordering::SeqCst);
    }

    /// Delays each piece.
    pub(crate) fn delay(&self, delay: Duration) {
        let micros = u64::try_from(delay.as_micros()).expect("a short delay");
        self.shared.delay.store(micros, Ordering::SeqCst);
    }

    /// Ends all connections, and takes no new one.
    pub(crate) fn refuse(&self) {
        self.shared.refuses.store(true, Ordering::SeqCst);
        self.cut(Cut::Rst);
    }

    /// Works as it should again. What has lost bytes is cut.
    pub(crate) fn heal(&self) {
        self.shared.delay.store(0, Ordering::SeqCst);
        self.shared.refuses.store(false, Ordering::SeqCst);
        for way in [Way::Requests, Way::Replies] {
            self.shared.swallows(way).store(false, Ordering::SeqCst);
        }
        for link in self.shared.links().iter().filter_map(Weak::upgrade) {
            let mut torn = [Way::Requests, Way::Replies]
                .map(|way| link.is_torn(way))
                .into_iter();
            if torn.any(|torn| torn.load(Ordering::SeqCst)) {
                link.cut(Cut::Rst);
            }
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.is_closed.store(true, Ordering::SeqCst);
        // So that the listener looks.
        drop(TcpStream::connect(self.address));
        self.cut(Cut::Rst);
    }
}

impl Shared {
    fn links(&self) -> MutexGuard<'_, Vec<Weak<Link>>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn swallows(&self, way: Way) -> &AtomicBool {
        match way {
            Way::Requests => &self.swallows_requests,
            Way::Replies => &self.swallows_replies,
        }
    }

    fn accept(self: Arc<Self>, listener: &TcpListener) {
        for client in listener.incoming() {
            if self.is_closed.load(Ordering::SeqCst) {
                return;
            }
            let Ok(client) = client else { continue };
            let shared = Arc::clone(&self);
            thread::spawn(move || shared.link(client));
        }
    }

    /// Connects a client with the node.
    fn link(self: Arc<Self>, client: TcpStream) {
        reset_at_close(&client);
        let node = TcpStream::connect_timeout(&self.node, Duration::from_secs(5));
        let Ok(node) = node else { return };
        for stream in [&client, &node] {
            let _ = stream.set_nodelay(true);
            // Whoever reads nothing for so long is stopped.
            let _ = stream.set_write_timeout(Some(Duration::from_secs(30)));
        }
        let link = Arc::new(Link {
            client,
            node,
            requests_torn: AtomicBool::default(),
            replies_torn: AtomicBool::default(),
            is_reset: AtomicBool::default(),
        });
        {
            let mut links = self.links();
            // Under the lock: a proxy that refuses has cut all that are here.
            if self.refuses.load(Ordering::SeqCst) {
                return;
            }
            links.retain(|link| link.strong_count() > 0);
            links.push(Arc::downgrade(&link));
        }
        let (shared, replies) = (Arc::clone(&self), Arc::clone(&link));
        thread::spawn(move || shared.pump(&replies, Way::Replies));
        self.pump(&link, Way::Requests);
    }

    /// Carries bytes until either end closes.
    fn pump(&self, link: &Link, way: Way) {
        let (mut from, mut to) = match way {
            Way::Requests => (&link.client, &link.node),
            Way::Replies => (&link.node, &link.client),
        };
        let mut frames = Frames::default();
        let mut buffer = vec![0; 64 << 10];
        loop {
            let length = match from.read(&mut buffer) {
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return link.end(),
            };
            let piece = buffer.get(..length).expect("it was read");
            // What came after the cut may still be read.
            if piece.is_empty() || link.is_reset.load(Ordering::SeqCst) {
                return link.half_close(to);
            }
            if way == Way::Requests {
                self.requests
                    .fetch_add(frames.requests(piece), Ordering::SeqCst);
            }
            let delay = self.delay.load(Ordering::SeqCst);
            if delay > 0 {
                thread::sleep(Duration::from_micros(delay));
            }
            if self.swallows(way).load(Ordering::SeqCst) || link.is_torn(way).load(Ordering::SeqCst)
            {
                link.is_torn(way).store(true, Ordering::SeqCst);
            } else if to.write_all(piece).is_err() {
                return link.end();
            }
        }
    }
}

impl Link {
    const fn is_torn(&self, way: Way) -> &AtomicBool {
        match way {
            Way::Requests => &self.requests_torn,
            Way::Replies => &self.replies_torn,
        }
    }

    fn cut(&self, how: Cut) {
        match how {
            Cut::Fin => self.end(),
            Cut::Rst => {
                for stream in [&self.client, &self.node] {
                    reset_at_close(stream);
                }
                self.is_reset.store(true, Ordering::SeqCst);
                // Wakes those who carry its bytes, and tells nobody else: they close it.
                for stream in [&self.client, &self.node] {
                    let _ = stream.shutdown(Shutdown::Read);
                }
            }
        }
    }

    fn end(&self) {
        if !self.is_reset.load(Ordering::SeqCst) {
            let _ = self.client.shutdown(Shutdown::Both);
            let _ = self.node.shutdown(Shutdown::Both);
        }
    }

    fn half_close(&self, to: &TcpStream) {
        if self.is_reset.load(Ordering::SeqCst) {
            // The other direction may wait for bytes from a node that is stopped.
            let _ = self.client.shutdown(Shutdown::Read);
            let _ = self.node.shutdown(Shutdown::Read);
        } else {
            let _ = to.shutdown(Shutdown::Write);
        }
    }
}

/// Closes a connection by RST, whatever is under way.
fn reset_at_close(stream: &TcpStream) {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    let length = libc::socklen_t::try_from(size_of::<libc::linger>()).expect("it is small");
    #[expect(
        unsafe_code,
        reason = "the standard library has it only in nightly builds"
    )]
    // SAFETY: the socket is open, and the option's value is of the type and size that it takes.
    let result = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            length,
        )
    };
    assert_eq!(result, 0, "the option is known");
}

/// Counts the requests in what an HTTP/2 client sends: each begins with a HEADERS frame.
/// Layout: RFC 9113, sections 3.4 and 4.1.
struct Frames {
    /// Bytes before the next frame.
    skip: usize,
    header: Vec<u8>,
}

impl Default for Frames {
    fn default() -> Self {
        Self {
            skip: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len(),
            header: Vec::with_capacity(9),
        }
    }
}

impl Frames {
    fn requests(&mut self, piece: &[u8]) -> u64 {
        let mut requests = 0;
        let mut piece = piece.iter();
        loop {
            let skipped = self.skip.min(piece.len());
            self.skip -= skipped;
            piece = piece.as_slice().get(skipped..).unwrap_or_default().iter();
            let Some(byte) = piece.next() else {
                return requests;
            };
            self.header.push(*byte);
            if let [a, b, c, kind, _, _, _, _, _] = *self.header.as_slice() {
                requests += u64::from(kind == 1);
                self.skip = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
                self.header.clear();
            }
        }
    }
}
