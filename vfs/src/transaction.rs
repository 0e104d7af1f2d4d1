//! A transaction on its way to the store: what each of its databases read and changes.

use std::sync::atomic::{AtomicBool, Ordering};

use verso_pagestore::{
    Chain, CommitError, CommitId, CommitOutcome, CommitRequest, DatabaseId, Durability, Lease,
    Page, PageNumber, PageStore, Participant, StoreError, VersionedPage,
};

use crate::cache::{CachedDatabase, PageCache};
use crate::error::VfsError;
use crate::process::StoreClient;
use crate::spill::SpilledPages;

/// Most bytes of pages that are staged in one request.
const STAGED_AT_ONCE: usize = 4 << 20;

/// A page as it is once the transaction has committed.
pub(crate) struct NewPage {
    pub(crate) number: PageNumber,
    pub(crate) page: Page,
    pub(crate) chain: Chain,
}

/// One database's part of a transaction.
pub(crate) struct Part {
    pub(crate) client: StoreClient,
    pub(crate) cached: CachedDatabase,
    pub(crate) participant: Participant,
    /// Written pages that are in the participant.
    pub(crate) pages: Vec<NewPage>,
    /// Written pages that are not in the participant, but staged before.
    pub(crate) spilled: Option<SpilledPages>,
}

/// A transaction of one connection.
pub(crate) struct Transaction {
    request: CommitRequest,
    /// Of each participant.
    parts: Vec<(StoreClient, CachedDatabase, Vec<NewPage>)>,
    /// Pages that the store gets ahead of the commit.
    spilled: Vec<(DatabaseId, SpilledPages)>,
    /// Whether it has them.
    is_staged: AtomicBool,
    /// Whether it was checked under its leases, so that SQLite may commit before the store.
    pub(crate) is_prepared: bool,
}

impl Transaction {
    /// A transaction with one database so far.
    pub(crate) fn new(part: Part, durability: Durability) -> Result<Self, VfsError> {
        let id = CommitId::random().map_err(|error| VfsError::Random(error.to_string()))?;
        let database = part.participant.snapshot.database;
        Ok(Self {
            request: CommitRequest {
                id,
                durability,
                participants: vec![part.participant],
            },
            parts: vec![(part.client, part.cached, part.pages)],
            spilled: part
                .spilled
                .map(|pages| (database, pages))
                .into_iter()
                .collect(),
            is_staged: AtomicBool::new(false),
            is_prepared: false,
        })
    }

    /// Adds a database, of the same store.
    pub(crate) fn add(&mut self, part: Part, durability: Durability) -> Result<(), VfsError> {
        if let Some((first, ..)) = self.parts.first()
            && first.open.key != part.client.open.key
        {
            return Err(VfsError::SeveralStores {
                first: first.open.url.to_string(),
                second: part.client.open.url.to_string(),
            });
        }
        let participants = &mut self.request.participants;
        let database = part.participant.snapshot.database;
        self.spilled
            .extend(part.spilled.map(|pages| (database, pages)));
        // One database attached twice: SQLite lets only one of them write, and what the other
        // one read counts all the same.
        let mut both = participants.iter_mut().zip(&mut self.parts);
        if let Some((known, (.., pages))) =
            both.find(|(known, _)| known.snapshot.database == database)
        {
            // Those of whichever writes.
            pages.extend(part.pages);
            return merge(known, part.participant);
        }
        participants.push(part.participant);
        self.parts.push((part.client, part.cached, part.pages));
        self.request.durability = self.request.durability.max(durability);
        Ok(())
    }

    pub(crate) const fn id(&self) -> CommitId {
        self.request.id
    }

    /// Whether there is anything to send.
    pub(crate) fn changes_anything(&self) -> bool {
        let mut participants = self.request.participants.iter();
        participants.any(|participant| participant.change.is_some())
    }

    /// Says which leases the connection holds.
    pub(crate) fn set_leases(&mut self, leases: &[Lease]) {
        for participant in &mut self.request.participants {
            let database = participant.snapshot.database;
            let mut leases = leases.iter();
            participant.lease = leases.find(|lease| lease.database == database).copied();
        }
    }

    /// The leases that it commits under.
    pub(crate) fn leases(&self) -> Vec<Lease> {
        let participants = self.request.participants.iter();
        participants.filter_map(|part| part.lease).collect()
    }

    /// Asks the store whether the transaction would commit.
    pub(crate) fn validate(&self) -> Result<(), CommitError> {
        self.store().validate(&self.request)
    }

    /// Commits to the store, and keeps the pages in the cache.
    pub(crate) fn commit(&self, cache: &PageCache) -> Result<CommitOutcome, CommitError> {
        let outcome = self.send()?;
        let version = outcome.version;
        let participants = self.request.participants.iter();
        for (participant, (client, cached, pages)) in participants.zip(&self.parts) {
            if participant.change.is_none() {
                continue;
            }
            client.stats.commits.add(1);
            for new in pages {
                let page = VersionedPage {
                    version,
                    page: new.page.clone(),
                    chain: new.chain,
                };
                cache.put(*cached, new.number, page, version);
            }
        }
        Ok(outcome)
    }

    /// Stages what is not in the request, and commits.
    fn send(&self) -> Result<CommitOutcome, CommitError> {
        let store = self.store();
        if !self.is_staged.load(Ordering::Relaxed) {
            for (database, spilled) in &self.spilled {
                for part in spilled.parts(STAGED_AT_ONCE) {
                    let part = part.map_err(|error| StoreError::Io {
                        store: self.url(),
                        reason: format!("the transaction's temporary file is unreadable: {error}"),
                    })?;
                    store.stage(self.request.id, *database, &part)?;
                }
            }
            self.is_staged.store(true, Ordering::Relaxed);
        }
        let result = store.commit(&self.request);
        if let Err(CommitError::Conflict(_) | CommitError::LeaseLost { .. }) = &result {
            // The store does not keep what has lost.
            self.is_staged.store(false, Ordering::Relaxed);
        }
        result
    }

    fn url(&self) -> String {
        let first = self.parts.first();
        first.map_or_else(String::new, |(client, ..)| client.open.url.to_string())
    }

    /// The store, for a request that counts as one of each database.
    fn store(&self) -> &dyn PageStore {
        let mut stores = self.parts.iter().map(|(client, ..)| client.pages());
        let first = stores.next().expect("a transaction has a database");
        stores.for_each(drop);
        first
    }
}

/// Merges what a connection knows of one database through two files.
fn merge(known: &mut Participant, mut other: Participant) -> Result<(), VfsError> {
    if known.change.is_some() && other.change.is_some() {
        return Err(VfsError::AttachedTwice);
    }
    let is_older = other.snapshot.version < known.snapshot.version;
    if other.change.is_some() || (known.change.is_none() && is_older) {
        std::mem::swap(known, &mut other);
    }
    // What was read counts from the writer's snapshot on, so it must not be older.
    if other.snapshot.version < known.snapshot.version {
        return Err(VfsError::Overtaken);
    }
    known.reads |= other.reads;
    Ok(())
}
