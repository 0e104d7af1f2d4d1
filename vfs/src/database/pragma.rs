//! Pragmas about the database itself, for hosts that cannot call functions.

use std::ffi::CString;

use verso_pagestore::{Moment, UnixMillis};

use super::{Database, Known, State};
use crate::error::VfsError;
use crate::open::Follow;
use crate::pragma::PragmaAnswer;

impl Database {
    /// Handles `PRAGMA name = value`. `in_transaction` says that a transaction was begun.
    pub(crate) fn pragma(
        &mut self,
        name: &str,
        value: Option<&str>,
        in_transaction: bool,
    ) -> PragmaAnswer {
        let answer = match name.to_ascii_lowercase().as_str() {
            "verso_version" => self.present().map(|present| Some(present.version)),
            "verso_at" => {
                let is_idle = matches!(self.state, State::Idle) && !in_transaction;
                let moved = value.map_or(Ok(()), |moment| self.move_to(moment, is_idle));
                moved.map(|()| self.pinned_version())
            }
            _ => return self.settings.pragma(name, value, in_transaction),
        };
        match answer {
            Ok(Some(version)) => {
                PragmaAnswer::Row(CString::new(version.to_string()).unwrap_or_default())
            }
            Ok(None) => PragmaAnswer::NoRow,
            Err(error) => PragmaAnswer::Failure(error),
        }
    }

    /// Reads from now on as of a moment of the past, or the newest state again.
    fn move_to(&mut self, moment: &str, is_idle: bool) -> Result<(), VfsError> {
        if !is_idle {
            return Err(VfsError::InTransaction);
        }
        self.store.renew()?;
        let mut newest = ["newest", "null", ""].into_iter();
        self.follow = if newest.any(|word| moment.eq_ignore_ascii_case(word)) {
            Follow::Newest
        } else {
            let moment = Moment::parse(moment, UnixMillis::now())?;
            Follow::Pinned(self.store.pages()?.snapshot_at(&self.name, moment)?)
        };
        // What SQLite has in its cache is of another time, and so is what is known of changes.
        self.show_change();
        self.since = None;
        self.known = Known::Overtaken;
        Ok(())
    }
}
