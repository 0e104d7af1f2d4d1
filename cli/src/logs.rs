//! The log of a command that goes on running: to standard error.

use std::io;

use tracing_subscriber::EnvFilter;

use crate::error::UsageError;

/// What the log is like.
#[derive(Debug, clap::Args)]
pub(crate) struct LogArgs {
    /// The form of log lines
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "text")]
    log_format: LogFormat,
    /// What is logged: error, warn, info, debug or trace, also by module, as in
    /// info,h2=warn
    #[arg(
        long,
        value_name = "LEVEL",
        env = "VERSO_LOG_LEVEL",
        default_value = "info"
    )]
    log_level: String,
}

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Begins to log.
pub(crate) fn install(args: &LogArgs) -> Result<(), UsageError> {
    let filter = EnvFilter::builder().parse(&args.log_level);
    let filter = filter.map_err(|error| {
        let level = &args.log_level;
        UsageError(format!(
            "{level:?} is no log level ({error}): give one such as info"
        ))
    })?;
    let log = tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_env_filter(filter);
    match args.log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
    Ok(())
}
