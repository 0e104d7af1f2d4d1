//! The conflict check: pure functions over sets of pages.

use std::ops::RangeInclusive;

use verso_pagestore::{CommitRecord, RoaringBitmap, Version};

/// The first commit since the snapshot that wrote a page of the read set, and that page.
pub(crate) fn find(commits: &[CommitRecord], reads: &RoaringBitmap) -> Option<(u32, Version)> {
    let winner = commits
        .iter()
        .find(|commit| !commit.pages.is_disjoint(reads))?;
    let page = (&winner.pages & reads).min()?;
    Some((page, winner.version))
}

/// The pages of a set as at most `most` ranges: runs of neighbours, and where there are too
/// many runs, those with the smallest gaps merged. Covers every page of the set. Takes memory
/// for the answer only: a set may come from anybody.
pub(crate) fn ranges(pages: &RoaringBitmap, most: usize) -> Vec<RangeInclusive<u32>> {
    let (Some(first), Some(last)) = (pages.min(), pages.max()) else {
        return Vec::new();
    };
    let mut ranges = Vec::new();
    let mut start = first;
    for gap in widest_gaps(pages, most.saturating_sub(1)) {
        ranges.push(start..=gap.before);
        start = gap.after;
    }
    ranges.push(start..=last);
    ranges
}

/// Most bytes of a stored set of pages: what every store takes as a value, with room beside it.
const MOST_BYTES: usize = 64 << 10;

/// So many runs of pages fit.
const MOST_RUNS: usize = MOST_BYTES / 8;

/// The set in few bytes: if it needs more, with the pages of its smallest gaps.
pub(crate) fn coarse(mut pages: RoaringBitmap) -> RoaringBitmap {
    pages.optimize();
    if pages.serialized_size() <= MOST_BYTES {
        return pages;
    }
    let mut coarse = RoaringBitmap::new();
    for range in ranges(&pages, MOST_RUNS) {
        coarse.insert_range(range);
    }
    coarse.optimize();
    coarse
}

/// Pages that are not in a set, between two that are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Gap {
    width: u32,
    before: u32,
    after: u32,
}

/// The widest gaps of a set, from left to right.
fn widest_gaps(pages: &RoaringBitmap, most: usize) -> Vec<Gap> {
    let mut gaps: Vec<Gap> = Vec::new();
    let mut pages = pages.iter();
    let mut before: Option<u32> = None;
    while let Some(run) = pages.next_range() {
        let after = *run.start();
        if let Some(before) = before.replace(*run.end())
            && let width = after - before - 1
            && width > 0
        {
            gaps.push(Gap {
                width,
                before,
                after,
            });
            if gaps.len() >= 2 * most.max(1) {
                keep_widest(&mut gaps, most);
            }
        }
    }
    keep_widest(&mut gaps, most);
    gaps.sort_unstable_by_key(|gap| gap.before);
    gaps
}

fn keep_widest(gaps: &mut Vec<Gap>, most: usize) {
    if gaps.len() > most {
        gaps.select_nth_unstable_by(most, |one, other| other.cmp(one));
        gaps.truncate(most);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use verso_pagestore::{CommitId, PageCount, UnixMillis};

    use super::*;

    fn commit(version: u64, pages: &[u32]) -> CommitRecord {
        CommitRecord {
            version: Version::from_commit(version, 0),
            time: UnixMillis::new(0),
            id: CommitId::from_bytes([0; 16]),
            pages: pages.iter().collect(),
            page_size: None,
            page_count: PageCount::ZERO,
        }
    }

    #[test]
    fn the_first_winner_is_named() {
        let commits = [commit(1, &[2, 3]), commit(2, &[4, 5, 6]), commit(3, &[5])];
        let found = |reads: &[u32]| find(&commits, &reads.iter().collect());
        assert_eq!(found(&[1, 7]), None);
        assert_eq!(found(&[]), None);
        assert_eq!(found(&[6, 5]), Some((5, Version::from_commit(2, 0))));
    }

    #[test]
    fn runs_are_merged_nearest_first() {
        let pages = RoaringBitmap::from_iter([1, 2, 3, 10, 12, 100]);
        assert_eq!(ranges(&pages, 10), [1..=3, 10..=10, 12..=12, 100..=100]);
        assert_eq!(ranges(&pages, 3), [1..=3, 10..=12, 100..=100]);
        assert_eq!(ranges(&pages, 1), [1..=100]);
        assert_eq!(ranges(&RoaringBitmap::new(), 1), []);
        assert_eq!(
            ranges(&RoaringBitmap::from_iter([u32::MAX]), 1),
            [u32::MAX..=u32::MAX]
        );
        // Each of its pages would take a minute.
        assert_eq!(ranges(&RoaringBitmap::full(), 2), [0..=u32::MAX]);
    }

    proptest! {
        #[test]
        fn ranges_cover_every_page_and_are_few(
            pages in prop::collection::btree_set(0_u32..5000, 0..300),
            most in 1_usize..50,
        ) {
            let ranges = ranges(&pages.iter().collect(), most);
            prop_assert!(ranges.len() <= most);
            prop_assert!(pages.iter().all(|page| ranges.iter().any(|range| range.contains(page))));
            prop_assert!(ranges.is_sorted_by(|left, right| left.end() < right.start()));
        }
    }
}
