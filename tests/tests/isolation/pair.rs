//! Two connections that run a case in a given order of steps.

use rusqlite::Connection;
use verso_tests::sessions::{Place, Session, execute};
use verso_tests::{TestStore, text};

use crate::cases::{Case, DUMP, READ_ALL, RESET, SCHEMA};

/// The result code of a conflict. RELEASE keeps the transaction open, for SQLite would let a
/// second one succeed without having committed.
fn refusal(sql: &str) -> i32 {
    const BUSY: i32 = 5;
    const BUSY_SNAPSHOT: i32 = 517;
    if sql.starts_with("RELEASE") {
        BUSY
    } else {
        BUSY_SNAPSHOT
    }
}

/// What a transaction did.
#[derive(Debug, Default)]
struct Outcome {
    /// What each of its steps read.
    reads: Vec<Vec<i64>>,
    committed: bool,
    /// Which steps of the whole were its first and its last.
    first: usize,
    last: usize,
}

/// What plain SQLite does with the transactions one after the other.
pub(crate) struct Oracle {
    one: Serial,
    two: Serial,
    one_then_two: Serial,
    two_then_one: Serial,
}

/// The reads of the first and of the second transaction, and what is there at the end.
struct Serial {
    first: Vec<Vec<i64>>,
    second: Vec<Vec<i64>>,
    dump: Vec<i64>,
}

impl Serial {
    fn run(first: &[&str], second: &[&str]) -> Self {
        let db = Connection::open_in_memory().expect("plain SQLite");
        let run = |sql: &&str| execute(&db, sql).expect("plain SQLite runs it");
        run(&SCHEMA);
        run(&RESET);
        Self {
            first: first.iter().map(run).collect(),
            second: second.iter().map(run).collect(),
            dump: run(&DUMP),
        }
    }
}

impl Oracle {
    pub(crate) fn new(case: &Case) -> Self {
        Self {
            one: Serial::run(case.one, &[]),
            two: Serial::run(case.two, &[]),
            one_then_two: Serial::run(case.one, case.two),
            two_then_one: Serial::run(case.two, case.one),
        }
    }

    /// Says what is wrong with two outcomes and what is there after them.
    fn complaint(&self, one: &Outcome, two: &Outcome, dump: &[i64]) -> Option<&'static str> {
        let (one_first, two_first) = (one.last < two.first, two.last < one.first);
        match (one.committed, two.committed) {
            (false, false) => Some("nobody committed"),
            (true, false) | (false, true) if one_first || two_first => {
                Some("a conflict of transactions that did not overlap")
            }
            (true, true) => {
                let first = !two_first
                    && self.one_then_two.first == one.reads
                    && self.one_then_two.second == two.reads
                    && self.one_then_two.dump == dump;
                let second = !one_first
                    && self.two_then_one.first == two.reads
                    && self.two_then_one.second == one.reads
                    && self.two_then_one.dump == dump;
                (!first && !second).then_some("not serializable")
            }
            (true, false) => {
                let right = self.one.first == one.reads && self.one.dump == dump;
                let seen = self.one_then_two.second.starts_with(&two.reads)
                    || self.two.first.starts_with(&two.reads);
                (!right || !seen).then_some("the loser left a trace, or saw what never was")
            }
            (false, true) => {
                let right = self.two.first == two.reads && self.two.dump == dump;
                let seen = self.two_then_one.second.starts_with(&one.reads)
                    || self.one.first.starts_with(&one.reads);
                (!right || !seen).then_some("the loser left a trace, or saw what never was")
            }
        }
    }
}

/// Two connections, and a third that prepares cases and looks at what they left.
pub(crate) struct Pair {
    one: Session,
    two: Session,
    judge: Session,
    /// Prepares what the second connection uses, if that is another database.
    other: Option<Session>,
    check: Connection,
}

impl Pair {
    /// Opens both on one database, or both with the same database attached.
    pub(crate) fn open(place: Place, store: &TestStore, name: &str, attach: Option<&str>) -> Self {
        let open = |place| {
            let mut session = Session::open(place, &store.path(), name);
            if let Some(command) = attach {
                session.ok(command);
            }
            session.ok("PRAGMA synchronous = OFF");
            session
        };
        let shared = if attach.is_some() { "app.db" } else { name };
        let check = store.connect(shared);
        check.execute_batch(SCHEMA).expect("the schema is right");
        Self {
            one: open(place),
            two: open(place),
            judge: open(Place::Here),
            other: None,
            check,
        }
    }

    /// Gives the second connection a database of its own.
    pub(crate) fn use_second_database(&mut self, store: &TestStore, name: &str) {
        let mut other = Session::open(Place::Here, &store.path(), name);
        other.ok(SCHEMA);
        self.two = Session::open(Place::Here, &store.path(), name);
        self.other = Some(other);
    }

    /// Runs a case in at most `most` of the orders of its steps.
    pub(crate) fn check(&mut self, case: &Case, oracle: &Oracle, most: usize) {
        for order in orders(case.one.len(), case.two.len(), most) {
            self.judge.ok(RESET);
            warm(&mut self.one, 1);
            warm(&mut self.two, 2);
            let (one, two) = self.play(case, &order);
            // The connections with warm caches see the same as others do.
            let dumps = [&mut self.judge, &mut self.one, &mut self.two].map(|who| who.ok(DUMP));
            let [dump, ..] = &dumps;
            assert!(dumps.iter().all(|other| other == dump), "{dumps:?}");
            if let Some(complaint) = oracle.complaint(&one, &two, dump) {
                panic!(
                    "{}: {complaint}\norder: {order:?}\none: {one:?}\ntwo: {two:?}\nleft: {dump:?}",
                    case.name
                );
            }
        }
        assert_eq!(
            text(&self.check, "PRAGMA integrity_check"),
            "ok",
            "{}",
            case.name
        );
    }

    /// Runs a case whose transactions use a database each, so none may fail.
    pub(crate) fn check_independent(&mut self, case: &Case, most: usize) {
        for order in orders(case.one.len(), case.two.len(), most) {
            self.judge.ok(RESET);
            self.other.as_mut().expect("two databases").ok(RESET);
            warm(&mut self.one, 1);
            warm(&mut self.two, 2);
            let (one, two) = self.play(case, &order);
            assert!(one.committed && two.committed, "{}: {order:?}", case.name);
        }
    }

    /// Runs the steps of both in this order; true is a step of the first.
    fn play(&mut self, case: &Case, order: &[bool]) -> (Outcome, Outcome) {
        let (mut one, mut two) = (Outcome::default(), Outcome::default());
        let (mut steps_one, mut steps_two) = (case.one.iter(), case.two.iter());
        let (mut failed_one, mut failed_two) = (false, false);
        for (time, &is_first) in order.iter().enumerate() {
            let (session, steps, outcome, failed) = if is_first {
                (&mut self.one, &mut steps_one, &mut one, &mut failed_one)
            } else {
                (&mut self.two, &mut steps_two, &mut two, &mut failed_two)
            };
            let Some(sql) = steps.next().filter(|_| !*failed) else {
                continue;
            };
            if outcome.reads.is_empty() {
                outcome.first = time;
            }
            outcome.last = time;
            match session.run(sql) {
                Ok(read) => outcome.reads.push(read),
                Err(code) if code == refusal(sql) => {
                    *failed = true;
                    // It is rolled back already, or else is now.
                    let _ = session.run("ROLLBACK");
                }
                Err(code) => panic!("{}: {sql}: {code}\norder: {order:?}", case.name),
            }
        }
        one.committed = !failed_one;
        two.committed = !failed_two;
        (one, two)
    }
}

/// Fills a connection's cache, and goes through some transactions with it.
fn warm(session: &mut Session, own: u32) {
    let update = format!("UPDATE own SET n = n + 1 WHERE id = {own}");
    session.ok("PRAGMA cache_size = -2000");
    session.ok(READ_ALL);
    session.ok(&format!("BEGIN; {update}; COMMIT"));
    session.ok(READ_ALL);
    session.ok(&format!("BEGIN; SELECT sum(n) FROM a; {update}; ROLLBACK"));
    session.ok(&update);
}

/// All orders of so many steps of two transactions, or `most` of them spread evenly.
fn orders(one: usize, two: usize, most: usize) -> Vec<Vec<bool>> {
    let mut all = Vec::new();
    extend(&mut all, &mut Vec::new(), one, two);
    let step = all.len().div_ceil(most);
    all.into_iter().step_by(step).collect()
}

fn extend(all: &mut Vec<Vec<bool>>, order: &mut Vec<bool>, one: usize, two: usize) {
    if one + two == 0 {
        all.push(order.clone());
    }
    for (is_first, left) in [(true, one), (false, two)] {
        if left > 0 {
            order.push(is_first);
            extend(
                all,
                order,
                one - usize::from(is_first),
                two - usize::from(!is_first),
            );
            order.pop();
        }
    }
}
