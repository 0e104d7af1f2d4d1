//! One seed: databases are made, clients work on them under faults, everything is looked at, and
//! removed.

use std::collections::BTreeSet;

use verso_engine::kv::sim::{Faults, Seeded, Task};
use verso_engine::kv::{Isolation, KeyRange, KeyValue, Kv, KvTransaction, RangeQuery};
use verso_pagestore::{DatabaseName, PageNumber, PageStore, RoaringBitmap, Version};

use crate::check::Checker;
use crate::client::Client;
use crate::history::History;
use crate::others::echo;
use crate::truth::{Truth, in_database};
use crate::world::{World, name};

/// What a run came to, to see that runs are worth something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Summary {
    /// Tells the run from any other.
    pub(crate) trace: u64,
    pub(crate) committed: usize,
    pub(crate) refused: usize,
    /// Commits that took effect without their client hearing of it.
    pub(crate) unheard: usize,
    /// Commits that share a commit version with another one of the same database.
    pub(crate) shared: usize,
    pub(crate) leases: usize,
    pub(crate) removed: usize,
    pub(crate) begins: usize,
    pub(crate) reads: usize,
}

impl Summary {
    pub(crate) fn add(&mut self, other: &Self) {
        self.trace ^= other.trace;
        self.committed += other.committed;
        self.refused += other.refused;
        self.unheard += other.unheard;
        self.shared += other.shared;
        self.leases += other.leases;
        self.removed += other.removed;
        self.begins += other.begins;
        self.reads += other.reads;
    }

    pub(crate) const fn counts(&self) -> [usize; 8] {
        [
            self.committed,
            self.refused,
            self.unheard,
            self.shared,
            self.leases,
            self.removed,
            self.begins,
            self.reads,
        ]
    }
}

/// Runs a seed, and checks everything that must be true of it.
pub(crate) fn run(seed: u64) -> Result<Summary, String> {
    let mut random = Seeded::new(seed ^ 0x5eed);
    let world = World::new(seed, &mut random);
    let mut names: Vec<DatabaseName> = ["a", "b"].map(name).into();
    names.truncate(usize::from(random.below(3) > 0) + 1);
    let mains = names.clone();
    names.push(name("passing"));

    let mut founder = Client::new(&world, fork(&mut random), &mains);
    world.simulation.run(vec![Box::new(move || {
        for name in founder.names {
            founder.create(name);
            let snapshot = founder.begin(name).expect("nothing fails");
            founder
                .world
                .history
                .lock()
                .lasting
                .insert(snapshot.database);
        }
    })])?;

    world.simulation.set_faults(Faults::of_seed(seed));
    world.simulation.run(tasks(&world, &mut random, &names))?;

    // What was under way has arrived. Now nothing fails any more.
    let mut janitor = Client::new(&world, fork(&mut random), &names);
    let pairs = scan(&world);
    world
        .simulation
        .run(vec![Box::new(|| clean_up(&mut janitor))])?;
    let history = world.history.lock();
    let truth = Truth::new(&world.simulation.applied(), &history)?;
    Checker::new(&history, &truth).check()?;
    check_storage(&pairs, &truth)?;
    match scan(&world).as_slice() {
        [(key, _)] if key == b"m" => Ok(summary(&world, &history, &truth)),
        left => Err(format!(
            "keys are left after everything was removed: {left:?}"
        )),
    }
}

fn fork(random: &mut Seeded) -> Seeded {
    Seeded::new(random.below(u64::MAX))
}

fn tasks<'a>(world: &'a World, random: &mut Seeded, names: &'a [DatabaseName]) -> Vec<Task<'a>> {
    let clients = 2 + random.below(4);
    world.set_clients(usize::try_from(clients).expect("it is small"));
    let things = 4 + random.below(14);
    let mut tasks: Vec<Task<'a>> = Vec::new();
    for _ in 0..clients {
        let mut client = Client::new(world, fork(random), names);
        tasks.push(Box::new(move || client.work(things)));
    }
    let echoes = fork(random);
    tasks.push(Box::new(move || echo(world, echoes)));
    let mut janitor = Client::new(world, fork(random), names);
    tasks.push(Box::new(move || {
        while world.is_busy() {
            world.wait(&mut janitor.random, 50);
        }
        // Before the last commits under way arrive, so that they meet what is gone.
        world.simulation.set_faults(Faults::NONE);
        if janitor.random.below(2) == 0 {
            clean_up(&mut janitor);
        }
    }));
    tasks
}

/// Looks at everything that there is, and removes it.
fn clean_up(janitor: &mut Client<'_>) {
    let world = janitor.world;
    let listed = world.ask(&mut janitor.random, |node| node.list(None, 100));
    for entry in listed.expect("nodes live").expect("nothing fails") {
        let Some(snapshot) = janitor.begin(&entry.name) else {
            continue;
        };
        let mut pages = RoaringBitmap::new();
        pages.insert_range(1..=snapshot.page_count.get());
        janitor.read(&snapshot, &pages);
        let log = world.ask(&mut janitor.random, |node| {
            node.log(&entry.name, Some(Version::MAX), 100_000)
        });
        let log = log.expect("nodes live");
        // What arrives meanwhile is not in the way of a log of its own moment.
        let log = log
            .into_iter()
            .flatten()
            .filter(|commit| commit.version <= snapshot.version);
        world.history.lock().logs.insert(entry.id, log.collect());
        if janitor.remove(&entry.name) {
            world.history.lock().gone(entry.id);
        }
    }
}

/// What the store holds.
fn scan(world: &World) -> Vec<KeyValue> {
    let all = RangeQuery::first(usize::MAX, KeyRange::prefix(b""));
    let mut transaction = world.simulation.store().begin().expect("it is in memory");
    let pairs = transaction.range(&all, Isolation::Snapshot);
    pairs.expect("it is young")
}

/// Every key belongs to a database that has a name, and every page record to a commit.
///
/// Two things are left by clients that died, until their database is removed: staged pages, and
/// tickets.
fn check_storage(pairs: &[KeyValue], truth: &Truth) -> Result<(), String> {
    let named: BTreeSet<&[u8]> = pairs
        .iter()
        .filter(|(key, _)| key.starts_with(b"n"))
        .map(|(_, id)| id.as_slice())
        .collect();
    for (key, _) in pairs {
        let Some((database, rest)) = in_database(key) else {
            continue;
        };
        if !named.contains(database.get().to_be_bytes().as_slice()) {
            return Err(format!("{key:?} is of a database without a name"));
        }
        let Some((page, version)) = rest.strip_prefix(b"p").and_then(<[u8]>::split_first_chunk)
        else {
            continue;
        };
        let page = PageNumber::new(u32::from_be_bytes(*page)).map_or(0, PageNumber::get);
        let version = version.try_into().map(Version::from_bytes);
        let version = version.map_err(|_| format!("{key:?} has no version"))?;
        let life = truth.databases.get(&database);
        let writer = life.and_then(|life| life.page_at(page, version));
        if writer.is_none_or(|writer| writer.version != version) {
            return Err(format!(
                "page {page} of {database} at {version} is of no commit"
            ));
        }
    }
    Ok(())
}

fn summary(world: &World, history: &History, truth: &Truth) -> Summary {
    let commits = || history.commits.values();
    let is_shared = |pair: &[crate::truth::Commit]| {
        let [left, right] = pair else {
            return false;
        };
        left.version.commit_version() == right.version.commit_version()
    };
    let lives = truth.databases.values();
    Summary {
        trace: world.simulation.trace(),
        committed: commits().filter(|it| !it.acknowledged.is_empty()).count(),
        refused: commits().filter(|it| !it.refused.is_empty()).count(),
        unheard: commits()
            .filter(|it| it.acknowledged.is_empty())
            .filter(|it| truth.commits.contains_key(&it.request.id))
            .count(),
        shared: lives
            .map(|life| {
                life.commits
                    .windows(2)
                    .filter(|pair| is_shared(pair))
                    .count()
            })
            .sum(),
        leases: history.grants.len(),
        removed: history.removed.len(),
        begins: history.begins.len(),
        reads: history.reads.len(),
    }
}
