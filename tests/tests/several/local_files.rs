//! Local SQLite files in the same transaction. Each case runs in a process and a working
//! directory of its own: that is where the super-journals of Verso databases are.

use std::path::{Path, PathBuf};

use rusqlite::Connection;
use verso_tests::sessions::execute;
use verso_tests::workers::{Orders, Worker};
use verso_tests::{TestStore, integer, open, text};

use crate::pair::{CREATE, attach, numbers, refused, run, store, versions};

/// The journal modes with which a local file can be rolled back after a crash.
const LOCAL_MODES: [&str; 3] = ["delete", "truncate", "persist"];
const SYNCHRONOUS: [&str; 2] = ["off", "normal"];

/// The cases, by the names that workers are told.
const CASES: [(&str, fn()); 6] = [
    ("ends", every_end_is_the_same_for_both),
    ("wal", a_local_file_in_wal_mode_beside_a_main_database),
    ("memory", settings_without_a_super_journal),
    (
        "unwritable",
        a_super_journal_that_cannot_be_made_fails_the_commit,
    ),
    ("three", a_refusal_rolls_back_every_local_file),
    ("names", names_with_a_folder_have_their_super_journal_there),
];

/// Runs a case, in a worker process.
pub(crate) fn run_case(name: &str, _: &Orders) {
    let (_, case) = CASES
        .iter()
        .find(|(known, _)| *known == name)
        .unwrap_or_else(|| panic!("unknown role {name}"));
    case();
}

fn in_a_process(case: &str) {
    let store = TestStore::new();
    drop(Worker::start(case, 0, 0, &store.path()).finish());
}

#[test]
fn commits_rollbacks_and_conflicts_are_the_same_for_both() {
    in_a_process("ends");
}

#[test]
fn local_files_in_wal_mode() {
    in_a_process("wal");
}

#[test]
fn without_a_super_journal() {
    in_a_process("memory");
}

#[test]
fn super_journal_that_cannot_be_made() {
    in_a_process("unwritable");
}

#[test]
fn refusal_with_several_local_files() {
    in_a_process("three");
}

#[test]
fn super_journal_in_a_folder() {
    in_a_process("names");
}

/// A Verso database as `v`, a second one as `w`, and a local file as `l`, one of them as
/// `main`.
struct Mixed {
    store: TestStore,
    db: Connection,
    verso: &'static str,
    local: &'static str,
}

impl Mixed {
    /// In a working directory of its own.
    fn new(main_is_local: bool) -> Self {
        let store = store();
        std::env::set_current_dir(store.folder()).expect("a folder");
        let path = local_path(&store);
        run(&Connection::open(&path).expect("SQLite"), CREATE);
        let local = format!("file:{}?vfs=unix", path.display());
        let verso = store.uri("one.db", "");
        let (main, other) = if main_is_local {
            (&local, &verso)
        } else {
            (&verso, &local)
        };
        let db = open(main).expect("it opens");
        attach(&db, other, "other");
        attach(&db, &store.uri("two.db", ""), "two");
        let (verso, local) = if main_is_local {
            ("other", "main")
        } else {
            ("main", "other")
        };
        Self {
            store,
            db,
            verso,
            local,
        }
    }

    fn pragma(&self, setting: &str) {
        for schema in ["main", "other", "two"] {
            run(&self.db, &format!("PRAGMA {schema}.{setting}"));
        }
    }

    /// Writes all three; with many rows they spill.
    fn write(n: i64, rows: i64) -> String {
        let write = |schema: &str| {
            format!(
                "UPDATE {schema}.t SET n = {n} WHERE id = 1;
                 DELETE FROM {schema}.t WHERE id > 3;
                 WITH RECURSIVE i (k) AS (SELECT 1 UNION ALL SELECT k + 1 FROM i WHERE k < {rows})
                 INSERT INTO {schema}.t SELECT k + 3, {n}, zeroblob(1500) FROM i;"
            )
        };
        ["main", "other", "two"].map(write).concat()
    }

    /// All three databases have this number in all rows that were written, as others see it.
    fn check(&self, n: i64, what: &str) {
        for name in ["one.db", "two.db"] {
            let db = self.store.connect(name);
            assert_eq!(written(&db), [n], "{name} {what}");
        }
        let db = Connection::open(local_path(&self.store)).expect("SQLite");
        assert_eq!(text(&db, "PRAGMA integrity_check"), "ok", "{what}");
        assert_eq!(written(&db), [n], "local {what}");
        for schema in ["main", "other", "two"] {
            let found = execute(
                &self.db,
                &format!("SELECT DISTINCT n FROM {schema}.t WHERE id = 1 OR id > 3"),
            );
            assert_eq!(found, Ok(vec![n]), "{schema} {what}");
        }
        assert_eq!(
            super_journals(self.store.folder()),
            Vec::<PathBuf>::new(),
            "{what}"
        );
    }
}

fn written(db: &Connection) -> Vec<i64> {
    execute(db, "SELECT DISTINCT n FROM t WHERE id = 1 OR id > 3").expect("SQL")
}

fn local_path(store: &TestStore) -> PathBuf {
    store.folder().join("local.db")
}

fn super_journals(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.to_string_lossy().contains("-mj"))
        .collect()
}

/// Goes through commits, rollbacks and conflicts.
fn ends(mixed: &Mixed, what: &str) {
    let db = &mixed.db;
    let mut committed = 0;
    for (round, rows) in (1..).zip([1, 60, 1, 60]) {
        let what = format!("{what} round {round}");
        run(db, &format!("BEGIN; {} ROLLBACK", Mixed::write(-1, rows)));
        mixed.check(committed, &format!("{what} rolled back"));
        // A conflict in either of the Verso databases.
        for (schema, name) in [(mixed.verso, "one.db"), ("two", "two.db")] {
            run(db, &format!("BEGIN; SELECT sum(n) FROM {schema}.t"));
            let other = mixed.store.connect(name);
            run(&other, "UPDATE t SET n = n + 1 WHERE id = 2");
            let before = ["one.db", "two.db"].map(|name| versions(&mixed.store, name));
            // Once it has spilled, a statement before the COMMIT may be refused already.
            let write = format!("{} COMMIT", Mixed::write(-2, rows));
            assert_eq!(refused(db, &write), 517, "{what} {name}");
            let after = ["one.db", "two.db"].map(|name| versions(&mixed.store, name));
            assert_eq!(before, after, "{what} {name}");
            if !db.is_autocommit() {
                run(db, "ROLLBACK");
            }
            assert!(db.is_autocommit());
            mixed.check(committed, &format!("{what} conflict in {name}"));
        }
        run(db, &format!("BEGIN; {} COMMIT", Mixed::write(round, rows)));
        committed = round;
        mixed.check(committed, &format!("{what} committed"));
        let newest = |name| versions(&mixed.store, name).first().copied();
        assert_eq!(newest("one.db"), newest("two.db"), "{what}");
        // Only one Verso database and the local file.
        let (verso, local) = (mixed.verso, mixed.local);
        run(
            db,
            &format!("BEGIN; UPDATE {verso}.t SET n = n; UPDATE {local}.t SET n = n; COMMIT"),
        );
        run(
            db,
            &format!("BEGIN; SELECT sum(n) FROM {verso}.t; UPDATE {local}.t SET n = n; COMMIT"),
        );
        mixed.check(committed, &format!("{what} after"));
    }
}

fn every_end_is_the_same_for_both() {
    for main_is_local in [false, true] {
        for mode in LOCAL_MODES {
            for synchronous in SYNCHRONOUS {
                let mixed = Mixed::new(main_is_local);
                run(&mixed.db, &Mixed::write(0, 1));
                mixed.pragma(&format!("journal_mode = {mode}"));
                mixed.pragma(&format!("synchronous = {synchronous}"));
                mixed.pragma("cache_size = 3");
                ends(
                    &mixed,
                    &format!("{mode} {synchronous} local main: {main_is_local}"),
                );
            }
        }
    }
}

/// Each database has a journal mode of its own: there is no super-journal, or only for some.
fn settings_without_a_super_journal() {
    for main_is_local in [false, true] {
        for (verso, local) in [
            ("memory", "delete"),
            ("off", "delete"),
            ("delete", "memory"),
            ("memory", "memory"),
        ] {
            let mixed = Mixed::new(main_is_local);
            run(&mixed.db, &Mixed::write(0, 1));
            for (schema, mode) in [(mixed.verso, verso), ("two", verso), (mixed.local, local)] {
                run(
                    &mixed.db,
                    &format!(
                        "PRAGMA {schema}.journal_mode = {mode}; PRAGMA {schema}.cache_size = 3"
                    ),
                );
            }
            ends(
                &mixed,
                &format!("verso {verso}, local {local}, local main: {main_is_local}"),
            );
        }
    }
}

/// SQLite commits a file in WAL mode before it asks the databases that come after it.
fn a_local_file_in_wal_mode_beside_a_main_database() {
    for main_is_local in [false, true] {
        for (synchronous, cache) in [("normal", 2000), ("off", 2000), ("normal", 3), ("off", 3)] {
            let mixed = Mixed::new(main_is_local);
            run(&mixed.db, &Mixed::write(0, 1));
            let mode = format!("PRAGMA {}.journal_mode = wal", mixed.local);
            assert_eq!(text(&mixed.db, &mode), "wal");
            mixed.pragma(&format!("synchronous = {synchronous}"));
            mixed.pragma(&format!("cache_size = {cache}"));
            ends(
                &mixed,
                &format!("WAL {synchronous} {cache}, local main: {main_is_local}"),
            );
        }
    }
}

fn a_super_journal_that_cannot_be_made_fails_the_commit() {
    for mode in LOCAL_MODES {
        let store = TestStore::new();
        std::env::set_current_dir(store.folder()).expect("a folder");
        let db = store.connect("dir/one.db");
        run(&db, CREATE);
        let path = local_path(&store);
        run(&Connection::open(&path).expect("SQLite"), CREATE);
        attach(&db, &format!("file:{}?vfs=unix", path.display()), "other");
        run(
            &db,
            &format!("PRAGMA journal_mode = {mode}; PRAGMA other.journal_mode = {mode}"),
        );
        run(
            &db,
            "PRAGMA other.cache_size = 3; PRAGMA main.cache_size = 3",
        );
        let before = versions(&store, "dir/one.db");
        let write = "UPDATE main.t SET n = 1, pad = zeroblob(50000); UPDATE other.t SET n = 1, pad = zeroblob(50000);";
        run(&db, &format!("BEGIN; {write}"));
        assert_eq!(refused(&db, "COMMIT"), 14);
        let message = verso_vfs::last_error().expect("a reason");
        assert!(
            message.contains("dir/one.db-mj") && message.contains("directory"),
            "{message}"
        );
        if !db.is_autocommit() {
            run(&db, "ROLLBACK");
        }
        assert_eq!(versions(&store, "dir/one.db"), before);
        let local = Connection::open(&path).expect("SQLite");
        assert_eq!(text(&local, "PRAGMA integrity_check"), "ok");
        assert_eq!(integer(&local, "SELECT sum(n) FROM t"), 0);
        // Each of them alone needs none, and with the folder it works.
        run(&db, "UPDATE main.t SET n = 2; UPDATE other.t SET n = 3");
        std::fs::create_dir("dir").expect("a folder");
        run(&db, &format!("BEGIN; {write} COMMIT"));
        assert_eq!(numbers(&store, "dir/one.db"), [1, 1, 1]);
        assert_eq!(integer(&local, "SELECT sum(n) FROM t"), 3);
        assert_eq!(
            super_journals(&store.folder().join("dir")),
            Vec::<PathBuf>::new()
        );
    }
}

fn names_with_a_folder_have_their_super_journal_there() {
    let store = store();
    std::env::set_current_dir(store.folder()).expect("a folder");
    let path = local_path(&store);
    run(&Connection::open(&path).expect("SQLite"), CREATE);
    let absolute = format!("{}/absolute.db", store.folder().display());
    let db = store.connect(&absolute);
    run(&db, CREATE);
    attach(&db, &format!("file:{}?vfs=unix", path.display()), "other");
    for n in 1..4 {
        run(
            &db,
            &format!("BEGIN; UPDATE main.t SET n = {n}; UPDATE other.t SET n = {n}; COMMIT"),
        );
        assert_eq!(super_journals(store.folder()), Vec::<PathBuf>::new());
        let local = Connection::open(&path).expect("SQLite");
        assert_eq!(integer(&local, "SELECT sum(n) FROM t"), 3 * n);
    }
}

/// The last database is refused when everything before it was handed over: one database is
/// written through two names.
fn a_refusal_rolls_back_every_local_file() {
    for main_is_local in [false, true] {
        for mode in LOCAL_MODES {
            let mixed = Mixed::new(main_is_local);
            let db = &mixed.db;
            let path = mixed.store.folder().join("local2.db");
            run(&Connection::open(&path).expect("SQLite"), CREATE);
            attach(db, &format!("file:{}?vfs=unix", path.display()), "local2");
            attach(db, &mixed.store.uri("one.db", ""), "again");
            run(db, &Mixed::write(0, 1));
            for schema in ["main", "other", "two", "local2", "again"] {
                run(
                    db,
                    &format!(
                        "PRAGMA {schema}.journal_mode = {mode}; PRAGMA {schema}.cache_size = 3"
                    ),
                );
            }
            let before = ["one.db", "two.db"].map(|name| versions(&mixed.store, name));
            let what = format!("{mode} local main: {main_is_local}");
            run(
                db,
                &format!(
                    "BEGIN; {} UPDATE local2.t SET n = 1, pad = zeroblob(70000)",
                    Mixed::write(1, 30)
                ),
            );
            run(db, "UPDATE again.t SET n = 4 WHERE id = 3");
            assert_eq!(refused(db, "COMMIT"), 1, "{what}");
            let after = ["one.db", "two.db"].map(|name| versions(&mixed.store, name));
            assert_eq!(before, after, "{what}");
            let local = Connection::open(&path).expect("SQLite");
            assert_eq!(text(&local, "PRAGMA integrity_check"), "ok", "{what}");
            assert_eq!(integer(&local, "SELECT sum(n) FROM t"), 0, "{what}");
            mixed.check(0, &what);
            run(
                db,
                &format!(
                    "BEGIN; {} UPDATE local2.t SET n = 1; COMMIT",
                    Mixed::write(2, 30)
                ),
            );
            mixed.check(2, &what);
        }
    }
}
