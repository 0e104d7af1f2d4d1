//! Runs: pages whose numbers follow on each other are read in one range where that costs less than a
//! range for each. The range has records that nobody asked for, of other versions. Where they are many,
//! pages are read one by one.

use std::sync::atomic::{AtomicU32, Ordering};

use verso_pagestore::{PageNumber, Snapshot};

use crate::kv::{KeyValue, RangeQuery};
use crate::{chain, keys};

/// Shorter runs are no gain.
const LEAST_PAGES: usize = 4;

/// After a run with too many other records, so many requests are answered page by page.
const PAUSE: u32 = 32;

/// Whether runs are worth it in a store.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    /// How many requests are still answered page by page.
    pause: AtomicU32,
}

/// A run: the first page, and how many there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    first: PageNumber,
    pages: usize,
}

impl Runs {
    /// The runs among pages.
    pub(crate) fn of(&self, pages: &[PageNumber]) -> Vec<Run> {
        if pages.len() < LEAST_PAGES || self.is_paused() {
            return Vec::new();
        }
        let mut sorted = pages.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        let follows = |a: &PageNumber, b: &PageNumber| a.get() + 1 == b.get();
        let runs = sorted.chunk_by(follows);
        let runs = runs.filter(|run| run.len() >= LEAST_PAGES);
        let run = |run: &[PageNumber]| {
            Some(Run {
                first: *run.first()?,
                pages: run.len(),
            })
        };
        runs.filter_map(run).collect()
    }

    fn is_paused(&self) -> bool {
        let less = |pause: u32| pause.checked_sub(1);
        let order = Ordering::Relaxed;
        self.pause.fetch_update(order, order, less).is_ok()
    }

    /// Takes the answer to a run apart: the records of each page that make its content, newest first.
    /// Pages of which not all records came are left out.
    pub(crate) fn take(
        &self,
        run: Run,
        snapshot: &Snapshot,
        records: Vec<KeyValue>,
    ) -> Vec<(PageNumber, Vec<KeyValue>)> {
        let is_all = records.len() < run.limit();
        let mut found: Vec<(PageNumber, Vec<KeyValue>)> = Vec::with_capacity(run.pages);
        for record in records {
            let Some(position) = keys::page_position(&record.0) else {
                continue;
            };
            let of_page = match found.last_mut() {
                Some((page, of_page)) if *page == position.page => of_page,
                _ => {
                    found.push((position.page, Vec::with_capacity(1)));
                    let Some((_, of_page)) = found.last_mut() else {
                        continue;
                    };
                    of_page
                }
            };
            if position.version <= snapshot.version {
                of_page.push(record);
            }
        }
        if !is_all {
            // The last page may have more.
            found.pop();
        }
        if found.len() * 2 < run.pages {
            self.pause.store(PAUSE, Ordering::Relaxed);
        }
        found.retain_mut(|(_, records)| chain::newest(records));
        found
    }
}

impl Run {
    /// Asks for the records of its pages, of all versions, the oldest first.
    pub(crate) fn query(self, snapshot: &Snapshot) -> RangeQuery {
        let last = u32::try_from(self.pages).unwrap_or(u32::MAX) - 1;
        let last = PageNumber::new(self.first.get().saturating_add(last)).unwrap_or(self.first);
        let range = keys::pages(snapshot.database, self.first, last);
        RangeQuery::first(self.limit(), range)
    }

    /// Few more records than pages: most have one.
    const fn limit(self) -> usize {
        self.pages + self.pages / 4 + 2
    }
}

#[cfg(test)]
mod tests {
    use verso_pagestore::{CommitId, DatabaseId, LeaseStanding, PageCount, PageSize, Version};

    use super::*;
    use crate::record;

    fn page(number: u32) -> PageNumber {
        PageNumber::new(number).unwrap()
    }

    fn snapshot(at: u64) -> Snapshot {
        Snapshot {
            database: DatabaseId::new(1),
            version: Version::from_commit(at, 0),
            commit: CommitId::from_bytes([0; 16]),
            read_version: at,
            lease: LeaseStanding::Free,
            mark: None,
            page_size: Some(PageSize::MIN),
            page_count: PageCount::new(100),
        }
    }

    fn whole(number: u32, version: u64) -> KeyValue {
        let range = keys::page_until(
            DatabaseId::new(1),
            page(number),
            Version::from_commit(version, 0),
        );
        // A range up to a key ends right behind it.
        let mut key = range.end;
        key.pop();
        (key, record::encode(&[7; 512]))
    }

    fn taken(run: Run, at: u64, records: Vec<KeyValue>) -> Vec<(u32, usize)> {
        let taken = Runs::default().take(run, &snapshot(at), records);
        let taken = taken.iter();
        taken
            .map(|(page, records)| (page.get(), records.len()))
            .collect()
    }

    #[test]
    fn neighbours_are_a_run_in_whatever_order_they_are_asked_for() {
        let runs = Runs::default();
        let pages: Vec<_> = [9, 3, 4, 20, 5, 6, 22, 21, 3].map(page).to_vec();
        let expected = Run {
            first: page(3),
            pages: 4,
        };
        assert_eq!(runs.of(&pages), [expected]);
        assert_eq!(runs.of(&[page(1), page(2), page(3)]), []);
    }

    #[test]
    fn each_page_gets_its_newest_record_of_the_snapshot() {
        let run = Run {
            first: page(3),
            pages: 4,
        };
        let records = vec![
            whole(3, 1),
            whole(3, 5),
            whole(3, 9),
            whole(4, 9),
            whole(6, 2),
        ];
        // Page 4 has none so old, and page 5 has none at all.
        assert_eq!(taken(run, 5, records), [(3, 1), (6, 1)]);
    }

    #[test]
    fn a_page_that_may_have_more_records_is_left_out() {
        let run = Run {
            first: page(3),
            pages: 4,
        };
        let records = (1..=7).map(|at| whole(3 + at / 3, at.into()));
        let records: Vec<_> = records.collect();
        assert_eq!(records.len(), run.limit());
        assert_eq!(taken(run, 9, records), [(3, 1), (4, 1)]);
    }

    #[test]
    fn many_other_records_end_runs_for_a_while() {
        let runs = Runs::default();
        let pages: Vec<_> = (1..=8).map(page).collect();
        let run = runs.of(&pages)[0];
        let records = (0..run.limit()).map(|at| whole(1, at as u64)).collect();
        assert_eq!(runs.take(run, &snapshot(99), records), []);
        let answers: Vec<_> = (0..=PAUSE).map(|_| runs.of(&pages).len()).collect();
        assert_eq!(answers.iter().sum::<usize>(), 1, "{answers:?}");
        assert_eq!(answers.last(), Some(&1));
    }
}
