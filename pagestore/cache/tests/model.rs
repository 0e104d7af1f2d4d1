//! Goal: whatever processes, commits, and stores that are put back to an older state do in
//! whatever order, a page from disk is the one that the store has at the snapshot.
//! Method: a model of a store whose past is known in full, driven by a seed, which is printed and
//! can be given in `VERSO_SEED`; `VERSO_SEEDS` are so many. Of a page it only has the id of the commit that wrote it. Clients
//! are caches on one folder, with several connections each that begin when they like; they go and
//! come, and the folder is damaged.
#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests panic to fail the test"
)]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use verso_cache::{DatabaseKey, DiskCache, DiskDatabase};
use verso_pagestore::{
    Begun, Chain, Changes, CommitId, CommitPages, DatabaseId, LeaseStanding, PageCount, PageNumber,
    PageSize, Since, Snapshot, Version, VersionedPage,
};

const PAGES: u32 = 24;
const STEPS: usize = 1500;
const DATABASE: DatabaseId = DatabaseId::new(1);

/// A store lists so few commits here.
const MOST_CHANGES: usize = 12;

/// The commits of a database, oldest first.
#[derive(Clone)]
struct Store(Vec<CommitPages>);

impl Store {
    fn snapshot(&self) -> Snapshot {
        let last = self.0.last().unwrap();
        Snapshot {
            database: DATABASE,
            version: last.version,
            commit: last.commit,
            read_version: last.version.commit_version(),
            lease: LeaseStanding::Free,
            mark: None,
            page_size: Some(PageSize::MIN),
            page_count: PageCount::new(PAGES),
        }
    }

    fn commit(&mut self, random: &mut SmallRng) {
        let last = self.0.last().unwrap().version.commit_version();
        let count = random.random_range(0..3);
        let pages = (0..count).map(|_| random.random_range(1..=PAGES)).collect();
        let commit = CommitPages {
            version: Version::from_commit(last + random.random_range(1..3), 0),
            commit: CommitId::from_bytes(random.random()),
            pages,
        };
        self.0.push(commit);
    }

    fn begin(&self, since: Option<Since>) -> Begun {
        let place = |since: &Since| {
            let commits = &mut self.0.iter();
            commits.position(|it| (it.version, it.commit) == (since.version, since.commit))
        };
        let changes = match since.as_ref().map(place) {
            None => Changes::Unknown,
            Some(None) => Changes::Diverged,
            Some(Some(place)) => match &self.0[place + 1..] {
                commits if commits.len() > MOST_CHANGES => Changes::Unknown,
                commits => Changes::Commits(commits.to_vec()),
            },
        };
        Begun {
            snapshot: self.snapshot(),
            changes,
        }
    }

    /// As the store has it, whatever past the version is of.
    fn read(&self, version: Version, number: PageNumber) -> VersionedPage {
        let wrote = |it: &&CommitPages| it.version <= version && it.pages.contains(number.get());
        let first = &self.0[0];
        let last = self.0.iter().rev().find(wrote).unwrap_or(first);
        let mut page = last.commit.as_bytes().to_vec();
        page.extend_from_slice(&number.get().to_be_bytes());
        page.resize(PageSize::MIN.length(), 0);
        VersionedPage {
            version: last.version,
            page: page.into(),
            chain: Chain::WHOLE,
        }
    }
}

/// A transaction's snapshot, and the store as it was then.
type Open = (Snapshot, Store);

struct Client {
    _cache: DiskCache,
    database: Arc<DiskDatabase>,
    connections: Vec<Open>,
}

impl Client {
    fn new(folder: &Path, store: &Store) -> Self {
        let cache = DiskCache::new(folder.to_owned(), DiskCache::LEAST_BYTES);
        let key = DatabaseKey {
            store: "http://a:1".to_owned(),
            database: DATABASE,
        };
        let database = cache.database(&key);
        let mut client = Self {
            _cache: cache,
            database,
            connections: Vec::new(),
        };
        let open = client.begin(store, None);
        client.connections = vec![open.clone(), open.clone(), open];
        client
    }

    fn begin(&mut self, store: &Store, since: Option<Since>) -> Open {
        let begun = store.begin(since);
        self.database.learn(since, &begun);
        let mut questions = 0;
        while let Some(question) = self.database.question() {
            let answer = store.begin(Some(question));
            self.database.learn(Some(question), &answer);
            questions += 1;
            assert!(questions < 20, "it never ends");
        }
        (begun.snapshot, store.clone())
    }
}

fn since(snapshot: &Snapshot) -> Since {
    Since {
        database: snapshot.database,
        version: snapshot.version,
        commit: snapshot.commit,
    }
}

#[derive(Debug, Default)]
struct Counts {
    hits: usize,
    misses: usize,
}

fn run(seed: u64, counts: &mut Counts) {
    let mut random = SmallRng::seed_from_u64(seed);
    let folder = tempfile::tempdir().unwrap();
    let first = CommitPages {
        version: Version::from_commit(1, 0),
        commit: CommitId::from_bytes(random.random()),
        pages: (1..=PAGES).collect(),
    };
    let mut store = Store(vec![first]);
    let mut copies = vec![store.clone()];
    let mut clients = vec![Client::new(folder.path(), &store)];
    for _ in 0..STEPS {
        let who = random.random_range(0..clients.len());
        let which = random.random_range(0..3);
        match random.random_range(0..100) {
            0..15 => store.commit(&mut random),
            15..17 => {
                for _ in 0..random.random_range(1..2 * MOST_CHANGES) {
                    store.commit(&mut random);
                }
            }
            17 => copies.push(store.clone()),
            18 if random.random_bool(0.3) => store = copies.choose(&mut random).unwrap().clone(),
            19..24 => {
                clients.remove(who);
                clients.push(Client::new(folder.path(), &store));
            }
            24 if clients.len() < 4 => clients.push(Client::new(folder.path(), &store)),
            25 if random.random_bool(0.2) => damage(folder.path(), &mut random),
            26..45 => {
                let known = since(&clients[who].connections[which].0);
                // Some begins know nothing, such as those of new connections.
                let known = random.random_bool(0.8).then_some(known);
                let open = clients[who].begin(&store, known);
                clients[who].connections[which] = open;
            }
            _ => read(&mut clients[who], which, &store, &mut random, counts),
        }
    }
}

/// A connection reads a page: from disk, or else from the store.
fn read(
    client: &mut Client,
    which: usize,
    store: &Store,
    random: &mut SmallRng,
    counts: &mut Counts,
) {
    let (snapshot, at_begin) = &client.connections[which];
    let number = PageNumber::new(random.random_range(1..=PAGES)).unwrap();
    let expected = at_begin.read(snapshot.version, number);
    let found = client.database.get(snapshot, number);
    if let Some(found) = found {
        assert_eq!(found, expected, "page {number} at {}", snapshot.version);
        counts.hits += 1;
        return;
    }
    counts.misses += 1;
    // A store that was put back answers by the version alone. What it says is of no past then, and
    // must not be kept; the client cannot know before it begins.
    let is_of_now = store.0.iter().any(|it| it.commit == snapshot.commit);
    if is_of_now {
        let page = store.read(snapshot.version, number);
        client.database.put(snapshot, vec![(number, page)]);
    }
}

fn damage(folder: &Path, random: &mut SmallRng) {
    let files = fs::read_dir(folder).unwrap();
    let files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    let Some(file) = files.choose(random) else {
        return;
    };
    let length = usize::try_from(fs::metadata(file).unwrap().len()).unwrap();
    let place = random.random_range(0..=length);
    let opened = fs::OpenOptions::new().write(true).open(file).unwrap();
    match random.random_range(0..3) {
        0 => fs::remove_file(file).unwrap(),
        1 => opened.set_len(place as u64).unwrap(),
        _ => {
            use std::os::unix::fs::FileExt as _;
            let noise: [u8; 16] = random.random();
            opened.write_all_at(&noise, place as u64).unwrap();
        }
    }
}

#[test]
fn pages_are_what_the_store_has() {
    let number = |name| {
        let text = std::env::var(name).ok()?;
        Some(text.parse().expect("a number"))
    };
    let seeds: std::ops::Range<u64> = match number("VERSO_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("VERSO_SEEDS").unwrap_or(30),
    };
    let mut counts = Counts::default();
    for seed in seeds.clone() {
        println!("VERSO_SEED={seed}");
        run(seed, &mut counts);
    }
    println!("{counts:?}");
    if seeds.end - seeds.start > 9 {
        assert!(counts.hits * 4 > counts.misses, "{counts:?}");
    }
}
