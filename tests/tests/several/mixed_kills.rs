//! A process that writes a Verso database and a local file in one transaction is killed at
//! any moment: each of the two is whole, and they differ by the last transaction at most.

use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;
use verso_tests::random::Random;
use verso_tests::scale::scaled;
use verso_tests::sessions::execute;
use verso_tests::workers::{Orders, Worker, report};
use verso_tests::{TestStore, integer, open, text, uri};

use crate::pair::{attach, run};

pub(crate) const ROLE: &str = "mixed";

const CREATE: &str = "CREATE TABLE IF NOT EXISTS {schema}.head (n INTEGER, k INTEGER);
    CREATE TABLE IF NOT EXISTS {schema}.rows (i INTEGER PRIMARY KEY, n INTEGER, pad BLOB);";

/// The newest transaction of a database, after a check that it is whole.
fn newest(db: &Connection, schema: &str) -> i64 {
    assert_eq!(
        text(db, &format!("PRAGMA {schema}.integrity_check")),
        "ok",
        "{schema}"
    );
    let heads = format!("SELECT count(*) FROM {schema}.head");
    if integer(db, &heads) == 0 {
        return 0;
    }
    let found = execute(
        db,
        &format!(
            "SELECT n, k FROM {schema}.head; SELECT count(*), min(n), max(n), sum(length(pad)) FROM {schema}.rows"
        ),
    )
    .expect("SQL");
    let [n, k, rows @ ..] = found.as_slice() else {
        panic!("a head and the rows: {found:?}");
    };
    assert_eq!(
        rows,
        [*k, *n, *n, 900 * k],
        "half a transaction in {schema}"
    );
    *n
}

/// Looks at what the one before it left, tells both numbers, and then writes transactions
/// until it is killed. Each replaces all rows. In the folder of the store, as those before it.
pub(crate) fn write(orders: &Orders) {
    let folder = orders.store.parent().expect("a folder");
    std::env::set_current_dir(folder).expect("a folder");
    let mut random = Random::new(orders.number);
    let local = format!("file:{}?vfs=unix", folder.join("local.db").display());
    let verso = uri(&orders.store, "app.db", "");
    let main_is_local = orders.number.is_multiple_of(2);
    let (main, other) = if main_is_local {
        (&local, &verso)
    } else {
        (&verso, &local)
    };
    let db = open(main).expect("it opens");
    run(&db, "PRAGMA busy_timeout = 60000");
    attach(&db, other, "other");
    let (verso, local) = if main_is_local {
        ("other", "main")
    } else {
        ("main", "other")
    };
    let mode = random.pick(&["delete", "truncate", "persist", "wal"]);
    for schema in ["main", "other"] {
        run(&db, &format!("PRAGMA {schema}.journal_mode = {mode}"));
        run(&db, &CREATE.replace("{schema}", schema));
        run(
            &db,
            &format!("PRAGMA {schema}.cache_size = {}", random.pick(&[3, 2000])),
        );
        run(
            &db,
            &format!(
                "PRAGMA {schema}.synchronous = {}",
                random.pick(&["normal", "full"])
            ),
        );
    }
    if random.one_in(2) {
        // No super-journal: both are one after the other.
        run(&db, &format!("PRAGMA {verso}.synchronous = off"));
    }
    let (of_verso, of_local) = (newest(&db, verso), newest(&db, local));
    report(format!("found {of_verso} {of_local}"));
    for n in 1 + of_verso.max(of_local).. {
        let k = if random.one_in(2) {
            1 + random.below(5)
        } else {
            100 + random.below(150)
        };
        let write = |schema: &str| {
            format!(
                "DELETE FROM {schema}.head; INSERT INTO {schema}.head VALUES ({n}, {k});
                 DELETE FROM {schema}.rows;
                 WITH RECURSIVE j (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM j WHERE i < {k})
                 INSERT INTO {schema}.rows SELECT i, {n}, zeroblob(900) FROM j;"
            )
        };
        let body = format!("BEGIN; {} {}", write("main"), write("other"));
        if random.one_in(5) {
            run(&db, &format!("{body} ROLLBACK"));
        }
        run(&db, &format!("{body} COMMIT"));
        report(format!("committed {n}"));
    }
}

/// What two looks tell, one after the other.
#[derive(Debug, Default, Clone, Copy)]
struct Known {
    /// The newest transactions of the Verso database and of the local file.
    found: (i64, i64),
    /// The last that was acknowledged since; 0 if none was.
    acknowledged: i64,
}

/// Checks what the worker before left, lets this one write for some time, and kills it.
fn round(path: &Path, number: u64, after: Duration, known: Known) -> Known {
    let worker = Worker::start(ROLE, number, 0, path);
    let line = worker.line().expect("it looks first");
    let mut words = line
        .split(' ')
        .skip(1)
        .map(|word| word.parse::<i64>().expect("a number"));
    let mut next = || words.next().expect("a number");
    let found = (next(), next());
    let (verso, local) = match known.acknowledged {
        0 => known.found,
        acknowledged => (acknowledged, acknowledged),
    };
    let in_flight = 1 + verso.max(local);
    assert!(
        [verso, in_flight].contains(&found.0) && [local, in_flight].contains(&found.1),
        "round {number}: {known:?}, then {found:?}"
    );
    // Half of them are killed after their first commit, however slow they are.
    let waits = number % 4 < 2;
    let first = waits.then(|| worker.line().expect("it commits"));
    std::thread::sleep(after);
    let lines = worker.kill();
    let acknowledged = lines.last().or(first.as_ref()).map_or(0, |line| {
        let number = line.strip_prefix("committed ").expect("a commit");
        number.parse().expect("a number")
    });
    Known {
        found,
        acknowledged,
    }
}

#[test]
fn a_killed_process_leaves_both_whole() {
    let store = TestStore::new();
    let mut random = Random::new(11);
    let (mut known, mut apart) = (Known::default(), 0);
    for number in 0..scaled(32) {
        let after = Duration::from_micros(1000 + random.below(80_000));
        known = round(&store.path(), number, after, known);
        apart += u32::from(known.found.0 != known.found.1);
    }
    let most = known.found.0.max(known.acknowledged);
    assert!(
        most >= scaled(16).cast_signed(),
        "half of them committed: {most}"
    );
    println!("{most} transactions, {apart} times apart");
}
