//! Commits larger than one key-value transaction, in steps.
//!
//! All pages are staged first. Then one transaction checks for conflicts and says in the lease of
//! each database that this commit is being published: from there on nobody else commits to them.
//! Further ones make page records of the staged pages, which no reader sees yet: their versions
//! are above the head. The last one writes the commit records, and gives the leases back. Whoever
//! takes over the lease of a publication that has come to a halt removes what it left (`clean`).

mod opening;

use std::time::Duration;

use verso_pagestore::{
    Change, CommitError, CommitId, CommitOutcome, CommitRequest, DatabaseId, Durability, LeaseId,
    PageNumber, RoaringBitmap, StoreError, Version,
};

use crate::check::{Earlier, must_exist};
use crate::commit::{guard, records};
use crate::kv::{Isolation, Kv, KvError, KvTransaction, RangeQuery, RunError, attempts, run};
use crate::lease::{Beat, LeaseRecord, Publishing};
use crate::{Engine, conflict, keys, record};
use opening::Opened;

/// Beyond so many bytes a commit is published in steps, even if the store takes more at once.
const MOST_AT_ONCE: usize = 64 << 20;

/// Most bytes of a step.
const STEP: usize = 8 << 20;

/// What a page takes in a transaction beside its content: keys, and conflict ranges.
const PAGE_OVERHEAD: usize = 256;

/// How often it is looked whether another attempt at the same commit goes on.
const POLL: Duration = Duration::from_millis(100);

/// After so many looks at which it does not, it is taken for dead.
const DEAD_AFTER: usize = 50;

/// After so many looks the client is told that the result is unknown; it asks again.
const MOST_LOOKS: usize = 600;

/// Why a publication ended without its commit.
#[derive(Debug)]
pub(crate) enum Halt {
    Refused(CommitError),
    /// Another attempt at the same commit goes on, or has come to a halt: the next one waits until
    /// it knows which.
    Underway(Publishing, Beat),
    /// Somebody else has taken the lease, or the publication, over.
    Superseded,
}

impl From<StoreError> for Halt {
    fn from(error: StoreError) -> Self {
        Self::Refused(error.into())
    }
}

pub(crate) type Step<T> = Result<T, RunError<Halt>>;

fn refused(error: CommitError) -> RunError<Halt> {
    RunError::Abort(Halt::Refused(error))
}

/// Turns what the checks of every commit say into what ends a publication.
fn halted(error: RunError<CommitError>) -> RunError<Halt> {
    match error {
        RunError::Kv(error) => RunError::Kv(error),
        RunError::Abort(refusal) => refused(refusal),
    }
}

/// One database's part in a publication.
pub(crate) struct Part<'a> {
    change: &'a Change,
    /// Pages that the database has after the commit.
    pages: RoaringBitmap,
    database: DatabaseId,
    /// The version of its snapshot.
    base: Version,
    publishing: Publishing,
}

impl<K: Kv> Engine<K> {
    /// Whether a commit is published in steps.
    pub(crate) fn is_large(&self, request: &CommitRequest) -> bool {
        let changes = request
            .participants
            .iter()
            .filter_map(|part| part.change.as_ref());
        let bytes = changes.map(|change| {
            let pages = change.staged.len() + change.writes.len() as u64;
            let whole = pages.saturating_mul((change.page_size.length() + PAGE_OVERHEAD) as u64);
            let deltas = change.deltas.iter();
            let deltas = deltas.map(|delta| (delta.delta.len() + PAGE_OVERHEAD) as u64);
            deltas.fold(whole, u64::saturating_add)
        });
        let most = MOST_AT_ONCE.min(self.kv.limits().transaction_bytes / 2);
        bytes.fold(0, u64::saturating_add) > most as u64
    }

    pub(crate) fn publish(&self, request: &CommitRequest) -> Result<CommitOutcome, CommitError> {
        self.stage_writes(request)?;
        let (mut seen, mut looks) = (None, 0);
        for _ in 0..MOST_LOOKS {
            let dead = seen.filter(|_| looks >= DEAD_AFTER);
            match self.publish_round(request, dead) {
                Ok(outcome) => return Ok(outcome),
                Err(Halt::Refused(refusal)) => return Err(refusal),
                Err(Halt::Underway(publishing, beat)) => {
                    let state = Some((publishing, beat));
                    looks = if seen == state { looks + 1 } else { 0 };
                    seen = state;
                }
                // Whoever has taken it over has removed them.
                Err(Halt::Superseded) => self.stage_writes(request)?,
            }
            self.kv.pause(POLL);
        }
        let reason = "another attempt at this commit is under way".to_owned();
        Err(CommitError::Unknown { reason })
    }

    /// Stages the pages that came with the request.
    fn stage_writes(&self, request: &CommitRequest) -> Result<(), CommitError> {
        for participant in &request.participants {
            let Some(change) = &participant.change else {
                continue;
            };
            let database = participant.snapshot.database;
            let records: Vec<_> = records(change).collect();
            for part in records.chunks(self.pages_per_step(change)) {
                match self.stage_records(request.id, database, part) {
                    // An earlier attempt may have taken effect before.
                    Ok(()) | Err(CommitError::Removed { .. }) => {}
                    Err(refusal) => return Err(refusal),
                }
            }
        }
        Ok(())
    }

    fn publish_round(
        &self,
        request: &CommitRequest,
        dead: Option<(Publishing, Beat)>,
    ) -> Result<CommitOutcome, Halt> {
        let parts = match self.open_publication(request, dead)? {
            Opened::Committed(outcome) => return Ok(outcome),
            Opened::Parts(parts) => parts,
        };
        for part in &parts {
            self.publish_pages(request.id, part, &parts)?;
        }
        self.conclude(request, &parts)
    }

    /// The steps between: page records above the head.
    fn publish_pages(&self, id: CommitId, part: &Part, all: &[Part]) -> Result<(), Halt> {
        let mut pages = part.pages.iter().peekable();
        while pages.peek().is_some() {
            let most = self.pages_per_step(part.change);
            let step: RoaringBitmap = pages.by_ref().take(most).collect();
            let mut is_first = part.publishing.is_first();
            let result = run(&self.kv, Durability::Off, |transaction| {
                for part in all {
                    self.show_progress(transaction, part.database, part.publishing)?;
                }
                if !std::mem::take(&mut is_first) {
                    unpublish_step(transaction, part, &step);
                }
                publish_step(transaction, id, part, &step)
            });
            self.finish_step(result)?;
        }
        Ok(())
    }

    /// The last step: all of it becomes visible.
    fn conclude(&self, request: &CommitRequest, parts: &[Part]) -> Result<CommitOutcome, Halt> {
        let mut unknown = None;
        let result = attempts(&self.kv, || {
            let result = self.try_conclude(request, parts);
            if let Err(RunError::Kv(KvError::CommitUnknown(reason))) = &result {
                unknown = Some(reason.clone());
            }
            result
        });
        result.map_err(|error| match error {
            RunError::Abort(halt) => halt,
            RunError::Kv(error) => Halt::Refused(self.commit_error(error, unknown)),
        })
    }

    fn try_conclude(&self, request: &CommitRequest, parts: &[Part]) -> Step<CommitOutcome> {
        let mut transaction = self.kv.begin()?;
        let found = match self
            .look_at_all(&mut transaction, request)
            .map_err(halted)?
        {
            Earlier::Committed(version) => {
                let read_version = transaction.read_version()?;
                return Ok(CommitOutcome {
                    version,
                    read_version,
                    mark: None,
                });
            }
            Earlier::Others(found) => found,
        };
        for (participant, found) in request.participants.iter().zip(found) {
            match found.obstacle {
                // Others may have changed what is only read, but nothing else.
                None => {}
                Some(CommitError::Conflict(_)) if participant.change.is_some() => {}
                Some(obstacle) => return Err(refused(obstacle)),
            }
            if participant.change.is_none() {
                let database = participant.snapshot.database;
                must_exist(&mut transaction, database).map_err(halted)?;
            }
            guard(&mut transaction, request.id, participant);
        }
        for part in parts {
            let database = part.database;
            let record = self.verified(&mut transaction, database, part.publishing)?;
            self.end_holding::<Halt>(&mut transaction, database, &record)?;
            transaction.clear(&keys::publication(database));
            transaction.clear_range(&keys::staged(database, request.id));
            let commit = self.commit_record(request.id, part.change, part.pages.clone());
            transaction.set_versionstamped(&keys::log_prefix(database), &commit);
        }
        let committed = transaction.commit(request.durability)?;
        Ok(CommitOutcome {
            version: committed.versionstamp.unwrap_or(Version::MIN),
            read_version: committed.read_version,
            mark: None,
        })
    }

    /// The lease record, if it still says that this is going on.
    pub(crate) fn verified(
        &self,
        transaction: &mut K::Transaction,
        database: DatabaseId,
        publishing: Publishing,
    ) -> Step<LeaseRecord> {
        let record = self.lease_record::<Halt>(transaction, database)?;
        if record.publishing() == Some(publishing) {
            Ok(record)
        } else {
            Err(RunError::Abort(Halt::Superseded))
        }
    }

    /// Shows those who wait that a publication goes on.
    pub(crate) fn show_progress(
        &self,
        transaction: &mut K::Transaction,
        database: DatabaseId,
        publishing: Publishing,
    ) -> Step<()> {
        let record = self.verified(transaction, database, publishing)?;
        transaction.set(&keys::lease(database), &record.beaten().encode());
        Ok(())
    }

    /// The result of a step that does not commit the transaction.
    pub(crate) fn finish_step<T>(&self, result: Step<T>) -> Result<T, Halt> {
        result.map_err(|error| match error {
            RunError::Abort(halt) => halt,
            RunError::Kv(error) => Halt::Refused(self.commit_error(error, None)),
        })
    }

    fn pages_per_step(&self, change: &Change) -> usize {
        let bytes = STEP.min(self.kv.limits().transaction_bytes / 4);
        (bytes / (change.page_size.length() + PAGE_OVERHEAD)).max(1)
    }
}

/// Removes the page records that an earlier attempt may have made of some pages. Nobody else has
/// written them since the snapshot.
fn unpublish_step<T: KvTransaction>(transaction: &mut T, part: &Part, step: &RoaringBitmap) {
    for page in step.iter().filter_map(PageNumber::new) {
        transaction.clear_range(&keys::page_after(part.database, page, part.base));
    }
}

/// Makes page records of some staged pages.
fn publish_step<T: KvTransaction>(
    transaction: &mut T,
    id: CommitId,
    part: &Part,
    step: &RoaringBitmap,
) -> Step<()> {
    let database = part.database;
    let page = |number| PageNumber::new(number).unwrap_or(PageNumber::FIRST);
    let most = usize::try_from(step.len()).unwrap_or(1);
    let runs = conflict::ranges(step, most);
    let queries: Vec<_> = runs
        .iter()
        .map(|run| {
            let range = keys::staged_pages(database, id, page(*run.start()), page(*run.end()));
            RangeQuery::first(usize::MAX, range)
        })
        .collect();
    let mut found = RoaringBitmap::new();
    for (key, value) in transaction
        .ranges(&queries, Isolation::Snapshot)?
        .into_iter()
        .flatten()
    {
        let Some(page) = keys::staged_position(&key) else {
            continue;
        };
        if record::checked_size(&value) != Ok(part.change.page_size) {
            let reason = format!("page {page} of database {database} was staged wrongly");
            return Err(refused(CommitError::Invalid { reason }));
        }
        found.insert(page.get());
        transaction.set_versionstamped(&keys::page_prefix(database, page), &value);
    }
    let missing = step - &found;
    if missing.is_disjoint(&part.change.staged) {
        // Those can be staged again, now or whenever the request is asked again.
        return if missing.is_empty() {
            Ok(())
        } else {
            Err(RunError::Abort(Halt::Superseded))
        };
    }
    // Whoever had taken the lease over in the meantime has removed them.
    Err(refused(CommitError::LeaseLost { database }))
}

/// The lease of a transaction that has none is named after its commit.
pub(crate) const fn own_lease(id: CommitId) -> LeaseId {
    LeaseId::from_bytes(*id.as_bytes())
}
