//! What a run came to, to see that runs are worth something.

use verso_pagestore::Lease;

use crate::history::{History, Reply, Wish};
use crate::truth::{Commit, Database, Truth};

/// What came of one run, or of many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Summary {
    /// Tells the run from any other.
    pub(crate) trace: u64,
    committed: usize,
    refused: usize,
    /// Commits that took effect without their client hearing of it.
    unheard: usize,
    /// Commits that share a commit version with another one of the same database.
    shared: usize,
    /// Commits that were published in steps, and those of them that were so by several attempts.
    stepwise: usize,
    resumed: usize,
    /// Publications that somebody else took over and removed.
    ousted: usize,
    leases: usize,
    /// Leases that were handed over, and those of them that committed something.
    handed_over: usize,
    used: usize,
    removed: usize,
    renamed: usize,
    loaded: usize,
    looks: usize,
    begins: usize,
    reads: usize,
    /// Pages that were read as deltas, and those of them with a chain of several.
    deltas: usize,
    chains: usize,
}

impl Summary {
    pub(crate) fn new(trace: u64, history: &History, truth: &Truth) -> Self {
        let commits = || history.commits.values();
        let lives = || truth.databases.values();
        let is_loaded = |wish: &Wish| matches!(wish, Wish::FinishLoad(..));
        let loads = history.calls.iter().filter(|call| is_loaded(&call.wish));
        let read = || history.reads.iter().flat_map(|read| &read.answer);
        let chains = |least| read().filter(move |page| page.chain.deltas() >= least);
        Self {
            trace,
            committed: commits().filter(|it| !it.acknowledged.is_empty()).count(),
            refused: commits().filter(|it| !it.refused.is_empty()).count(),
            unheard: commits()
                .filter(|it| it.acknowledged.is_empty())
                .filter(|it| truth.commits.contains_key(&it.request.id))
                .count(),
            shared: lives().map(shared).sum(),
            stepwise: lives().map(|life| stepwise(life).count()).sum(),
            resumed: lives().map(resumed).sum(),
            ousted: lives().map(|life| life.ousted.len()).sum(),
            leases: history.grants.len(),
            handed_over: lives().map(|life| life.hand_overs.len()).sum(),
            used: used(history, truth),
            removed: truth.names.removals.len(),
            renamed: truth.names.renames.len(),
            loaded: loads.filter(|call| call.reply == Reply::Done).count(),
            looks: history.looks.iter().filter(|it| it.answer.is_ok()).count(),
            begins: history.begins.len(),
            reads: history.reads.len(),
            deltas: chains(1).count(),
            chains: chains(3).count(),
        }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.trace ^= other.trace;
        let mut other = *other;
        let counts = self.counts_mut().into_iter();
        for (count, more) in counts.zip(other.counts_mut()) {
            *count += *more;
        }
    }

    /// The smallest of the counts.
    pub(crate) fn least(mut self) -> usize {
        let counts = self.counts_mut().into_iter();
        counts.map(|count| *count).min().unwrap_or(0)
    }

    fn counts_mut(&mut self) -> [&mut usize; 18] {
        [
            &mut self.committed,
            &mut self.refused,
            &mut self.unheard,
            &mut self.shared,
            &mut self.stepwise,
            &mut self.resumed,
            &mut self.ousted,
            &mut self.leases,
            &mut self.handed_over,
            &mut self.used,
            &mut self.removed,
            &mut self.renamed,
            &mut self.loaded,
            &mut self.looks,
            &mut self.begins,
            &mut self.reads,
            &mut self.deltas,
            &mut self.chains,
        ]
    }
}

/// Commits under leases that were handed over.
fn used(history: &History, truth: &Truth) -> usize {
    let committed = history
        .commits
        .values()
        .filter(|it| truth.commits.contains_key(&it.request.id));
    let leases = committed.flat_map(|it| it.request.participants.iter().filter_map(|it| it.lease));
    let is_handed_over = |lease: &Lease| {
        let life = truth.databases.get(&lease.database);
        life.is_some_and(|life| {
            let mut hand_overs = life.hand_overs.iter();
            hand_overs.any(|it| it.epoch == lease.epoch)
        })
    };
    leases.filter(is_handed_over).count()
}

fn shared(life: &Database) -> usize {
    let is_shared = |pair: &&[Commit]| match pair {
        [left, right] => left.version.commit_version() == right.version.commit_version(),
        _ => false,
    };
    life.commits.windows(2).filter(is_shared).count()
}

fn stepwise(life: &Database) -> impl Iterator<Item = &Commit> {
    let own = |it: &&Commit| it.writer == it.id;
    let commits = life.commits.iter().filter(own);
    commits.filter(|commit| life.is_stepwise(commit))
}

fn resumed(life: &Database) -> usize {
    let is_resumed = |commit: &&Commit| {
        let mut rounds = life.rounds.iter();
        rounds.any(|(id, round, _)| *id == commit.id && *round > 1)
    };
    stepwise(life).filter(is_resumed).count()
}
