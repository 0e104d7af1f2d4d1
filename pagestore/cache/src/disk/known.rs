//! What this process knows of one database on disk: which pages are as the newest state has them.

use std::collections::HashMap;

use verso_pagestore::{Changes, PageNumber, RoaringBitmap, VersionedPage};

use super::State;
use super::found::Found;
use super::lineage::{Learnt, Lineage};
use super::record::Place;

/// What happened is written down after so many commits, even if no page is, so that the next
/// process need not ask for more than a store can list.
const MOST_COMMITS: u64 = 250;

/// A page on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    /// Which of the cache's segments has it.
    pub(super) segment: u32,
    pub(super) place: Place,
}

/// A state that was written down, and the pages that changed since.
#[derive(Debug, Clone)]
pub(super) struct Link {
    pub(super) from: State,
    pub(super) changed: RoaringBitmap,
}

/// What is to be written down, so that later processes understand the pages at a state.
#[derive(Debug)]
pub(super) struct Notes {
    pub(super) at: State,
    pub(super) links: Vec<Link>,
    pub(super) lost: Vec<State>,
}

#[derive(Debug)]
enum Run {
    /// Nobody has begun yet.
    Unknown,
    /// All that is known is of its newest state.
    Following(Lineage),
    /// The same, and there is another state that may follow from it.
    Behind(Lineage),
}

#[derive(Debug)]
pub(super) struct Known {
    run: Run,
    /// Valid at the newest state of the run.
    pages: HashMap<PageNumber, Entry>,
    found: Found,
    /// States of `found` that must be asked about, oldest first.
    tips: Vec<State>,
    links: Vec<Link>,
    lost: Vec<State>,
    /// How many were learnt since something was written down.
    commits: u64,
    /// How many segments were removed when their pages were last dropped.
    removed: u64,
}

impl Known {
    pub(super) fn new(found: Found) -> Self {
        Self {
            run: Run::Unknown,
            pages: HashMap::new(),
            tips: found.tips(),
            found,
            links: Vec::new(),
            lost: Vec::new(),
            commits: 0,
            removed: 0,
        }
    }

    const fn lineage(&self) -> Option<&Lineage> {
        match &self.run {
            Run::Unknown => None,
            Run::Following(lineage) | Run::Behind(lineage) => Some(lineage),
        }
    }

    /// The newest state that it follows.
    pub(super) fn newest(&self) -> Option<State> {
        self.lineage().map(Lineage::newest)
    }

    /// A state since when the store should tell what changed.
    pub(super) fn question(&self) -> Option<State> {
        match &self.run {
            Run::Behind(lineage) => Some(lineage.newest()),
            Run::Following(_) => self.tips.last().copied(),
            Run::Unknown => None,
        }
    }

    /// Learns that `newest` was the newest state, and what changed since another one.
    pub(super) fn learn(&mut self, since: Option<State>, newest: State, changes: &Changes) {
        let run = std::mem::replace(&mut self.run, Run::Unknown);
        let mut lineage = match run {
            Run::Unknown => Lineage::starting_at(newest),
            Run::Following(lineage) | Run::Behind(lineage) => lineage,
        };
        self.run = match lineage.learn(since, newest, changes) {
            Learnt::Known => Run::Following(lineage),
            Learnt::More(count, pages) => {
                self.change(count, &pages);
                Run::Following(lineage)
            }
            Learnt::Unconnected => Run::Behind(lineage),
            Learnt::Broken => {
                self.pages.clear();
                self.links.clear();
                self.commits = 0;
                Run::Following(Lineage::starting_at(newest))
            }
        };
        self.link_tips(since, changes);
    }

    fn change(&mut self, count: u64, pages: &RoaringBitmap) {
        if pages.len() < self.pages.len() as u64 {
            for number in pages.iter().filter_map(PageNumber::new) {
                self.pages.remove(&number);
            }
        } else {
            self.pages.retain(|number, _| !pages.contains(number.get()));
        }
        for link in &mut self.links {
            link.changed |= pages;
        }
        self.commits = self.commits.saturating_add(count);
    }

    /// Takes over the pages of tips that turn out to be of the run. The store was asked about one
    /// of them: if that is not, it is of no use any more.
    fn link_tips(&mut self, asked: Option<State>, changes: &Changes) {
        let Self {
            run: Run::Following(lineage) | Run::Behind(lineage),
            pages,
            found,
            tips,
            links,
            lost,
            ..
        } = self
        else {
            return;
        };
        for tip in tips.extract_if(.., |tip| lineage.contains(*tip)) {
            let link = Link {
                from: tip,
                changed: lineage.changed_since(tip),
            };
            for (number, entry) in found.take(tip, link.changed.clone()) {
                pages.entry(number).or_insert(entry);
            }
            links.push(link);
        }
        if let Some(place) = tips.iter().position(|tip| Some(*tip) == asked) {
            // If more happened than the store lists, so did since all earlier ones.
            let first = match changes {
                Changes::Unknown => 0,
                Changes::Commits(_) | Changes::Diverged => place,
            };
            lost.extend(tips.drain(first..=place));
        }
        if tips.is_empty() {
            *found = Found::default();
        }
    }

    /// Where a page is that is valid at a state of the run.
    pub(super) fn get(&self, number: PageNumber, at: State) -> Option<Entry> {
        let entry = self.pages.get(&number)?;
        let is_valid = entry.place.version <= at.version && self.lineage()?.contains(at);
        is_valid.then_some(*entry)
    }

    /// Whether a page that the store gave for a state is one that the newest state has, and that is
    /// missing.
    pub(super) fn wants(&self, number: PageNumber, page: &VersionedPage, at: State) -> bool {
        let is_there = |entry: &Entry| entry.place.version == page.version;
        let is_missing = !self.pages.get(&number).is_some_and(is_there);
        let has_now = |lineage: &Lineage| lineage.contains(at) && lineage.has_now(number, page);
        is_missing && self.lineage().is_some_and(has_now)
    }

    /// Forgets a page that turned out not to be there.
    pub(super) fn drop_page(&mut self, number: PageNumber, entry: Entry) {
        if self.pages.get(&number) == Some(&entry) {
            self.pages.remove(&number);
        }
    }

    /// Forgets the pages of segments that were removed, of which there were so many so far.
    pub(super) fn drop_segments(&mut self, removed: u64, is_there: impl Fn(u32) -> bool) {
        if self.removed != removed {
            self.removed = removed;
            self.pages.retain(|_, entry| is_there(entry.segment));
        }
    }

    /// What must stand on disk before pages of the newest state.
    pub(super) fn notes(&self) -> Option<Notes> {
        let at = self.newest()?;
        let links = self.links.iter().filter(|link| link.from != at);
        Some(Notes {
            at,
            links: links.cloned().collect(),
            lost: self.lost.clone(),
        })
    }

    /// Whether much happened since anything was written down.
    pub(super) fn should_note(&self) -> bool {
        self.commits >= MOST_COMMITS && !self.links.is_empty()
    }

    /// Notes were written down, and pages.
    pub(super) fn noted(&mut self, at: State, pages: &[(PageNumber, Entry)]) {
        let (Run::Following(lineage) | Run::Behind(lineage)) = &self.run else {
            return;
        };
        if !lineage.contains(at) {
            return;
        }
        let changed = lineage.changed_since(at);
        for (number, entry) in pages {
            if !changed.contains(number.get()) {
                self.pages.insert(*number, *entry);
            }
        }
        self.links = vec![Link { from: at, changed }];
        self.lost.clear();
        self.commits = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests_of_states::{commits, content, entry, other, page, state};
    use super::*;

    /// 1 to 4 of state 1, of which 1 changed until the tip 3, and 5 of another tip, 2.
    fn found() -> Found {
        let mut found = Found::default();
        for number in 1..=4 {
            found.add_page(state(1), page(number), entry(1));
        }
        found.add_changes(state(1), state(3), RoaringBitmap::from([1]));
        found.add_page(state(2), page(5), entry(2));
        found
    }

    fn numbers(known: &Known, at: State) -> Vec<u32> {
        let has = |number: &u32| known.get(page(*number), at).is_some();
        (1..10).filter(has).collect()
    }

    #[test]
    fn nothing_is_valid_until_the_store_has_answered() {
        let mut known = Known::new(found());
        assert_eq!(known.question(), None);
        assert!(numbers(&known, state(3)).is_empty());
        known.learn(None, state(7), &Changes::Unknown);
        assert!(numbers(&known, state(7)).is_empty());
        assert_eq!(known.question(), Some(state(3)));
        known.learn(Some(state(3)), state(7), &commits(&[(7, &[2])]));
        assert_eq!(numbers(&known, state(7)), [3, 4]);
        assert_eq!(known.question(), Some(state(2)));
        let list: &[(u64, &[u32])] = &[(3, &[9]), (7, &[2]), (8, &[4])];
        known.learn(Some(state(2)), state(8), &commits(list));
        assert_eq!(numbers(&known, state(8)), [3, 5]);
        assert_eq!(numbers(&known, state(7)), [3, 5], "as it was before");
        assert_eq!(numbers(&known, state(1)), [0; 0], "before the run");
        assert_eq!(numbers(&known, other(8)), [0; 0], "of another past");
        assert_eq!(known.question(), None);
    }

    #[test]
    fn a_tip_that_is_the_newest_state_needs_no_question() {
        let mut known = Known::new(found());
        known.learn(None, state(3), &Changes::Unknown);
        assert_eq!(numbers(&known, state(3)), [2, 3, 4]);
        assert_eq!(known.question(), Some(state(2)));
        known.learn(Some(state(2)), state(3), &commits(&[(3, &[5])]));
        assert_eq!(numbers(&known, state(3)), [2, 3, 4]);
        assert_eq!(known.question(), None);
    }

    #[test]
    fn too_many_changes_end_all_earlier_tips_and_another_past_only_one() {
        let mut known = Known::new(found());
        known.learn(None, state(7), &Changes::Unknown);
        known.learn(Some(state(3)), state(7), &Changes::Unknown);
        assert_eq!(known.question(), None);
        assert_eq!(known.notes().unwrap().lost, [state(2), state(3)]);
        let mut known = Known::new(found());
        known.learn(None, state(7), &Changes::Unknown);
        known.learn(Some(state(3)), state(7), &Changes::Diverged);
        assert_eq!(known.question(), Some(state(2)));
        let list: &[(u64, &[u32])] = &[(7, &[])];
        known.learn(Some(state(2)), state(7), &commits(list));
        assert_eq!(numbers(&known, state(7)), [5]);
        assert_eq!(known.notes().unwrap().lost, [state(3)]);
    }

    #[test]
    fn a_gap_is_asked_about_before_anything_is_given_up() {
        let mut known = Known::new(Found::default());
        known.learn(None, state(3), &Changes::Unknown);
        known.noted(state(3), &[(page(1), entry(3)), (page(2), entry(3))]);
        known.learn(None, state(5), &Changes::Unknown);
        assert_eq!(known.question(), Some(state(3)));
        assert!(numbers(&known, state(5)).is_empty());
        assert_eq!(numbers(&known, state(3)), [1, 2]);
        let list: &[(u64, &[u32])] = &[(4, &[2]), (5, &[])];
        known.learn(Some(state(3)), state(5), &commits(list));
        assert_eq!(known.question(), None);
        assert_eq!(numbers(&known, state(5)), [1]);
        known.learn(None, state(9), &Changes::Unknown);
        known.learn(Some(state(5)), state(9), &Changes::Diverged);
        assert_eq!(known.question(), None);
        assert!(numbers(&known, state(5)).is_empty());
        assert!(
            known.notes().unwrap().links.is_empty(),
            "nothing leads here"
        );
    }

    #[test]
    fn what_is_written_down_links_the_states() {
        let mut known = Known::new(Found::default());
        known.learn(None, state(3), &Changes::Unknown);
        assert!(known.wants(page(1), &content(b"x", 2), state(3)));
        known.noted(state(3), &[(page(1), entry(2))]);
        assert!(!known.wants(page(1), &content(b"x", 2), state(3)));
        known.learn(Some(state(3)), state(4), &commits(&[(4, &[1])]));
        assert!(!known.wants(page(1), &content(b"x", 2), state(3)), "old");
        assert!(known.wants(page(1), &content(b"y", 4), state(4)));
        let notes = known.notes().unwrap();
        assert_eq!((notes.at, notes.links[0].from), (state(4), state(3)));
        assert_eq!(notes.links[0].changed, RoaringBitmap::from([1]));
        // Meanwhile somebody learns more.
        known.learn(Some(state(4)), state(5), &commits(&[(5, &[1])]));
        known.noted(state(4), &[(page(1), entry(4)), (page(2), entry(1))]);
        assert_eq!(numbers(&known, state(5)), [2]);
        assert_eq!(known.notes().unwrap().links[0].from, state(4));
        assert!(!known.should_note());
        for version in 6..300 {
            let list: &[(u64, &[u32])] = &[(version, &[9])];
            known.learn(Some(state(version - 1)), state(version), &commits(list));
        }
        assert!(known.should_note());
    }
}
