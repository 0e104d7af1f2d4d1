//! What earlier processes left of one database: pages at states, and what changed from one state
//! to another.
//!
//! The states are a graph: an edge leads from a state to a later one. A state from which no edge
//! leads on is a *tip*. Only the store can say what happened since a tip; what happened before it
//! follows from the edges.

use std::collections::{HashMap, HashSet};

use verso_pagestore::{PageNumber, RoaringBitmap};

use super::State;
use super::known::Entry;

/// The store is asked about so many tips at most.
const MOST_TIPS: usize = 8;

#[derive(Debug, Default)]
pub(super) struct Found {
    pages: HashMap<State, Vec<(PageNumber, Entry)>>,
    /// By the later state: the earlier ones, and what was written in between.
    changes: HashMap<State, Vec<(State, RoaringBitmap)>>,
    /// States that an edge leads on from, or that are of no use.
    passed: HashSet<State>,
}

impl Found {
    pub(super) fn add_page(&mut self, at: State, number: PageNumber, entry: Entry) {
        self.pages.entry(at).or_default().push((number, entry));
    }

    pub(super) fn add_changes(&mut self, from: State, to: State, pages: RoaringBitmap) {
        if from.version < to.version {
            self.passed.insert(from);
            self.changes.entry(to).or_default().push((from, pages));
        }
    }

    pub(super) fn add_lost(&mut self, state: State) {
        self.passed.insert(state);
    }

    /// The newest tips, oldest first.
    pub(super) fn tips(&self) -> Vec<State> {
        let states = self.pages.keys().chain(self.changes.keys());
        let tips = states.filter(|state| !self.passed.contains(state));
        let tips: HashSet<State> = tips.copied().collect();
        let mut tips: Vec<State> = tips.into_iter().collect();
        tips.sort_unstable();
        tips.split_off(tips.len().saturating_sub(MOST_TIPS))
    }

    /// Takes out the pages that are as they were at a tip or before it, and still are: all but
    /// those that changed since the tip. A page may come several times: what was written last of
    /// it comes first.
    pub(super) fn take(&mut self, tip: State, changed: RoaringBitmap) -> Vec<(PageNumber, Entry)> {
        let mut valid = Vec::new();
        let mut states = vec![(tip, changed)];
        while let Some((state, changed)) = states.pop() {
            let pages = self.pages.remove(&state).unwrap_or_default();
            let unchanged = |(number, _): &(PageNumber, Entry)| !changed.contains(number.get());
            valid.extend(pages.into_iter().rev().filter(unchanged));
            let mut before = self.changes.remove(&state).unwrap_or_default();
            // A chain of states, which is what there usually is, needs no copies of the set.
            let last = before.pop();
            for (from, pages) in before {
                states.push((from, &changed | pages));
            }
            if let Some((from, pages)) = last {
                states.push((from, changed | pages));
            }
        }
        valid
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests_of_states::{entry, page, state};
    use super::*;

    fn numbers(pages: &[(PageNumber, Entry)]) -> Vec<u32> {
        let mut numbers: Vec<_> = pages.iter().map(|(number, _)| number.get()).collect();
        numbers.sort_unstable();
        numbers
    }

    /// Two processes go from 1 to 4 and from 2 to 5; 5 is a tip, and so is 4.
    fn found() -> Found {
        let mut found = Found::default();
        for (at, number) in [(1, 1), (1, 2), (2, 3), (2, 4), (4, 5), (5, 6), (5, 3)] {
            found.add_page(state(at), page(number), entry(at));
        }
        found.add_changes(state(1), state(4), RoaringBitmap::from([1]));
        found.add_changes(state(1), state(2), RoaringBitmap::from([1]));
        found.add_changes(state(2), state(5), RoaringBitmap::from([3]));
        found
    }

    #[test]
    fn tips_are_what_nothing_leads_on_from() {
        let mut found = found();
        assert_eq!(found.tips(), [state(4), state(5)]);
        found.add_lost(state(5));
        assert_eq!(found.tips(), [state(4)]);
        for number in 10..30 {
            found.add_page(state(number), page(1), entry(number));
        }
        let newest: Vec<_> = (22..30).map(state).collect();
        assert_eq!(found.tips(), newest);
    }

    #[test]
    fn pages_come_along_every_way_as_far_as_they_did_not_change() {
        let mut found = found();
        let changed = RoaringBitmap::from([6]);
        // 3 of state 2 changed before 5, and 1 of state 1 before 2.
        assert_eq!(numbers(&found.take(state(5), changed)), [2, 3, 4]);
        let changed = RoaringBitmap::new();
        assert_eq!(numbers(&found.take(state(4), changed)), [5], "what is left");
        assert!(found.take(state(9), RoaringBitmap::new()).is_empty());
    }

    #[test]
    fn an_edge_that_leads_back_is_none() {
        let mut found = Found::default();
        found.add_page(state(1), page(1), entry(1));
        found.add_changes(state(1), state(1), RoaringBitmap::new());
        found.add_changes(state(2), state(1), RoaringBitmap::new());
        assert_eq!(found.tips(), [state(1)]);
        assert_eq!(numbers(&found.take(state(1), RoaringBitmap::new())), [1]);
    }
}
