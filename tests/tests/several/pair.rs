//! Two databases of one store, used by one connection: `main`, and `two`.

use rusqlite::Connection;
use verso_pagestore::Version;
use verso_tests::history::commits;
use verso_tests::sessions::execute;
use verso_tests::{TestStore, integer, text};

/// The answer to `PRAGMA journal_mode = wal` is `wal`, whatever it means here.
pub(crate) const JOURNAL_MODES: [&str; 6] =
    ["delete", "truncate", "persist", "memory", "off", "wal"];
pub(crate) const SYNCHRONOUS: [&str; 3] = ["off", "normal", "full"];

/// `journal_mode` and `synchronous` of all databases of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) journal_mode: &'static str,
    pub(crate) synchronous: &'static str,
}

impl Settings {
    pub(crate) fn all() -> Vec<Self> {
        let with = |journal_mode| {
            SYNCHRONOUS.map(|synchronous| Self {
                journal_mode,
                synchronous,
            })
        };
        JOURNAL_MODES.into_iter().flat_map(with).collect()
    }

    /// Sets them for the databases that the connection has.
    pub(crate) fn apply(self, db: &Connection) {
        for schema in schemas(db) {
            let (mode, level) = (self.journal_mode, self.synchronous);
            // Nothing leads from "off" to "wal".
            run(db, &format!("PRAGMA {schema}.journal_mode = delete"));
            let sql = format!("PRAGMA {schema}.journal_mode = {mode}");
            assert_eq!(text(db, &sql), mode, "{schema}");
            run(db, &format!("PRAGMA {schema}.synchronous = {level}"));
        }
    }
}

fn schemas(db: &Connection) -> Vec<String> {
    let mut statement = db
        .prepare("SELECT name FROM pragma_database_list WHERE name <> 'temp'")
        .expect("SQL");
    let names = statement.query_map([], |row| row.get(0)).expect("SQL");
    names.map(|name| name.expect("a name")).collect()
}

/// Runs SQL that must succeed.
pub(crate) fn run(db: &Connection, sql: &str) {
    db.execute_batch(sql)
        .unwrap_or_else(|error| panic!("{sql}: {error}: {:?}", verso_vfs::last_error()));
}

/// Runs SQL that must fail. The answer is the extended result code.
pub(crate) fn refused(db: &Connection, sql: &str) -> i32 {
    execute(db, sql).expect_err(sql)
}

pub(crate) const CREATE: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER, pad BLOB);
    INSERT INTO t VALUES (1, 0, zeroblob(3000)), (2, 0, zeroblob(3000)), (3, 0, zeroblob(3000))";

/// A store with `one.db` and `two.db`, each with the three rows of a table `t`.
pub(crate) fn store() -> TestStore {
    let store = TestStore::new();
    for name in ["one.db", "two.db", "three.db"] {
        run(&store.connect(name), CREATE);
    }
    store
}

/// `main` with others attached, as `two` and `three`.
pub(crate) fn attached(store: &TestStore, main: &str, others: &[&str]) -> Connection {
    let db = store.connect(main);
    for (other, schema) in others.iter().zip(["two", "three"]) {
        attach(&db, &store.uri(other, ""), schema);
    }
    db
}

pub(crate) fn attach(db: &Connection, uri: &str, schema: &str) {
    db.execute(&format!("ATTACH ?1 AS {schema}"), [uri])
        .unwrap_or_else(|error| panic!("{uri}: {error}: {:?}", verso_vfs::last_error()));
}

/// `one.db` with `two.db` attached as `two`.
pub(crate) fn both(store: &TestStore) -> Connection {
    attached(store, "one.db", &["two.db"])
}

/// The versions of a database, newest first.
pub(crate) fn versions(store: &TestStore, name: &str) -> Vec<Version> {
    let commits = commits(store, name);
    commits.iter().map(|commit| commit.version).collect()
}

/// The numbers of all rows of table `t` of a database, as a fresh connection sees them.
pub(crate) fn numbers(store: &TestStore, name: &str) -> Vec<i64> {
    let db = store.connect(name);
    assert_eq!(text(&db, "PRAGMA integrity_check"), "ok", "{name}");
    execute(&db, "SELECT n FROM t ORDER BY id").expect("SQL")
}

/// The databases have made no version since, and look whole.
pub(crate) fn assert_unchanged(store: &TestStore, before: &[(&str, Vec<Version>)], what: &str) {
    for (name, before) in before {
        assert_eq!(versions(store, name), *before, "{name}: {what}");
        assert_eq!(
            text(&store.connect(name), "PRAGMA integrity_check"),
            "ok",
            "{name}: {what}"
        );
    }
}

/// The connection works on: it sees what others see, and writes both databases in one version.
pub(crate) fn assert_usable(store: &TestStore, db: &Connection, what: &str) {
    assert!(db.is_autocommit(), "{what}");
    let sees = |db: &Connection, table: &str| {
        execute(db, &format!("SELECT id, n FROM {table} ORDER BY id")).expect("SQL")
    };
    assert_eq!(
        sees(db, "main.t"),
        sees(&store.connect("one.db"), "t"),
        "{what}"
    );
    assert_eq!(
        sees(db, "two.t"),
        sees(&store.connect("two.db"), "t"),
        "{what}"
    );
    for schema in ["main", "two"] {
        let sql = format!("PRAGMA {schema}.integrity_check");
        assert_eq!(text(db, &sql), "ok", "{what}");
    }
    let before = (
        integer(db, "SELECT n FROM t WHERE id = 3"),
        integer(db, "SELECT n FROM two.t WHERE id = 3"),
    );
    run(
        db,
        "BEGIN; UPDATE main.t SET n = n + 1 WHERE id = 3;
         UPDATE two.t SET n = n + 1 WHERE id = 3; COMMIT",
    );
    let newest = |name| versions(store, name).first().copied();
    assert_eq!(newest("one.db"), newest("two.db"), "{what}");
    let after = (
        integer(&store.connect("one.db"), "SELECT n FROM t WHERE id = 3"),
        integer(&store.connect("two.db"), "SELECT n FROM t WHERE id = 3"),
    );
    assert_eq!(after, (before.0 + 1, before.1 + 1), "{what}");
}
