//! The systemd unit: `systemd-analyze` finds nothing wrong with it, and it leaves a node the time
//! that it takes to end.

use std::process::Command;

use verso_server::Limits;

const UNIT: &str = include_str!("../../../../packaging/systemd/verso.service");

fn setting(name: &str) -> &'static str {
    let mut lines = UNIT.lines().filter_map(|line| line.strip_prefix(name));
    lines.find_map(|rest| rest.strip_prefix('=')).unwrap()
}

#[test]
fn systemd_takes_the_unit() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("verso.service");
    // The command is not installed here; any that is will do.
    let unit = UNIT.replace("ExecStart=/usr/local/bin/verso", "ExecStart=/bin/true");
    assert_ne!(unit, UNIT);
    std::fs::write(&copy, unit).unwrap();
    let analyze = Command::new("systemd-analyze")
        .arg("verify")
        .arg(&copy)
        .output();
    let output = analyze.expect("systemd-analyze is needed (apt-get install systemd)");
    let said = String::from_utf8_lossy(&output.stderr);
    // Other units of the machine are not ours.
    let ours: Vec<_> = said.lines().filter(|line| line.contains("verso")).collect();
    assert!(output.status.success() && ours.is_empty(), "{said}");
}

#[test]
fn systemd_waits_for_longer_than_a_shutdown_takes() {
    let seconds: u64 = setting("TimeoutStopSec").parse().unwrap();
    assert!(seconds > Limits::default().shutdown.as_secs());
}

#[test]
fn every_connection_has_a_descriptor() {
    let descriptors: usize = setting("LimitNOFILE").parse().unwrap();
    assert!(descriptors > Limits::default().connections);
}
