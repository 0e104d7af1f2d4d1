//! What the store's marks save: begins that need not ask, and commits that need not look.
//!
//! A state that the store gave with a mark is the newest as long as the store has that mark.

use std::time::Instant;

use verso_pagestore::{
    Begun, Changes, CommitError, CommitOutcome, CommitPages, CommitRequest, DatabaseName,
    LeaseStanding, Participant, RoaringBitmap, Since, Snapshot, Version,
};

use super::Warm;
use super::databases::Marked;

/// A commit of more pages is left for the next begin to find: the store may round what it lists of it.
const MOST_PAGES: usize = 1000;

impl Warm {
    /// The newest state of a database, if it is known without asking the store. Never waits.
    ///
    /// Strictly fresh: nothing that was acknowledged before the call is missing.
    pub(crate) fn begin_at_once(&self, name: &DatabaseName, since: Option<Since>) -> Option<Begun> {
        let asked = Instant::now();
        let known = self.databases.get(self.databases.named(name)?)?;
        // A mark is of the whole store, so that the name stands for what it did.
        let Marked { snapshot, .. } = known.marked().filter(|marked| marked.name == *name)?;
        if !self.store.is_newest(&snapshot) {
            return None;
        }
        let changes = self.databases.changes(since, &snapshot)?;
        known.confirm(asked);
        Some(Begun { snapshot, changes })
    }

    /// The state that a transaction began on, with its mark, if the node knows it. The mark does not
    /// go to clients; with it the store commits without looking at what it has committed since.
    fn marked(&self, participant: &Participant) -> Option<Marked> {
        let asked = participant.snapshot;
        let marked = self.databases.get(asked.database)?.marked()?;
        let known = Snapshot {
            mark: None,
            ..marked.snapshot
        };
        (known
            == Snapshot {
                mark: None,
                ..asked
            })
        .then_some(marked)
    }

    /// Commits, and learns what the newest state is then.
    pub(super) fn commit_marked(
        &self,
        request: &CommitRequest,
    ) -> Result<CommitOutcome, CommitError> {
        let [participant] = &request.participants[..] else {
            return self.store.commit(request);
        };
        let Some(before) = self.marked(participant) else {
            return self.store.commit(request);
        };
        let mut request = request.clone();
        for participant in &mut request.participants {
            participant.snapshot.mark = before.snapshot.mark;
        }
        let asked = Instant::now();
        let outcome = self.store.commit(&request)?;
        self.go_on_from(&before, &request, &outcome, asked);
        Ok(outcome)
    }

    /// After a commit that is the newest and followed on the state that its transaction began on.
    fn go_on_from(
        &self,
        before: &Marked,
        request: &CommitRequest,
        outcome: &CommitOutcome,
        asked: Instant,
    ) {
        let change = request
            .participants
            .first()
            .and_then(|part| part.change.as_ref());
        let Some(change) = change.filter(|change| change.staged.is_empty()) else {
            return;
        };
        let written = change.written().into_iter();
        let written: RoaringBitmap = written
            .filter(|page| *page <= change.page_count.get())
            .collect();
        let Marked { name, snapshot } = before;
        // Nothing lies between them if the one has the version after the other.
        let next = Version::from_commit(snapshot.read_version.saturating_add(1), 0);
        let committed = Snapshot {
            version: outcome.version,
            commit: request.id,
            read_version: outcome.read_version,
            // It was when this committed, or else its own, and was not handed over: then the store
            // would not call this the newest.
            lease: LeaseStanding::Free,
            mark: outcome.mark,
            page_size: Some(change.page_size),
            page_count: change.page_count,
            ..*snapshot
        };
        let is_few = written.len() <= MOST_PAGES as u64;
        if is_few && outcome.version == next && self.store.is_newest(&committed) {
            let begun = Begun {
                snapshot: committed,
                changes: Changes::Commits(vec![CommitPages {
                    version: outcome.version,
                    commit: request.id,
                    pages: written,
                }]),
            };
            let since = Since {
                database: snapshot.database,
                version: snapshot.version,
                commit: snapshot.commit,
            };
            self.drop_lost(self.databases.learn(name, Some(since), &begun, asked));
        }
    }
}
