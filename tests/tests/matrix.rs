//! Goal: every journal mode, `synchronous`, page size and auto-vacuum mode behaves alike,
//! and databases come in and out by VACUUM INTO and the backup API.
//! Method: one short life of a database for each combination.

use std::time::Duration;

use rusqlite::Connection;
use rusqlite::backup::Backup;
use verso_tests::history::commits;
use verso_tests::{TestStore, code, dump, integer, text};

const PAGE_SIZES: [u32; 8] = [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536];
const SYNCHRONOUS: [(&str, i64); 4] = [("off", 0), ("normal", 1), ("full", 2), ("extra", 3)];
const CONTENT: &str = "SELECT count(*) || ' ' || total(n) || ' ' || total(length(s)) FROM t";

fn run(db: &Connection, sql: &str) {
    db.execute_batch(sql)
        .unwrap_or_else(|error| panic!("{sql}: {error}: {:?}", verso_vfs::last_error()));
}

/// Rows `first` to `last`, some of them larger than a page.
fn insert(db: &Connection, first: i64, last: i64) {
    let sql = format!(
        "INSERT INTO t WITH RECURSIVE i(n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM i \
         WHERE n < {last}) SELECT n, printf('%0*d', n * 37 % 900, n) FROM i"
    );
    run(db, &sql);
}

/// The life of one database under one combination of settings.
struct Life<'a> {
    store: &'a TestStore,
    name: String,
    pragmas: String,
    journal_mode: &'static str,
}

impl Life<'_> {
    fn connect(&self) -> Connection {
        let db = self.store.connect(&self.name);
        for pragma in self.pragmas.split(';') {
            dump::rows(&db, pragma).expect("a pragma");
        }
        assert_eq!(text(&db, "PRAGMA journal_mode"), self.journal_mode);
        db
    }

    fn live(&self) {
        let db = self.connect();
        run(&db, "CREATE TABLE t(n INTEGER PRIMARY KEY, s TEXT)");
        insert(&db, 1, 60);
        let other = self.store.connect(&self.name);
        let before = text(&other, CONTENT);
        assert!(before.starts_with("60 "), "{}: {before}", self.pragmas);

        run(
            &db,
            "BEGIN; DELETE FROM t WHERE n > 5; UPDATE t SET s = 'gone'",
        );
        assert_eq!(text(&other, CONTENT), before, "{}", self.pragmas);
        run(&db, "ROLLBACK");
        assert_eq!(text(&db, CONTENT), before, "{}", self.pragmas);

        if self.journal_mode != "off" {
            // Without a journal SQLite cannot take back part of a transaction.
            run(
                &db,
                "BEGIN; SAVEPOINT one; DELETE FROM t WHERE n > 5; ROLLBACK TO one",
            );
            run(&db, "RELEASE one; COMMIT");
            assert_eq!(text(&db, CONTENT), before, "{}", self.pragmas);
        }
        insert(&db, 61, 70);
        drop(db);

        let db = self.connect();
        assert_eq!(
            text(&db, "PRAGMA integrity_check"),
            "ok",
            "{}",
            self.pragmas
        );
        assert_eq!(
            text(&db, CONTENT),
            text(&other, CONTENT),
            "{}",
            self.pragmas
        );
        self.side_by_side();
        self.conflict(&db, &other);
        dump::assert_same(&dump::main(&db), &dump::main(&other), &self.pragmas);
    }

    /// Two transactions that overlap and change different tables both commit: they share
    /// page 1, of which SQLite changes the counters every time.
    fn side_by_side(&self) {
        run(&self.connect(), "CREATE TABLE u(n); CREATE TABLE v(n)");
        run(
            &self.connect(),
            "INSERT INTO u VALUES (0); INSERT INTO v VALUES (0)",
        );
        // New connections: none of them holds a page of the other one's table.
        let (one, two) = (self.connect(), self.connect());
        for round in 1..3 {
            run(&one, "BEGIN; UPDATE u SET n = n + 1");
            run(&two, "UPDATE v SET n = n + 1");
            run(&one, "COMMIT");
            let sum = integer(&self.connect(), "SELECT u.n + v.n FROM u, v");
            assert_eq!(sum, 2 * round, "{}", self.pragmas);
        }
        run(&one, "DROP TABLE u; DROP TABLE v");
    }

    /// A conflict at COMMIT ends the transaction, and everybody goes on.
    fn conflict(&self, db: &Connection, other: &Connection) {
        run(db, "BEGIN; UPDATE t SET s = 'lost' WHERE n = 1");
        insert(db, 71, 80);
        run(other, "UPDATE t SET s = 'won' WHERE n = 1");
        let error = db.execute_batch("COMMIT").expect_err("a conflict");
        assert_eq!(code(&error), 517, "{}: {error}", self.pragmas);
        assert!(db.is_autocommit(), "{}", self.pragmas);
        for connection in [db, other, db] {
            assert_eq!(text(connection, "SELECT s FROM t WHERE n = 1"), "won");
            assert_eq!(integer(connection, "SELECT count(*) FROM t"), 70);
            assert_eq!(text(connection, "PRAGMA integrity_check"), "ok");
        }
        run(
            db,
            "BEGIN; UPDATE t SET s = s || ' and went on' WHERE n = 1; COMMIT",
        );
        assert_eq!(
            text(other, "SELECT s FROM t WHERE n = 1"),
            "won and went on"
        );
    }
}

fn journal_mode(mode: &'static str) {
    let store = TestStore::new();
    for page_size in PAGE_SIZES {
        for (synchronous, level) in SYNCHRONOUS {
            let life = Life {
                store: &store,
                name: format!("{page_size}/{synchronous}"),
                pragmas: format!(
                    "PRAGMA page_size = {page_size};PRAGMA journal_mode = {mode};\
                     PRAGMA synchronous = {synchronous}"
                ),
                journal_mode: mode,
            };
            life.live();
            let db = life.connect();
            assert_eq!(integer(&db, "PRAGMA page_size"), i64::from(page_size));
            assert_eq!(integer(&db, "PRAGMA synchronous"), level);
        }
    }
}

#[test]
fn journal_mode_delete() {
    journal_mode("delete");
}

#[test]
fn journal_mode_truncate() {
    journal_mode("truncate");
}

#[test]
fn journal_mode_persist() {
    journal_mode("persist");
}

#[test]
fn journal_mode_memory() {
    journal_mode("memory");
}

#[test]
fn journal_mode_off() {
    journal_mode("off");
}

#[test]
fn journal_mode_wal() {
    journal_mode("wal");
}

/// Changes page size and auto-vacuum mode by VACUUM while another connection, with a warm
/// cache, looks on.
fn vacuum(store: &TestStore, (from, from_mode): (u32, u32), (to, to_mode): (u32, u32)) {
    let what = format!("{from}, auto_vacuum {from_mode} to {to}, auto_vacuum {to_mode}");
    let (db, other) = (store.connect(&what), store.connect(&what));
    run(
        &db,
        &format!("PRAGMA page_size = {from}; PRAGMA auto_vacuum = {from_mode}"),
    );
    run(
        &db,
        "PRAGMA synchronous = off; CREATE TABLE t(n INTEGER PRIMARY KEY, s TEXT)",
    );
    insert(&db, 1, 300);
    run(&db, "DELETE FROM t WHERE n % 3 = 0");
    let expected = text(&other, CONTENT);
    run(
        &db,
        &format!("PRAGMA page_size = {to}; PRAGMA auto_vacuum = {to_mode}; VACUUM"),
    );
    for connection in [&other, &db] {
        // SQLite answers PRAGMA page_size from what it read last.
        assert_eq!(text(connection, CONTENT), expected, "{what}");
        let pragma = |name| integer(connection, &format!("PRAGMA {name}"));
        assert_eq!(pragma("page_size"), i64::from(to), "{what}");
        assert_eq!(pragma("auto_vacuum"), i64::from(to_mode), "{what}");
        assert_eq!(pragma("freelist_count"), 0, "{what}");
        assert_eq!(text(connection, "PRAGMA integrity_check"), "ok", "{what}");
    }
    // Both write on, in turns, with the new page size.
    insert(&other, 301, 330);
    insert(&db, 331, 360);
    run(&other, "DELETE FROM t WHERE n > 20");
    dump::rows(&db, "PRAGMA incremental_vacuum").expect("a pragma");
    let free = integer(&other, "PRAGMA freelist_count");
    assert_eq!(free > 0, to_mode == 0, "{what}: {free} free pages");
    dump::assert_same(&dump::main(&db), &dump::main(&other), &what);
    let fresh = store.connect(&what);
    dump::assert_same(&dump::main(&db), &dump::main(&fresh), &what);
}

#[test]
fn vacuum_changes_page_size_and_auto_vacuum_under_a_warm_cache() {
    let store = TestStore::new();
    for (index, from) in (0_u32..).zip(PAGE_SIZES) {
        for (shift, to) in (0_u32..).zip(PAGE_SIZES) {
            // All pairs of sizes, and all pairs of modes among them.
            vacuum(&store, (from, index % 3), (to, (index + shift) % 3));
        }
    }
}

#[test]
fn incremental_vacuum_gives_pages_back_step_by_step() {
    let store = TestStore::new();
    for page_size in PAGE_SIZES {
        let name = page_size.to_string();
        let (db, other) = (store.connect(&name), store.connect(&name));
        run(
            &db,
            &format!("PRAGMA page_size = {page_size}; PRAGMA auto_vacuum = 2"),
        );
        run(&db, "CREATE TABLE t(n INTEGER PRIMARY KEY, s TEXT)");
        insert(&db, 1, 400);
        let full = integer(&other, "PRAGMA page_count");
        run(&db, "DELETE FROM t WHERE n > 4");
        assert_eq!(integer(&other, "PRAGMA page_count"), full);
        let mut free = integer(&other, "PRAGMA freelist_count");
        assert!(free > 0, "{page_size}");
        while free > 0 {
            dump::rows(&db, "PRAGMA incremental_vacuum(7)").unwrap();
            free = (free - 7).max(0);
            assert_eq!(
                integer(&other, "PRAGMA freelist_count"),
                free,
                "{page_size}"
            );
            assert_eq!(text(&other, "PRAGMA integrity_check"), "ok");
        }
        let count = integer(&other, "PRAGMA page_count");
        assert!(count < full);
        let newest = commits(&store, &name).into_iter().next().unwrap();
        assert_eq!(i64::from(newest.page_count.get()), count, "{page_size}");
        // What was cut off comes back as new pages.
        insert(&other, 5, 400);
        assert_eq!(text(&db, "PRAGMA integrity_check"), "ok");
        dump::assert_same(&dump::main(&db), &dump::main(&other), &name);
    }
}

#[test]
fn vacuum_into_copies_from_and_to_verso() {
    let store = TestStore::new();
    for page_size in PAGE_SIZES {
        let name = page_size.to_string();
        let db = store.connect(&name);
        run(&db, &format!("PRAGMA page_size = {page_size}"));
        run(&db, "CREATE TABLE t(n INTEGER PRIMARY KEY, s TEXT)");
        insert(&db, 1, 200);
        let file = store.folder().join(format!("{name}.db"));
        for target in [
            format!("file:{}?vfs=unix", file.display()),
            store.uri(&format!("{name}/copy"), ""),
        ] {
            db.execute("VACUUM INTO ?1", [&target]).unwrap();
        }
        let (copy, plain) = (
            store.connect(&format!("{name}/copy")),
            Connection::open(&file),
        );
        let plain = plain.unwrap();
        dump::assert_same(&dump::main(&db), &dump::main(&copy), &name);
        dump::assert_same(&dump::main(&db), &dump::main(&plain), &name);
        // And from plain SQLite into Verso.
        let back = store.uri(&format!("{name}/back"), "");
        plain.execute("VACUUM INTO ?1", [&back]).unwrap();
        let back = store.connect(&format!("{name}/back"));
        dump::assert_same(&dump::main(&db), &dump::main(&back), &name);
    }
}

fn backup(from: &Connection, to: &mut Connection) {
    Backup::new(from, to)
        .and_then(|backup| backup.run_to_completion(5, Duration::ZERO, None))
        .unwrap_or_else(|error| panic!("backup: {error}: {:?}", verso_vfs::last_error()));
}

/// A plain database, in WAL mode or not.
fn plain(store: &TestStore, name: &str, page_size: u32, mode: &str) -> Connection {
    let db = Connection::open(store.folder().join(name)).expect("plain SQLite opens");
    run(&db, &format!("PRAGMA page_size = {page_size}"));
    run(&db, "CREATE TABLE t(n INTEGER PRIMARY KEY, s TEXT)");
    insert(&db, 1, 250);
    assert_eq!(text(&db, &format!("PRAGMA journal_mode = {mode}")), mode);
    db
}

#[test]
fn backups_go_into_verso_and_back() {
    let store = TestStore::new();
    for (page_size, mode) in PAGE_SIZES
        .into_iter()
        .flat_map(|size| [(size, "delete"), (size, "wal")])
    {
        let name = format!("{page_size}-{mode}");
        let source = plain(&store, &name, page_size, mode);
        let mut db = store.connect(&name);
        // Warm caches, of this connection and of another one.
        run(&db, "CREATE TABLE old(n); INSERT INTO old VALUES (1)");
        let other = store.connect(&name);
        assert_eq!(integer(&other, "SELECT n FROM old"), 1);
        backup(&source, &mut db);
        for connection in [&db, &other, &store.connect(&name)] {
            dump::assert_same(&dump::main(&source), &dump::main(connection), &name);
        }
        insert(&db, 251, 260);
        insert(&other, 261, 270);
        let file = store.folder().join(format!("{name}-back"));
        let mut back = Connection::open(&file).unwrap();
        backup(&other, &mut back);
        dump::assert_same(&dump::main(&db), &dump::main(&back), &name);
        // It did not become a WAL database: those bytes say 2 then.
        let header = std::fs::read(&file).unwrap();
        assert_eq!(header[18..20], [1, 1], "{name}");
        assert_eq!(text(&db, "PRAGMA journal_mode"), "delete", "{name}");
    }
}

#[test]
fn a_backup_in_steps_restarts_when_its_source_changes() {
    let store = TestStore::new();
    let (db, writer) = (store.connect("source"), store.connect("source"));
    run(
        &db,
        "PRAGMA page_size = 512; CREATE TABLE t(n INTEGER PRIMARY KEY, s TEXT)",
    );
    insert(&db, 1, 300);
    let mut copy = store.connect("copy");
    {
        let backup = Backup::new(&db, &mut copy).unwrap();
        backup.step(20).unwrap();
        insert(&writer, 301, 350);
        run(&writer, "UPDATE t SET s = 'changed' WHERE n = 1");
        backup.run_to_completion(50, Duration::ZERO, None).unwrap();
    }
    dump::assert_same(&dump::main(&writer), &dump::main(&copy), "the copy");
}
