//! `VERSO_LOG`: where the library's own log goes. Without it there is none.

use std::fs::OpenOptions;
use std::sync::Mutex;

use tracing_subscriber::fmt;

/// `stderr`, or the path of a file that is appended to.
const VARIABLE: &str = "VERSO_LOG";

/// Starts logging if it is asked for. A host that traces already keeps its own.
pub(crate) fn start() -> Result<(), String> {
    let target = std::env::var_os(VARIABLE).unwrap_or_default();
    let builder = fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_ansi(false)
        // It would tell of a log that cannot be written on stderr, and panic if that cannot.
        .log_internal_errors(false);
    let _already = match target.to_str() {
        Some("" | "0") => return Ok(()),
        Some("stderr" | "1") => builder.with_writer(std::io::stderr).try_init(),
        _ => {
            let file = OpenOptions::new().create(true).append(true).open(&target);
            let file = file.map_err(|error| {
                let path = target.to_string_lossy();
                format!("{VARIABLE}={path} cannot be written: {error}; use stderr or a path")
            })?;
            builder.with_writer(Mutex::new(file)).try_init()
        }
    };
    Ok(())
}
