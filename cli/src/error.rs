//! Errors as the user sees them: one line, and an exit code.

use std::error::Error;
use std::fmt;
use std::io;

use anyhow::anyhow;
use rusqlite::ErrorCode;

/// The exit code of an operation that failed.
pub(crate) const FAILED: u8 = 1;
/// The exit code of a command line that cannot be carried out as written.
pub(crate) const USAGE: u8 = 2;

/// The command line cannot be carried out as written.
#[derive(Debug)]
pub(crate) struct UsageError(pub(crate) String);

impl fmt::Display for UsageError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl Error for UsageError {}

/// How a command ended.
pub(crate) enum Outcome {
    /// It did what was asked, or its reader had seen enough.
    Done,
    /// It failed, with this exit code.
    Failed(u8),
}

impl Outcome {
    /// The outcome of a command with this result.
    pub(crate) fn of(result: &anyhow::Result<()>) -> Self {
        match result {
            Ok(()) => Self::Done,
            Err(error) if is_broken_pipe(error) => Self::Done,
            Err(error) if error.is::<UsageError>() => Self::Failed(USAGE),
            Err(_) => Self::Failed(FAILED),
        }
    }
}

/// Whether the reader of our output went away, as `head` does.
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

/// An error with its causes, in one line.
pub(crate) fn describe(error: &anyhow::Error) -> String {
    one_line(&format!("{error:#}"))
}

/// A text with its line breaks made spaces.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A failure of SQLite on a database of Verso, with what the VFS knows of its cause.
///
/// Must run on the thread that the failure happened on: the VFS keeps its message there.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the shape that map_err wants"
)]
pub(crate) fn sql_error(error: rusqlite::Error) -> anyhow::Error {
    let text = sqlite_message(&error);
    // SQLite's own words only say that the VFS failed; ours say why.
    let extended = extended_code(&error);
    anyhow!(extended.and_then(verso_vfs::last_error_of).unwrap_or(text))
}

/// What SQLite says, without the text of the statement.
pub(crate) fn sqlite_message(error: &rusqlite::Error) -> String {
    if let rusqlite::Error::SqliteFailure(_, Some(message)) = error {
        return message.clone();
    }
    if let rusqlite::Error::SqlInputError { msg, .. } = error {
        return msg.clone();
    }
    error.to_string()
}

/// The primary result code of an error of SQLite.
pub(crate) fn error_code(error: &rusqlite::Error) -> Option<ErrorCode> {
    ffi_error(error).map(|error| error.code)
}

/// The extended result code of an error of SQLite.
fn extended_code(error: &rusqlite::Error) -> Option<i32> {
    ffi_error(error).map(|error| error.extended_code)
}

fn ffi_error(error: &rusqlite::Error) -> Option<&rusqlite::ffi::Error> {
    if let rusqlite::Error::SqlInputError { error, .. } = error {
        return Some(error);
    }
    error.sqlite_error()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_one_line() {
        let error = anyhow!("first\n  second").context("outer");
        assert_eq!(describe(&error), "outer: first second");
    }

    #[test]
    fn outcomes_have_exit_codes() {
        let pipe = anyhow::Error::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert!(matches!(
            Outcome::of(&Err(pipe.context("writing"))),
            Outcome::Done
        ));
        let usage = anyhow::Error::from(UsageError("bad".into()));
        assert!(matches!(Outcome::of(&Err(usage)), Outcome::Failed(USAGE)));
        assert!(matches!(
            Outcome::of(&Err(anyhow!("x"))),
            Outcome::Failed(FAILED)
        ));
    }
}
