//! The memory that processes use.

/// Bytes of a process that are in memory, where the system tells (Linux, `proc(5)`).
pub(crate) fn resident(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().trim_end_matches("kB").trim_end().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    //! Goal: the line of the system's file is understood.
    //! Method: this process has used some memory.

    #[test]
    fn this_process_uses_memory() {
        let bytes = super::resident(std::process::id()).expect("a status");
        assert!(bytes > 100_000, "{bytes}");
    }
}
