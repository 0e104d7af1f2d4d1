//! What a commit looks at before it writes: commits of others, its own, and the lease.

use verso_pagestore::{
    CommitError, CommitId, CommitRecord, CommitRequest, Conflict, DatabaseId, PageNumber,
    Participant, RoaringBitmap, Snapshot, Version,
};

use crate::kv::{Isolation, Kv, KvTransaction, RangeQuery, RunError};
use crate::{Engine, conflict, keys};

/// So many commit records are in memory at a time.
const COMMITS_AT_ONCE: usize = 1000;

impl<K: Kv> Engine<K> {
    /// Whether the transaction may commit. The answer is the version that it made, if an
    /// earlier attempt took effect.
    pub(crate) fn check_all(
        &self,
        transaction: &mut K::Transaction,
        request: &CommitRequest,
    ) -> Result<Option<Version>, RunError<CommitError>> {
        let obstacles = match self.look_at_all(transaction, request)? {
            Earlier::Committed(version) => return Ok(Some(version)),
            Earlier::Others(obstacles) => obstacles,
        };
        for (participant, obstacle) in request.participants.iter().zip(obstacles) {
            if let Some(obstacle) = obstacle {
                return Err(RunError::Abort(obstacle));
            }
            self.check_lease(transaction, participant)?;
        }
        Ok(None)
    }

    /// Looks at all databases before anything is refused: if an earlier attempt took effect,
    /// any one of them may have been changed or removed since.
    pub(crate) fn look_at_all(
        &self,
        transaction: &mut K::Transaction,
        request: &CommitRequest,
    ) -> Result<Earlier, RunError<CommitError>> {
        let mut obstacles = Vec::with_capacity(request.participants.len());
        for participant in &request.participants {
            obstacles.push(
                match self.look_since(transaction, request.id, participant)? {
                    Past::Committed(version) => return Ok(Earlier::Committed(version)),
                    Past::Others(conflict) => conflict.map(CommitError::Conflict),
                    Past::Removed => {
                        let Snapshot { database, .. } = participant.snapshot;
                        Some(CommitError::Removed { database })
                    }
                },
            );
        }
        Ok(Earlier::Others(obstacles))
    }

    /// Refuses a commit while somebody else holds the lease. What only reads a database
    /// makes nobody lose there, and so need not wait for its writer.
    fn check_lease(
        &self,
        transaction: &mut K::Transaction,
        participant: &Participant,
    ) -> Result<(), RunError<CommitError>> {
        if participant.lease.is_none() && participant.change.is_none() {
            return Ok(());
        }
        let database = participant.snapshot.database;
        let record = self.lease_record::<CommitError>(transaction, database)?;
        match &participant.lease {
            Some(lease) if record.is_held_as(lease) && record.publishing().is_none() => Ok(()),
            Some(_) => Err(RunError::Abort(CommitError::LeaseLost { database })),
            None if record.is_held() => Err(RunError::Abort(CommitError::Leased { database })),
            None => Ok(()),
        }
    }

    /// Looks at what was committed since the snapshot, some commits at a time: there may be any
    /// number of them.
    fn look_since(
        &self,
        transaction: &mut K::Transaction,
        id: CommitId,
        participant: &Participant,
    ) -> Result<Past, RunError<CommitError>> {
        let snapshot = participant.snapshot;
        let database = snapshot.database;
        let reads = read_set(participant);
        let mut conflict = None;
        let mut range = keys::log_from(database, snapshot.version);
        let mut base = Some((snapshot.version, snapshot.commit));
        loop {
            let query = RangeQuery::first(COMMITS_AT_ONCE, range);
            let commits = self.commits(transaction, &query)?;
            let since = match (base.take(), commits.split_first()) {
                (None, _) => commits.as_slice(),
                (Some(base), Some((first, since))) if base == (first.version, first.id) => since,
                (Some(_), _) => return Ok(Past::Removed),
            };
            if let Some(own) = since.iter().find(|commit| commit.id == id) {
                return Ok(Past::Committed(own.version));
            }
            conflict = conflict.or_else(|| first_conflict(database, &reads, since));
            match commits.last() {
                Some(last) if commits.len() == COMMITS_AT_ONCE => {
                    range = keys::log_after(database, last.version);
                }
                _ => return Ok(Past::Others(conflict)),
            }
        }
    }
}

/// What was committed since the snapshots of a transaction.
pub(crate) enum Earlier {
    /// The transaction, by an earlier attempt.
    Committed(Version),
    /// Not the transaction. Of each participant, what is in its way.
    Others(Vec<Option<CommitError>>),
}

/// What was committed to a database since a snapshot.
enum Past {
    /// This very commit, by an earlier attempt.
    Committed(Version),
    /// Commits of others, and the first that is in the way.
    Others(Option<Conflict>),
    /// The commit of the snapshot is not in the changelog: the database was removed. It may have
    /// been created anew since, by a request that was asked again.
    Removed,
}

fn first_conflict(
    database: DatabaseId,
    reads: &RoaringBitmap,
    commits: &[CommitRecord],
) -> Option<Conflict> {
    let (page, winner) = conflict::find(commits, reads)?;
    let page = PageNumber::new(page).unwrap_or(PageNumber::FIRST);
    Some(Conflict {
        database,
        page,
        winner,
    })
}

/// An error if the database was removed, now or until this transaction commits.
pub(crate) fn must_exist<T: KvTransaction>(
    transaction: &mut T,
    database: DatabaseId,
) -> Result<(), RunError<CommitError>> {
    let info = transaction.get(&keys::info(database), Isolation::Serializable)?;
    match info {
        Some(_) => Ok(()),
        None => Err(RunError::Abort(CommitError::Removed { database })),
    }
}

/// What a participant depends on: what it read, and if it changes something also what it
/// overwrites, and page 1, of which the size of the database is a part.
pub(crate) fn read_set(participant: &Participant) -> RoaringBitmap {
    let mut reads = participant.reads.clone();
    if let Some(change) = &participant.change {
        reads |= change.written();
        reads.insert(PageNumber::FIRST.get());
    }
    reads.remove(0);
    reads
}
