//! What a commit looks at before it writes: commits of others, its own, and the lease.

use verso_pagestore::{
    CommitError, CommitId, CommitRecord, CommitRequest, Conflict, DatabaseId, PageNumber,
    Participant, RoaringBitmap, Snapshot, Version,
};

use crate::kv::{Isolation, KeyValue, Kv, KvTransaction, RangeQuery, RunError};
use crate::lease::{LeaseRecord, next_in_queue};
use crate::read::News;
use crate::{Engine, conflict, keys};

/// So many commit records are in memory at a time.
const COMMITS_AT_ONCE: usize = 1000;

impl<K: Kv> Engine<K> {
    /// Whether the transaction may commit, as far as others do not change what was read here.
    pub(crate) fn check_all(
        &self,
        transaction: &mut K::Transaction,
        request: &CommitRequest,
    ) -> Result<Earlier, RunError<CommitError>> {
        let earlier = self.look_at_all(transaction, request)?;
        if let Earlier::Others(found) = &earlier {
            for (participant, found) in request.participants.iter().zip(found) {
                if let Some(obstacle) = &found.obstacle {
                    return Err(RunError::Abort(obstacle.clone()));
                }
                check_lease(participant, &found.lease)?;
            }
        }
        Ok(earlier)
    }

    /// Looks at all databases before anything is refused: if an earlier attempt took effect,
    /// any one of them may have been changed or removed since.
    pub(crate) fn look_at_all(
        &self,
        transaction: &mut K::Transaction,
        request: &CommitRequest,
    ) -> Result<Earlier, RunError<CommitError>> {
        let mut queries = Vec::with_capacity(request.participants.len());
        for Participant {
            snapshot, lease, ..
        } in &request.participants
        {
            let range = keys::log_and_lease_from(snapshot.database, snapshot.version);
            queries.push(RangeQuery::first(COMMITS_AT_ONCE, range));
            if lease.is_some() {
                queries.push(next_in_queue(snapshot.database));
            }
        }
        let mut answers = transaction
            .ranges(&queries, Isolation::Snapshot)?
            .into_iter();
        let mut all = Vec::with_capacity(request.participants.len());
        for participant in &request.participants {
            let log = answers.next().unwrap_or_default();
            let queue = participant.lease.and_then(|_| answers.next());
            let (past, lease) = self.look_since(transaction, request.id, participant, log)?;
            let obstacle = match past {
                Past::Committed(version) => return Ok(Earlier::Committed(version)),
                Past::Others(conflict) => conflict.map(CommitError::Conflict),
                Past::Removed => {
                    let Snapshot { database, .. } = participant.snapshot;
                    Some(CommitError::Removed { database })
                }
            };
            all.push(Found {
                obstacle,
                lease,
                queue: queue.unwrap_or_default(),
            });
        }
        Ok(Earlier::Others(all))
    }

    /// Looks at what was committed since the snapshot, some commits at a time: there may be any
    /// number of them. `pairs` are the first of them, or all, and the lease.
    fn look_since(
        &self,
        transaction: &mut K::Transaction,
        id: CommitId,
        participant: &Participant,
        mut pairs: Vec<KeyValue>,
    ) -> Result<(Past, LeaseRecord), RunError<CommitError>> {
        let snapshot = participant.snapshot;
        let database = snapshot.database;
        let reads = read_set(participant);
        let mut conflict = None;
        let mut base = Some((snapshot.version, snapshot.commit));
        loop {
            let News { commits, lease, .. } = self.decode_news(database, &pairs)?;
            let since = match (base.take(), commits.split_first()) {
                (None, _) => commits.as_slice(),
                (Some(base), Some((first, since))) if base == (first.version, first.id) => since,
                (Some(_), _) => return Ok((Past::Removed, lease)),
            };
            if let Some(own) = since.iter().find(|commit| commit.id == id) {
                return Ok((Past::Committed(own.version), lease));
            }
            conflict = conflict.or_else(|| first_conflict(database, &reads, since));
            // The lease lies behind the last commit.
            let is_whole = pairs.len() < COMMITS_AT_ONCE;
            let last = commits.last().map_or(snapshot.version, |last| last.version);
            if is_whole {
                return Ok((Past::Others(conflict), lease));
            }
            let range = keys::log_and_lease_after(database, last);
            let query = RangeQuery::first(COMMITS_AT_ONCE, range);
            pairs = transaction.range(&query, Isolation::Snapshot)?;
        }
    }
}

/// Refuses a commit while somebody else holds the lease. What only reads a database
/// makes nobody lose there, and so need not wait for its writer.
fn check_lease(
    participant: &Participant,
    record: &LeaseRecord,
) -> Result<(), RunError<CommitError>> {
    let database = participant.snapshot.database;
    match &participant.lease {
        None if participant.change.is_none() || !record.is_held() => Ok(()),
        None => Err(RunError::Abort(CommitError::Leased { database })),
        Some(lease) if record.is_held_as(lease) && record.publishing().is_none() => Ok(()),
        Some(_) => Err(RunError::Abort(CommitError::LeaseLost { database })),
    }
}

/// What there is of a database beside a transaction.
pub(crate) struct Found {
    /// What is in its way.
    pub(crate) obstacle: Option<CommitError>,
    /// The lease. Only what writes the database, or holds it, depends on it.
    pub(crate) lease: LeaseRecord,
    /// Who is next, if the transaction holds the lease.
    pub(crate) queue: Vec<KeyValue>,
}

/// What was committed since the snapshots of a transaction.
pub(crate) enum Earlier {
    /// The transaction, by an earlier attempt.
    Committed(Version),
    /// Not the transaction. Of each participant, what there is.
    Others(Vec<Found>),
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
