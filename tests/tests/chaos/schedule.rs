//! Very many failures by a schedule, while many clients work.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use verso_tests::random::Random;
use verso_tests::scale::{is_replay, is_soak, seeds};
use verso_tests::sessions::execute;
use verso_tests::workers::Worker;
use verso_tests::{integer, text};

use crate::clients::{ACCOUNTS, BALANCE, BANK, COUNTERS, OTHER_BANK, ROLE, SCHEMA};
use crate::cluster::{Cluster, NODES, Site};
use crate::proxy::{Cut, Way};

const CLIENTS: u64 = 16;

/// What the adversary does to a node or to the way there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Harm {
    Kill,
    Stop,
    Delay(Duration),
    Cut(Cut),
    Swallow(Way),
    Refuse,
}

impl Harm {
    fn choose(random: &mut Random) -> Self {
        let micros = 1000 + random.below(60_000);
        random.pick(&[
            Self::Kill,
            Self::Kill,
            Self::Stop,
            Self::Delay(Duration::from_micros(micros)),
            Self::Cut(Cut::Fin),
            Self::Cut(Cut::Rst),
            Self::Swallow(Way::Replies),
            Self::Swallow(Way::Requests),
            Self::Refuse,
        ])
    }

    fn begin(self, site: &mut Site) {
        match self {
            Self::Kill => site.node.kill(),
            Self::Stop => site.stop(),
            Self::Delay(delay) => site.proxy.delay(delay),
            Self::Cut(how) => site.proxy.cut(how),
            Self::Swallow(way) => site.proxy.swallow(way),
            Self::Refuse => site.proxy.refuse(),
        }
    }

    fn end(self, site: &mut Site) {
        match self {
            Self::Kill => site.restart(),
            Self::Stop => site.go_on(),
            Self::Cut(_) => {}
            Self::Delay(_) | Self::Swallow(_) | Self::Refuse => site.proxy.heal(),
        }
    }
}

/// Harms nodes for so long, and leaves at least one of them alone at any time.
fn harm(cluster: &mut Cluster, random: &mut Random, duration: Duration) -> usize {
    let mut harmed: [Option<(Harm, Instant)>; NODES] = [None; NODES];
    let (began, mut count) = (Instant::now(), 0);
    while began.elapsed() < duration {
        thread::sleep(Duration::from_millis(20 + random.below(400)));
        for (site, harm) in cluster.sites.iter_mut().zip(&mut harmed) {
            if let Some((what, end)) = *harm
                && end <= Instant::now()
            {
                what.end(site);
                *harm = None;
            }
        }
        let sites = cluster.sites.iter_mut().zip(&mut harmed);
        let mut well: Vec<_> = sites.filter(|(_, harm)| harm.is_none()).collect();
        if well.len() < 2 {
            continue;
        }
        let index = usize::try_from(random.below(well.len() as u64)).expect("an index");
        let (site, harm) = well.swap_remove(index);
        let what = Harm::choose(random);
        let longest = if random.one_in(4) { 6000 } else { 1500 };
        let lasts = Duration::from_millis(10 + random.below(longest));
        if is_replay() {
            let node = site.node.address();
            println!("{:?}: node {node}: {what:?} for {lasts:?}", began.elapsed());
        }
        what.begin(site);
        *harm = Some((what, Instant::now() + lasts));
        count += 1;
    }
    for (site, harm) in cluster.sites.iter_mut().zip(harmed) {
        if let Some((what, _)) = harm {
            what.end(site);
        }
    }
    count
}

/// What the clients told, added up, or the longest of it.
type Told = BTreeMap<String, u64>;

/// Lets the clients end. Answers what each told, and all their failures.
fn finish(clients: Vec<Worker>) -> (Vec<Told>, Vec<String>) {
    let mut errors = Vec::new();
    let told = clients.into_iter().map(|client| {
        let mut told = Told::new();
        for line in client.finish() {
            match line.split_once(' ') {
                Some(("error", reason)) => errors.push(reason.to_owned()),
                Some((what, number)) => {
                    told.insert(what.to_owned(), number.parse().expect("a number"));
                }
                None => panic!("a client told {line}"),
            }
        }
        told
    });
    let told = told.collect();
    (told, errors)
}

fn fill(cluster: &Cluster) {
    for name in [BANK, OTHER_BANK] {
        let db = cluster.connect(name);
        let rows = format!(
            "PRAGMA page_size = 1024; {SCHEMA}
             WITH RECURSIVE i (i) AS (VALUES (0) UNION ALL SELECT i + 1 FROM i WHERE i < {ACCOUNTS} - 1)
                 INSERT INTO accounts SELECT i, {BALANCE}, zeroblob(300) FROM i;
             WITH RECURSIVE i (i) AS (VALUES (0) UNION ALL SELECT i + 1 FROM i WHERE i < {COUNTERS} - 1)
                 INSERT INTO counters SELECT i, 0 FROM i;"
        );
        execute(&db, &rows).expect("SQL");
    }
}

/// What is in the databases is what the clients were told.
fn check(cluster: &Cluster, told: &[Told]) {
    let db = cluster.look(BANK);
    let other = cluster.look(OTHER_BANK);
    for counter in 0..COUNTERS {
        let key = format!("counter{counter}");
        let expected: u64 = told.iter().filter_map(|told| told.get(&key)).sum();
        let n = integer(&db, &format!("SELECT n FROM counters WHERE id = {counter}"));
        assert_eq!(n, expected.cast_signed(), "counter {counter}");
    }
    for (client, told) in told.iter().enumerate() {
        let sql = format!("SELECT seq FROM log WHERE client = {client} ORDER BY seq");
        let found = execute(&db, &sql).expect("SQL");
        let expected: Vec<i64> = (0..told["log"].cast_signed()).collect();
        assert_eq!(found, expected, "the log of client {client}");
    }
    let total = (2 * ACCOUNTS * BALANCE).cast_signed();
    let sum = "SELECT sum(n) FROM accounts";
    assert_eq!(integer(&db, sum) + integer(&other, sum), total);
    for db in [&db, &other] {
        assert_eq!(text(db, "PRAGMA integrity_check"), "ok");
    }
}

/// The largest of what the clients told under names that begin so.
fn longest(told: &[Told]) -> BTreeMap<&str, u64> {
    let mut longest = BTreeMap::new();
    for (what, number) in told.iter().flatten() {
        if let Some(kind) = what.strip_prefix("longest-") {
            let known = longest.entry(kind).or_default();
            *known = (*number).max(*known);
        }
    }
    longest
}

fn run(seed: u64, duration: Duration) {
    println!("VERSO_SEED={seed}");
    let mut cluster = Cluster::start();
    fill(&cluster);
    let start = |number| Worker::start(ROLE, number, seed, &cluster.path());
    let clients: Vec<_> = (0..CLIENTS).map(start).collect();
    let began = Instant::now();
    let harms = harm(&mut cluster, &mut Random::new(seed), duration);
    let (told, errors) = finish(clients);
    let seconds = began.elapsed().as_secs_f64();
    let sum = |what: &str| told.iter().filter_map(|told| told.get(what)).sum::<u64>();
    println!(
        "{harms} failures in {seconds:.0} s; {} commits, {} conflicts; longest (ms): {:?}",
        sum("commits"),
        sum("conflicts"),
        longest(&told)
    );
    assert!(errors.is_empty(), "seed {seed}: {}", errors.join("\n"));
    check(&cluster, &told);
    assert!(
        sum("commits") > CLIENTS,
        "seed {seed}: the clients hardly worked"
    );
}

#[test]
fn many_failures_change_nothing_that_clients_see() {
    let duration = Duration::from_secs(if is_soak() { 300 } else { 20 });
    let seeds = seeds(1);
    for seed in seeds.into_iter().take(5) {
        run(seed, duration);
    }
}
