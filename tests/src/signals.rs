//! Signals to worker processes.

/// Sends a signal to a process.
pub fn signal(process: u32, signal: libc::c_int) {
    let process = libc::pid_t::try_from(process).expect("a process id");
    #[expect(unsafe_code, reason = "the standard library only knows SIGKILL")]
    // SAFETY: it takes two integers, and the process is a child that was not waited for.
    let result = unsafe { libc::kill(process, signal) };
    assert_eq!(result, 0, "the child runs");
}
