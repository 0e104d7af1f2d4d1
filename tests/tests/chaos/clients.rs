//! What the clients of the schedule do, each in a process of its own, and what they tell.
//!
//! Every client writes down in the database what it commits, and tells in the end what it was
//! told of, so that a commit that was lost or made twice shows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use verso_tests::random::Random;
use verso_tests::sessions::{attach, execute};
use verso_tests::workers::{Orders, report};
use verso_tests::{open, uri};

/// Their role among workers.
pub(crate) const ROLE: &str = "client";

pub(crate) const BANK: &str = "bank.db";
pub(crate) const OTHER_BANK: &str = "other.db";
pub(crate) const COUNTERS: u64 = 4;
pub(crate) const ACCOUNTS: u64 = 20;
pub(crate) const BALANCE: u64 = 100;

/// What both databases begin with.
pub(crate) const SCHEMA: &str = "
    CREATE TABLE counters (id INTEGER PRIMARY KEY, n INTEGER NOT NULL);
    CREATE TABLE accounts (id INTEGER PRIMARY KEY, n INTEGER NOT NULL, pad BLOB);
    CREATE TABLE log (client INTEGER, seq INTEGER, PRIMARY KEY (client, seq)) WITHOUT ROWID;";

/// A refusal that a plain BEGIN may meet.
const CONFLICT: i32 = 517;

/// Why a client ends early.
struct Broken(String);

struct Client {
    db: Connection,
    number: u64,
    random: Random,
    closed: Arc<AtomicBool>,
    /// The next row of the log.
    seq: u64,
    counted: BTreeMap<u64, u64>,
    commits: u64,
    conflicts: u64,
    /// The longest time that a statement of each kind took.
    longest: BTreeMap<&'static str, Duration>,
}

/// Works until the input is closed, and tells all.
pub(crate) fn work(orders: &Orders) {
    let db = open(&uri(&orders.store, BANK, "")).expect("the database opens");
    db.busy_timeout(Duration::from_mins(1)).expect("a setting");
    // What is tested is the end of processes, not of power.
    let settings = "PRAGMA synchronous = OFF; PRAGMA other.synchronous = OFF";
    let attach = attach(&orders.store, OTHER_BANK);
    let mut client = Client {
        db,
        number: orders.number,
        random: Random::new(orders.rounds ^ (orders.number + 1)),
        closed: end_of_input(),
        seq: 0,
        counted: BTreeMap::new(),
        commits: 0,
        conflicts: 0,
        longest: BTreeMap::new(),
    };
    let worked = client
        .run("open", &format!("{attach}; {settings}"))
        .map_err(|code| client.broken(&attach, code))
        .and_then(|_| client.work());
    if let Err(Broken(reason)) = worked {
        report(format!("error {reason}"));
    }
    report(format!("log {}", client.seq));
    report(format!("commits {}", client.commits));
    report(format!("conflicts {}", client.conflicts));
    for (counter, n) in &client.counted {
        report(format!("counter{counter} {n}"));
    }
    for (kind, longest) in &client.longest {
        report(format!("longest-{kind} {}", longest.as_millis()));
    }
}

/// Becomes true at the end of the input.
fn end_of_input() -> Arc<AtomicBool> {
    let closed = Arc::new(AtomicBool::new(false));
    let close = Arc::clone(&closed);
    thread::spawn(move || {
        let _ = std::io::read_to_string(std::io::stdin());
        close.store(true, Ordering::Release);
    });
    closed
}

impl Client {
    fn work(&mut self) -> Result<(), Broken> {
        while !self.closed.load(Ordering::Acquire) {
            match self.random.below(7) {
                0 => self.count_alone()?,
                1 => self.insert_alone()?,
                2 => self.count_immediately()?,
                3 => self.count_optimistically()?,
                4 | 5 => self.transfer()?,
                _ => self.audit()?,
            }
        }
        Ok(())
    }

    /// Runs SQL, and looks at the clock.
    fn run(&mut self, kind: &'static str, sql: &str) -> Result<Vec<i64>, i32> {
        let began = Instant::now();
        let answer = execute(&self.db, sql);
        let longest = self.longest.entry(kind).or_default();
        *longest = began.elapsed().max(*longest);
        answer
    }

    /// A failure that must not be.
    fn broken(&self, sql: &str, code: i32) -> Broken {
        let reason = verso_vfs::last_error().unwrap_or_default();
        Broken(format!("client {}: {sql}: {code}: {reason}", self.number).replace('\n', " "))
    }

    fn must(&mut self, kind: &'static str, sql: &str) -> Result<Vec<i64>, Broken> {
        self.run(kind, sql).map_err(|code| self.broken(sql, code))
    }

    fn counter(&mut self) -> u64 {
        self.random.below(COUNTERS)
    }

    fn counted(&mut self, counter: u64) {
        self.commits += 1;
        *self.counted.entry(counter).or_default() += 1;
    }

    fn row(&self) -> String {
        format!("INSERT INTO log VALUES ({}, {})", self.number, self.seq)
    }

    fn logged(&mut self) {
        self.seq += 1;
    }

    fn count_alone(&mut self) -> Result<(), Broken> {
        let counter = self.counter();
        let sql = format!("UPDATE counters SET n = n + 1 WHERE id = {counter}");
        self.must("autocommit", &sql)?;
        self.counted(counter);
        Ok(())
    }

    fn insert_alone(&mut self) -> Result<(), Broken> {
        let row = self.row();
        self.must("autocommit", &row)?;
        self.commits += 1;
        self.logged();
        Ok(())
    }

    /// Reads and writes under the writer lease, where no conflict may be.
    fn count_immediately(&mut self) -> Result<(), Broken> {
        let counter = self.counter();
        self.must("immediate", "BEGIN IMMEDIATE")?;
        let select = format!("SELECT n FROM counters WHERE id = {counter}");
        let found = self.must("read", &select)?;
        let next = found.first().expect("one row") + 1;
        let row = self.row();
        let update = format!("UPDATE counters SET n = {next} WHERE id = {counter}; {row}");
        self.must("write", &update)?;
        self.must("commit", "COMMIT")?;
        self.counted(counter);
        self.logged();
        Ok(())
    }

    /// Runs a transaction until it commits, or until the end. It answers whether it has.
    fn persist(
        &mut self,
        attempt: impl Fn(&mut Self) -> Result<bool, (i32, String)>,
    ) -> Result<bool, Broken> {
        loop {
            let failed = match attempt(self) {
                Ok(committed) => {
                    self.commits += u64::from(committed);
                    return Ok(committed);
                }
                Err((code, sql)) if code != CONFLICT => return Err(self.broken(&sql, code)),
                Err(_) => !self.db.is_autocommit(),
            };
            self.conflicts += 1;
            if failed {
                self.must("rollback", "ROLLBACK")?;
            }
            if self.closed.load(Ordering::Acquire) {
                return Ok(false);
            }
            thread::sleep(Duration::from_micros(self.random.below(20_000)));
        }
    }

    /// A step of a transaction.
    fn step(&mut self, kind: &'static str, sql: &str) -> Result<Vec<i64>, (i32, String)> {
        self.run(kind, sql).map_err(|code| (code, sql.to_owned()))
    }

    fn count_optimistically(&mut self) -> Result<(), Broken> {
        let (counter, row) = (self.counter(), self.row());
        let committed = self.persist(|client| {
            let select = format!("BEGIN; SELECT n FROM counters WHERE id = {counter}");
            let found = client.step("read", &select)?;
            let next = found.first().expect("one row") + 1;
            let update = format!("UPDATE counters SET n = {next} WHERE id = {counter}; {row}");
            client.step("write", &update)?;
            client.step("commit", "COMMIT")?;
            Ok(true)
        })?;
        if committed {
            *self.counted.entry(counter).or_default() += 1;
            self.logged();
        }
        Ok(())
    }

    /// Moves money from an account of one database to one of the other.
    fn transfer(&mut self) -> Result<(), Broken> {
        let (from, to) = (self.random.below(ACCOUNTS), self.random.below(ACCOUNTS));
        let amount = 1 + self.random.below(30).cast_signed();
        let mut banks = ["main", "other"];
        if self.random.one_in(2) {
            banks.reverse();
        }
        let [from_bank, to_bank] = banks;
        let row = self.row();
        let committed = self.persist(|client| {
            let balance = format!("BEGIN; SELECT n FROM {from_bank}.accounts WHERE id = {from}");
            let found = client.step("read", &balance)?;
            if *found.first().expect("one row") < amount {
                client.step("rollback", "ROLLBACK")?;
                return Ok(false);
            }
            let pay = format!(
                "UPDATE {from_bank}.accounts SET n = n - {amount} WHERE id = {from};
                 UPDATE {to_bank}.accounts SET n = n + {amount} WHERE id = {to}; {row}"
            );
            client.step("write", &pay)?;
            client.step("commit-both", "COMMIT")?;
            Ok(true)
        })?;
        if committed {
            self.logged();
        }
        Ok(())
    }

    /// The money of both databases at one moment.
    fn audit(&mut self) -> Result<(), Broken> {
        let halves = "BEGIN; SELECT sum(n), min(n) FROM main.accounts;
                      SELECT sum(n), min(n) FROM other.accounts; COMMIT";
        let found = self.must("read", halves)?;
        let [here, least, there, least_there] = *found.as_slice() else {
            return Err(Broken(format!("four numbers: {found:?}")));
        };
        let total = (2 * ACCOUNTS * BALANCE).cast_signed();
        if here + there != total || least < 0 || least_there < 0 {
            return Err(Broken(format!("a total of {total} became {found:?}")));
        }
        Ok(())
    }
}
