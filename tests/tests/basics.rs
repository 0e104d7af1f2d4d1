//! Goal: the straight line from SQL to the store and back.
//! Method: rusqlite on the embedded store, one connection or two.

use verso_tests::{TestStore, code, integer, text};

#[test]
fn sqlite_has_its_asserts_if_they_are_asked_for() {
    let flags = std::env::var("LIBSQLITE3_FLAGS").unwrap_or_default();
    let store = TestStore::new();
    let db = store.connect("app.db");
    let has_asserts = integer(&db, "SELECT sqlite_compileoption_used('DEBUG')") == 1;
    assert_eq!(has_asserts, flags.contains("SQLITE_DEBUG"));
}

#[test]
fn what_was_written_is_there_for_the_next_connection() {
    let store = TestStore::new();
    {
        let db = store.connect("app.db");
        db.execute_batch("CREATE TABLE t (n INTEGER, s TEXT); INSERT INTO t VALUES (1, 'one')")
            .unwrap();
        assert_eq!(integer(&db, "SELECT n FROM t"), 1);
    }
    let db = store.connect("app.db");
    assert_eq!(text(&db, "SELECT s FROM t"), "one");
    assert_eq!(text(&db, "PRAGMA integrity_check"), "ok");
}

#[test]
fn a_commit_is_seen_by_another_connection_at_once() {
    let store = TestStore::new();
    let (writer, reader) = (store.connect("app.db"), store.connect("app.db"));
    writer
        .execute_batch("CREATE TABLE t (n INTEGER); INSERT INTO t VALUES (0)")
        .unwrap();
    for expected in 1..50 {
        writer.execute("UPDATE t SET n = n + 1", []).unwrap();
        assert_eq!(integer(&reader, "SELECT n FROM t"), expected);
    }
}

#[test]
fn a_conflict_is_busy_snapshot_and_the_next_attempt_sees_fresh_data() {
    let store = TestStore::new();
    let (one, two) = (store.connect("app.db"), store.connect("app.db"));
    one.execute_batch("CREATE TABLE t (n INTEGER); INSERT INTO t VALUES (0)")
        .unwrap();
    one.execute_batch("BEGIN; UPDATE t SET n = n + 1").unwrap();
    two.execute_batch("UPDATE t SET n = n + 10").unwrap();
    let error = one.execute_batch("COMMIT").unwrap_err();
    assert_eq!(code(&error), 517, "{error}");
    assert!(one.is_autocommit(), "the transaction is gone");
    one.execute_batch("UPDATE t SET n = n + 1").unwrap();
    assert_eq!(integer(&two, "SELECT n FROM t"), 11);
}
