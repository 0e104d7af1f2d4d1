//! An import takes little memory, however large the file.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::common::Verso;

const FILE_MEGABYTES: u64 = 150;
const LIMIT_KILOBYTES: u64 = 100 * 1024;

#[test]
fn a_large_import_takes_little_memory() {
    let verso = Verso::new();
    let path = verso.file(
        "large.db",
        &format!(
            "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; CREATE TABLE t(a INTEGER PRIMARY KEY, b);
             WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < {})
             INSERT INTO t SELECT i, randomblob(10000) FROM n;",
            FILE_MEGABYTES * 100
        ),
    );
    assert!(fs::metadata(&path).unwrap().len() > FILE_MEGABYTES * 1_000_000);
    let mut child = Command::new(assert_cmd::cargo::cargo_bin("verso"))
        .current_dir(verso.folder())
        .args(["--store", "sqlite:store.db", "import", "large.db", "large"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut peak = 0;
    let status = loop {
        peak = peak.max(peak_kilobytes(child.id()).unwrap_or(0));
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    assert!(status.success());
    assert!(peak > 1000, "the peak was not seen: {peak} kB");
    assert!(peak < LIMIT_KILOBYTES, "{peak} kB");
}

/// The most memory that a process ever had, from Linux's `/proc`.
fn peak_kilobytes(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}
