//! A super-journal: the list of journals of one transaction over several databases, whose
//! deletion is SQLite's commit (`vdbeCommit`).
//!
//! For databases of ours it lives in memory only. Once another file takes part, it is a real
//! one as well: whoever recovers that file after a crash looks for it.

use std::ffi::{CStr, c_int};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use libsqlite3_sys as sqlite;

use super::name;
use crate::database::ReadLength;
use crate::error::VfsError;
use crate::joint::{Joint, Verdict};
use crate::process::Process;

/// Opens a super-journal. One that is not ours belongs to another VFS, and is only read: by
/// a rollback that looks whether anybody still needs it.
pub(super) fn open(name: Option<&CStr>, flags: c_int) -> Result<Option<SuperJournal>, VfsError> {
    let name = name.unwrap_or_default().to_string_lossy();
    let Some(process) = Process::existing() else {
        return Ok(None);
    };
    let joint = if flags & sqlite::SQLITE_OPEN_CREATE != 0 {
        let taken = || VfsError::SuperJournal {
            path: name.clone().into_owned(),
            error: std::io::ErrorKind::AlreadyExists.into(),
        };
        Some(process.joints.begin(&name).ok_or_else(taken)?)
    } else {
        process.joints.find(&name)
    };
    Ok(joint.map(|joint| SuperJournal::new(name.into_owned(), joint)))
}

/// Whether SQLite is to be told that a super-journal exists. It does until every database of
/// its transaction has rolled back, or those that still have to would take it for committed.
pub(super) fn exists(path: &CStr) -> bool {
    find(path).is_some()
}

/// What is left to do where a file is deleted.
pub(super) enum Deletion {
    /// Nothing.
    Done,
    /// It is a file of the platform.
    OnPlatform {
        /// Whether the databases of ours have committed by its deletion.
        is_committed: bool,
    },
}

/// Deletes a super-journal. `vdbeCommit` alone asks for a sync: that is the commit. Rollbacks
/// delete super-journals too, once nobody needs them.
///
/// # Safety
/// Only inside a callback of the connection whose super-journal it is.
pub(super) unsafe fn delete(path: &CStr, is_commit: bool) -> Result<Deletion, VfsError> {
    let Some((process, joint)) = Process::existing().zip(find(path)) else {
        return Ok(if name::is_super_journal(path) {
            Deletion::OnPlatform {
                is_committed: false,
            }
        } else {
            Deletion::Done
        });
    };
    if is_commit {
        let handler = joint.handler();
        // SAFETY: passed on to the caller.
        joint.commit(&process.cache, &mut || unsafe { handler.call() })?;
    }
    Ok(if joint.is_real() {
        Deletion::OnPlatform {
            is_committed: joint.verdict() != Verdict::Refused,
        }
    } else {
        Deletion::Done
    })
}

fn find(path: &CStr) -> Option<Arc<Joint>> {
    let process = Process::existing()?;
    process.joints.find(&path.to_string_lossy())
}

/// The folder that a file is in.
#[cfg(unix)]
fn folder(path: &str) -> &Path {
    let folder = Path::new(path).parent();
    folder
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

pub(super) struct SuperJournal {
    name: String,
    joint: Arc<Joint>,
    /// What becomes of the names of databases that are not ours; `None` as long as there are
    /// none.
    real: Option<File>,
}

impl SuperJournal {
    const fn new(name: String, joint: Arc<Joint>) -> Self {
        Self {
            name,
            joint,
            real: None,
        }
    }

    /// SQLite writes one journal name at a time, with its zero byte.
    pub(super) fn write(&mut self, data: &[u8], offset: u64) -> Result<(), VfsError> {
        let content = self.joint.write_list(data, offset);
        let journal = CStr::from_bytes_until_nul(data).unwrap_or_default();
        // A local file may have the name of a database of ours, and then its journal exists.
        let is_local = || Path::new(&*journal.to_string_lossy()).exists();
        if self.real.is_none() && name::is_ours(journal) && !is_local() {
            return Ok(());
        }
        let result = match &mut self.real {
            Some(file) => file.write_all(data).and_then(|()| file.sync_data()),
            None => self.make_real(&content),
        };
        result.map_err(|error| VfsError::SuperJournal {
            path: self.name.clone(),
            error,
        })
    }

    fn make_real(&mut self, content: &[u8]) -> std::io::Result<()> {
        let mut file = File::create_new(&self.name)?;
        self.joint.set_real();
        file.write_all(content)?;
        file.sync_all()?;
        self.real = Some(file);
        // Were its name lost with the power, whoever recovers a local file would take the
        // transaction for committed, however much of it is written.
        #[cfg(unix)]
        File::open(folder(&self.name))?.sync_all()?;
        Ok(())
    }

    pub(super) fn read(&self, buffer: &mut [u8], offset: u64) -> ReadLength {
        let content = self.joint.list();
        let begin = usize::try_from(offset).unwrap_or(usize::MAX);
        let rest = content.get(begin..).unwrap_or_default();
        let (present, absent) = buffer.split_at_mut(rest.len().min(buffer.len()));
        present.copy_from_slice(rest.get(..present.len()).unwrap_or_default());
        absent.fill(0);
        if absent.is_empty() {
            ReadLength::Full
        } else {
            ReadLength::Short
        }
    }

    pub(super) fn length(&self) -> u64 {
        self.joint.list().len() as u64
    }
}
