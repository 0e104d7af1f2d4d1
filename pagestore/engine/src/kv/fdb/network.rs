//! FoundationDB's client in this process: one network thread, started once.
//!
//! The client library cannot be started twice in a process, and its thread does not live in the
//! child of a fork (<https://apple.github.io/foundationdb/api-c.html#network>). A child of a
//! process that has used it must not, and is told so.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use foundationdb::api::{FdbApiBuilder, NetworkStop};
use parking_lot::Mutex;

use crate::kv::KvError;

/// The process that started the client, or why it could not.
static STARTED: OnceLock<Result<u32, String>> = OnceLock::new();

/// What ends it.
static RUNNING: Mutex<Option<Running>> = Mutex::new(None);

struct Running {
    stop: NetworkStop,
    thread: JoinHandle<()>,
}

/// Starts the client, unless it runs.
///
/// # Errors
/// If it cannot be started, or if it was started before a fork.
pub(super) fn start() -> Result<(), KvError> {
    match STARTED.get_or_init(start_once) {
        Ok(process) => usable_in(*process),
        Err(reason) => Err(KvError::Unavailable(reason.clone())),
    }
}

/// Refuses the child of the process that started the client.
pub(super) fn usable_in(process: u32) -> Result<(), KvError> {
    if process == std::process::id() {
        return Ok(());
    }
    Err(KvError::Unavailable(format!(
        "this process was forked from process {process}, which uses FoundationDB's client, and the \
         client does not work after a fork: open the store in child processes only, or start them \
         by exec"
    )))
}

fn start_once() -> Result<u32, String> {
    let failed = |error: foundationdb::FdbError| {
        format!(
            "FoundationDB's client cannot be started: {} ({})",
            error.message(),
            error.code()
        )
    };
    let client = FdbApiBuilder::default().build().map_err(failed)?;
    let (runner, wait) = client.build().map_err(failed)?;
    let run = move || {
        #[expect(
            unsafe_code,
            reason = "the client wants to be stopped before the process ends"
        )]
        // SAFETY: `stop_at_exit` runs before the process exits, and joins this thread.
        let ended = unsafe { runner.run() };
        if let Err(error) = ended {
            tracing::error!(%error, "FoundationDB's network thread ended");
        }
    };
    let thread = thread::Builder::new()
        .name("verso-fdb".to_owned())
        .spawn(run)
        .map_err(|error| format!("FoundationDB's network thread cannot be started: {error}"))?;
    let stop = wait.wait();
    *RUNNING.lock() = Some(Running { stop, thread });
    Ok(std::process::id())
}

/// A use of the client, which ends when this is dropped.
pub(super) struct Use;

impl Drop for Use {
    fn drop(&mut self) {
        stop_before_exit();
    }
}

/// Has the client stopped when the process exits, before what it has set up until now is gone.
///
/// What is registered last runs first, and the client library sets parts of it up at their first
/// use. So this is called after every use, and registers after the first, second, fourth and so on.
fn stop_before_exit() {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    if !(CALLS.fetch_add(1, Ordering::Relaxed) + 1).is_power_of_two() {
        return;
    }
    #[expect(unsafe_code, reason = "there is no other way to run something at exit")]
    // SAFETY: the function takes nothing, returns nothing, and does not unwind.
    let registered = unsafe { libc::atexit(stop_at_exit) };
    if registered != 0 {
        tracing::warn!("FoundationDB's client may not be stopped at exit");
    }
}

/// Stops the network thread. In the child of a fork there is none.
extern "C" fn stop_at_exit() {
    if !matches!(STARTED.get(), Some(Ok(process)) if *process == std::process::id()) {
        return;
    }
    let Some(running) = RUNNING.try_lock().and_then(|mut running| running.take()) else {
        return;
    };
    // On a thread of its own: what this one has kept for the client library is gone by now.
    let stop = move || {
        let _ = running.stop.stop();
        let _ = running.thread.join();
    };
    // Nobody is left who could be told if it fails.
    let stopping = thread::Builder::new().spawn(stop);
    let _ = stopping.map(JoinHandle::join);
}
