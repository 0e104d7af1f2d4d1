//! Commit: the second of the two data paths.
//!
//! One attempt is one key-value transaction: check, apply, record. The first attempt of a young
//! transaction leaves the check to the key-value store, and is one round trip. Every further one
//! reads the changelog since the snapshot, which also finds this very commit if an earlier attempt
//! took effect without anybody hearing of it.

use std::ops::RangeInclusive;

use bytes::Bytes;
use verso_pagestore::{
    Change, CommitError, CommitId, CommitOutcome, CommitRequest, DatabaseId, Lease, LeaseStanding,
    PageNumber, PageWrite, Participant, RoaringBitmap, header,
};

use crate::check::{Earlier, Found, read_set};
use crate::kv::{
    Isolation, KeyRange, KeyValue, Kv, KvError, KvTransaction, LateRanges, RunError, attempts, look,
};
use crate::lease::{LeaseRecord, next_in_queue};
use crate::stage::unstage;
use crate::validate::validate;
use crate::{Engine, conflict, counts, keys, log, record};

/// Most read conflict ranges of one participant; more are merged, nearest first.
const MOST_CONFLICT_RANGES: usize = 2000;

impl<K: Kv> Engine<K> {
    pub(crate) fn commit_transaction(
        &self,
        request: &CommitRequest,
    ) -> Result<CommitOutcome, CommitError> {
        validate(request)?;
        let is_reader = |part: &Participant| part.change.is_none();
        if request.participants.iter().all(is_reader) {
            let reason = "it changes no database".into();
            return Err(CommitError::Invalid { reason });
        }
        let result = if self.is_large(request) {
            self.publish(request)
        } else {
            self.commit_at_once(request)
        };
        // It will never be, and nobody will ask for its pages.
        if let Err(
            CommitError::Conflict(_) | CommitError::LeaseLost { .. } | CommitError::TooLarge { .. },
        ) = &result
            && has_staged(request)
        {
            self.abandon(request);
        }
        result
    }

    /// A commit in one key-value transaction.
    fn commit_at_once(&self, request: &CommitRequest) -> Result<CommitOutcome, CommitError> {
        let mut unknown = None;
        let mut direct = self.direct_version(request);
        let result = attempts(&self.kv, || {
            let (kind, result) = match direct.take() {
                Some(read_version) => ("direct", self.attempt_direct(request, read_version)),
                None => ("checked", self.attempt_checked(request)),
            };
            counts::attempt(kind, &result);
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

    /// The read version of the snapshots, if the key-value store's own conflict check can answer
    /// all that a commit must know: then it is one round trip, or two under the lease.
    ///
    /// Since then nobody has taken a lease, removed a database, or written a page of the read set,
    /// or else it is a conflict. That goes for earlier attempts at this commit, too.
    fn direct_version(&self, request: &CommitRequest) -> Option<u64> {
        if has_staged(request) || !request.participants.iter().all(is_as_begun) {
            return None;
        }
        let snapshots = || request.participants.iter().map(|part| &part.snapshot);
        let oldest = snapshots().map(|snapshot| snapshot.read_version).min()?;
        let is_cheap = self.kv.is_young(oldest)
            || snapshots().all(|snapshot| self.is_known_as_newest(snapshot));
        is_cheap.then_some(oldest)
    }

    /// Commits on conditions, which the key-value store checks.
    fn attempt_direct(
        &self,
        request: &CommitRequest,
        read_version: u64,
    ) -> Result<CommitOutcome, RunError<CommitError>> {
        let mut transaction = self.kv.begin_at(read_version)?;
        let leases = request.participants.iter().filter_map(|part| part.lease);
        let leases: Vec<Lease> = leases.collect();
        let queries: Vec<_> = leases
            .iter()
            .map(|lease| next_in_queue(lease.database))
            .collect();
        let queues = match queries.as_slice() {
            [] => Vec::new(),
            _ => transaction.ranges(&queries, Isolation::Snapshot)?,
        };
        let leases = leases
            .iter()
            .zip(queues)
            .map(|(lease, queue)| (lease.database, LeaseRecord::held_as(lease), queue));
        self.write(transaction, request, leases.collect())
    }

    /// Looks whether the transaction may commit, and commits it if nothing of that changes
    /// meanwhile.
    fn attempt_checked(
        &self,
        request: &CommitRequest,
    ) -> Result<CommitOutcome, RunError<CommitError>> {
        let mut transaction = self.kv.begin()?;
        let found = match self.check_all(&mut transaction, request)? {
            Earlier::Committed(version) => {
                return Ok(CommitOutcome {
                    version,
                    read_version: transaction.read_version()?,
                    mark: None,
                });
            }
            Earlier::Others(found) => found,
        };
        let all = request.participants.iter().zip(found);
        let held = all.filter(|(participant, _)| participant.lease.is_some());
        let held = held.map(|(participant, Found { lease, queue, .. })| {
            (participant.snapshot.database, lease, queue)
        });
        self.write(transaction, request, held.collect())
    }

    /// Writes everything and gives the leases back, on the condition that the databases and their
    /// leases are unchanged.
    fn write(
        &self,
        mut transaction: K::Transaction,
        request: &CommitRequest,
        leases: Vec<(DatabaseId, LeaseRecord, Vec<KeyValue>)>,
    ) -> Result<CommitOutcome, RunError<CommitError>> {
        for participant in &request.participants {
            guard(&mut transaction, request.id, participant);
            let database = participant.snapshot.database;
            transaction.add_read_conflict(KeyRange::single(&keys::info(database)));
            if participant.change.is_some() || participant.lease.is_some() {
                transaction.add_read_conflict(KeyRange::single(&keys::lease(database)));
            }
            if let Some(change) = &participant.change {
                self.apply(&mut transaction, request.id, database, change)?;
            }
        }
        let mut is_handed_over = false;
        for (database, lease, queue) in leases {
            is_handed_over |=
                self.pass_on::<CommitError>(&mut transaction, database, &lease, &queue)?;
        }
        let committed = transaction.commit(request.durability)?;
        let version = committed
            .versionstamp
            .expect("a commit writes commit records");
        Ok(CommitOutcome {
            version,
            read_version: committed.read_version,
            // Nobody can go on from here with a look at conflicts alone while others hold a lease.
            mark: committed.mark.filter(|_| !is_handed_over),
        })
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
        for (number, record) in records(change) {
            if change.page_count.contains(number) {
                pages.insert(number.get());
                let prefix = keys::page_prefix(database, number);
                transaction.set_versionstamped(&prefix, &record);
            }
        }
        if !change.staged.is_empty() {
            let limit = self.kv.limits().transaction_bytes;
            pages |= unstage(transaction, id, database, change, limit)?;
        }
        let commit = self.commit_record(id, change, pages);
        transaction.set_versionstamped(&keys::log_prefix(database), &commit);
        Ok(())
    }

    /// The stored form of a commit record.
    pub(crate) fn commit_record(
        &self,
        id: CommitId,
        change: &Change,
        pages: RoaringBitmap,
    ) -> Vec<u8> {
        log::encode_commit(
            (self.clock)(),
            id,
            Some(change.page_size),
            change.page_count,
            &conflict::coarse(pages),
        )
    }

    pub(crate) fn commit_error(&self, error: KvError, unknown: Option<String>) -> CommitError {
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

/// Whether what a begin saw of the lease is all that the commit must know of it.
fn is_as_begun(part: &Participant) -> bool {
    match (&part.lease, part.snapshot.lease) {
        (_, LeaseStanding::Unknown) => false,
        (Some(lease), standing) => standing.is_held_as(lease),
        (None, LeaseStanding::Free) => true,
        (None, LeaseStanding::Held { .. }) => part.change.is_none(),
    }
}

/// Whether pages of the commit were sent ahead of it.
fn has_staged(request: &CommitRequest) -> bool {
    let mut changes = request
        .participants
        .iter()
        .filter_map(|part| part.change.as_ref());
    changes.any(|change| !change.staged.is_empty())
}

/// The records of the pages that came with a change.
pub(crate) fn records(change: &Change) -> impl Iterator<Item = (PageNumber, Vec<u8>)> + '_ {
    let whole = change.writes.iter();
    let whole = whole.map(|write| (write.number, record::encode(&stored(write))));
    let deltas = change.deltas.iter();
    let deltas = deltas.map(|it| (it.number, record::encode_delta(it, change.page_size)));
    whole.chain(deltas)
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

/// Adds the pages that must stay unchanged until this transaction commits, and what makes two
/// attempts at one commit exclude each other.
pub(crate) fn guard<T: KvTransaction>(
    transaction: &mut T,
    id: CommitId,
    participant: &Participant,
) {
    let database = participant.snapshot.database;
    transaction.add_read_conflicts(page_ranges(database, read_set(participant)));
    // The page records of a large commit were written before the step that makes them visible.
    transaction.add_read_conflict(KeyRange::single(&keys::publication(database)));
    let commit = KeyRange::single(&keys::commit(database, id));
    transaction.add_read_conflict(commit.clone());
    transaction.add_write_conflict(commit);
}

/// The page records of a read set. A connection may have read a whole database: it takes longer to find
/// the ranges than to commit.
fn page_ranges(database: DatabaseId, reads: RoaringBitmap) -> LateRanges {
    let range = move |pages: RangeInclusive<u32>| {
        let page = |number| PageNumber::new(number).unwrap_or(PageNumber::FIRST);
        keys::pages(database, page(*pages.start()), page(*pages.end()))
    };
    let pages = usize::try_from(reads.len()).unwrap_or(usize::MAX);
    let longest = range(u32::MAX..=u32::MAX);
    LateRanges {
        most: pages.min(MOST_CONFLICT_RANGES),
        longest: longest.begin.len() + longest.end.len(),
        ranges: Box::new(move || {
            let ranges = conflict::ranges(&reads, MOST_CONFLICT_RANGES);
            ranges.into_iter().map(range).collect()
        }),
    }
}
