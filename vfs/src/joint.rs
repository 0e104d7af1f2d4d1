//! One transaction over several databases, between the moment that SQLite has written the
//! first of them and the moment that all of them commit.
//!
//! Where SQLite makes a super-journal through this VFS, deleting it is the moment
//! (`vdbeCommit`). Where it makes none, or on another VFS, it is the first
//! `SQLITE_FCNTL_COMMIT_PHASETWO`: then each database was checked under its writer lease
//! before, so that the commit cannot lose.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use verso_pagestore::{CommitId, CommitOutcome, Durability};

use crate::cache::PageCache;
use crate::connection::{Connection, WhileLeased};
use crate::error::VfsError;
use crate::ffi::BusyHandler;
use crate::lease::Busy;
use crate::transaction::{Part, Transaction};

/// How far a joint transaction is.
enum Phase {
    /// Databases join. `None` before the first.
    Staging(Option<Transaction>),
    /// All of them are committed; `None` if none of them had changed.
    Committed(Option<(CommitOutcome, CommitId)>),
    /// None of them will be.
    Refused,
}

/// What a database that has joined learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing yet.
    Open,
    /// The transaction is committed; `None` if there was nothing to commit.
    Committed(Option<(CommitOutcome, CommitId)>),
    /// The transaction is refused, or rolled back.
    Refused,
}

/// One transaction over several databases.
pub(crate) struct Joint {
    /// Whether its super-journal is of this VFS, so that its deletion is the commit.
    is_own: bool,
    state: Mutex<JointState>,
}

struct JointState {
    phase: Phase,
    connection: Weak<Connection>,
    /// How a database that has joined waits.
    handler: BusyHandler,
    /// What SQLite wrote into the super-journal: names of journals, each with a zero byte.
    list: Vec<u8>,
    /// Whether there is a real file with this content.
    is_real: bool,
}

impl Joint {
    /// One whose super-journal is of this VFS, or not.
    pub(crate) fn new(is_own: bool) -> Arc<Self> {
        Arc::new(Self {
            is_own,
            state: Mutex::new(JointState {
                phase: Phase::Staging(None),
                connection: Weak::new(),
                handler: BusyHandler::NONE,
                list: Vec::new(),
                is_real: false,
            }),
        })
    }

    /// Adds a database.
    pub(crate) fn join(
        &self,
        connection: &Arc<Connection>,
        handler: BusyHandler,
        part: Part,
        durability: Durability,
    ) -> Result<(), VfsError> {
        let mut state = self.state.lock();
        state.connection = Arc::downgrade(connection);
        state.handler = handler;
        match &mut state.phase {
            Phase::Staging(Some(transaction)) => transaction.add(part, durability),
            Phase::Staging(none) => {
                *none = Some(Transaction::new(part, durability)?);
                Ok(())
            }
            Phase::Committed(_) | Phase::Refused => Err(VfsError::Overtaken),
        }
    }

    /// Checks all databases so far, those that were only read too, and keeps it so until the
    /// commit.
    pub(crate) fn prepare(&self, busy: Busy<'_>) -> Result<(), VfsError> {
        let Some((mut transaction, connection)) = self.take()? else {
            return Ok(());
        };
        if transaction.changes_anything() {
            connection.prepare(&mut transaction, busy)?;
        }
        self.state.lock().phase = Phase::Staging(Some(transaction));
        Ok(())
    }

    /// Takes the transaction out, to be worked on without its lock: databases ask for the
    /// phase. There is none if no database of ours has joined.
    fn take(&self) -> Result<Option<(Transaction, Arc<Connection>)>, VfsError> {
        let mut state = self.state.lock();
        let connection = state.connection.upgrade();
        let transaction = match &mut state.phase {
            Phase::Staging(transaction) => transaction.take(),
            Phase::Committed(_) | Phase::Refused => return Err(VfsError::Overtaken),
        };
        match (transaction, connection) {
            (Some(transaction), Some(connection)) => Ok(Some((transaction, connection))),
            (None, _) => Ok(None),
            // A connection lives as long as its transaction.
            (Some(_), None) => Err(VfsError::Unlocked),
        }
    }

    /// How to wait for this transaction.
    pub(crate) fn handler(&self) -> BusyHandler {
        self.state.lock().handler
    }

    /// Writes to the super-journal. The answer is its whole content.
    pub(crate) fn write_list(&self, data: &[u8], offset: u64) -> Vec<u8> {
        let list = &mut self.state.lock().list;
        list.resize(usize::try_from(offset).unwrap_or_default(), 0);
        list.extend_from_slice(data);
        list.clone()
    }

    /// The content of the super-journal.
    pub(crate) fn list(&self) -> Vec<u8> {
        self.state.lock().list.clone()
    }

    /// Remembers that the super-journal is a real file as well.
    pub(crate) fn set_real(&self) {
        self.state.lock().is_real = true;
    }

    pub(crate) fn is_real(&self) -> bool {
        self.state.lock().is_real
    }

    pub(crate) fn verdict(&self) -> Verdict {
        match &self.state.lock().phase {
            Phase::Staging(_) => Verdict::Open,
            Phase::Committed(outcome) => Verdict::Committed(*outcome),
            Phase::Refused => Verdict::Refused,
        }
    }

    /// Gives the transaction up, unless it is committed.
    pub(crate) fn refuse(&self) {
        let mut state = self.state.lock();
        if matches!(state.phase, Phase::Staging(_)) {
            state.phase = Phase::Refused;
        }
    }

    /// Commits all databases that have joined, and checks those that were only read.
    pub(crate) fn commit(&self, cache: &PageCache, busy: Busy<'_>) -> Result<(), VfsError> {
        if let Verdict::Committed(_) = self.verdict() {
            return Ok(());
        }
        let Some((mut transaction, connection)) = self.take()? else {
            return Ok(());
        };
        if !transaction.changes_anything() {
            self.state.lock().phase = Phase::Committed(None);
            return Ok(());
        }
        let result = connection.send(&mut transaction, cache, busy, WhileLeased::Wait);
        self.state.lock().phase = match &result {
            Ok(outcome) => Phase::Committed(Some((*outcome, transaction.id()))),
            Err(_) => Phase::Refused,
        };
        result.map(|_| ()).map_err(VfsError::of_several)
    }
}

/// The joint transactions of a process that have a super-journal, by its name.
#[derive(Default)]
pub(crate) struct Joints(Mutex<HashMap<String, Weak<Joint>>>);

impl Joints {
    /// Begins one, unless there is one of this name.
    pub(crate) fn begin(&self, super_journal: &str) -> Option<Arc<Joint>> {
        let mut joints = self.0.lock();
        joints.retain(|_, joint| joint.strong_count() > 0);
        if joints.contains_key(super_journal) {
            return None;
        }
        let joint = Joint::new(true);
        joints.insert(super_journal.to_owned(), Arc::downgrade(&joint));
        Some(joint)
    }

    /// Gives a transaction the name of its super-journal on another VFS. Until all of it has
    /// rolled back, SQLite must be told that the super-journal exists, even if whoever made it
    /// has removed it already.
    pub(crate) fn adopt(&self, super_journal: &str, joint: &Arc<Joint>) {
        let mut joints = self.0.lock();
        joints.insert(super_journal.to_owned(), Arc::downgrade(joint));
    }

    /// The one of this name, if its super-journal is of this VFS.
    pub(crate) fn find_own(&self, super_journal: &str) -> Option<Arc<Joint>> {
        self.find(super_journal).filter(|joint| joint.is_own)
    }

    /// The one of this name, as long as any database takes part in it.
    pub(crate) fn find(&self, super_journal: &str) -> Option<Arc<Joint>> {
        self.0.lock().get(super_journal).and_then(Weak::upgrade)
    }
}
