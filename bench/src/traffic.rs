//! What this process sends and receives over TCP, as the system counts it. Nobody's way is longer
//! for it, and whoever uses a connection is counted alike.

use serde::{Deserialize, Serialize};

/// Bytes over all connections of a process that are open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Traffic {
    pub(crate) sent: u64,
    pub(crate) received: u64,
}

impl Traffic {
    /// What came since then; `None` if a connection was closed meanwhile, whose bytes are unknown.
    pub(crate) fn since(self, before: Option<Self>) -> Option<Self> {
        let before = before.unwrap_or(Self {
            sent: 0,
            received: 0,
        });
        Some(Self {
            sent: self.sent.checked_sub(before.sent)?,
            received: self.received.checked_sub(before.received)?,
        })
    }
}

/// What this process has sent and received; `None` if it has no connection, or the system does
/// not tell.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) fn of_this_process() -> Option<Traffic> {
    let descriptors = std::fs::read_dir("/proc/self/fd").ok()?;
    let connections = descriptors.filter_map(|entry| {
        let name = entry.ok()?.file_name();
        connection(name.to_str()?.parse().ok()?)
    });
    connections.reduce(|all, one| Traffic {
        sent: all.sent + one.sent,
        received: all.received + one.received,
    })
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn of_this_process() -> Option<Traffic> {
    None
}

/// What the system tells of a connection (`tcp(7)`); `None` if it is none.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "the system's own interface")]
fn connection(descriptor: std::ffi::c_int) -> Option<Traffic> {
    // SAFETY: it is a structure of numbers, for which zero is a value.
    let mut about: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut length = libc::socklen_t::try_from(size_of_val(&about)).ok()?;
    // SAFETY: the place is as long as it is said to be. A descriptor that is no socket, or no
    // longer open, is an error.
    let code = unsafe {
        libc::getsockopt(
            descriptor,
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut about).cast(),
            &raw mut length,
        )
    };
    // Another end that has acknowledged nothing has received nothing.
    let is_told =
        code == 0 && length as usize > std::mem::offset_of!(libc::tcp_info, tcpi_bytes_received);
    is_told.then_some(Traffic {
        sent: about.tcpi_bytes_acked,
        received: about.tcpi_bytes_received,
    })
}

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod tests {
    //! Goal: bytes over a connection are counted, on both ends.
    //! Method: one connection, whose two ends are in this process.

    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd as _;

    use super::connection;

    #[test]
    fn bytes_of_a_connection_are_counted() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let mut near = TcpStream::connect(address).expect("a connection");
        let (mut far, _) = listener.accept().expect("the same");
        near.write_all(&[7; 1000]).expect("it is open");
        far.read_exact(&mut [0; 1000]).expect("they come");
        far.write_all(&[7; 10]).expect("it is open");
        near.read_exact(&mut [0; 10]).expect("they come");
        let counted = connection(near.as_raw_fd()).expect("it is a connection");
        // The beginning of a connection counts as a byte.
        assert!((1000..=1001).contains(&counted.sent), "{counted:?}");
        assert_eq!(counted.received, 10);
        let file = std::fs::File::open("/proc/self/status").expect("a file");
        assert_eq!(connection(file.as_raw_fd()), None);
    }
}
