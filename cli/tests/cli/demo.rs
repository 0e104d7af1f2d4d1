//! `verso demo`, short.

use crate::common::Verso;

#[test]
fn the_demonstration_runs_and_leaves_nothing() {
    let verso = Verso::new();
    let mut command = verso.command();
    command.env("TMPDIR", verso.folder());
    let output = command
        .args(["demo", "--rows", "2000", "--seconds", "1"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{text}\n{error}");
    for part in [
        "writer 4",
        "reader 2",
        "each is there, once",
        "integrity_check: ok",
        "?at=",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(verso.names().is_empty(), "{:?}", verso.names());
}

#[test]
fn the_demonstration_keeps_its_store_if_asked() {
    let verso = Verso::new();
    let arguments = ["demo", "--rows", "1000", "--seconds", "1", "--dir", "kept"];
    let text = verso.ok(&arguments);
    assert!(text.contains("export VERSO_STORE="), "{text}");
    let again = verso.fails(1, &arguments);
    assert!(again.contains("exists"), "{again}");
    let store = ["--store", "sqlite:kept/verso.db"];
    verso.ok(&[&store[..], &["check", "shop"]].concat());
    let both = verso.fails(2, &[&store[..], &["demo"]].concat());
    assert!(both.contains("--dir"), "{both}");
}
