//! A store that counts what it is asked: how long it takes, what it moves, how commits end.
//!
//! It stands between the node's queue and the store, so that time in the store is not time in
//! the queue.

use std::sync::Arc;
use std::time::Instant;

use metrics::{Unit, counter, describe_counter, describe_histogram, histogram};
use verso_pagestore::{
    BeginError, Begun, Bound, CatalogueError, CommitError, CommitId, CommitOutcome, CommitRecord,
    CommitRequest, CopyBegun, DatabaseEntry, DatabaseId, DatabaseInfo, DatabaseName, Lease,
    LeaseAnswer, LeaseError, LeaseRequest, LoadError, Moment, MomentError, Origin, PageCount,
    PageDelta, PageNumber, PageSize, PageStore, PageWrite, Place, ReadError, Recent,
    RecordPosition, Since, Snapshot, Start, StoreError, VerifyReport, Version, VersionedPage,
};

use super::outcomes::{
    COMMIT_RESULTS, CONFLICT_REASONS, FAILURE_KINDS, Failure, commit_result, conflict_reason, kind,
};

/// Time in the store per request, by operation, in seconds: a histogram.
const DURATION: &str = "verso_store_duration_seconds";

/// Requests that the store failed at, by kind: a counter.
const FAILURES: &str = "verso_store_failures_total";

/// Commits that have ended, by result: a counter.
const COMMITS: &str = "verso_commit_commits_total";

/// Commits that lost to others, by reason: a counter.
const CONFLICTS: &str = "verso_commit_conflicts_total";

/// Pages that were read: a counter.
const PAGES_READ: &str = "verso_page_read_pages_total";

/// Their bytes: a counter.
const BYTES_READ: &str = "verso_page_read_bytes_total";

/// Pages that were written, staged or loaded: a counter.
const PAGES_WRITTEN: &str = "verso_page_written_pages_total";

/// Their bytes: a counter.
const BYTES_WRITTEN: &str = "verso_page_written_bytes_total";

/// Answers to who asked for a writer lease, by answer: a counter.
const LEASE_ANSWERS: &str = "verso_lease_answers_total";

/// Asks the store, and counts how long it took and whether it failed.
fn timed<T, E: Failure>(
    operation: &'static str,
    request: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    let began = Instant::now();
    let answer = request();
    let seconds = began.elapsed().as_secs_f64();
    histogram!(DURATION, "operation" => operation).record(seconds);
    if let Some(error) = answer.as_ref().err().and_then(Failure::store) {
        counter!(FAILURES, "kind" => kind(error)).increment(1);
    }
    answer
}

fn count_commit(request: &CommitRequest, result: &Result<CommitOutcome, CommitError>) {
    counter!(COMMITS, "result" => commit_result(result)).increment(1);
    match result {
        Ok(_) => {
            let changes = request
                .participants
                .iter()
                .filter_map(|part| part.change.as_ref());
            for change in changes {
                count_written(&change.writes);
                count_deltas(&change.deltas);
            }
        }
        Err(error) => {
            if let Some(reason) = conflict_reason(error) {
                counter!(CONFLICTS, "reason" => reason).increment(1);
            }
        }
    }
}

fn count_written(pages: &[PageWrite]) {
    let bytes: usize = pages.iter().map(|write| write.page.len()).sum();
    counter!(PAGES_WRITTEN).increment(pages.len() as u64);
    counter!(BYTES_WRITTEN).increment(bytes as u64);
}

fn count_deltas(deltas: &[PageDelta]) {
    let bytes: usize = deltas.iter().map(|delta| delta.delta.len()).sum();
    counter!(PAGES_WRITTEN).increment(deltas.len() as u64);
    counter!(BYTES_WRITTEN).increment(bytes as u64);
}

fn count_read<'a>(pages: impl IntoIterator<Item = &'a VersionedPage>) {
    let bytes = pages.into_iter().map(|read| read.page.len() as u64);
    let (count, bytes) = bytes.fold((0, 0), |(count, sum), bytes| (count + 1, sum + bytes));
    counter!(PAGES_READ).increment(count);
    counter!(BYTES_READ).increment(bytes);
}

fn count_lease(answer: LeaseAnswer) {
    let label = match answer {
        LeaseAnswer::Granted(_) => "granted",
        LeaseAnswer::HandedOver(_) => "handed_over",
        LeaseAnswer::Waiting { .. } => "waiting",
    };
    counter!(LEASE_ANSWERS, "answer" => label).increment(1);
}

/// The store of a node, counted.
pub(crate) struct Metered(pub(crate) Arc<dyn PageStore>);

impl PageStore for Metered {
    fn begin(&self, name: &DatabaseName, since: Option<Since>) -> Result<Begun, BeginError> {
        timed("begin", || self.0.begin(name, since))
    }

    fn begin_within(
        &self,
        name: &DatabaseName,
        since: Option<Since>,
        bound: Bound,
    ) -> Result<Recent, BeginError> {
        timed("begin_within", || self.0.begin_within(name, since, bound))
    }

    fn is_newest(&self, snapshot: &Snapshot) -> bool {
        self.0.is_newest(snapshot)
    }

    fn read(
        &self,
        snapshot: &Snapshot,
        pages: &[PageNumber],
    ) -> Result<Vec<VersionedPage>, ReadError> {
        let read = timed("read", || self.0.read(snapshot, pages))?;
        count_read(&read);
        Ok(read)
    }

    fn commit(&self, request: &CommitRequest) -> Result<CommitOutcome, CommitError> {
        let result = timed("commit", || self.0.commit(request));
        count_commit(request, &result);
        result
    }

    fn stage(
        &self,
        commit: CommitId,
        database: DatabaseId,
        pages: &[PageWrite],
    ) -> Result<(), CommitError> {
        timed("stage", || self.0.stage(commit, database, pages))?;
        count_written(pages);
        Ok(())
    }

    fn validate(&self, request: &CommitRequest) -> Result<(), CommitError> {
        timed("validate", || self.0.validate(request))
    }

    fn lease(&self, request: &LeaseRequest) -> Result<LeaseAnswer, LeaseError> {
        let answer = timed("lease", || self.0.lease(request))?;
        count_lease(answer);
        Ok(answer)
    }

    fn lease_and_begin(
        &self,
        request: &LeaseRequest,
        name: &DatabaseName,
        since: Option<Since>,
    ) -> Result<(LeaseAnswer, Option<Start>), LeaseError> {
        let ask = || self.0.lease_and_begin(request, name, since);
        let (answer, start) = timed("lease_and_begin", ask)?;
        count_lease(answer);
        if let Some(Start { pages, .. }) = &start {
            count_read(pages.iter().map(|(_, page)| page));
        }
        Ok((answer, start))
    }

    fn renew_lease(&self, lease: &Lease) -> Result<(), LeaseError> {
        timed("renew_lease", || self.0.renew_lease(lease))
    }

    fn release_lease(&self, lease: &Lease) -> Result<(), LeaseError> {
        timed("release_lease", || self.0.release_lease(lease))
    }

    fn leave_queue(&self, place: &Place) -> Result<(), LeaseError> {
        timed("leave_queue", || self.0.leave_queue(place))
    }

    fn snapshot_at(&self, name: &DatabaseName, moment: Moment) -> Result<Snapshot, MomentError> {
        timed("snapshot_at", || self.0.snapshot_at(name, moment))
    }

    fn create(&self, name: &DatabaseName, id: DatabaseId) -> Result<(), CatalogueError> {
        timed("create", || self.0.create(name, id))
    }

    fn name_of(&self, id: DatabaseId) -> Result<Option<DatabaseName>, StoreError> {
        timed("name_of", || self.0.name_of(id))
    }

    fn list(
        &self,
        after: Option<&DatabaseName>,
        limit: usize,
    ) -> Result<Vec<DatabaseEntry>, StoreError> {
        timed("list", || self.0.list(after, limit))
    }

    fn info(&self, name: &DatabaseName) -> Result<DatabaseInfo, CatalogueError> {
        timed("info", || self.0.info(name))
    }

    fn log(
        &self,
        name: &DatabaseName,
        before: Option<Version>,
        limit: usize,
    ) -> Result<Vec<CommitRecord>, CatalogueError> {
        timed("log", || self.0.log(name, before, limit))
    }

    fn rename(&self, from: &DatabaseName, to: &DatabaseName) -> Result<(), CatalogueError> {
        timed("rename", || self.0.rename(from, to))
    }

    fn remove(&self, name: &DatabaseName) -> Result<(), CatalogueError> {
        timed("remove", || self.0.remove(name))
    }

    fn verify(
        &self,
        database: DatabaseId,
        after: Option<RecordPosition>,
    ) -> Result<VerifyReport, StoreError> {
        timed("verify", || self.0.verify(database, after))
    }

    fn load_begin(&self, name: &DatabaseName, id: DatabaseId) -> Result<(), LoadError> {
        timed("load_begin", || self.0.load_begin(name, id))
    }

    fn load_copy(
        &self,
        name: &DatabaseName,
        id: DatabaseId,
        origin: Origin,
    ) -> Result<CopyBegun, LoadError> {
        timed("load_copy", || self.0.load_copy(name, id, origin))
    }

    fn load_pages(&self, database: DatabaseId, pages: &[PageWrite]) -> Result<(), LoadError> {
        timed("load_pages", || self.0.load_pages(database, pages))?;
        count_written(pages);
        Ok(())
    }

    fn load_finish(
        &self,
        database: DatabaseId,
        name: &DatabaseName,
        page_size: PageSize,
        page_count: PageCount,
    ) -> Result<Version, LoadError> {
        timed("load_finish", || {
            self.0.load_finish(database, name, page_size, page_count)
        })
    }

    fn load_abort(&self, database: DatabaseId) -> Result<(), LoadError> {
        timed("load_abort", || self.0.load_abort(database))
    }

    fn suspend(&self) {
        self.0.suspend();
    }

    fn resume(&self) {
        self.0.resume();
    }
}

pub(super) fn describe() {
    describe_histogram!(
        DURATION,
        Unit::Seconds,
        "Time in the store per request, by operation"
    );
    describe_counter!(FAILURES, "Requests that the store failed at, by kind");
    describe_counter!(COMMITS, "Commits that have ended, by result");
    describe_counter!(CONFLICTS, "Commits that lost to others, by reason");
    describe_counter!(PAGES_READ, "Pages that were read");
    describe_counter!(BYTES_READ, "Bytes of the pages that were read");
    describe_counter!(PAGES_WRITTEN, "Pages that were committed, staged or loaded");
    describe_counter!(
        BYTES_WRITTEN,
        "Bytes of the pages that were committed, staged or loaded"
    );
    describe_counter!(
        LEASE_ANSWERS,
        "Answers to who asked for a writer lease, by answer"
    );
    for kind in FAILURE_KINDS {
        counter!(FAILURES, "kind" => kind).absolute(0);
    }
    for result in COMMIT_RESULTS {
        counter!(COMMITS, "result" => result).absolute(0);
    }
    for reason in CONFLICT_REASONS {
        counter!(CONFLICTS, "reason" => reason).absolute(0);
    }
    for answer in ["granted", "handed_over", "waiting"] {
        counter!(LEASE_ANSWERS, "answer" => answer).absolute(0);
    }
    for total in [PAGES_READ, BYTES_READ, PAGES_WRITTEN, BYTES_WRITTEN] {
        counter!(total).absolute(0);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    /// The methods of the one item whose first line this is.
    fn methods(text: &'static str, item: &str) -> BTreeSet<&'static str> {
        let body = text.split_once(item).unwrap().1;
        let body = body.split_once("\n}\n").unwrap().0;
        let heads = body
            .lines()
            .filter_map(|line| line.strip_prefix("    fn ")?.split_once('('));
        heads.map(|(name, _)| name).collect()
    }

    /// A method with a default body could be left out, and would hide the one of the store.
    #[test]
    fn every_method_goes_to_the_method_of_the_same_name() {
        let own = include_str!("store.rs");
        let own_methods = methods(own, "impl PageStore for Metered {");
        let definition = include_str!("../../../api/src/store.rs");
        assert_eq!(own_methods, methods(definition, "pub trait PageStore"));
        for method in own_methods {
            assert!(own.contains(&format!("self.0.{method}(")), "{method}");
        }
    }
}
