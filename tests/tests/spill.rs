//! Goal: what SQLite writes before a commit is never taken for one.
//! Method: a tiny page cache makes transactions spill; after each way to give one up the
//! changelog is as long as before, and the connection still works and commits.

use std::path::Path;

use rusqlite::Connection;
use rusqlite::backup::Progress;
use verso_tests::history::commits;
use verso_tests::{TestStore, code, dump, integer, text};

const MODES: [&str; 6] = ["delete", "truncate", "persist", "memory", "off", "wal"];
/// Rewrites every row, and adds and removes some.
const REWRITE: &str = "UPDATE t SET s = 'rewritten' || n || s; DELETE FROM t WHERE n % 7 = 0; \
     INSERT INTO t SELECT n + 100000, s FROM t WHERE n < 500";

fn run(db: &Connection, sql: &str) {
    db.execute_batch(sql)
        .unwrap_or_else(|error| panic!("{sql}: {error}: {:?}", verso_vfs::last_error()));
}

fn connect(store: &TestStore, mode: &str) -> Connection {
    let db = store.connect("app.db");
    run(&db, "PRAGMA page_size = 1024; PRAGMA synchronous = off");
    dump::rows(&db, &format!("PRAGMA journal_mode = {mode}")).expect("a pragma");
    run(&db, "PRAGMA cache_size = 5");
    db
}

/// A table of thousands of rows and hundreds of pages.
fn fill(db: &Connection) {
    run(
        db,
        "CREATE TABLE t(n INTEGER PRIMARY KEY, s TEXT); \
         INSERT INTO t WITH RECURSIVE i(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM i LIMIT 1500) \
         SELECT n, printf('%0100d', n) FROM i",
    );
}

/// The pages of a database, without the header fields that count commits.
fn raw(db: &Connection, folder: &Path) -> Vec<u8> {
    let file = folder.join("raw.db");
    // Exactly this file's pages are copied, those of the free list too.
    db.backup("main", &file, None::<fn(Progress)>)
        .expect("a backup");
    let mut bytes = std::fs::read(&file).expect("the backup");
    std::fs::remove_file(&file).expect("the backup");
    for field in [24..28, 92..100] {
        bytes.get_mut(field).expect("a header").fill(0);
    }
    bytes
}

/// Tells that nothing was committed, and that the connection goes on.
struct Watch {
    commits: usize,
    content: String,
}

impl Watch {
    fn new(store: &TestStore) -> Self {
        Self {
            commits: commits(store, "app.db").len(),
            content: dump::main(&store.connect("app.db")),
        }
    }

    fn nothing_happened(&self, store: &TestStore, db: &Connection, what: &str) {
        assert!(db.is_autocommit(), "{what}");
        assert_eq!(commits(store, "app.db").len(), self.commits, "{what}");
        dump::assert_same(&self.content, &dump::main(&store.connect("app.db")), what);
        dump::assert_same(&self.content, &dump::main(db), what);
        run(
            db,
            "BEGIN; CREATE TABLE after(n); INSERT INTO after VALUES (1); DROP TABLE after",
        );
        run(db, "PRAGMA user_version = 5; COMMIT");
        assert_eq!(commits(store, "app.db").len(), self.commits + 1, "{what}");
        let other = store.connect("app.db");
        assert_eq!(integer(&other, "PRAGMA user_version"), 5, "{what}");
        assert_eq!(text(&other, "PRAGMA integrity_check"), "ok", "{what}");
    }
}

/// Runs `give_up` on a connection whose open transaction has spilled.
fn giving_up(modes: &[&str], what: &str, give_up: impl Fn(Connection) -> Connection) {
    for mode in modes {
        let store = TestStore::new();
        let db = connect(&store, mode);
        fill(&db);
        let watch = Watch::new(&store);
        run(&db, "BEGIN");
        run(&db, REWRITE);
        let db = give_up(db);
        watch.nothing_happened(&store, &db, &format!("{what}, journal_mode={mode}"));
    }
}

#[test]
fn rollback() {
    giving_up(&MODES, "ROLLBACK", |db| {
        run(&db, "ROLLBACK");
        db
    });
}

#[test]
fn an_error_that_rolls_back() {
    giving_up(&MODES, "ON CONFLICT ROLLBACK", |db| {
        let sql = "INSERT OR ROLLBACK INTO t VALUES (1, 'again')";
        assert_eq!(code(&db.execute(sql, []).unwrap_err()), 1555);
        db
    });
}

#[test]
fn rollback_after_a_cache_flush() {
    giving_up(&MODES, "ROLLBACK after a flush", |db| {
        db.cache_flush().unwrap();
        run(&db, "UPDATE t SET s = 'again' WHERE n < 100");
        db.cache_flush().unwrap();
        run(&db, "ROLLBACK");
        db
    });
}

#[test]
fn rollback_of_the_outermost_savepoint() {
    for mode in MODES.into_iter().filter(|&mode| mode != "off") {
        let store = TestStore::new();
        let db = connect(&store, mode);
        fill(&db);
        let watch = Watch::new(&store);
        run(&db, "SAVEPOINT outer_one");
        run(&db, REWRITE);
        run(
            &db,
            "SAVEPOINT inner_one; DELETE FROM t; ROLLBACK TO outer_one",
        );
        let inside = dump::rows(&db, "SELECT * FROM t").unwrap();
        assert_eq!(inside.len(), 1500, "{mode}");
        run(&db, "ROLLBACK");
        watch.nothing_happened(&store, &db, mode);
    }
}

#[test]
fn what_is_left_of_a_transaction_after_rollback_to_is_committed() {
    for mode in MODES.into_iter().filter(|&mode| mode != "off") {
        let store = TestStore::new();
        let db = connect(&store, mode);
        fill(&db);
        let before = commits(&store, "app.db").len();
        run(
            &db,
            "BEGIN; UPDATE t SET s = 'kept' WHERE n = 1; SAVEPOINT s",
        );
        run(&db, REWRITE);
        run(
            &db,
            "ROLLBACK TO s; UPDATE t SET s = 'kept too' WHERE n = 2; COMMIT",
        );
        assert_eq!(commits(&store, "app.db").len(), before + 1, "{mode}");
        let other = store.connect("app.db");
        dump::assert_same(&dump::main(&db), &dump::main(&other), mode);
        assert_eq!(integer(&other, "SELECT count(*) FROM t"), 1500, "{mode}");
        let kept = "SELECT group_concat(s) FROM t WHERE s LIKE 'kept%'";
        assert_eq!(text(&other, kept), "kept,kept too", "{mode}");
        let rewritten = "SELECT count(*) FROM t WHERE s LIKE 'rewritten%'";
        assert_eq!(integer(&other, rewritten), 0, "{mode}");
    }
}

#[test]
fn closing_with_an_open_transaction() {
    for mode in MODES {
        let store = TestStore::new();
        let db = connect(&store, mode);
        fill(&db);
        let watch = Watch::new(&store);
        run(&db, "BEGIN");
        run(&db, REWRITE);
        drop(db);
        watch.nothing_happened(&store, &connect(&store, mode), mode);
    }
}

#[test]
fn the_first_transaction_of_a_new_database() {
    type GiveUp = fn(Connection) -> Option<Connection>;
    let ways: [(&str, GiveUp); 3] = [
        ("ROLLBACK", |db| {
            run(&db, "ROLLBACK");
            Some(db)
        }),
        ("an error", |db| {
            db.execute("INSERT OR ROLLBACK INTO t VALUES (1, 'again')", [])
                .expect_err("row 1 exists");
            Some(db)
        }),
        ("closing", |db| {
            drop(db);
            None
        }),
    ];
    for mode in MODES {
        for (what, give_up) in ways {
            let store = TestStore::new();
            let db = connect(&store, mode);
            run(&db, "BEGIN");
            fill(&db);
            db.cache_flush().unwrap();
            let db = give_up(db).unwrap_or_else(|| connect(&store, mode));
            let what = format!("{what}, journal_mode={mode}");
            assert_eq!(
                commits(&store, "app.db").len(),
                1,
                "{what}: only its creation"
            );
            let other = store.connect("app.db");
            for connection in [&db, &other] {
                let tables = integer(connection, "SELECT count(*) FROM sqlite_schema");
                assert_eq!(tables, 0, "{what}");
            }
            fill(&db);
            assert_eq!(integer(&other, "SELECT count(*) FROM t"), 1500, "{what}");
            assert_eq!(text(&other, "PRAGMA integrity_check"), "ok", "{what}");
        }
    }
}

#[test]
fn a_spilled_commit_is_one_commit() {
    for mode in MODES {
        let store = TestStore::new();
        let db = connect(&store, mode);
        fill(&db);
        let other = store.connect("app.db");
        let (before, old) = (commits(&store, "app.db").len(), dump::main(&other));
        run(&db, "BEGIN");
        run(&db, REWRITE);
        db.cache_flush().unwrap();
        dump::assert_same(
            &old,
            &dump::main(&other),
            "nobody sees it before its commit",
        );
        run(&db, "COMMIT");
        assert_eq!(commits(&store, "app.db").len(), before + 1, "{mode}");
        let (mine, theirs) = (dump::main(&db), dump::main(&other));
        dump::assert_same(&mine, &theirs, mode);
        assert!(dump::difference(&old, &theirs).is_some(), "{mode}");
    }
}

#[test]
fn a_spilled_commit_that_conflicts() {
    for mode in MODES {
        let store = TestStore::new();
        let db = connect(&store, mode);
        fill(&db);
        let other = store.connect("app.db");
        run(&db, "BEGIN");
        run(&db, REWRITE);
        run(&other, "UPDATE t SET s = 'won' WHERE n = 1000");
        let watch = Watch::new(&store);
        let error = db.execute_batch("COMMIT").unwrap_err();
        assert_eq!(code(&error), 517, "{mode}: {error}");
        watch.nothing_happened(&store, &db, mode);
        run(&db, "BEGIN");
        run(&db, REWRITE);
        run(&db, "COMMIT");
        let (mine, theirs) = (dump::main(&db), dump::main(&other));
        dump::assert_same(&mine, &theirs, mode);
        assert_eq!(
            text(&other, "SELECT substr(s, -3) FROM t WHERE n = 1000"),
            "won"
        );
    }
}

#[test]
fn a_journal_too_large_for_memory() {
    for mode in ["delete", "persist", "truncate"] {
        let store = TestStore::new();
        let db = connect(&store, mode);
        run(
            &db,
            "CREATE TABLE t(n INTEGER PRIMARY KEY, s BLOB); \
             INSERT INTO t WITH RECURSIVE i(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM i LIMIT 800) \
             SELECT n, CAST(printf('%010000d', n) AS BLOB) FROM i",
        );
        let size = integer(&db, "PRAGMA page_count") * integer(&db, "PRAGMA page_size");
        assert!(size > 7 << 20, "the journal gets larger than 4 MiB: {size}");
        let watch = Watch::new(&store);
        run(
            &db,
            "BEGIN; UPDATE t SET s = CAST(printf('%010001d', n + 1) AS BLOB)",
        );
        run(
            &db,
            "SAVEPOINT s; DELETE FROM t WHERE n % 2 = 0; ROLLBACK TO s",
        );
        run(&db, "ROLLBACK");
        watch.nothing_happened(&store, &db, mode);
    }
}

#[test]
fn new_pages_that_sqlite_never_wrote_are_zero() {
    let store = TestStore::new();
    let folder = tempfile::tempdir().unwrap();
    let plain = || Connection::open(folder.path().join("plain.db")).unwrap();
    let verso = || store.connect("app.db");
    for db in [plain(), verso()] {
        run(
            &db,
            "PRAGMA page_size = 1024; CREATE TABLE t(n INTEGER PRIMARY KEY, s TEXT); \
             INSERT INTO t VALUES (1, printf('%0200000d', 1)); DELETE FROM t; VACUUM; \
             BEGIN; INSERT INTO t VALUES (1, printf('%0200000d', 2)); \
             DELETE FROM t WHERE n = 1; COMMIT",
        );
    }
    // New connections, whose caches do not hold what was never written.
    let (expected, found) = (raw(&plain(), folder.path()), raw(&verso(), folder.path()));
    let zero = |page: &&[u8]| page.iter().all(|&byte| byte == 0);
    assert!(expected.chunks(1024).filter(zero).count() > 100);
    assert!(
        expected == found,
        "what was cut off before must not come back"
    );
    dump::assert_same(&dump::main(&plain()), &dump::main(&verso()), "both");
}
