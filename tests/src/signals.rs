//! Signals to worker processes.

use std::fs;
use std::thread;

/// Sends a signal to a process.
pub fn signal(process: u32, signal: libc::c_int) {
    let process = libc::pid_t::try_from(process).expect("a process id");
    #[expect(unsafe_code, reason = "the standard library only knows SIGKILL")]
    // SAFETY: it takes two integers, and the process is a child that was not waited for.
    let result = unsafe { libc::kill(process, signal) };
    assert_eq!(result, 0, "the child runs");
}

/// Stops a process, and waits until all of its threads have stopped: those that sleep do so only once
/// the system has woken them, and may do some work before.
pub fn stop(process: u32) {
    signal(process, libc::SIGSTOP);
    let is_stopped = |thread: &fs::DirEntry| {
        // Behind the name, which is in parentheses, comes the state.
        let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        let state = stat.rsplit_once(") ").map(|(_, state)| state);
        state.is_none_or(|state| state.starts_with('T'))
    };
    loop {
        let threads = fs::read_dir(format!("/proc/{process}/task")).expect("the child runs");
        if threads.flatten().all(|thread| is_stopped(&thread)) {
            return;
        }
        thread::yield_now();
    }
}
