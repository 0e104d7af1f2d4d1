//! Commit: the second of the two data paths.
//!
//! One attempt is one key-value transaction: check, apply, record. The check reads the
//! changelog since the snapshot, which also finds this very commit if an earlier attempt
//! took effect without anybody hearing of it.

use std::collections::BTreeSet;

use bytes::Bytes;
use verso_pagestore::{
    Change, CommitError, CommitId, CommitOutcome, CommitRecord, CommitRequest, Conflict,
    DatabaseId, PageNumber, PageWrite, Participant, RoaringBitmap, Snapshot, Version, header,
};

use crate::kv::{
    Isolation, KeyRange, Kv, KvError, KvTransaction, RangeQuery, RunError, attempts, look,
};
use crate::stage::unstage;
use crate::{Engine, conflict, keys, log, record};

/// So many commit records are in memory at a time.
const COMMITS_AT_ONCE: usize = 1000;

/// Most read conflict ranges of one participant; more are merged, nearest first.
const MOST_CONFLICT_RANGES: usize = 2000;

impl<K: Kv> Engine<K> {
    pub(crate) fn commit_transaction(
        &self,
        request: &CommitRequest,
    ) -> Result<CommitOutcome, CommitError> {
        validate(request)?;
        if request
            .participants
            .iter()
            .all(|part| part.change.is_none())
        {
            let reason = "it changes no database".into();
            return Err(CommitError::Invalid { reason });
        }
        let mut unknown = None;
        let result = attempts(|| {
            let result = self.attempt(request);
            if let Err(RunError::Kv(KvError::CommitUnknown(reason))) = &result {
                tracing::debug!(commit = %request.id, reason, "commit result unknown");
                unknown = Some(reason.clone());
            }
            result
        });
        result.map_err(|error| match error {
            RunError::Abort(refusal) => refusal,
            RunError::Kv(error) => self.commit_error(error, unknown),
        })
    }

    /// The checks of a commit, and nothing else.
    pub(crate) fn validate_transaction(&self, request: &CommitRequest) -> Result<(), CommitError> {
        validate(request)?;
        self.finish(look(&self.kv, |transaction| {
            self.check_all(transaction, request).map(|_| ())
        }))
    }

    fn attempt(&self, request: &CommitRequest) -> Result<CommitOutcome, RunError<CommitError>> {
        let mut transaction = self.kv.begin()?;
        if let Some(version) = self.check_all(&mut transaction, request)? {
            return Ok(CommitOutcome {
                version,
                read_version: transaction.read_version()?,
            });
        }
        for participant in &request.participants {
            guard(&mut transaction, request, participant)?;
            let database = participant.snapshot.database;
            if participant.lease.is_some() {
                let record = self.lease_record::<CommitError>(&mut transaction, database)?;
                transaction.set(&keys::lease(database), &record.released().encode());
            }
            if let Some(change) = &participant.change {
                self.apply(&mut transaction, request.id, database, change)?;
            }
        }
        let committed = transaction.commit(request.durability)?;
        let version = committed
            .versionstamp
            .expect("a commit writes commit records");
        Ok(CommitOutcome {
            version,
            read_version: committed.read_version,
        })
    }

    /// Whether the transaction may commit. The answer is the version that it made, if an
    /// earlier attempt took effect.
    fn check_all(
        &self,
        transaction: &mut K::Transaction,
        request: &CommitRequest,
    ) -> Result<Option<Version>, RunError<CommitError>> {
        let mut conflicts = Vec::with_capacity(request.participants.len());
        for participant in &request.participants {
            match self.look_since(transaction, request.id, participant)? {
                Past::Committed(version) => return Ok(Some(version)),
                Past::Others(conflict) => conflicts.push(conflict),
            }
        }
        for (participant, conflict) in request.participants.iter().zip(conflicts) {
            if let Some(conflict) = conflict {
                return Err(RunError::Abort(CommitError::Conflict(conflict)));
            }
            self.check_lease(transaction, participant)?;
        }
        Ok(None)
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
            Some(lease) if record.is_held_as(lease) => Ok(()),
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
        let Snapshot {
            database,
            mut version,
            ..
        } = participant.snapshot;
        let reads = read_set(participant);
        let mut conflict = None;
        loop {
            let query = RangeQuery::first(COMMITS_AT_ONCE, keys::log_after(database, version));
            let commits = self.commits(transaction, &query)?;
            if let Some(own) = commits.iter().find(|commit| commit.id == id) {
                return Ok(Past::Committed(own.version));
            }
            conflict = conflict.or_else(|| first_conflict(database, &reads, &commits));
            match commits.last() {
                Some(last) if commits.len() == COMMITS_AT_ONCE => version = last.version,
                _ => return Ok(Past::Others(conflict)),
            }
        }
    }

    /// Writes the page records and the commit record.
    fn apply(
        &self,
        transaction: &mut K::Transaction,
        id: CommitId,
        database: DatabaseId,
        change: &Change,
    ) -> Result<(), RunError<CommitError>> {
        let mut pages = RoaringBitmap::new();
        for write in &change.writes {
            if change.page_count.contains(write.number) {
                pages.insert(write.number.get());
                let prefix = keys::page_prefix(database, write.number);
                transaction.set_versionstamped(&prefix, &record::encode(&stored(write)));
            }
        }
        if !change.staged.is_empty() {
            let limit = self.kv.limits().transaction_bytes;
            pages |= unstage(transaction, id, database, change, limit)?;
        }
        let commit = log::encode_commit(
            (self.clock)(),
            id,
            Some(change.page_size),
            change.page_count,
            &pages,
        );
        transaction.set_versionstamped(&keys::log_prefix(database), &commit);
        Ok(())
    }

    fn commit_error(&self, error: KvError, unknown: Option<String>) -> CommitError {
        match (error, unknown) {
            (_, Some(reason)) => CommitError::Unknown { reason },
            (KvError::TooLarge { bytes, limit }, None) => CommitError::TooLarge {
                bytes: u64::try_from(bytes).unwrap_or(u64::MAX),
                limit: u64::try_from(limit).unwrap_or(u64::MAX),
            },
            (error, None) => self.store_error(error).into(),
        }
    }
}

/// What was committed to a database since a snapshot.
enum Past {
    /// This very commit, by an earlier attempt.
    Committed(Version),
    /// Commits of others, and the first that is in the way.
    Others(Option<Conflict>),
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

/// Adds what must stay unchanged until this transaction commits, and what makes two
/// attempts at one commit exclude each other.
fn guard<T: KvTransaction>(
    transaction: &mut T,
    request: &CommitRequest,
    participant: &Participant,
) -> Result<(), RunError<CommitError>> {
    let database = participant.snapshot.database;
    // Serializable: a removal between here and the commit is a conflict.
    if transaction
        .get(&keys::info(database), Isolation::Serializable)?
        .is_none()
    {
        return Err(RunError::Abort(CommitError::Removed { database }));
    }
    for range in conflict::ranges(&read_set(participant), MOST_CONFLICT_RANGES) {
        let page = |number| PageNumber::new(number).unwrap_or(PageNumber::FIRST);
        let (first, last) = (page(*range.start()), page(*range.end()));
        transaction.add_read_conflict(keys::pages(database, first, last));
    }
    let commit = KeyRange::single(&keys::commit(database, request.id));
    transaction.add_read_conflict(commit.clone());
    transaction.add_write_conflict(commit);
    Ok(())
}

/// What a participant depends on: what it read, and if it changes something also what it
/// overwrites, and page 1, of which the size of the database is a part.
fn read_set(participant: &Participant) -> RoaringBitmap {
    let mut reads = participant.reads.clone();
    if let Some(change) = &participant.change {
        reads.extend(change.writes.iter().map(|write| write.number.get()));
        reads |= &change.staged;
        reads.insert(PageNumber::FIRST.get());
    }
    reads.remove(0);
    reads
}

/// Page contents as they are stored: page 1 without its volatile fields.
pub(crate) fn stored(write: &PageWrite) -> Bytes {
    if write.number != PageNumber::FIRST {
        return write.page.clone();
    }
    let mut page = write.page.to_vec();
    header::normalize(&mut page);
    page.into()
}

fn validate(request: &CommitRequest) -> Result<(), CommitError> {
    let invalid = |reason: String| Err(CommitError::Invalid { reason });
    let mut databases = BTreeSet::new();
    for participant in &request.participants {
        let database = participant.snapshot.database;
        if !databases.insert(database) {
            return invalid(format!("it names database {database} twice"));
        }
        if participant
            .lease
            .is_some_and(|lease| lease.database != database)
        {
            return invalid(format!("its lease is not that of database {database}"));
        }
        if let Some(change) = &participant.change {
            validate_change(&participant.snapshot, change)?;
        }
    }
    Ok(())
}

fn validate_change(snapshot: &Snapshot, change: &Change) -> Result<(), CommitError> {
    let database = snapshot.database;
    let invalid = |reason: String| Err(CommitError::Invalid { reason });
    let mut pages = change.staged.clone();
    for PageWrite { number, page } in &change.writes {
        if page.len() != change.page_size.length() {
            return invalid(format!(
                "page {number} of database {database} has {} bytes, and the page size is {}",
                page.len(),
                change.page_size
            ));
        }
        if !pages.insert(number.get()) {
            return invalid(format!(
                "it writes page {number} of database {database} twice"
            ));
        }
    }
    match unwritten(snapshot, change, &pages) {
        Some(page) => invalid(format!(
            "page {page} of database {database} is new and not written"
        )),
        None => Ok(()),
    }
}

/// A page that the database has after the commit, but of which no record of the right size
/// would exist.
fn unwritten(snapshot: &Snapshot, change: &Change, written: &RoaringBitmap) -> Option<u32> {
    let kept = if snapshot.page_size == Some(change.page_size) {
        snapshot.page_count.get().min(change.page_count.get())
    } else {
        0
    };
    let (mut next, last) = (kept.checked_add(1)?, change.page_count.get());
    let mut written = written.iter();
    written.advance_to(next);
    while next <= last {
        match written.next_range() {
            Some(run) if *run.start() <= next => next = run.end().checked_add(1)?,
            _ => return Some(next),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use verso_pagestore::{PageCount, PageSize};

    use super::*;

    fn first_unwritten(kept: u32, count: u32, written: &RoaringBitmap) -> Option<u32> {
        let page_size = PageSize::new(512).unwrap();
        let snapshot = Snapshot {
            database: DatabaseId::new(1),
            version: Version::from_commit(1, 0),
            commit: CommitId::from_bytes([0; 16]),
            read_version: 0,
            page_size: Some(page_size),
            page_count: PageCount::new(kept),
        };
        let change = Change {
            writes: Vec::new(),
            staged: RoaringBitmap::new(),
            page_size,
            page_count: PageCount::new(count),
        };
        unwritten(&snapshot, &change, written)
    }

    #[test]
    fn every_new_page_must_be_written() {
        let written = RoaringBitmap::from_iter([1, 4, 5, 7]);
        assert_eq!(first_unwritten(3, 3, &written), None);
        assert_eq!(first_unwritten(5, 3, &written), None);
        assert_eq!(first_unwritten(3, 5, &written), None);
        assert_eq!(first_unwritten(4, 5, &written), None);
        assert_eq!(first_unwritten(3, 6, &written), Some(6));
        assert_eq!(first_unwritten(0, 5, &written), Some(2));
        assert_eq!(first_unwritten(5, 9, &written), Some(6));
        assert_eq!(first_unwritten(6, 9, &written), Some(8));
        assert_eq!(first_unwritten(7, 9, &written), Some(8));
        // Each of its pages would take a minute.
        assert_eq!(first_unwritten(0, u32::MAX, &RoaringBitmap::full()), None);
        assert_eq!(first_unwritten(u32::MAX, u32::MAX, &written), None);
    }
}
