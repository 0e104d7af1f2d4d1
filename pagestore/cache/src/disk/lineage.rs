//! The run of states that one database went through, as far as it is known.
//!
//! A commit's id is random, so it stands for the whole past of the database, also after the store
//! was put back to an older state and versions were given again.

use verso_pagestore::{
    Changes, CommitId, CommitPages, PageNumber, RoaringBitmap, Version, VersionedPage,
};

use super::State;
use crate::History;

/// Most commits of a run, twice as many as a store lists at once, and most bytes of them.
const MOST_COMMITS: usize = 2000;
const MOST_BYTES: usize = 4 << 20;

/// What an answer of the store means to a run.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Learnt {
    /// The state is one of the run.
    Known,
    /// The run goes on up to the state: by so many commits, which wrote these pages.
    More(u64, RoaringBitmap),
    /// It is not known whether the state is of the run.
    Unconnected,
    /// The state is not of the run, or too much lies in between.
    Broken,
}

#[derive(Debug)]
pub(super) struct Lineage {
    /// The commit that made the oldest state.
    first: CommitId,
    history: History,
}

impl Lineage {
    pub(super) const fn starting_at(state: State) -> Self {
        Self {
            first: state.commit,
            history: History::starting_at(state.version),
        }
    }

    fn oldest(&self) -> State {
        State {
            version: self.history.oldest(),
            commit: self.first,
        }
    }

    pub(super) fn newest(&self) -> State {
        let last = self.history.commits().back();
        last.map_or_else(|| self.oldest(), State::from)
    }

    /// Whether a state is one of the run.
    pub(super) fn contains(&self, state: State) -> bool {
        let commit = self.history.commit_at(state.version);
        state == self.oldest() || commit.is_some_and(|commit| commit.commit == state.commit)
    }

    /// The pages that were written after a state of the run.
    pub(super) fn changed_since(&self, state: State) -> RoaringBitmap {
        let newest = self.newest().version;
        let mut pages = RoaringBitmap::new();
        for commit in self.history.between(state.version, newest) {
            pages |= &commit.pages;
        }
        pages
    }

    /// Whether a page that the store gave for a state of the run is what the newest state has,
    /// and the run says of its past what the store says.
    pub(super) fn has_now(&self, number: PageNumber, page: &VersionedPage) -> bool {
        let oldest = self.history.oldest();
        let wrote = |commit: &CommitPages| commit.pages.contains(number.get());
        let is_known =
            page.version <= oldest || self.history.commit_at(page.version).is_some_and(wrote);
        let newest = self.newest().version;
        let since = page.version.max(oldest);
        is_known && self.history.unchanged(number, since, newest)
    }

    /// Learns that `newest` was the newest state, and what changed since another one.
    pub(super) fn learn(
        &mut self,
        since: Option<State>,
        newest: State,
        changes: &Changes,
    ) -> Learnt {
        if self.contains(newest) {
            if let (Some(since), Changes::Commits(commits)) = (since, changes)
                && leads(since, commits, newest)
            {
                self.prepend(since, commits, newest);
            }
            return Learnt::Known;
        }
        let Some(since) = since else {
            return Learnt::Unconnected;
        };
        match changes {
            Changes::Commits(commits) if leads(since, commits, newest) => {
                self.append(since, commits)
            }
            Changes::Unknown if since != self.newest() => Learnt::Unconnected,
            Changes::Diverged if !self.contains(since) => Learnt::Unconnected,
            Changes::Commits(_) | Changes::Unknown | Changes::Diverged => Learnt::Broken,
        }
    }

    /// Begins at an earlier state than before, from which commits lead to one of the run.
    fn prepend(&mut self, since: State, commits: &[CommitPages], reached: State) {
        if self.contains(since) || since.version >= self.history.oldest() {
            return;
        }
        let newest = self.newest().version;
        let after = self.history.between(reached.version, newest);
        let all: Vec<_> = commits.iter().chain(after).cloned().collect();
        *self = Self::starting_at(since);
        self.extend(all, newest);
    }

    fn append(&mut self, since: State, commits: &[CommitPages]) -> Learnt {
        let reached = self.newest();
        let in_list = commits.iter().any(|commit| State::from(commit) == reached);
        if !self.contains(since) {
            if !in_list {
                return Learnt::Unconnected;
            }
            // It begins earlier and ends later than what is known.
            *self = Self::starting_at(since);
        } else if since != reached && !in_list {
            return Learnt::Broken;
        }
        let mut pages = RoaringBitmap::new();
        let mut count = 0;
        for commit in commits {
            if commit.version > reached.version {
                pages |= &commit.pages;
                count += 1;
            }
        }
        let end = commits.last().map_or(since, State::from).version;
        self.extend(commits.to_vec(), end);
        Learnt::More(count, pages)
    }

    fn extend(&mut self, commits: Vec<CommitPages>, newest: Version) {
        self.history.extend(commits, newest);
        if let Some(last) = self.history.trim(MOST_COMMITS, MOST_BYTES) {
            self.first = last.commit;
        }
    }
}

/// Whether the commits are those that lead from a state to another one.
fn leads(since: State, commits: &[CommitPages], newest: State) -> bool {
    commits.last().map_or(since, State::from) == newest
}

#[cfg(test)]
mod tests {
    use super::super::tests_of_states::{commits, content, other, page, state};
    use super::*;

    fn learn(run: &mut Lineage, since: u64, newest: u64, list: &[(u64, &[u32])]) -> Learnt {
        run.learn(Some(state(since)), state(newest), &commits(list))
    }

    fn more(count: u64, pages: &[u32]) -> Learnt {
        Learnt::More(count, pages.iter().collect())
    }

    #[test]
    fn it_grows_by_what_follows_from_any_of_its_states() {
        let mut run = Lineage::starting_at(state(3));
        assert_eq!(learn(&mut run, 3, 4, &[(4, &[1])]), more(1, &[1]));
        let list: &[(u64, &[u32])] = &[(4, &[1]), (6, &[2, 3])];
        assert_eq!(learn(&mut run, 3, 6, list), more(1, &[2, 3]));
        assert_eq!(learn(&mut run, 3, 4, &[(4, &[1])]), Learnt::Known, "late");
        assert!([3, 4, 6].map(state).iter().all(|it| run.contains(*it)));
        assert!(!run.contains(state(5)) && !run.contains(other(4)));
        assert_eq!(run.changed_since(state(3)), [1, 2, 3].into_iter().collect());
        assert_eq!(run.changed_since(state(6)), RoaringBitmap::new());
    }

    #[test]
    fn an_answer_may_begin_before_it() {
        let mut run = Lineage::starting_at(state(5));
        let list: &[(u64, &[u32])] = &[(4, &[1]), (5, &[2]), (6, &[3])];
        assert_eq!(learn(&mut run, 3, 6, list), more(1, &[3]));
        assert!(run.contains(state(3)) && run.contains(state(4)));
        let list: &[(u64, &[u32])] = &[(2, &[8]), (3, &[9])];
        assert_eq!(learn(&mut run, 1, 3, list), Learnt::Known);
        assert!((1..=6).map(state).all(|it| run.contains(it)));
        let since = |version| run.changed_since(state(version));
        assert_eq!(since(3), [1, 2, 3].into_iter().collect());
        assert_eq!(since(1), [1, 2, 3, 8, 9].into_iter().collect());
        assert_eq!(run.newest(), state(6));
    }

    #[test]
    fn what_does_not_connect_is_told() {
        let mut run = Lineage::starting_at(state(5));
        let unknown = Changes::Unknown;
        let diverged = Changes::Diverged;
        for (since, changes, expected) in [
            (None, &unknown, Learnt::Unconnected),
            (Some(state(3)), &unknown, Learnt::Unconnected),
            (Some(state(3)), &diverged, Learnt::Unconnected),
            (Some(state(3)), &commits(&[(9, &[])]), Learnt::Unconnected),
            (Some(state(5)), &unknown, Learnt::Broken),
            (Some(state(5)), &diverged, Learnt::Broken),
            (Some(state(5)), &commits(&[(8, &[])]), Learnt::Broken),
        ] {
            assert_eq!(run.learn(since, state(9), changes), expected, "{since:?}");
        }
        learn(&mut run, 5, 6, &[(6, &[])]);
        assert_eq!(learn(&mut run, 5, 9, &[(9, &[])]), Learnt::Broken);
    }

    #[test]
    fn a_page_is_of_now_only_if_the_commits_say_the_same() {
        let mut run = Lineage::starting_at(state(3));
        learn(&mut run, 3, 6, &[(4, &[1]), (6, &[2])]);
        let has = |number, from| run.has_now(page(number), &content(b"x", from));
        assert!(has(1, 4), "written by 4");
        assert!(!has(1, 3), "4 wrote it again");
        assert!(!has(2, 4), "4 did not write it");
        assert!(has(7, 2) && has(7, 3), "written before the run");
        assert!(!has(7, 5), "there is no commit 5");
        assert!(!has(7, 9), "from the future");
    }
}
