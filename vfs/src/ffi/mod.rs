//! The boundary to SQLite: all unsafe code of the crate.
//!
//! Every callback that can fail goes through [`guard`], so no panic crosses the boundary,
//! and every failure leaves a message behind.

#![expect(unsafe_code, reason = "SQLite's interface is one of raw pointers")]

mod api;
mod database_file;
mod file;
mod fork;
mod functions;
mod name;
mod super_journal;
mod tables;
mod thread;
mod vfs;

use std::ffi::{CStr, CString, c_int};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use libsqlite3_sys as sqlite;

use crate::error::{VfsError, remember};

pub(crate) use api::HostApi;
pub(crate) use database_file::BusyHandler;
pub use functions::add_functions;
pub(crate) use thread::spawn;
pub(crate) use vfs::register;
pub use vfs::register_with;

/// Runs a callback. A failure becomes its result code, and its message goes to
/// `sqlite3_log` and [`last_error`](crate::last_error).
fn guard(
    api: &api::HostApi,
    what: impl fmt::Display,
    callback: impl FnOnce() -> Result<c_int, VfsError>,
) -> c_int {
    match catch_unwind(AssertUnwindSafe(callback)) {
        Ok(Ok(code)) => code,
        Ok(Err(error)) => {
            let code = error.code();
            let message = if error.names_database() {
                error.to_string()
            } else {
                format!("{what}: {error}")
            };
            if matches!(error, VfsError::Repeat(_)) {
                // Nobody fails, so this is no last error.
                note(api, &message);
            } else {
                report(api, code, &message);
            }
            code
        }
        Err(panic) => {
            let text = panic_text(&*panic);
            report(
                api,
                sqlite::SQLITE_IOERR,
                &format!("{what}: internal error: {text}"),
            );
            sqlite::SQLITE_IOERR
        }
    }
}

/// Tells of something that went on by itself.
fn note(api: &api::HostApi, message: &str) {
    trace(|| tracing::debug!(message, "repeated"));
    let text = CString::new(message.replace('\0', " ")).unwrap_or_default();
    api.log(sqlite::SQLITE_NOTICE, &text);
}

fn report(api: &api::HostApi, code: c_int, message: &str) {
    trace(|| tracing::debug!(code, message, "failed"));
    let text = CString::new(message.replace('\0', " ")).unwrap_or_default();
    api.log(code, &text);
    remember(code, message.to_owned());
}

/// Traces. A subscriber of the host that panics, such as one whose stderr is gone, must neither
/// end the host nor change what SQLite is told.
fn trace(event: impl FnOnce()) {
    let _ = catch_unwind(AssertUnwindSafe(event));
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("unknown panic")
}

/// The text behind a C string, or `None` for a null pointer.
///
/// # Safety
/// `text` must be null, or a C string that lives as long as the result is used.
unsafe fn c_text<'a>(text: *const std::ffi::c_char) -> Option<&'a CStr> {
    // SAFETY: not null, so by contract a C string.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) })
}

#[cfg(test)]
mod tests {
    use tracing::span;

    use super::*;

    /// A subscriber that cannot write what it is told.
    struct Broken;

    impl tracing::Subscriber for Broken {
        fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
            true
        }
        fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
            span::Id::from_u64(1)
        }
        fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
        fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
        fn event(&self, _: &tracing::Event<'_>) {
            panic!("no place for it");
        }
        fn enter(&self, _: &span::Id) {}
        fn exit(&self, _: &span::Id) {}
    }

    #[test]
    fn a_failure_that_cannot_be_traced_is_told_to_sqlite() {
        let api = HostApi::linked();
        let fail = || guard(&api, "database app.db", || Err(VfsError::NoLock));
        let code = tracing::subscriber::with_default(Broken, fail);
        assert_eq!(code, sqlite::SQLITE_CANTOPEN);
        let told = crate::last_error().expect("the reason");
        assert!(told.contains("nolock=1"), "{told}");
    }
}
