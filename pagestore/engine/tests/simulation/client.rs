//! A client: transactions as a VFS makes them, page by page.

use std::collections::BTreeMap;

use verso_engine::kv::sim::Seeded;
use verso_pagestore::{
    BeginError, Begun, Change, CommitError, CommitId, CommitOutcome, CommitRequest, DatabaseId,
    DatabaseName, Durability, Lease, LeaseId, LeaseStanding, PageDelta, PageStore, PageWrite,
    Participant, ReadError, RoaringBitmap, Since, Snapshot, VersionedPage,
};

use crate::history::{Begin, Moment, Read, Window};
use crate::pages::{number, some_change, some_pages};
use crate::world::World;

/// How often something is asked for before a client gives up.
const PATIENCE: usize = 12;

/// A process that uses the databases of a world.
pub(crate) struct Client<'a> {
    pub(crate) world: &'a World,
    pub(crate) random: Seeded,
    pub(crate) names: &'a [DatabaseName],
    /// The newest snapshot of each database that it has heard of, by a begin or a commit.
    known: BTreeMap<DatabaseName, Snapshot>,
    /// Any snapshots from before.
    pub(crate) old: Vec<Snapshot>,
    /// What its ids of leases begin with.
    number: u8,
}

/// A transaction under way: participants, and the pages to stage before the commit.
type Draft = (Vec<Participant>, Vec<(DatabaseId, Vec<PageWrite>)>);

impl<'a> Client<'a> {
    pub(crate) fn new(world: &'a World, random: Seeded, names: &'a [DatabaseName]) -> Self {
        Self {
            world,
            random,
            names,
            known: BTreeMap::new(),
            old: Vec::new(),
            number: 0,
        }
    }

    /// Does so many things of all kinds.
    pub(crate) fn work(&mut self, things: u64) {
        for _ in 0..things {
            match self.random.below(100) {
                0..14 => self.transaction_with_lease(),
                14..19 => self.create_or_remove(),
                19..22 => self.rename(),
                22..26 => self.load(),
                26..28 => self.list(),
                28..32 => self.read_the_past(),
                32..37 => self.look_at_a_moment(),
                _ => self.transaction(),
            }
            if self.random.below(8) == 0 {
                self.world.wait(&mut self.random, 30);
            }
        }
        self.world.one_is_done();
    }

    /// An optimistic transaction over one database or several.
    pub(crate) fn transaction(&mut self) {
        let id = self.commit_id();
        let databases = match self.random.below(10) {
            0..7 => 1,
            _ => 2,
        };
        let mut draft = Draft::default();
        for name in self.some_names(databases) {
            let Some(snapshot) = self.some_snapshot(&name) else {
                return;
            };
            // After a rename, two names may lead to one database.
            let mut others = draft.0.iter().map(|part| part.snapshot.database);
            if others.any(|other| other == snapshot.database) {
                continue;
            }
            // Somebody among several may only read.
            let writes = draft.0.is_empty() || self.random.below(2) == 0;
            if !self.take_part(&mut draft, id, snapshot, None, writes) {
                return;
            }
        }
        let committed = self.submit(id, draft);
        if let Some((request, outcome)) = committed {
            self.go_on_from(&request, outcome);
        }
    }

    /// Reads some pages of a snapshot, and decides what to change. Nothing if it was removed.
    pub(crate) fn take_part(
        &mut self,
        draft: &mut Draft,
        id: CommitId,
        snapshot: Snapshot,
        lease: Option<Lease>,
        writes: bool,
    ) -> bool {
        let reads = some_pages(&mut self.random, &snapshot, 3);
        if self.read(&snapshot, &reads).is_none() {
            return false;
        }
        let mut change = None;
        if writes {
            let (some, staged) = some_change(&mut self.random, id, &snapshot);
            let Some(some) = self.with_deltas(&snapshot, some) else {
                return false;
            };
            change = Some(some);
            if !staged.is_empty() {
                draft.1.push((snapshot.database, staged));
            }
        }
        draft.0.push(Participant {
            snapshot,
            reads,
            lease,
            change,
        });
        true
    }

    /// The same change with deltas for some of the pages. Nothing if the database was removed.
    fn with_deltas(&mut self, snapshot: &Snapshot, change: Change) -> Option<Change> {
        let mut change = change;
        // Large commits are mostly whole pages.
        if change.writes.len() > 5 && self.random.below(4) > 0 || self.random.below(4) == 0 {
            return Some(change);
        }
        let mut is_chosen = |write: &PageWrite| {
            snapshot.page_count.contains(write.number) && self.random.below(8) > 0
        };
        let (chosen, whole): (Vec<_>, _) = change.writes.into_iter().partition(&mut is_chosen);
        change.writes = whole;
        if chosen.is_empty() {
            return Some(change);
        }
        let numbers = chosen.iter().map(|write| write.number.get()).collect();
        let mut bases = self.read(snapshot, &numbers)?;
        // They were read in the order of their numbers.
        bases.reverse();
        for write in chosen {
            let base = bases.pop().expect("each page was read");
            match PageDelta::between(write.number, &base, &write.page) {
                Some(delta) => change.deltas.push(delta),
                None => change.writes.push(write),
            }
        }
        Some(change)
    }

    /// A snapshot to begin on: mostly the newest, at times one that the client has.
    fn some_snapshot(&mut self, name: &DatabaseName) -> Option<Snapshot> {
        match self.known.get(name) {
            Some(known) if self.random.below(3) == 0 => Some(*known),
            _ => self.begin(name),
        }
    }

    /// Begins on the newest snapshot; `None` if there is no such database, or no answer.
    pub(crate) fn begin(&mut self, name: &DatabaseName) -> Option<Snapshot> {
        let since = self.since(name);
        let called = self.world.history.lock().tick();
        for _ in 0..PATIENCE {
            let (answer, window) = self
                .world
                .ask_when(&mut self.random, |node| node.begin(name, since));
            match answer {
                Ok(Ok(begun)) => return Some(self.begun(name, called, window, since, begun)),
                Ok(Err(BeginError::NoSuchDatabase { .. })) => {
                    let mut history = self.world.history.lock();
                    history.missing.push((name.clone(), window));
                    return None;
                }
                Ok(Err(BeginError::Store(error))) => assert_passes(&error),
                Err(_) => {}
            }
        }
        None
    }

    /// What a begin tells that it knows of a database, if it tells that.
    pub(crate) fn since(&mut self, name: &DatabaseName) -> Option<Since> {
        let known = self.known.get(name).copied();
        let known = known.filter(|_| self.random.below(3) > 0);
        known.map(|known| Since {
            database: known.database,
            version: known.version,
            commit: known.commit,
        })
    }

    /// Takes the answer to a begin.
    pub(crate) fn begun(
        &mut self,
        name: &DatabaseName,
        called: Moment,
        window: Window,
        since: Option<Since>,
        begun: Begun,
    ) -> Snapshot {
        let snapshot = begun.snapshot;
        let mut history = self.world.history.lock();
        let returned = history.tick();
        history.begins.push(Begin {
            name: name.clone(),
            called,
            window,
            returned,
            since,
            begun,
        });
        self.old.extend(self.known.insert(name.clone(), snapshot));
        snapshot
    }

    /// Reads pages; nothing if the database was removed, or no answer came.
    pub(crate) fn read(
        &mut self,
        snapshot: &Snapshot,
        pages: &RoaringBitmap,
    ) -> Option<Vec<VersionedPage>> {
        let pages: Vec<_> = pages.iter().map(number).collect();
        for _ in 0..PATIENCE {
            let (answer, window) = self
                .world
                .ask_when(&mut self.random, |node| node.read(snapshot, &pages));
            match answer {
                Ok(Ok(answer)) => {
                    self.world.history.lock().reads.push(Read {
                        snapshot: *snapshot,
                        pages,
                        answer: answer.clone(),
                    });
                    return Some(answer);
                }
                Ok(Err(ReadError::Removed { database })) => {
                    self.world.history.lock().gone.push((database, window));
                    return None;
                }
                Ok(Err(ReadError::Store(error))) => assert_passes(&error),
                Ok(Err(error @ ReadError::Corrupt { .. })) => panic!("{error}"),
                Err(_) => {}
            }
        }
        None
    }

    fn read_the_past(&mut self) {
        let Some(snapshot) = self.some_old_snapshot() else {
            return;
        };
        let pages = some_pages(&mut self.random, &snapshot, 6);
        self.read(&snapshot, &pages);
    }

    /// A snapshot that it has had for a while.
    pub(crate) fn some_old_snapshot(&mut self) -> Option<Snapshot> {
        let count = u64::try_from(self.old.len()).expect("it is small");
        let index = self.random.below(count.max(1));
        let index = usize::try_from(index).expect("it is small");
        self.old.get(index).copied()
    }

    /// Stages what is to be staged, and commits. `None` if it was refused, or the client gave up
    /// before it knew.
    pub(crate) fn submit(
        &mut self,
        id: CommitId,
        (participants, staged): Draft,
    ) -> Option<(CommitRequest, CommitOutcome)> {
        for (database, pages) in &staged {
            if !self.stage(id, *database, pages) {
                return None;
            }
        }
        if self.random.below(12) == 0 {
            // Somebody thinks for a while, or for longer than a store remembers.
            let most = if self.random.below(4) == 0 { 9_000 } else { 60 };
            self.world.wait(&mut self.random, most);
        }
        let request = CommitRequest {
            id,
            durability: Durability::Normal,
            participants,
        };
        let asked = self.world.simulation.newest();
        self.world.history.lock().commit(&request, asked);
        for _ in 0..PATIENCE {
            if self.random.below(10) == 0 {
                self.world.echoes.lock().push_back(request.clone());
            }
            match self
                .world
                .ask(&mut self.random, |node| node.commit(&request))
            {
                Ok(Err(CommitError::Leased { .. })) => self.world.wait(&mut self.random, 60),
                Ok(answer) => {
                    if let Some(answer) = settled(answer) {
                        self.world.history.lock().answered(id, answer.clone());
                        return answer.ok().map(|outcome| (request, outcome));
                    }
                }
                Err(_) => {}
            }
            if self.random.below(8) == 0 {
                // The client dies without an answer.
                return None;
            }
        }
        None
    }

    fn stage(&mut self, id: CommitId, database: DatabaseId, pages: &[PageWrite]) -> bool {
        for _ in 0..PATIENCE {
            let stage = self
                .world
                .ask(&mut self.random, |node| node.stage(id, database, pages));
            match stage {
                Ok(Ok(())) => return true,
                Ok(Err(CommitError::Removed { .. })) => return false,
                Ok(Err(CommitError::Store(error))) => assert_passes(&error),
                Ok(Err(error)) => panic!("{error}"),
                Err(_) => {}
            }
        }
        false
    }

    /// Later transactions begin where a commit of the client's own ended.
    fn go_on_from(&mut self, request: &CommitRequest, outcome: CommitOutcome) {
        for participant in &request.participants {
            let before = participant.snapshot;
            let known = self.known.iter_mut().find(|(_, known)| {
                known.database == before.database && known.version < outcome.version
            });
            if let (Some((_, known)), Some(change)) = (known, &participant.change) {
                *known = Snapshot {
                    version: outcome.version,
                    commit: request.id,
                    read_version: outcome.read_version,
                    // Others may have the same commit version.
                    lease: LeaseStanding::Unknown,
                    mark: None,
                    page_size: Some(change.page_size),
                    page_count: change.page_count,
                    ..before
                };
            }
        }
    }

    fn some_names(&mut self, count: usize) -> Vec<DatabaseName> {
        let all = u64::try_from(self.names.len()).expect("it is small");
        let first = usize::try_from(self.random.below(all)).expect("it is small");
        let names = self.names.iter().cycle().skip(first);
        names.take(count.min(self.names.len())).cloned().collect()
    }

    pub(crate) fn some_name(&mut self) -> DatabaseName {
        self.some_names(1).remove(0)
    }

    pub(crate) fn random_bytes(&mut self) -> [u8; 16] {
        std::array::from_fn(|_| u8::try_from(self.random.below(256)).expect("it is a byte"))
    }

    /// Of one of a few processes.
    pub(crate) fn lease_id(&mut self) -> LeaseId {
        if self.number == 0 {
            self.number = 1 + self.random_bytes()[0] % 3;
        }
        let mut bytes = self.random_bytes();
        bytes[..8].fill(self.number);
        LeaseId::from_bytes(bytes)
    }

    pub(crate) fn commit_id(&mut self) -> CommitId {
        CommitId::from_bytes(self.random_bytes())
    }
}

/// The answer to a commit, if it is one that lasts.
pub(crate) fn settled(
    answer: Result<CommitOutcome, CommitError>,
) -> Option<Result<CommitOutcome, CommitError>> {
    match &answer {
        Ok(_)
        | Err(
            CommitError::Conflict(_) | CommitError::LeaseLost { .. } | CommitError::Removed { .. },
        ) => Some(answer),
        Err(CommitError::Unknown { .. } | CommitError::Leased { .. }) => None,
        Err(CommitError::Store(error)) => {
            assert_passes(error);
            None
        }
        Err(error @ (CommitError::Invalid { .. } | CommitError::TooLarge { .. })) => {
            panic!("{error}")
        }
    }
}

/// The only failure of the simulated store is to be too busy.
pub(crate) fn assert_passes(error: &verso_pagestore::StoreError) {
    let is_passing = matches!(error, verso_pagestore::StoreError::Busy { .. })
        || error
            .to_string()
            .contains("result of the commit is unknown");
    assert!(is_passing, "{error}");
}
