//! Several connections to one database, and the model that they are checked against.

use std::rc::Rc;

use rusqlite::Connection;
use verso_tests::random::Random;
use verso_tests::sessions::{Answer, execute};
use verso_tests::{open, scale, text};

use crate::model::{Operation, SCHEMA, State, Step, Table, View};

const BUSY: i32 = 5;
const BUSY_SNAPSHOT: i32 = 517;

/// How often what happened.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) commits: u64,
    pub(crate) conflicts: u64,
    pub(crate) cursors: u64,
}

/// An open transaction.
#[derive(Debug)]
struct Transaction {
    /// What was committed when it first accessed the database, and after how many commits.
    snapshot: Option<(State, u64)>,
    view: View,
    /// Its steps and what they returned.
    log: Vec<(Step, Vec<i64>)>,
    /// Whether it was begun by a savepoint instead of BEGIN.
    is_savepoint: bool,
}

struct Client {
    db: Rc<Connection>,
    transaction: Option<Transaction>,
    /// Whether a cursor of it is open: it takes no other step meanwhile.
    is_busy: bool,
}

/// The database, its clients, and what it should contain.
pub(crate) struct World {
    uri: String,
    random: Random,
    clients: Vec<Client>,
    committed: State,
    /// Number of commits that may have changed a page.
    commits: u64,
    /// Paddings are shorter than this.
    longest: u64,
    pub(crate) counts: Counts,
}

impl World {
    pub(crate) fn new(uri: String, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let creator = open(&uri).expect("the database opens");
        let (size, mode) = (512 << random.below(4), random.below(3));
        let pragmas = format!("PRAGMA page_size = {size}; PRAGMA auto_vacuum = {mode}");
        execute(&creator, &format!("{pragmas}; {SCHEMA}")).expect("the schema is right");
        let count = 2 + random.below(4);
        let clients = (0..count).map(|_| Client::open(&uri)).collect();
        Self {
            longest: random.pick(&[50, 500, 3000]),
            uri,
            random,
            clients,
            committed: State::default(),
            commits: 0,
            counts: Counts::default(),
        }
    }

    /// Lets clients that are not busy take so many steps.
    pub(crate) fn run(&mut self, steps: u64) {
        for _ in 0..steps {
            let free: Vec<usize> = (0..self.clients.len())
                .filter(|&index| !self.client(index).is_busy)
                .collect();
            if free.is_empty() {
                return;
            }
            let who = self.random.pick(&free);
            match (
                self.random.below(100),
                self.client(who).transaction.is_some(),
            ) {
                (0..70, true) | (0..35, false) => self.operation(who),
                (70..76, _) => self.cursor(who),
                (76..90, true) => self.end(who, "COMMIT"),
                (90..92, true) => self.end(who, "ROLLBACK"),
                // Writes changed pages to the file before the commit, as a full cache does.
                (92 | 93, true) => self
                    .client(who)
                    .db
                    .cache_flush()
                    .expect("no other can stop it"),
                (94.., true) => self.savepoint(who),
                (92.., false) => self.maintain(who),
                (_, false) => self.begin(who),
            }
        }
    }

    /// Ends everything and looks at what is there.
    pub(crate) fn finish(mut self) -> Counts {
        for who in 0..self.clients.len() {
            if self.client(who).transaction.is_some() {
                self.end(who, "COMMIT");
            }
        }
        self.clients.push(Client::open(&self.uri));
        for who in 0..self.clients.len() {
            for table in [Table::T, Table::U] {
                self.autocommit(who, Operation::scan_all(table));
            }
            let db = &self.client(who).db;
            assert_eq!(text(db, "PRAGMA integrity_check"), "ok");
        }
        self.counts
    }

    fn client(&mut self, who: usize) -> &mut Client {
        self.clients.get_mut(who).expect("it exists")
    }

    fn sql(&mut self, who: usize, sql: &str) -> Answer {
        let answer = execute(&self.client(who).db, sql);
        if scale::is_replay() {
            println!("{who}: {sql} -- {answer:?}");
        }
        answer
    }

    /// Runs SQL that no other connection can make fail.
    fn ok(&mut self, who: usize, sql: &str) -> Vec<i64> {
        self.sql(who, sql)
            .unwrap_or_else(|code| panic!("client {who}: {sql}: result code {code}"))
    }

    fn operation(&mut self, who: usize) {
        let operation = Operation::choose(&mut self.random, self.longest);
        if self.client(who).transaction.is_some() {
            self.step(who, Step::Run(operation));
        } else {
            self.autocommit(who, operation);
        }
    }

    /// A statement of its own: it sees what is committed, and takes effect at once.
    fn autocommit(&mut self, who: usize, operation: Operation) {
        let got = self.ok(who, &operation.sql());
        self.commits += u64::from(operation.is_write());
        let mut view = View::new(std::mem::take(&mut self.committed));
        let expected = view.apply(&Step::Run(operation));
        self.committed = view.state;
        assert_eq!(got, expected, "client {who} sees what is committed");
    }

    fn begin(&mut self, who: usize) {
        let is_savepoint = self.random.one_in(5);
        let sql = if is_savepoint {
            "SAVEPOINT outermost"
        } else {
            "BEGIN"
        };
        self.ok(who, sql);
        self.client(who).transaction = Some(Transaction {
            snapshot: None,
            view: View::default(),
            log: Vec::new(),
            is_savepoint,
        });
    }

    /// A step of a transaction: it sees the snapshot and its own changes.
    fn step(&mut self, who: usize, step: Step) {
        let got = self.ok(who, &step.sql());
        self.record(who, step, got);
    }

    fn record(&mut self, who: usize, step: Step, got: Vec<i64>) {
        let Self {
            clients,
            committed,
            commits,
            ..
        } = self;
        let client = clients.get_mut(who).expect("it exists");
        let transaction = client.transaction.as_mut().expect("it is open");
        if matches!(step, Step::Run(_)) && transaction.snapshot.is_none() {
            transaction.view.begin(committed);
            transaction.snapshot = Some((committed.clone(), *commits));
        }
        let expected = transaction.view.apply(&step);
        assert_eq!(got, expected, "client {who} sees its snapshot: {step:?}");
        transaction.log.push((step, got));
    }

    fn savepoint(&mut self, who: usize) {
        let depth = self
            .client(who)
            .transaction
            .as_ref()
            .map_or(0, |transaction| transaction.view.depth());
        let kind = if depth == 0 { 0 } else { self.random.below(4) };
        let last = depth.saturating_sub(1);
        match kind {
            0 => self.step(who, Step::Savepoint(depth)),
            1 => self.step(who, Step::Release(last)),
            _ => self.step(who, Step::RollbackTo(last)),
        }
    }

    /// Ends a transaction, and checks that it was allowed to end so.
    fn end(&mut self, who: usize, how: &str) {
        let transaction = self.client(who).transaction.take().expect("it is open");
        let sql = match (how, transaction.is_savepoint) {
            ("COMMIT", true) => "RELEASE outermost",
            _ => how,
        };
        match self.sql(who, sql) {
            Ok(_) if how == "COMMIT" => self.committed(who, transaction),
            Ok(_) => {}
            Err(code) => {
                self.counts.conflicts += 1;
                let (_, begun) = transaction.snapshot.expect("only access makes a conflict");
                assert!(begun < self.commits, "client {who}: nobody else committed");
                if transaction.is_savepoint && code == BUSY {
                    self.ok(who, "ROLLBACK");
                } else {
                    assert_eq!(code, BUSY_SNAPSHOT, "client {who}: {sql}");
                }
            }
        }
        assert!(self.client(who).db.is_autocommit(), "client {who}: {sql}");
    }

    /// A transaction that changed anything must do and see the same if it runs now.
    fn committed(&mut self, who: usize, transaction: Transaction) {
        let Transaction {
            snapshot,
            view,
            log,
            ..
        } = transaction;
        let wrote = |(step, _): &(Step, _)| matches!(step, Step::Run(run) if run.is_write());
        self.commits += u64::from(log.iter().any(wrote));
        self.counts.commits += 1;
        if snapshot.is_none_or(|(snapshot, _)| snapshot == view.state) {
            return;
        }
        let mut replay = View::new(self.committed.clone());
        for (step, got) in &log {
            let now = replay.apply(step);
            assert_eq!(*got, now, "client {who} committed after a stale {step:?}");
        }
        self.committed = replay.state;
    }

    /// Reads a table row by row while other clients take steps.
    fn cursor(&mut self, who: usize) {
        self.counts.cursors += 1;
        let table = self.random.pick(&[Table::T, Table::U]);
        let operation = Operation::scan_all(table);
        let mut alone = View::new(self.committed.clone());
        let db = Rc::clone(&self.client(who).db);
        let mut statement = db.prepare(&operation.sql()).expect("SQL");
        let mut rows = statement.raw_query();
        let (pause, steps) = (self.random.below(8), self.random.below(12));
        let (mut got, mut seen) = (Vec::new(), 0);
        if self.client(who).transaction.is_some() {
            self.take_snapshot(who);
        }
        while let Some(row) = rows.next().expect("a snapshot can be read to its end") {
            got.extend((0..3).map(|column| row.get::<_, i64>(column).expect("a number")));
            if seen == pause {
                self.client(who).is_busy = true;
                self.run(steps);
                self.client(who).is_busy = false;
            }
            seen += 1;
        }
        let step = Step::Run(operation);
        if self.client(who).transaction.is_some() {
            self.record(who, step, got);
        } else {
            assert_eq!(got, alone.apply(&step), "client {who} reads one snapshot");
        }
    }

    fn take_snapshot(&mut self, who: usize) {
        let snapshot = (self.committed.clone(), self.commits);
        let transaction = self.client(who).transaction.as_mut().expect("it is open");
        if transaction.snapshot.is_none() {
            transaction.view.begin(&snapshot.0);
            transaction.snapshot = Some(snapshot);
        }
    }

    /// What changes no row, outside of transactions.
    fn maintain(&mut self, who: usize) {
        let uri = self.uri.clone();
        match self.random.below(6) {
            0 => {
                self.ok(who, "VACUUM");
                self.commits += 1;
            }
            1 => {
                self.ok(who, "REINDEX; PRAGMA incremental_vacuum(2)");
                self.commits += 2;
            }
            2 => *self.client(who) = Client::open(&uri),
            3 => {
                self.ok(who, "PRAGMA shrink_memory");
            }
            _ => {
                let size = self.random.pick(&[1, 3, 2000]);
                self.ok(who, &format!("PRAGMA cache_size = {size}"));
            }
        }
    }
}

impl Client {
    fn open(uri: &str) -> Self {
        let db = open(uri).expect("the database opens");
        execute(&db, "PRAGMA synchronous = OFF").expect("SQL");
        Self {
            db: Rc::new(db),
            transaction: None,
            is_busy: false,
        }
    }
}
