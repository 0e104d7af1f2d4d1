//! A run of a database's commits.

use std::collections::VecDeque;

use verso_pagestore::{CommitPages, PageNumber, Version};

/// What is known of a database's commits: all of those after `oldest`, up to `newest`.
#[derive(Debug, Clone)]
pub struct History {
    oldest: Version,
    newest: Version,
    commits: VecDeque<CommitPages>,
    bytes: usize,
}

/// About what a commit takes in memory.
fn bytes_of(commit: &CommitPages) -> usize {
    commit.pages.serialized_size() + size_of::<CommitPages>()
}

impl History {
    /// No commits: nothing is known before or after this version.
    #[must_use]
    pub const fn starting_at(version: Version) -> Self {
        Self {
            oldest: version,
            newest: version,
            commits: VecDeque::new(),
            bytes: 0,
        }
    }

    /// Every commit after this version is known.
    #[must_use]
    pub const fn oldest(&self) -> Version {
        self.oldest
    }

    /// Every commit up to this version is known.
    #[must_use]
    pub const fn newest(&self) -> Version {
        self.newest
    }

    /// The commits that are known, oldest first.
    #[must_use]
    pub const fn commits(&self) -> &VecDeque<CommitPages> {
        &self.commits
    }

    /// About how many bytes the commits take.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The commit that made a version, if it is known.
    #[must_use]
    pub fn commit_at(&self, version: Version) -> Option<&CommitPages> {
        let index = self
            .commits
            .binary_search_by_key(&version, |commit| commit.version);
        index.ok().and_then(|index| self.commits.get(index))
    }

    /// The commits after one version up to another, oldest first.
    pub fn between(&self, after: Version, to: Version) -> impl Iterator<Item = &CommitPages> {
        let until = |version| {
            self.commits
                .partition_point(move |commit| commit.version <= version)
        };
        let first = until(after);
        self.commits.range(first..until(to).max(first))
    }

    /// Adds commits in the order of their versions; those that are known already are left out.
    /// Together with what is known they must be all commits up to `newest`.
    pub fn extend(&mut self, commits: impl IntoIterator<Item = CommitPages>, newest: Version) {
        let known = self.newest;
        for commit in commits {
            if commit.version > known {
                self.bytes += bytes_of(&commit);
                self.commits.push_back(commit);
            }
        }
        self.newest = self.newest.max(newest);
    }

    /// Forgets old commits until there are at most so many, of so many bytes. The answer is the
    /// newest of them: the history begins after it.
    pub fn trim(&mut self, most: usize, most_bytes: usize) -> Option<CommitPages> {
        let mut last = None;
        while self.commits.len() > most || self.bytes > most_bytes {
            let Some(commit) = self.commits.pop_front() else {
                break;
            };
            self.oldest = commit.version;
            self.bytes -= bytes_of(&commit);
            last = Some(commit);
        }
        last
    }

    /// Whether it is known that no commit after `from`, up to `to`, wrote the page.
    #[must_use]
    pub fn unchanged(&self, page: PageNumber, from: Version, to: Version) -> bool {
        from >= self.oldest
            && to <= self.newest
            && !self
                .between(from, to)
                .any(|commit| commit.pages.contains(page.get()))
    }
}

#[cfg(test)]
mod tests {
    use verso_pagestore::{CommitId, RoaringBitmap};

    use super::*;

    fn version(number: u64) -> Version {
        Version::from_commit(number, 0)
    }

    fn page(number: u32) -> PageNumber {
        PageNumber::new(number).unwrap()
    }

    fn commit(at: u64, pages: &[u32]) -> CommitPages {
        CommitPages {
            version: version(at),
            commit: CommitId::from_bytes([u8::try_from(at).unwrap(); 16]),
            pages: RoaringBitmap::from_iter(pages),
        }
    }

    fn history() -> History {
        let mut history = History::starting_at(version(5));
        history.extend([commit(6, &[1]), commit(8, &[2])], version(8));
        history
    }

    #[test]
    fn a_page_is_unchanged_where_every_commit_is_known_and_none_wrote_it() {
        let history = history();
        assert!(history.unchanged(page(1), version(6), version(8)));
        assert!(!history.unchanged(page(1), version(5), version(6)));
        assert!(history.unchanged(page(2), version(5), version(7)));
        assert!(!history.unchanged(page(2), version(7), version(8)));
        assert!(history.unchanged(page(3), version(5), version(8)));
        assert!(
            !history.unchanged(page(3), version(4), version(8)),
            "before"
        );
        assert!(!history.unchanged(page(3), version(5), version(9)), "after");
    }

    #[test]
    fn commits_are_known_once() {
        let mut history = history();
        history.extend(
            [commit(6, &[1]), commit(8, &[2]), commit(9, &[3])],
            version(9),
        );
        let versions = history.commits().iter().map(|commit| commit.version);
        assert_eq!(versions.collect::<Vec<_>>(), [6, 8, 9].map(version));
        assert_eq!(history.between(version(6), version(8)).count(), 1);
        assert_eq!(history.between(version(9), version(6)).count(), 0);
        assert_eq!(history.commit_at(version(8)), Some(&commit(8, &[2])));
        assert_eq!(history.commit_at(version(7)), None);
    }

    #[test]
    fn it_is_bounded_at_its_old_end() {
        let mut history = history();
        assert_eq!(history.trim(2, usize::MAX), None);
        assert_eq!(history.trim(1, usize::MAX), Some(commit(6, &[1])));
        assert_eq!(history.oldest(), version(6));
        assert!(!history.unchanged(page(3), version(5), version(8)));
        assert_eq!(history.trim(1, 0), Some(commit(8, &[2])));
        assert_eq!(history.bytes(), 0);
        assert_eq!(
            (history.oldest(), history.newest()),
            (version(8), version(8))
        );
    }
}
