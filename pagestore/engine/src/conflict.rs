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
/// many runs, those with the smallest gaps merged. Covers every page of the set.
pub(crate) fn ranges(pages: &RoaringBitmap, most: usize) -> Vec<RangeInclusive<u32>> {
    let mut runs: Vec<RangeInclusive<u32>> = Vec::new();
    for page in pages {
        match runs.last_mut() {
            Some(run) if run.end().checked_add(1) == Some(page) => *run = *run.start()..=page,
            _ => runs.push(page..=page),
        }
    }
    let Some(excess) = runs
        .len()
        .checked_sub(most.max(1))
        .filter(|&excess| excess > 0)
    else {
        return runs;
    };
    let mut gaps: Vec<u32> = gaps(&runs).collect();
    let (_, &mut widest, _) = gaps.select_nth_unstable(excess - 1);
    merge(&runs, widest)
}

/// Distances between neighbouring runs.
fn gaps(runs: &[RangeInclusive<u32>]) -> impl Iterator<Item = u32> {
    runs.iter()
        .zip(runs.iter().skip(1))
        .map(|(run, next)| next.start() - run.end())
}

/// Merges runs that are no further apart than `widest`.
fn merge(runs: &[RangeInclusive<u32>], widest: u32) -> Vec<RangeInclusive<u32>> {
    let mut merged: Vec<RangeInclusive<u32>> = Vec::new();
    for run in runs {
        match merged.last_mut() {
            Some(last) if run.start() - last.end() <= widest => *last = *last.start()..=*run.end(),
            _ => merged.push(run.clone()),
        }
    }
    merged
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
