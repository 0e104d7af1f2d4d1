//! What SQL can do inside and around a transaction over several databases.

use rusqlite::Connection;
use verso_tests::sessions::execute;
use verso_tests::{integer, text};

use crate::pair::{
    Settings, assert_unchanged, assert_usable, attach, attached, both, numbers, refused, run,
    store, versions,
};

#[test]
fn temporary_tables_and_databases_in_memory_take_part() {
    for settings in Settings::all() {
        let store = store();
        let db = both(&store);
        settings.apply(&db);
        attach(&db, ":memory:", "mem");
        attach(&db, "", "tmp");
        run(
            &db,
            "CREATE TEMP TABLE x (n); CREATE TABLE mem.x (n); CREATE TABLE tmp.x (n)",
        );
        let all = |n: i64| {
            format!(
                "INSERT INTO temp.x VALUES ({n}); INSERT INTO mem.x VALUES ({n});
                 INSERT INTO tmp.x VALUES ({n}); UPDATE main.t SET n = {n} WHERE id = 1;
                 UPDATE two.t SET n = {n} WHERE id = 1;"
            )
        };
        let counts = |db: &Connection| {
            execute(
                db,
                "SELECT count(*) FROM temp.x; SELECT count(*) FROM mem.x; SELECT count(*) FROM tmp.x",
            )
            .unwrap()
        };
        run(&db, &format!("BEGIN; {} COMMIT", all(1)));
        assert_eq!(counts(&db), [1, 1, 1], "{settings:?}");
        assert_eq!(numbers(&store, "two.db"), [1, 0, 0]);
        run(&db, &format!("BEGIN; {} ROLLBACK", all(2)));
        run(&db, &format!("BEGIN; {}", all(3)));
        run(&store.connect("two.db"), "UPDATE t SET n = 9 WHERE id = 1");
        let before = ["one.db", "two.db"].map(|name| (name, versions(&store, name)));
        assert_eq!(refused(&db, "COMMIT"), 517, "{settings:?}");
        assert_eq!(counts(&db), [1, 1, 1], "{settings:?}");
        assert_unchanged(&store, &before, &format!("{settings:?}"));
        assert_usable(&store, &db, &format!("{settings:?}"));
    }
}

#[test]
fn main_in_memory_with_two_attached() {
    for settings in Settings::all() {
        for main in [":memory:", ""] {
            let store = store();
            let db = Connection::open(main).unwrap();
            run(&db, "CREATE TABLE x (n)");
            attach(&db, &store.uri("one.db", ""), "one");
            attach(&db, &store.uri("two.db", ""), "two");
            for schema in ["one", "two"] {
                let (mode, level) = (settings.journal_mode, settings.synchronous);
                run(&db, &format!("PRAGMA {schema}.synchronous = {level}"));
                assert_eq!(
                    text(&db, &format!("PRAGMA {schema}.journal_mode = {mode}")),
                    mode
                );
            }
            let write = |n: i64| {
                format!(
                    "BEGIN; INSERT INTO x VALUES ({n}); UPDATE one.t SET n = {n} WHERE id = 1;
                     UPDATE two.t SET n = {n} WHERE id = 1"
                )
            };
            run(&db, &write(1));
            run(&db, "COMMIT");
            let newest = |name| versions(&store, name).first().copied();
            assert_eq!(newest("one.db"), newest("two.db"), "{settings:?}");
            run(&db, &write(2));
            run(&store.connect("two.db"), "UPDATE t SET n = 9 WHERE id = 1");
            let before = ["one.db", "two.db"].map(|name| (name, versions(&store, name)));
            assert_eq!(refused(&db, "COMMIT"), 517, "{settings:?}");
            assert_unchanged(&store, &before, &format!("{settings:?}"));
            assert_eq!(integer(&db, "SELECT count(*) FROM x"), 1, "{settings:?}");
            assert_eq!(integer(&db, "SELECT n FROM one.t WHERE id = 1"), 1);
            assert_eq!(integer(&db, "SELECT n FROM two.t WHERE id = 1"), 9);
            run(&db, &write(3));
            run(&db, "COMMIT");
            assert_eq!(numbers(&store, "one.db"), [3, 0, 0]);
            assert_eq!(numbers(&store, "two.db"), [3, 0, 0]);
        }
    }
}

#[test]
fn savepoints_and_failed_statements_span_databases() {
    // Without a journal SQLite cannot take back part of a transaction.
    for settings in Settings::all()
        .into_iter()
        .filter(|settings| settings.journal_mode != "off")
    {
        for cache in [2, 2000] {
            let store = store();
            let db = both(&store);
            settings.apply(&db);
            run(
                &db,
                &format!("PRAGMA main.cache_size = {cache}; PRAGMA two.cache_size = {cache}"),
            );
            run(
                &db,
                "CREATE TEMP TRIGGER x AFTER UPDATE ON main.t BEGIN UPDATE two.t SET n = n + 1 WHERE id = NEW.id; END",
            );
            run(
                &db,
                "BEGIN;
                 UPDATE main.t SET n = n + 1;
                 SAVEPOINT s;
                   UPDATE main.t SET n = n + 10, pad = zeroblob(20000);
                   UPDATE two.t SET pad = zeroblob(20000);
                   SAVEPOINT inner;
                     DELETE FROM main.t; DELETE FROM two.t;
                   ROLLBACK TO inner;
                 ROLLBACK TO s; RELEASE s;
                 INSERT INTO two.t (id, n) VALUES (4, 4)",
            );
            assert_eq!(
                refused(&db, "UPDATE main.t SET id = id + 1, n = n + 100"),
                1555
            );
            assert_eq!(
                refused(&db, "INSERT INTO two.t (id, n) VALUES (50, 1), (4, 1)"),
                1555
            );
            run(&db, "COMMIT");
            let what = format!("{settings:?} {cache}");
            assert_eq!(numbers(&store, "one.db"), [1, 1, 1], "{what}");
            assert_eq!(numbers(&store, "two.db"), [1, 1, 1, 4], "{what}");
            let newest = |name| versions(&store, name).first().copied();
            assert_eq!(newest("one.db"), newest("two.db"), "{what}");
            run(&db, "DROP TRIGGER x");
            assert_usable(&store, &db, &what);
        }
    }
}

/// A statement alone that writes two databases is one transaction, and a conflict is reported.
#[test]
fn a_trigger_that_writes_another_database_is_one_transaction() {
    for settings in Settings::all() {
        let store = store();
        let db = both(&store);
        settings.apply(&db);
        run(
            &db,
            "CREATE TEMP TRIGGER x AFTER UPDATE ON main.t BEGIN UPDATE two.t SET n = NEW.n WHERE id = NEW.id; END",
        );
        run(&db, "UPDATE main.t SET n = 5");
        let newest = |name| versions(&store, name).first().copied();
        assert_eq!(newest("one.db"), newest("two.db"), "{settings:?}");
        assert_eq!(numbers(&store, "two.db"), [5, 5, 5]);
    }
}

/// A refused RELEASE leaves nothing behind, and ROLLBACK works.
#[test]
fn a_refused_release_leaves_nothing() {
    for settings in Settings::all() {
        let store = store();
        let db = both(&store);
        settings.apply(&db);
        let what = format!("{settings:?}");
        run(
            &db,
            "SAVEPOINT s; UPDATE main.t SET n = 1; UPDATE two.t SET n = 1",
        );
        run(&store.connect("two.db"), "UPDATE t SET n = 9 WHERE id = 1");
        let before = ["one.db", "two.db"].map(|name| (name, versions(&store, name)));
        assert_eq!(refused(&db, "RELEASE s"), 517, "{what}");
        assert!(!db.is_autocommit(), "{what}");
        run(&db, "ROLLBACK");
        assert_unchanged(&store, &before, &what);
        assert_usable(&store, &db, &what);
        run(
            &db,
            "SAVEPOINT s; UPDATE main.t SET n = 1; UPDATE two.t SET n = 1; RELEASE s",
        );
        assert_eq!(numbers(&store, "two.db"), [1, 1, 1], "{what}");
    }
}

#[test]
fn vacuum_and_detach_beside_an_attached_database() {
    for settings in Settings::all() {
        let store = store();
        let db = attached(&store, "one.db", &["two.db", "three.db"]);
        settings.apply(&db);
        let what = format!("{settings:?}");
        run(
            &db,
            "UPDATE main.t SET pad = zeroblob(90000); UPDATE two.t SET pad = zeroblob(90000)",
        );
        run(
            &db,
            "UPDATE main.t SET pad = NULL; UPDATE two.t SET pad = NULL",
        );
        for (schema, name) in [("main", "one.db"), ("two", "two.db")] {
            let counts = ["one.db", "two.db", "three.db"].map(|name| versions(&store, name).len());
            run(&db, &format!("VACUUM {schema}"));
            let after = ["one.db", "two.db", "three.db"].map(|name| versions(&store, name).len());
            let expected: Vec<_> = ["one.db", "two.db", "three.db"]
                .iter()
                .zip(counts)
                .map(|(other, count)| count + usize::from(*other == name))
                .collect();
            assert_eq!(after.to_vec(), expected, "{what} VACUUM {schema}");
            assert_usable(&store, &db, &what);
        }
        run(
            &db,
            "BEGIN; UPDATE main.t SET n = 7; UPDATE three.t SET n = 7; COMMIT; DETACH three",
        );
        assert_usable(&store, &db, &what);
        run(
            &db,
            "BEGIN; UPDATE main.t SET n = 8; UPDATE two.t SET n = 8; ROLLBACK; DETACH two",
        );
        run(&db, "BEGIN; UPDATE main.t SET n = 9; COMMIT");
        attach(&db, &store.uri("two.db", ""), "two");
        assert_usable(&store, &db, &what);
        assert_eq!(numbers(&store, "three.db"), [7, 7, 7], "{what}");
    }
}

#[test]
fn new_databases_and_schema_changes_are_part_of_it() {
    for settings in Settings::all() {
        let store = store();
        let db = attached(&store, "one.db", &["two.db"]);
        attach(&db, &store.uri("new.db", ""), "new");
        settings.apply(&db);
        run(
            &db,
            "BEGIN; CREATE TABLE new.t (id INTEGER PRIMARY KEY, n); INSERT INTO new.t VALUES (1, 1); ALTER TABLE two.t ADD COLUMN z; ROLLBACK",
        );
        run(
            &db,
            "BEGIN; CREATE TABLE new.t (id INTEGER PRIMARY KEY, n); INSERT INTO new.t VALUES (1, 1); ALTER TABLE two.t ADD COLUMN z; UPDATE two.t SET z = 1; COMMIT",
        );
        let newest = |name| versions(&store, name).first().copied();
        assert_eq!(newest("new.db"), newest("two.db"), "{settings:?}");
        assert_eq!(numbers(&store, "new.db"), [1]);
        assert_eq!(integer(&store.connect("two.db"), "SELECT sum(z) FROM t"), 3);
        // A loser that created a table while another connection did.
        run(
            &db,
            "BEGIN; CREATE TABLE main.u (n); CREATE TABLE two.u (n)",
        );
        run(&store.connect("two.db"), "CREATE TABLE u (other)");
        assert_eq!(refused(&db, "COMMIT"), 517, "{settings:?}");
        run(
            &db,
            "CREATE TABLE main.u (n); INSERT INTO two.u (other) VALUES (1)",
        );
        assert_usable(&store, &db, &format!("{settings:?}"));
    }
}
