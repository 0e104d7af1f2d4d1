//! Goal: each rule that the VFS owes to SQLite's behaviour, one test each.
//! Method: rusqlite on the embedded store; the changelog and SQLite's own counters tell
//! what happened.

use std::sync::Arc;

use rusqlite::{Connection, OpenFlags};
use verso_pagestore::{DatabaseName, PageStore, StoreUrl};
use verso_tests::nodes::direct_url;
use verso_tests::{TestStore, code, integer, text};

fn pages(store: &TestStore) -> Arc<dyn PageStore> {
    let url = direct_url(&store.path());
    verso_open::open(&StoreUrl::parse(&url).expect("a URL")).expect("the store opens")
}

fn commits(pages: &dyn PageStore, name: &str) -> usize {
    let name = DatabaseName::new(name).expect("a valid name");
    pages
        .log(&name, None, usize::MAX)
        .expect("the database exists")
        .len()
}

/// `SQLITE_DBSTATUS_CACHE_MISS`: pages that SQLite had to read through the VFS.
#[expect(unsafe_code, reason = "rusqlite does not wrap sqlite3_db_status")]
fn cache_misses(db: &Connection) -> i32 {
    let (mut current, mut highest) = (0, 0);
    // SAFETY: the connection is open, and the numbers outlive the call.
    let code = unsafe {
        rusqlite::ffi::sqlite3_db_status(
            db.handle(),
            rusqlite::ffi::SQLITE_DBSTATUS_CACHE_MISS,
            &raw mut current,
            &raw mut highest,
            0,
        )
    };
    assert_eq!(code, 0);
    current
}

#[test]
fn every_kind_of_write_is_exactly_one_commit() {
    let store = TestStore::new();
    let pages = pages(&store);
    let db = store.connect("app.db");
    assert_eq!(commits(&*pages, "app.db"), 1, "its creation");
    for sql in [
        "PRAGMA auto_vacuum = INCREMENTAL",
        "CREATE TABLE t (id INTEGER PRIMARY KEY, b BLOB)",
        "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 50) \
         INSERT INTO t SELECT n, randomblob(5000) FROM c",
        "CREATE INDEX i ON t (length(b))",
        "PRAGMA user_version = 7",
        "PRAGMA application_id = 8",
        "DELETE FROM t WHERE id > 10",
        "PRAGMA incremental_vacuum(5)",
        "ALTER TABLE t ADD COLUMN c",
        "VACUUM",
        "BEGIN; INSERT INTO t (b) VALUES (1); INSERT INTO t (b) VALUES (2); COMMIT",
        "SAVEPOINT s; INSERT INTO t (b) VALUES (3); RELEASE s",
        "PRAGMA synchronous = OFF; INSERT INTO t (b) VALUES (4)",
        "CREATE VIRTUAL TABLE f USING fts5(x)",
        "REINDEX",
        "DROP TABLE t",
    ] {
        let before = commits(&*pages, "app.db");
        db.execute_batch(sql)
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
        assert_eq!(commits(&*pages, "app.db"), before + 1, "{sql}");
    }
}

#[test]
fn what_changes_no_page_is_no_commit() {
    let store = TestStore::new();
    let pages = pages(&store);
    let db = store.connect("app.db");
    db.execute_batch("CREATE TABLE t (n INTEGER); INSERT INTO t VALUES (1)")
        .unwrap();
    let before = commits(&*pages, "app.db");
    for sql in [
        "BEGIN IMMEDIATE; COMMIT",
        "BEGIN EXCLUSIVE; COMMIT",
        "UPDATE t SET n = 2 WHERE n = 99",
        "UPDATE t SET n = 1",
        "BEGIN; INSERT INTO t VALUES (2); ROLLBACK",
        "CREATE TEMP TABLE x (n); INSERT INTO x VALUES (1)",
        "SELECT * FROM t",
    ] {
        db.execute_batch(sql)
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
        assert_eq!(commits(&*pages, "app.db"), before, "{sql}");
    }
}

#[test]
fn a_released_savepoint_that_conflicts_stays_open_and_never_says_ok() {
    let store = TestStore::new();
    let (one, two) = (store.connect("app.db"), store.connect("app.db"));
    one.execute_batch("CREATE TABLE t (n INTEGER); INSERT INTO t VALUES (0)")
        .unwrap();
    one.execute_batch("SAVEPOINT s; UPDATE t SET n = 1")
        .unwrap();
    two.execute_batch("UPDATE t SET n = 10").unwrap();
    // With SQLITE_BUSY_SNAPSHOT SQLite would roll back and keep the savepoint open, so that a
    // second RELEASE, of nothing, succeeds.
    for release in [" /* end */ RELEASE s", ";; RELEASE s", "\u{feff}RELEASE s"] {
        assert_eq!(code(&one.execute_batch(release).unwrap_err()), 5);
        assert!(!one.is_autocommit());
    }
    one.execute_batch("UPDATE t SET n = 2").unwrap();
    assert_eq!(
        code(&one.execute_batch("-- again\nRELEASE s").unwrap_err()),
        5
    );
    one.execute_batch("ROLLBACK").unwrap();
    one.execute_batch("UPDATE t SET n = n + 1").unwrap();
    assert_eq!(integer(&two, "SELECT n FROM t"), 11);
}

#[test]
fn after_a_refused_commit_a_held_snapshot_is_read_only_until_it_ends() {
    let store = TestStore::new();
    let (one, two) = (store.connect("app.db"), store.connect("app.db"));
    one.execute_batch("CREATE TABLE t (n INTEGER); INSERT INTO t VALUES (1), (2), (3)")
        .unwrap();
    let mut statement = one.prepare("SELECT n FROM t ORDER BY rowid").unwrap();
    let mut rows = statement.query([]).unwrap();
    assert_eq!(rows.next().unwrap().unwrap().get::<_, i64>(0).unwrap(), 1);
    two.execute_batch("UPDATE t SET n = n * 10").unwrap();
    assert_eq!(
        code(&one.execute_batch("UPDATE t SET n = 7").unwrap_err()),
        517
    );
    // The open SELECT holds SHARED: its snapshot is still read, and still not writable.
    assert_eq!(
        code(&one.execute_batch("UPDATE t SET n = 8").unwrap_err()),
        517
    );
    drop(rows);
    drop(statement);
    one.execute_batch("UPDATE t SET n = n + 1").unwrap();
    assert_eq!(integer(&two, "SELECT sum(n) FROM t"), 63);
}

#[test]
fn sqlites_cache_stays_warm_unless_a_page_in_it_changed() {
    let store = TestStore::new();
    let (one, two) = (store.connect("app.db"), store.connect("app.db"));
    one.execute_batch("CREATE TABLE a (n INTEGER); CREATE TABLE b (n INTEGER)")
        .unwrap();
    one.execute_batch("INSERT INTO a VALUES (1); INSERT INTO b VALUES (1)")
        .unwrap();
    assert_eq!(integer(&one, "SELECT n FROM a"), 1);
    let warm = cache_misses(&one);
    assert_eq!(integer(&one, "SELECT n FROM a"), 1);
    assert_eq!(cache_misses(&one), warm, "nothing changed");
    one.execute_batch("UPDATE a SET n = 2").unwrap();
    assert_eq!(integer(&one, "SELECT n FROM a"), 2);
    assert_eq!(cache_misses(&one), warm, "its own commit");

    // A third connection that never reads table b keeps its cache while b changes.
    let three = store.connect("app.db");
    assert_eq!(integer(&three, "SELECT n FROM a"), 2);
    let warm = cache_misses(&three);
    two.execute_batch("UPDATE b SET n = n + 1").unwrap();
    assert_eq!(integer(&three, "SELECT n FROM a"), 2);
    assert_eq!(
        cache_misses(&three),
        warm,
        "a page that it never read changed"
    );
    two.execute_batch("UPDATE a SET n = 3").unwrap();
    assert_eq!(integer(&three, "SELECT n FROM a"), 3);
    assert!(
        cache_misses(&three) > warm,
        "a page that it had read changed"
    );
}

#[test]
fn data_version_moves_with_the_commits_of_others_and_only_with_them() {
    let store = TestStore::new();
    let (one, two) = (store.connect("app.db"), store.connect("app.db"));
    one.execute_batch("CREATE TABLE a (n INTEGER); CREATE TABLE b (n INTEGER)")
        .unwrap();
    one.execute_batch("INSERT INTO a VALUES (1); INSERT INTO b VALUES (1)")
        .unwrap();
    let version = || integer(&two, "PRAGMA data_version");
    assert_eq!(integer(&two, "SELECT n FROM a"), 1);
    for _ in 0..5 {
        let before = version();
        assert_eq!(version(), before, "nobody committed");
        two.execute_batch("UPDATE a SET n = n + 1").unwrap();
        assert_eq!(version(), before, "its own commit");
        one.execute_batch("UPDATE b SET n = n + 1").unwrap();
        assert_ne!(version(), before, "another's, of a page that it never read");
    }
    // A commit of others that its own one was merged with counts as well.
    let before = version();
    two.execute_batch("BEGIN; UPDATE a SET n = n + 1").unwrap();
    one.execute_batch("UPDATE b SET n = n + 1").unwrap();
    two.execute_batch("COMMIT").unwrap();
    assert_ne!(version(), before);
}

#[test]
fn a_commit_that_merges_others_keeps_both() {
    let store = TestStore::new();
    let (one, two) = (store.connect("app.db"), store.connect("app.db"));
    one.execute_batch("CREATE TABLE a (n INTEGER); CREATE TABLE b (n INTEGER)")
        .unwrap();
    one.execute_batch("INSERT INTO a VALUES (0); INSERT INTO b VALUES (0)")
        .unwrap();
    drop(one);
    let one = store.connect("app.db");
    for round in 1..20 {
        one.execute_batch("BEGIN; UPDATE a SET n = n + 1").unwrap();
        two.execute_batch("UPDATE b SET n = n + 1").unwrap();
        one.execute_batch("COMMIT")
            .unwrap_or_else(|error| panic!("round {round}: {error}"));
        let sums = "SELECT (SELECT n FROM a) * 1000 + (SELECT n FROM b)";
        let fresh = store.connect("app.db");
        assert_eq!(integer(&fresh, sums), round * 1001);
    }
    assert_eq!(integer(&one, "SELECT n FROM b"), 19);
}

#[test]
fn wal_mode_is_answered_and_never_entered() {
    let store = TestStore::new();
    let db = store.connect("app.db");
    assert_eq!(text(&db, "PRAGMA journal_mode = WAL"), "wal");
    assert_eq!(text(&db, "PRAGMA journal_mode"), "wal");
    db.execute_batch("CREATE TABLE t (n); INSERT INTO t VALUES (1)")
        .unwrap();
    assert_eq!(text(&db, "PRAGMA journal_mode = DELETE"), "delete");
    assert_eq!(text(&db, "PRAGMA journal_mode"), "delete");
    assert_eq!(integer(&db, "SELECT n FROM t"), 1);
}

#[test]
fn a_write_ahead_log_that_slips_past_is_refused_and_no_file_is_touched() {
    let store = TestStore::new();
    // A plain file that has the name of the database.
    let plain = store.folder().join("plain.db");
    let name = plain.display().to_string();
    Connection::open(&plain)
        .unwrap()
        .execute_batch("CREATE TABLE t (n); INSERT INTO t VALUES (42)")
        .unwrap();
    store
        .connect(&name)
        .execute_batch("CREATE TABLE t (n)")
        .unwrap();
    let db = Connection::open_in_memory().unwrap();
    db.execute_batch("PRAGMA locking_mode = EXCLUSIVE").unwrap();
    db.execute("ATTACH ? AS a", [store.uri(&name, "")]).unwrap();
    let wrote = db
        .query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))
        .and_then(|()| db.execute_batch("INSERT INTO a.t VALUES (1)"));
    drop(db);
    let count = integer(&store.connect(&name), "SELECT count(*) FROM t");
    assert_eq!(
        count,
        i64::from(wrote.is_ok()),
        "acknowledged, or not there"
    );
    assert!(!store.folder().join("plain.db-wal").exists());
    let plain = Connection::open(&plain).unwrap();
    assert_eq!(integer(&plain, "SELECT n FROM t"), 42);
}

#[test]
fn a_journal_that_is_off_stays_off_when_wal_is_asked_for() {
    let store = TestStore::new();
    let db = store.connect("app.db");
    assert_eq!(text(&db, "PRAGMA journal_mode = OFF"), "off");
    assert_eq!(text(&db, "PRAGMA journal_mode = WAL"), "off");
    assert_eq!(text(&db, "PRAGMA journal_mode = DELETE"), "delete");
    assert_eq!(text(&db, "PRAGMA journal_mode = WAL"), "wal");
}

#[test]
fn exclusive_locking_is_declined() {
    let store = TestStore::new();
    let (db, other) = (store.connect("app.db"), store.connect("app.db"));
    assert_eq!(text(&db, "PRAGMA locking_mode = EXCLUSIVE"), "normal");
    db.execute_batch("CREATE TABLE t (n); INSERT INTO t VALUES (1)")
        .unwrap();
    other.execute_batch("INSERT INTO t VALUES (2)").unwrap();
    assert_eq!(integer(&db, "SELECT count(*) FROM t"), 2);
}

#[test]
fn exclusive_locking_that_slips_past_fails_and_loses_nothing() {
    let store = TestStore::new();
    store
        .connect("app.db")
        .execute_batch("CREATE TABLE t (n)")
        .unwrap();
    let db = Connection::open_in_memory().unwrap();
    db.execute_batch("PRAGMA locking_mode = EXCLUSIVE").unwrap();
    db.execute("ATTACH ? AS a", [store.uri("app.db", "")])
        .unwrap();
    let mut acknowledged = 0;
    let mut failed = false;
    for _ in 0..3 {
        match db.execute_batch("INSERT INTO a.t VALUES (1)") {
            Ok(()) => acknowledged += 1,
            Err(_) => failed = true,
        }
    }
    assert!(
        failed,
        "only the first transaction of an exclusive lock can be seen"
    );
    let message = verso_vfs::last_error().unwrap();
    assert!(message.contains("locking_mode"), "{message}");
    let count = integer(&store.connect("app.db"), "SELECT count(*) FROM t");
    assert_eq!(count, acknowledged);
}

#[test]
fn a_shared_cache_is_refused() {
    // SQLite would find it by the name alone: also for another store, and another time. With
    // SQLITE_DEBUG it finds private ones too, so no other test may use these names.
    let store = TestStore::new();
    drop(store.connect("shared.db"));
    let error = store.try_connect("shared.db", "&cache=shared").unwrap_err();
    assert_eq!(code(&error), 14, "{error}");
    assert!(verso_vfs::last_error().is_some_and(|told| told.contains("cache=shared")));
    // Asked for by a flag, it is found out once a second connection has come.
    let flags = OpenFlags::default() | OpenFlags::SQLITE_OPEN_SHARED_CACHE;
    let shared = || Connection::open_with_flags(store.uri("shared.db", ""), flags).unwrap();
    let (one, two) = (shared(), shared());
    for db in [&one, &two] {
        let error = db.execute_batch("SELECT * FROM sqlite_schema").unwrap_err();
        assert_eq!(code(&error), 14, "{error}");
    }
    let db = store.try_connect("shared.db", "&cache=private").unwrap();
    let other = store.uri("attached.db", "&cache=shared");
    let error = db.execute_batch(&format!("ATTACH '{other}' AS other"));
    assert_eq!(code(&error.unwrap_err()), 14);
    db.execute_batch("CREATE TABLE t (n)").unwrap();
}

#[test]
fn nolock_is_refused_and_immutable_is_one_snapshot() {
    let store = TestStore::new();
    let db = store.connect("app.db");
    db.execute_batch("CREATE TABLE t (n INTEGER); INSERT INTO t VALUES (1)")
        .unwrap();
    let error = store.try_connect("app.db", "&nolock=1").unwrap_err();
    assert_eq!(code(&error), 14);
    assert!(verso_vfs::last_error().unwrap().contains("immutable=1"));
    let fixed = store.try_connect("app.db", "&immutable=1").unwrap();
    assert_eq!(integer(&fixed, "SELECT n FROM t"), 1);
    db.execute_batch("UPDATE t SET n = 2").unwrap();
    assert_eq!(integer(&fixed, "SELECT n FROM t"), 1);
    assert_eq!(
        code(&fixed.execute_batch("UPDATE t SET n = 3").unwrap_err()),
        8
    );
}

#[test]
fn a_missing_database_is_not_made_unless_asked() {
    let store = TestStore::new();
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_URI;
    let error = Connection::open_with_flags(store.uri("no.db", ""), flags).unwrap_err();
    assert_eq!(code(&error), 14);
    let message = verso_vfs::last_error().unwrap();
    assert!(message.contains("no such database: no.db"), "{message}");
    assert!(pages(&store).list(None, 10).unwrap().is_empty());
}

#[test]
fn a_read_only_connection_follows_new_commits() {
    let store = TestStore::new();
    let db = store.connect("app.db");
    db.execute_batch("CREATE TABLE t (n INTEGER); INSERT INTO t VALUES (1)")
        .unwrap();
    let reader = store.try_connect("app.db", "&mode=ro").unwrap();
    for expected in 2..10 {
        db.execute("UPDATE t SET n = ?", [expected]).unwrap();
        assert_eq!(integer(&reader, "SELECT n FROM t"), expected);
    }
    assert_eq!(code(&reader.execute_batch("DELETE FROM t").unwrap_err()), 8);
}

#[test]
fn a_new_database_can_be_opened_by_others_before_its_first_commit() {
    let store = TestStore::new();
    let (one, two) = (store.connect("app.db"), store.connect("app.db"));
    assert_eq!(integer(&two, "SELECT count(*) FROM sqlite_schema"), 0);
    one.execute_batch("CREATE TABLE t (n)").unwrap();
    assert_eq!(integer(&two, "SELECT count(*) FROM t"), 0);
}

#[test]
fn the_first_transactions_of_a_new_database_conflict() {
    let store = TestStore::new();
    let (one, two) = (store.connect("app.db"), store.connect("app.db"));
    one.execute_batch("BEGIN; CREATE TABLE a (n)").unwrap();
    two.execute_batch("CREATE TABLE b (n)").unwrap();
    assert_eq!(code(&one.execute_batch("COMMIT").unwrap_err()), 517);
    one.execute_batch("CREATE TABLE a (n)").unwrap();
    assert_eq!(integer(&two, "SELECT count(*) FROM sqlite_schema"), 2);
}

#[test]
fn a_long_select_keeps_its_snapshot_while_the_connection_writes() {
    let store = TestStore::new();
    let (one, two) = (store.connect("app.db"), store.connect("app.db"));
    one.execute_batch("CREATE TABLE t (n INTEGER); CREATE TABLE log (n INTEGER)")
        .unwrap();
    one.execute_batch("INSERT INTO t VALUES (1), (2), (3)")
        .unwrap();
    let mut statement = one.prepare("SELECT n FROM t ORDER BY rowid").unwrap();
    let mut rows = statement.query([]).unwrap();
    let mut seen = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        let n: i64 = row.get(0).unwrap();
        seen.push(n);
        one.execute("INSERT INTO log VALUES (?)", [n]).unwrap();
        assert_eq!(integer(&two, "SELECT count(*) FROM log"), n);
    }
    assert_eq!(seen, [1, 2, 3]);
    drop(rows);
    assert_eq!(integer(&one, "SELECT sum(n) FROM log"), 6);
}

#[test]
fn two_databases_in_one_transaction_are_one_commit() {
    let store = TestStore::new();
    let pages = pages(&store);
    let db = store.connect("one.db");
    db.execute_batch("CREATE TABLE t (n)").unwrap();
    store
        .connect("two.db")
        .execute_batch("CREATE TABLE t (n)")
        .unwrap();
    db.execute("ATTACH ? AS two", [store.uri("two.db", "")])
        .unwrap();
    let newest = |name: &str| {
        let name = DatabaseName::new(name).unwrap();
        let log = pages.log(&name, None, usize::MAX).unwrap();
        log.first().map(|commit| commit.version)
    };
    // With a super-journal, and without.
    for setting in ["FULL", "OFF"] {
        db.execute_batch(&format!(
            "PRAGMA main.synchronous = {setting}; PRAGMA two.synchronous = {setting}"
        ))
        .unwrap();
        let counts = ["one.db", "two.db"].map(|name| commits(&*pages, name));
        db.execute_batch("BEGIN; INSERT INTO t VALUES (1); INSERT INTO two.t VALUES (1); COMMIT")
            .unwrap();
        assert_eq!(newest("one.db"), newest("two.db"), "synchronous {setting}");
        let after = ["one.db", "two.db"].map(|name| commits(&*pages, name));
        assert_eq!(after, counts.map(|count| count + 1));
    }
    // One of them is only read.
    let before = commits(&*pages, "one.db");
    db.execute_batch("BEGIN; INSERT INTO two.t SELECT 5; SELECT count(*) FROM t; COMMIT")
        .unwrap();
    assert_eq!(commits(&*pages, "one.db"), before);
    assert_eq!(integer(&store.connect("two.db"), "SELECT sum(n) FROM t"), 7);
}

#[test]
fn a_connection_moves_between_threads() {
    let store = TestStore::new();
    let mut db = store.connect("app.db");
    db.execute_batch("CREATE TABLE t (n INTEGER); INSERT INTO t VALUES (0)")
        .unwrap();
    for _ in 0..8 {
        db = std::thread::spawn(move || {
            db.execute_batch("UPDATE t SET n = n + 1").unwrap();
            db
        })
        .join()
        .unwrap();
    }
    assert_eq!(integer(&db, "SELECT n FROM t"), 8);
}

#[test]
fn names_with_any_character_are_databases() {
    let store = TestStore::new();
    for name in ["tenant-42/app.db", "größe 🦀", "a'b\"c", "x-journal-y"] {
        let escaped = name
            .bytes()
            .fold(String::new(), |uri, byte| uri + &format!("%{byte:02x}"));
        let db = store.connect(&escaped);
        db.execute_batch("CREATE TABLE t (n); INSERT INTO t VALUES (1)")
            .unwrap();
    }
    let names: Vec<String> = pages(&store)
        .list(None, 10)
        .unwrap()
        .iter()
        .map(|entry| entry.name.to_string())
        .collect();
    assert_eq!(
        names,
        ["a'b\"c", "größe 🦀", "tenant-42/app.db", "x-journal-y"]
    );
}

#[test]
fn a_renamed_or_removed_database_is_gone_for_open_connections() {
    let store = TestStore::new();
    let pages = pages(&store);
    let name = |text: &str| DatabaseName::new(text).unwrap();
    let db = store.connect("app.db");
    db.execute_batch("CREATE TABLE t (n INTEGER); INSERT INTO t VALUES (1)")
        .unwrap();
    pages.rename(&name("app.db"), &name("new.db")).unwrap();
    assert_eq!(code(&db.execute_batch("SELECT * FROM t").unwrap_err()), 14);
    let moved = store.connect("new.db");
    assert_eq!(integer(&moved, "SELECT n FROM t"), 1);
    // Another database takes the name: everything that was cached is void.
    store
        .connect("app.db")
        .execute_batch("CREATE TABLE t (n); INSERT INTO t VALUES (2)")
        .unwrap();
    assert_eq!(integer(&db, "SELECT n FROM t"), 2);
    moved.execute_batch("BEGIN; UPDATE t SET n = 3").unwrap();
    pages.remove(&name("new.db")).unwrap();
    assert!(moved.execute_batch("COMMIT").is_err());
}

#[test]
fn a_store_put_back_to_an_older_state_is_noticed_by_open_connections() {
    let store = TestStore::in_a_file();
    let db = store.connect("app.db");
    db.execute_batch("CREATE TABLE t (n INTEGER); INSERT INTO t VALUES (1)")
        .unwrap();
    let old = store.folder().join("old.db");
    Connection::open(store.path())
        .unwrap()
        .backup("main", &old, None::<fn(rusqlite::backup::Progress)>)
        .unwrap();
    db.execute_batch("UPDATE t SET n = 100").unwrap();
    assert_eq!(integer(&db, "SELECT n FROM t"), 100);
    Connection::open(store.path())
        .unwrap()
        .restore("main", &old, None::<fn(rusqlite::backup::Progress)>)
        .unwrap();
    // Another commit takes the version that the lost one had.
    let fresh = store.connect("app.db");
    fresh.execute_batch("UPDATE t SET n = n + 1").unwrap();
    assert_eq!(integer(&db, "SELECT n FROM t"), 2);
    db.execute_batch("UPDATE t SET n = n + 1").unwrap();
    assert_eq!(integer(&fresh, "SELECT n FROM t"), 3);
}

#[test]
fn connections_of_a_process_share_their_page_cache() {
    let store = TestStore::in_a_file();
    let one = store.connect("app.db");
    one.execute_batch("CREATE TABLE t (n INTEGER); INSERT INTO t VALUES (7)")
        .unwrap();
    store.settle();
    assert_eq!(integer(&one, "SELECT n FROM t"), 7);
    // No page can be read from the store any more: page records stand under 'd', id, 'p'.
    let file = Connection::open(store.path()).unwrap();
    let damage = "UPDATE kv SET value = x'ff' WHERE substr(key, 1, 1) = x'64' \
                  AND substr(key, 10, 1) = x'70'";
    assert!(file.execute(damage, []).unwrap() > 0);
    let two = store.connect("app.db");
    assert_eq!(integer(&two, "SELECT n FROM t"), 7);
    drop((one, two));
    let reopened = store.try_connect("app.db", "");
    let read = reopened.and_then(|db| db.execute_batch("SELECT n FROM t"));
    assert!(
        read.is_err(),
        "the cache of a closed store is not used again"
    );
}
