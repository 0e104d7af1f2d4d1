//! What makes no sense in a commit, whatever the store holds.

use std::collections::BTreeSet;

use verso_pagestore::{
    Change, CommitError, CommitRequest, PageDelta, PageWrite, RoaringBitmap, Snapshot, delta,
};

/// Refuses a commit that makes no sense.
pub(crate) fn validate(request: &CommitRequest) -> Result<(), CommitError> {
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
    for delta in &change.deltas {
        let number = delta.number;
        if let Err(reason) = validate_delta(snapshot, change, delta) {
            return invalid(format!(
                "the delta of page {number} of database {database} {reason}"
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

/// Whether a delta can be one of a page of the snapshot. What it makes of that is not known before
/// it is read.
fn validate_delta(snapshot: &Snapshot, change: &Change, write: &PageDelta) -> Result<(), String> {
    let PageDelta {
        number,
        chain,
        delta,
        ..
    } = write;
    if snapshot.page_size != Some(change.page_size) || !snapshot.page_count.contains(*number) {
        return Err("has no page of that size to be based on".into());
    }
    let length = u32::try_from(delta.len()).unwrap_or(u32::MAX);
    let adds_up = match chain.deltas() {
        1 => length == chain.bytes(),
        _ => length < chain.bytes(),
    };
    if chain.deltas() == 0 || !chain.is_short(change.page_size) || !adds_up {
        let (deltas, bytes) = (chain.deltas(), chain.bytes());
        return Err(format!(
            "has {length} bytes, and ends a chain of {deltas} deltas of {bytes} bytes, which is \
             not allowed"
        ));
    }
    delta::check(change.page_size.length(), delta).map_err(|error| format!("is none: {error}"))
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
    use verso_pagestore::{CommitId, DatabaseId, PageCount, PageSize, Version};

    use super::*;

    fn first_unwritten(kept: u32, count: u32, written: &RoaringBitmap) -> Option<u32> {
        let page_size = PageSize::new(512).unwrap();
        let snapshot = Snapshot {
            database: DatabaseId::new(1),
            version: Version::from_commit(1, 0),
            commit: CommitId::from_bytes([0; 16]),
            read_version: 0,
            lease: verso_pagestore::LeaseStanding::Unknown,
            mark: None,
            page_size: Some(page_size),
            page_count: PageCount::new(kept),
        };
        let change = Change {
            writes: Vec::new(),
            deltas: Vec::new(),
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
