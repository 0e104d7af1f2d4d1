//! A way to a node that lets so many bytes of answers through, and then nothing: whoever reads
//! through it stops in the middle, for as long as a test wants.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// The way. It is closed with the test.
pub(crate) struct Narrow {
    address: SocketAddr,
    state: Arc<State>,
    accepting: Option<JoinHandle<()>>,
}

struct State {
    now: Mutex<Now>,
    changed: Condvar,
}

struct Now {
    /// How many bytes may still pass.
    left: usize,
    /// Whether more were there than may pass.
    is_stuck: bool,
    is_closed: bool,
}

impl Narrow {
    /// A way to `host:port`.
    pub(crate) fn to(node: &str, bytes: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let now = Now {
            left: bytes,
            is_stuck: false,
            is_closed: false,
        };
        let state = Arc::new(State {
            now: Mutex::new(now),
            changed: Condvar::new(),
        });
        let (node, shared) = (node.to_owned(), Arc::clone(&state));
        let accepting = thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if shared.now.lock().unwrap().is_closed {
                    return;
                }
                let server = TcpStream::connect(&node).unwrap();
                shared.join(&client, &server);
            }
        });
        Self {
            address,
            state,
            accepting: Some(accepting),
        }
    }

    /// The URL of the store behind it.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Waits until nothing passes any more.
    pub(crate) fn until_stuck(&self) {
        let now = self.state.now.lock().unwrap();
        let patience = Duration::from_mins(1);
        let waited = self
            .state
            .changed
            .wait_timeout_while(now, patience, |now| !now.is_stuck);
        assert!(!waited.unwrap().1.timed_out(), "everything passed");
    }
}

impl Narrow {
    /// Lets everything through from now on.
    pub(crate) fn widen(&self) {
        self.state.now.lock().unwrap().left = usize::MAX;
        self.state.changed.notify_all();
    }
}

impl State {
    /// Lets two ends speak.
    fn join(self: &Arc<Self>, client: &TcpStream, server: &TcpStream) {
        let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        thread::spawn(move || std::io::copy(&mut from, &mut to));
        let (from, to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
        let state = Arc::clone(self);
        thread::spawn(move || state.answers(from, to));
    }

    /// Passes answers on, until no more may pass.
    fn answers(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            if !self.take(length) || to.write_all(&buffer[..length]).is_err() {
                return;
            }
        }
    }

    /// Waits until so many bytes may pass, or the way is closed: then they may not.
    fn take(&self, bytes: usize) -> bool {
        let mut now = self.now.lock().unwrap();
        if now.left < bytes {
            now.left = 0;
            now.is_stuck = true;
            self.changed.notify_all();
            let waits = |now: &mut Now| now.left < bytes && !now.is_closed;
            now = self.changed.wait_while(now, waits).unwrap();
        }
        now.left = now.left.saturating_sub(bytes);
        !now.is_closed
    }
}

impl Drop for Narrow {
    fn drop(&mut self) {
        self.state.now.lock().unwrap().is_closed = true;
        self.state.changed.notify_all();
        // So that it looks.
        let _ = TcpStream::connect(self.address);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}
