//! A run of a database's commits, each with its id.
//!
//! A commit's id is random, so it stands for the whole past of the database. A state whose newest
//! commit is in the run has the run's past, also after the store was put back to an older state and
//! versions were given again.

use verso_cache::History;
use verso_pagestore::{
    Changes, CommitId, CommitPages, PageNumber, Since, Snapshot, Version, VersionedPage,
};

/// Most commits of a run. A store lists no more of them at once, so that what a run knows is never
/// too much to list.
const MOST_COMMITS: usize = 1000;

/// Which run. Every run has a number of its own in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct LineageNumber(pub(super) u64);

/// A state of a database: its newest commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) version: Version,
    pub(super) commit: CommitId,
}

impl From<&Snapshot> for Position {
    fn from(snapshot: &Snapshot) -> Self {
        let (version, commit) = (snapshot.version, snapshot.commit);
        Self { version, commit }
    }
}

impl From<&Since> for Position {
    fn from(since: &Since) -> Self {
        let (version, commit) = (since.version, since.commit);
        Self { version, commit }
    }
}

impl From<&CommitPages> for Position {
    fn from(pages: &CommitPages) -> Self {
        let (version, commit) = (pages.version, pages.commit);
        Self { version, commit }
    }
}

/// An answer of the store: the newest state, and what changed since another one.
#[derive(Debug, Clone, Copy)]
pub(super) struct News<'a> {
    pub(super) since: Option<Position>,
    pub(super) newest: Position,
    pub(super) changes: &'a Changes,
}

impl News<'_> {
    /// Whether the commits are those that lead from a state to the newest one.
    fn leads_from(&self, since: Position, commits: &[CommitPages]) -> bool {
        commits.last().map_or(since, Position::from) == self.newest
    }
}

/// What an answer of the store means to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Learnt {
    /// Nothing that it did not know.
    Nothing,
    /// The run is longer now.
    More,
    /// The run is not that of the newest state: too much happened since, or the store was put back
    /// to an older state.
    Broken,
}

/// A run of commits.
pub(super) struct Lineage {
    pub(super) number: LineageNumber,
    /// The commit that made the state at which the run begins.
    first: CommitId,
    history: History,
    most_bytes: usize,
}

impl Lineage {
    /// A new run that begins with an answer of the store, and remembers at most so many bytes.
    pub(super) fn new(number: LineageNumber, most_bytes: usize, news: News<'_>) -> Self {
        let (start, commits) = match (news.since, news.changes) {
            (Some(since), Changes::Commits(commits)) if news.leads_from(since, commits) => {
                (since, commits.as_slice())
            }
            _ => (news.newest, [].as_slice()),
        };
        let mut lineage = Self {
            number,
            most_bytes,
            first: start.commit,
            history: History::starting_at(start.version),
        };
        lineage.extend(commits, news.newest.version);
        lineage
    }

    /// The newest state that it knows.
    pub(super) fn newest(&self) -> Position {
        let last = self.history.commits().back();
        last.map_or_else(|| self.oldest(), Position::from)
    }

    fn oldest(&self) -> Position {
        Position {
            version: self.history.oldest(),
            commit: self.first,
        }
    }

    /// About how many bytes it takes.
    pub(super) const fn bytes(&self) -> usize {
        self.history.bytes() + size_of::<Self>()
    }

    /// Whether a state is one of the run.
    pub(super) fn contains(&self, state: Position) -> bool {
        let commit = self.history.commit_at(state.version);
        state == self.oldest() || commit.is_some_and(|commit| commit.commit == state.commit)
    }

    /// The commits after one state up to another, if both are of the run.
    pub(super) fn changes(&self, since: Position, newest: Position) -> Option<Vec<CommitPages>> {
        let is_run = since.version <= newest.version && self.contains(since);
        (is_run && self.contains(newest)).then(|| {
            let commits = self.history.between(since.version, newest.version);
            commits.cloned().collect()
        })
    }

    /// Whether no commit after `from`, up to `to`, wrote the page.
    pub(super) fn unchanged(&self, page: PageNumber, from: Version, to: Version) -> bool {
        self.history.unchanged(page, from, to)
    }

    /// Whether the commits of the run say of a page what the store says: which of them wrote it
    /// last before `at`.
    pub(super) fn agrees(&self, number: PageNumber, page: &VersionedPage, at: Version) -> bool {
        let oldest = self.history.oldest();
        let wrote = |commit: &CommitPages| commit.pages.contains(number.get());
        let is_known =
            page.version <= oldest || self.history.commit_at(page.version).is_some_and(wrote);
        is_known && self.unchanged(number, page.version.max(oldest), at)
    }

    /// Learns from an answer of the store. Answers may come in another order than the store gave
    /// them in. What was asked since a state that is not of the run says nothing about the run.
    pub(super) fn learn(&mut self, news: News<'_>) -> Learnt {
        let Some(since) = news.since.filter(|since| self.contains(*since)) else {
            return Learnt::Nothing;
        };
        match news.changes {
            Changes::Commits(commits) => self.append(since, news, commits),
            Changes::Unknown if self.contains(news.newest) => Learnt::Nothing,
            Changes::Unknown | Changes::Diverged => Learnt::Broken,
        }
    }

    /// Adds the commits that lead from a state of the run to the newest one, as far as they are
    /// new.
    fn append(&mut self, since: Position, news: News<'_>, commits: &[CommitPages]) -> Learnt {
        let is_same = |(known, told)| Position::from(known) == Position::from(told);
        let known = self.history.between(since.version, Version::MAX);
        let is_same_run = known.zip(commits).all(is_same);
        if !is_same_run || !news.leads_from(since, commits) {
            return Learnt::Broken;
        }
        if news.newest.version <= self.history.newest() {
            return Learnt::Nothing;
        }
        self.extend(commits, news.newest.version);
        Learnt::More
    }

    fn extend(&mut self, commits: &[CommitPages], newest: Version) {
        self.history.extend(commits.iter().cloned(), newest);
        if let Some(last) = self.history.trim(MOST_COMMITS, self.most_bytes) {
            self.first = last.commit;
        }
    }
}

#[cfg(test)]
mod tests {
    use verso_pagestore::RoaringBitmap;

    use super::*;

    /// The state of a version and an id.
    fn at(version: u64, id: u8) -> Position {
        Position {
            version: Version::from_commit(version, 0),
            commit: CommitId::from_bytes([id; 16]),
        }
    }

    fn commits(states: &[Position]) -> Changes {
        let commit = |state: &Position| CommitPages {
            version: state.version,
            commit: state.commit,
            pages: RoaringBitmap::from([1]),
        };
        Changes::Commits(states.iter().map(commit).collect())
    }

    fn learn(
        lineage: &mut Lineage,
        since: Option<Position>,
        newest: Position,
        changes: &Changes,
    ) -> Learnt {
        lineage.learn(News {
            since,
            newest,
            changes,
        })
    }

    fn starting_at(newest: Position) -> Lineage {
        let news = News {
            since: None,
            newest,
            changes: &Changes::Unknown,
        };
        Lineage::new(LineageNumber(1), usize::MAX, news)
    }

    #[test]
    fn answers_may_come_in_another_order() {
        let (one, two, three) = (at(1, 1), at(2, 2), at(3, 3));
        let mut lineage = starting_at(one);
        let since = Some(one);
        let told = commits(&[two, three]);
        assert_eq!(learn(&mut lineage, since, three, &told), Learnt::More);
        let told = commits(&[two]);
        assert_eq!(learn(&mut lineage, since, two, &told), Learnt::Nothing);
        assert_eq!(
            learn(&mut lineage, since, one, &commits(&[])),
            Learnt::Nothing
        );
        assert_eq!(lineage.newest(), three);
        let between = lineage.changes(one, two).expect("both are known");
        assert_eq!(Changes::Commits(between), told);
        assert_eq!(lineage.changes(three, two), None);
    }

    #[test]
    fn another_past_breaks_the_run() {
        let (one, two) = (at(1, 1), at(2, 2));
        let run = || {
            let mut lineage = starting_at(one);
            learn(&mut lineage, Some(one), two, &commits(&[two]));
            lineage
        };
        for (newest, changes) in [
            // The version was given again, or another one was given instead.
            (at(2, 7), commits(&[at(2, 7)])),
            (at(3, 7), commits(&[at(2, 7), at(3, 7)])),
            (at(3, 7), commits(&[at(3, 7)])),
            // What is listed does not lead to the newest state.
            (at(4, 7), commits(&[two, at(3, 7)])),
            (at(4, 7), Changes::Unknown),
            (at(4, 7), Changes::Diverged),
        ] {
            let learnt = learn(&mut run(), Some(one), newest, &changes);
            assert_eq!(learnt, Learnt::Broken, "{newest:?} {changes:?}");
        }
        // Nothing follows for the run from what others know.
        for since in [None, Some(at(1, 7)), Some(at(9, 9))] {
            for changes in [commits(&[]), Changes::Unknown, Changes::Diverged] {
                let learnt = learn(&mut run(), since, at(9, 9), &changes);
                assert_eq!(learnt, Learnt::Nothing, "{since:?} {changes:?}");
            }
        }
        assert!(!run().contains(at(2, 7)));
        assert!(!run().contains(at(1, 7)));
    }
}
