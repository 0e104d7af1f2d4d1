//! One seed: databases are made, clients work on them under faults, everything is looked at, and
//! removed.

use verso_engine::kv::sim::{Faults, Seeded, Task};
use verso_pagestore::{DatabaseId, DatabaseName, PageStore, RoaringBitmap, Version};

use crate::catalogue::PASSING;
use crate::check::Checker;
use crate::client::Client;
use crate::history::Log;
use crate::leases::echo;
use crate::storage::{Left, check_storage, scan};
use crate::summary::Summary;
use crate::truth::Truth;
use crate::world::{World, name};

/// So often somebody asks for a lease before it is taken for lost for ever.
const MANY: usize = 3000;

/// Runs a seed, and checks everything that must be true of it.
pub(crate) fn run(seed: u64) -> Result<Summary, String> {
    let mut random = Seeded::new(seed ^ 0x5eed);
    let world = World::new(seed, &mut random);
    let mut names: Vec<DatabaseName> = ["a", "b"].map(name).into();
    names.truncate(usize::from(random.below(3) > 0) + 1);
    let mains = names.clone();
    names.extend(PASSING.map(name));

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
    let mut truth = Truth::default();
    let look = |truth: &mut Truth, left| {
        truth.go_on(&world.simulation.applied(), &world.history.lock())?;
        check_storage(&scan(&world), truth, left)
    };
    look(&mut truth, Left::Publications)?;
    let mut janitor = Client::new(&world, fork(&mut random), &names);
    world
        .simulation
        .run(vec![Box::new(|| take_over(&mut janitor))])?;
    look(&mut truth, Left::Nothing)?;
    world
        .simulation
        .run(vec![Box::new(|| clean_up(&mut janitor))])?;
    look(&mut truth, Left::Nothing)?;
    let history = world.history.lock();
    Checker::new(&history, &truth).check()?;
    match scan(&world).as_slice() {
        [(key, _)] if key == b"m" => Ok(Summary::new(world.simulation.trace(), &history, &truth)),
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

/// Takes the lease of every database, and so removes what publications have left.
fn take_over(janitor: &mut Client<'_>) {
    let world = janitor.world;
    let listed = world.ask(&mut janitor.random, |node| node.list(None, 100));
    for entry in listed.expect("nodes live").expect("nothing fails") {
        let taken = janitor.take_lease(entry.id, &entry.name, MANY);
        let (lease, _) = taken.expect("whoever holds it is dead");
        let released = world.ask(&mut janitor.random, |node| node.release_lease(&lease));
        released.expect("nodes live").expect("nothing fails");
    }
}

/// Checks all page records of a database, of all versions.
fn verify(janitor: &mut Client<'_>, database: DatabaseId) {
    let mut after = None;
    loop {
        let world = janitor.world;
        let verify = world.ask(&mut janitor.random, |node| node.verify(database, after));
        let report = verify.expect("nodes live").expect("nothing fails");
        assert!(report.corrupt.is_empty(), "{:?}", report.corrupt);
        match report.last {
            Some(last) => after = Some(last),
            None => return,
        }
    }
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
        verify(janitor, snapshot.database);
        let log = world.ask(&mut janitor.random, |node| {
            node.log(&entry.name, Some(Version::MAX), 100_000)
        });
        // What arrives meanwhile is not in the way of a log of its own moment.
        let until = snapshot.version;
        let log = log.expect("nodes live").into_iter().flatten();
        let commits = log.filter(|commit| commit.version <= until).collect();
        // Unless the name stands for another database by now.
        if janitor.begin(&entry.name).map(|it| it.database) == Some(entry.id) {
            let mut history = world.history.lock();
            history.logs.insert(entry.id, Log { until, commits });
        }
        janitor.remove(&entry.name);
    }
    let loads: Vec<_> = world.history.lock().loads.keys().copied().collect();
    for id in loads {
        janitor.abort_load(id);
    }
}
