//! Money moves between two databases, by processes that are killed and replaced; its sum
//! stays the same, and both databases always tell the same story.

use std::path::Path;
use std::sync::Once;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use verso_pagestore::Version;
use verso_tests::random::Random;
use verso_tests::scale::scaled;
use verso_tests::sessions::execute;
use verso_tests::workers::{Orders, Worker, report};
use verso_tests::{TestStore, integer, text};
use verso_vfs::Options;

use crate::pair::{Settings, attach, run, versions};

pub(crate) const TRANSFER: &str = "transfer";
pub(crate) const AUDIT: &str = "audit";

const PROCESSES: u64 = 8;
/// The numbers of the last transfers of each process.
type Last = [i64; 8];
const ACCOUNTS: u64 = 12;
const BALANCE: i64 = 100;
const TOTAL: i64 = 2 * 12 * BALANCE;
/// The lease of a killed process keeps the others waiting for so long.
const TIME_TO_LIVE: Duration = Duration::from_secs(1);

/// Sums and last numbers of both databases.
const LOOK: &str = "SELECT (SELECT sum(n) FROM a.accounts) + (SELECT sum(n) FROM b.accounts);
    SELECT min(n) FROM (SELECT n FROM a.accounts UNION ALL SELECT n FROM b.accounts);
    SELECT count(*) FROM a.last JOIN b.last USING (worker) WHERE a.last.number <> b.last.number";

/// Both databases, as `a` and `b`: in either order, with a lease that a crash does not leave
/// for long.
fn connect(path: &Path, swapped: bool) -> Connection {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| {
        verso_vfs::register(Options {
            name: "quick".to_owned(),
            lease_time_to_live: TIME_TO_LIVE,
            ..Options::new(verso_open::open)
        })
        .expect("a free VFS name");
    });
    let store = verso_tests::nodes::direct_url(path);
    let uri = |name: &str| format!("file:{name}?vfs=quick&store={store}");
    // The schema "main" is a database that has a part in the order of commits only.
    let db = Connection::open_with_flags(uri("main.db"), OpenFlags::default()).expect("it opens");
    let order = if swapped { ["b", "a"] } else { ["a", "b"] };
    for schema in order {
        attach(&db, &uri(&format!("{schema}.db")), schema);
    }
    run(&db, "PRAGMA busy_timeout = 60000");
    db
}

/// Moves money until it is killed or done. Before each attempt it tells its number, and
/// after each commit that.
pub(crate) fn transfer(orders: &Orders) {
    let db = connect(&orders.store, orders.number % 2 == 1);
    let mut random = Random::new(orders.number);
    let all = Settings::all();
    let settings = random.pick(&all);
    settings.apply(&db);
    if random.one_in(2) {
        run(&db, "PRAGMA a.cache_size = 3; PRAGMA b.cache_size = 3");
    }
    let worker = orders.number % PROCESSES;
    let newest = execute(
        &db,
        &format!("SELECT number FROM a.last WHERE worker = {worker}"),
    );
    let first = newest.expect("SQL").first().expect("one row") + 1;
    for number in first..first + orders.rounds.cast_signed() {
        let mut lost = 0;
        loop {
            match attempt(&db, &mut random, worker, number, lost) {
                Ok(()) => break,
                Err(code) => assert_eq!(
                    code & 0xff,
                    5,
                    "{settings:?}: {code}: {:?}",
                    verso_vfs::last_error()
                ),
            }
            lost += 1;
            if !db.is_autocommit() {
                run(&db, "ROLLBACK");
            }
        }
        report(format!("{worker} {number}"));
    }
}

fn attempt(
    db: &Connection,
    random: &mut Random,
    worker: u64,
    number: i64,
    lost: u32,
) -> Result<(), i32> {
    let (from, to) = random.pick(&[("a", "b"), ("b", "a")]);
    let (giver, taker) = (random.below(ACCOUNTS), random.below(ACCOUNTS));
    let amount = 1 + random.below(40).cast_signed();
    let begin = if lost > 3 || random.one_in(6) {
        "BEGIN IMMEDIATE"
    } else {
        "BEGIN"
    };
    let balance = format!("{begin}; SELECT n FROM {from}.accounts WHERE id = {giver}");
    let amount = amount.min(*execute(db, &balance)?.first().expect("one row"));
    let end = if random.one_in(10) && lost == 0 {
        "ROLLBACK"
    } else {
        "COMMIT"
    };
    execute(
        db,
        &format!(
            "UPDATE {from}.accounts SET n = n - {amount} WHERE id = {giver};
             UPDATE {to}.accounts SET n = n + {amount} WHERE id = {taker};
             UPDATE a.last SET number = {number} WHERE worker = {worker};
             UPDATE b.last SET number = {number} WHERE worker = {worker};
             {end}"
        ),
    )?;
    // A rollback is as good as a conflict: it is done again.
    if end == "COMMIT" { Ok(()) } else { Err(5) }
}

/// Looks at both databases in transactions that are checked, since they write too, or that
/// hold the leases.
pub(crate) fn audit(orders: &Orders) {
    let db = connect(&orders.store, orders.number % 2 == 1);
    let mut random = Random::new(orders.number);
    let all = Settings::all();
    let mut looks = 0;
    for round in 0..orders.rounds {
        random.pick(&all).apply(&db);
        let (begin, write) = match round % 4 {
            0 => ("BEGIN IMMEDIATE", ""),
            1 => ("BEGIN", "UPDATE main.looks SET n = n + 1;"),
            2 => ("BEGIN", ""),
            _ => (
                "BEGIN",
                "UPDATE main.looks SET n = n + 1; UPDATE a.looks SET n = n + 1;",
            ),
        };
        match execute(&db, &format!("{begin}; {write} {LOOK}; COMMIT")) {
            Ok(found) => {
                assert_consistent(&found);
                looks += 1;
            }
            Err(code) => {
                assert_ne!(round % 4, 2, "whoever only reads does not fail: {code}");
                assert_eq!(code & 0xff, 5, "{code}: {:?}", verso_vfs::last_error());
                if !db.is_autocommit() {
                    run(&db, "ROLLBACK");
                }
            }
        }
    }
    report(looks);
}

fn prepare(db: &Connection) {
    run(
        db,
        "CREATE TABLE main.looks (n INTEGER); INSERT INTO main.looks VALUES (0)",
    );
    for schema in ["a", "b"] {
        run(
            db,
            &format!(
                "PRAGMA {schema}.page_size = 1024;
                 CREATE TABLE {schema}.accounts (id INTEGER PRIMARY KEY, n INTEGER, pad BLOB);
                 CREATE TABLE {schema}.last (worker INTEGER PRIMARY KEY, number INTEGER, pad BLOB);
                 CREATE TABLE {schema}.looks (n INTEGER); INSERT INTO {schema}.looks VALUES (0);"
            ),
        );
        for id in 0..ACCOUNTS {
            run(
                db,
                &format!("INSERT INTO {schema}.accounts VALUES ({id}, {BALANCE}, zeroblob(700))"),
            );
        }
        for worker in 0..PROCESSES {
            run(
                db,
                &format!("INSERT INTO {schema}.last VALUES ({worker}, 0, zeroblob(700))"),
            );
        }
    }
}

/// What [`LOOK`] tells is consistent. The answer is what was told behind that.
fn assert_consistent(found: &[i64]) -> &[i64] {
    let [sum, least, apart, rest @ ..] = found else {
        panic!("three numbers: {found:?}");
    };
    assert_eq!((*sum, *apart), (TOTAL, 0));
    assert!(*least >= 0, "an account is overdrawn by {least}");
    rest
}

/// Both databases agree, and have all that was told.
fn check(db: &Connection, told: &Last) {
    let found = execute(
        db,
        &format!("BEGIN IMMEDIATE; {LOOK}; SELECT number FROM a.last ORDER BY worker; COMMIT"),
    )
    .expect("the leases of the killed end");
    let last = assert_consistent(&found);
    for (last, told) in last.iter().zip(told) {
        assert!(last >= told, "committed {told}, found {last}");
    }
}

fn note(told: &mut Last, lines: &[String]) {
    for line in lines {
        let (worker, number) = line.split_once(' ').expect("two numbers");
        let worker: usize = worker.parse().expect("a number");
        let last = told.get_mut(worker).expect("one of the processes");
        *last = number.parse().expect("a number");
    }
}

#[test]
fn killed_processes_leave_no_half_of_a_transfer() {
    let store = TestStore::new();
    let db = connect(&store.path(), false);
    prepare(&db);
    let mut random = Random::new(7);
    let start = |number| Worker::start(TRANSFER, number, 1 << 40, &store.path());
    let mut workers: Vec<_> = (0..PROCESSES).map(|number| Some(start(number))).collect();
    let mut told = Last::default();
    let auditor = Worker::start(AUDIT, 1, scaled(60), &store.path());
    for round in 1..=scaled(18) {
        std::thread::sleep(Duration::from_millis(50 + random.below(250)));
        let victim = usize::try_from(random.below(PROCESSES)).unwrap();
        let lines = workers[victim].take().expect("it runs").kill();
        note(&mut told, &lines);
        // The same place, with other settings.
        workers[victim] = Some(start(round * PROCESSES + victim as u64));
        check(&db, &told);
    }
    let looks = auditor.finish();
    assert!(looks[0].parse::<u64>().unwrap() >= scaled(20), "{looks:?}");
    for worker in workers.into_iter().flatten() {
        note(&mut told, &worker.kill());
    }
    check(&db, &told);
    assert!(told.iter().sum::<i64>() > 50, "{told:?}");
    for schema in ["a", "b"] {
        assert_eq!(text(&db, &format!("PRAGMA {schema}.integrity_check")), "ok");
    }
    same_story(&store, &db);
}

#[test]
fn processes_in_all_modes_move_money() {
    let store = TestStore::new();
    let db = connect(&store.path(), false);
    prepare(&db);
    let rounds = scaled(12);
    let workers: Vec<_> = (0..PROCESSES)
        .map(|number| Worker::start(TRANSFER, number + 100 * PROCESSES, rounds, &store.path()))
        .collect();
    let auditors: Vec<_> = (0..2)
        .map(|number| Worker::start(AUDIT, number, rounds, &store.path()))
        .collect();
    let mut told = Last::default();
    for worker in workers {
        note(&mut told, &worker.finish());
    }
    for auditor in auditors {
        drop(auditor.finish());
    }
    assert!(
        told.iter().all(|number| number.unsigned_abs() == rounds),
        "{told:?}"
    );
    check(&db, &told);
    same_story(&store, &db);
}

/// Every version of the one database is one of the other, and both say the same there.
fn same_story(store: &TestStore, db: &Connection) {
    let looks = integer(db, "SELECT n FROM a.looks");
    let (a, b) = (versions(store, "a.db"), versions(store, "b.db"));
    let common: Vec<_> = a.iter().filter(|version| b.contains(version)).collect();
    let alone = |versions: &[Version]| (versions.len() - common.len()) as u64;
    // What made the tables, and what the auditor wrote, belong to one database alone.
    let setup = 5 + ACCOUNTS + PROCESSES;
    assert!(alone(&b) <= setup + 1, "{}", alone(&b));
    let most = setup + 1 + looks.unsigned_abs();
    assert!(alone(&a) <= most, "{}", alone(&a));
    for version in common.iter().step_by(7) {
        let at = |name: &str| {
            let db = store
                .try_connect(name, &format!("&at={version}"))
                .expect("it opens");
            execute(
                &db,
                "SELECT sum(n) FROM accounts; SELECT number FROM last ORDER BY worker",
            )
            .expect("SQL")
        };
        let (of_a, of_b) = (at("a.db"), at("b.db"));
        let ((Some(a), a_last), (Some(b), b_last)) = (split(&of_a), split(&of_b)) else {
            panic!("sums: {of_a:?} {of_b:?}");
        };
        assert_eq!(a + b, TOTAL, "at {version}");
        assert_eq!(a_last, b_last, "at {version}");
    }
}

fn split(numbers: &[i64]) -> (Option<i64>, &[i64]) {
    match numbers {
        [first, rest @ ..] => (Some(*first), rest),
        [] => (None, &[]),
    }
}
