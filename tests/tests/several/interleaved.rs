//! Random transactions of several connections over two databases, step by step by turns: a
//! transaction that wrote and committed has read what was committed last, in both.

use std::collections::BTreeMap;

use rusqlite::Connection;
use verso_tests::random::Random;
use verso_tests::scale::{is_replay, seeds};
use verso_tests::sessions::execute;

use crate::pair::{CREATE, Settings, attach, run};
use verso_tests::TestStore;

/// A row of a database.
type Place = (&'static str, u64);
/// The numbers of all rows.
type Content = BTreeMap<Place, i64>;

const NAMES: [&str; 2] = ["one.db", "two.db"];
const CONNECTIONS: usize = 3;
const STEPS: u64 = 400;

/// A transaction under way.
#[derive(Default)]
struct Open {
    /// What was committed when it first read a database.
    snapshots: BTreeMap<&'static str, Content>,
    reads: Vec<(Place, i64)>,
    writes: Content,
}

struct Client {
    db: Connection,
    settings: Settings,
    /// The schema of each database.
    schemas: BTreeMap<&'static str, &'static str>,
    open: Option<Open>,
}

impl Client {
    fn new(store: &TestStore, random: &mut Random) -> Self {
        let mut names = NAMES;
        if random.one_in(2) {
            names.reverse();
        }
        let [main, other] = names;
        let db = store.connect(main);
        attach(&db, &store.uri(other, ""), "two");
        let settings = random.pick(&Settings::all());
        settings.apply(&db);
        run(&db, "PRAGMA busy_timeout = 0");
        if random.one_in(2) {
            run(&db, "PRAGMA main.cache_size = 2; PRAGMA two.cache_size = 2");
        }
        Self {
            db,
            settings,
            schemas: BTreeMap::from([(main, "main"), (other, "two")]),
            open: None,
        }
    }
}

/// What is committed, and what there is to report.
struct World {
    random: Random,
    content: Content,
    next: i64,
    commits: u32,
    conflicts: u32,
}

impl World {
    fn place(&mut self) -> Place {
        (self.random.pick(&NAMES), 1 + self.random.below(3))
    }

    fn step(&mut self, client: &mut Client) {
        let Some(mut open) = client.open.take() else {
            let begin = self.random.pick(&["BEGIN", "BEGIN", "BEGIN IMMEDIATE"]);
            match execute(&client.db, begin) {
                Ok(_) => client.open = Some(self.begin(begin)),
                Err(code) => assert_eq!(code, 5, "{begin}"),
            }
            return;
        };
        let result = match self.random.below(10) {
            0..4 => self.read(client, &mut open),
            4..8 => self.write(client, &mut open),
            8 if self.random.one_in(3) => {
                run(&client.db, "ROLLBACK");
                return;
            }
            _ => return self.commit(client, &open),
        };
        match result {
            Ok(()) => client.open = Some(open),
            Err(code) => {
                // Under the lease of the one database, that of the other was not free.
                assert!([5, 517].contains(&code), "{:?}: {code}", client.settings);
                run(&client.db, "ROLLBACK");
            }
        }
    }

    fn begin(&self, begin: &str) -> Open {
        let mut open = Open::default();
        if begin == "BEGIN IMMEDIATE" {
            open.snapshots = NAMES.map(|name| (name, self.content.clone())).into();
        }
        open
    }

    /// What a transaction sees of a database. Its first access is the moment for both.
    fn snapshot<'a>(&self, open: &'a mut Open, name: &str) -> &'a Content {
        if open.snapshots.is_empty() {
            open.snapshots = NAMES.map(|name| (name, self.content.clone())).into();
        }
        open.snapshots.get(name).expect("one of both")
    }

    fn read(&mut self, client: &Client, open: &mut Open) -> Result<(), i32> {
        let (name, id) = self.place();
        let schema = client.schemas.get(name).expect("one of both");
        let sql = format!("SELECT n FROM {schema}.t WHERE id = {id}");
        let found = *execute(&client.db, &sql)?.first().expect("one row");
        let stored = self.snapshot(open, name).get(&(name, id)).copied();
        let expected = open.writes.get(&(name, id)).copied().or(stored);
        assert_eq!(Some(found), expected, "{:?}: {sql}", client.settings);
        if !open.writes.contains_key(&(name, id)) {
            open.reads.push(((name, id), found));
        }
        Ok(())
    }

    fn write(&mut self, client: &Client, open: &mut Open) -> Result<(), i32> {
        let (name, id) = self.place();
        let schema = client.schemas.get(name).expect("one of both");
        self.next += 1;
        let n = self.next;
        execute(
            &client.db,
            &format!("UPDATE {schema}.t SET n = {n} WHERE id = {id}"),
        )?;
        self.snapshot(open, name);
        open.writes.insert((name, id), n);
        Ok(())
    }

    fn commit(&mut self, client: &Client, open: &Open) {
        match execute(&client.db, "COMMIT") {
            Ok(_) => {
                self.commits += 1;
                if !open.writes.is_empty() {
                    for (place, read) in &open.reads {
                        let newest = self.content.get(place);
                        let settings = client.settings;
                        assert_eq!(newest, Some(read), "{settings:?}: outdated {place:?}");
                    }
                }
                self.content.extend(&open.writes);
            }
            Err(code) => {
                assert!([5, 517].contains(&code), "{:?}: {code}", client.settings);
                assert!(!open.writes.is_empty(), "a reader never conflicts");
                self.conflicts += 1;
                if !client.db.is_autocommit() {
                    run(&client.db, "ROLLBACK");
                }
            }
        }
    }

    /// A fresh connection sees what is committed.
    fn check(&self, store: &TestStore) {
        for name in NAMES {
            let found = execute(&store.connect(name), "SELECT n FROM t ORDER BY id").expect("SQL");
            let of_this = self.content.iter().filter(|((of, _), _)| *of == name);
            let expected: Vec<i64> = of_this.map(|(_, n)| *n).collect();
            assert_eq!(found, expected, "{name}");
        }
    }
}

/// Returns how many transactions committed, and how many were refused.
fn play(seed: u64) -> (u32, u32) {
    let store = TestStore::new();
    let mut content = Content::new();
    for name in NAMES {
        run(&store.connect(name), CREATE);
        content.extend((1..=3).map(|id| ((name, id), 0)));
    }
    let mut world = World {
        random: Random::new(seed),
        content,
        next: 0,
        commits: 0,
        conflicts: 0,
    };
    let mut clients: Vec<_> = (0..CONNECTIONS)
        .map(|_| Client::new(&store, &mut world.random))
        .collect();
    for step in 0..STEPS {
        let turn = world.random.below(CONNECTIONS as u64);
        let mut turns = clients.iter_mut().zip(0..);
        let (client, _) = turns
            .find(|(_, number)| *number == turn)
            .expect("one of them");
        world.step(client);
        if step % 20 == 0 {
            world.check(&store);
        }
    }
    drop(clients);
    world.check(&store);
    if is_replay() {
        println!("{} commits, {} refused", world.commits, world.conflicts);
    }
    (world.commits, world.conflicts)
}

#[test]
fn transactions_over_two_databases_are_serializable() {
    let (mut commits, mut conflicts) = (0, 0);
    for seed in seeds(40) {
        let (committed, refused) = play(seed);
        commits += committed;
        conflicts += refused;
    }
    assert!(is_replay() || commits > 500, "{commits}");
    assert!(is_replay() || conflicts > 100, "{conflicts}");
}
