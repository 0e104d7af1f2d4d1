//! `VERSO_LOG`: where the library's own log goes. Without it there is none.

use std::fs::OpenOptions;
use std::sync::Mutex;

use tracing_subscriber::fmt;

/// `stderr`, or the path of a file that is appended to.
const VARIABLE: &str = "VERSO_LOG";

/// Starts logging if it is asked for. A host that traces already keeps its own.
pub(crate) fn start() -> Result<(), String> {
    let Ok(target) = std::env::var(VARIABLE) else {
        return Ok(());
    };
    let builder = fmt().with_max_level(tracing::Level::DEBUG).with_ansi(false);
    let _already = match target.as_str() {
        "" | "0" => return Ok(()),
        "stderr" | "1" => builder.with_writer(std::io::stderr).try_init(),
        path => {
            let file = OpenOptions::new().create(true).append(true).open(path);
            let file = file.map_err(|error| {
                format!("{VARIABLE}={path} cannot be written: {error}; use stderr or a path")
            })?;
            builder.with_writer(Mutex::new(file)).try_init()
        }
    };
    Ok(())
}
