//! Hosts that come from package registries: where the setup scripts of this folder put them.

use std::path::PathBuf;

/// The folder `hosts` in cargo's target folder, or the one that `VERSO_HOSTS` names.
pub(crate) fn folder() -> PathBuf {
    if let Some(folder) = std::env::var_os("VERSO_HOSTS") {
        return folder.into();
    }
    // The test programs are in `target/debug/deps`.
    let program = std::env::current_exe().expect("the test program has a path");
    let target = program.ancestors().nth(3).expect("cargo's folders");
    target.join("hosts")
}

/// Says that a host is not there, which fails if `VERSO_REQUIRE_HOSTS` lists it.
pub(crate) fn missing(host: &str, told: &str) {
    let required = std::env::var("VERSO_REQUIRE_HOSTS").unwrap_or_default();
    assert!(!required.split(' ').any(|name| name == host), "{told}");
    println!("skipped: {told}");
}
