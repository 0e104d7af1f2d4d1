//! One database under two names.

use verso_tests::integer;

use crate::pair::{
    Settings, assert_unchanged, attach, both, numbers, refused, run, store, versions,
};

#[test]
fn one_name_may_be_written_and_the_other_read() {
    for settings in Settings::all() {
        for (writes, reads) in [("main", "again"), ("again", "main")] {
            let store = store();
            let db = both(&store);
            attach(&db, &store.uri("one.db", ""), "again");
            settings.apply(&db);
            let what = format!("{settings:?} writes {writes}");
            run(&db, "PRAGMA busy_timeout = 200");
            for round in 1..4 {
                run(
                    &db,
                    &format!(
                        "BEGIN; SELECT * FROM {reads}.t;
                         UPDATE {writes}.t SET n = n + 1 WHERE id = 1;
                         UPDATE two.t SET n = n + 1 WHERE id = 1; COMMIT"
                    ),
                );
                assert_eq!(numbers(&store, "one.db"), [round, 0, 0], "{what}");
                assert_eq!(numbers(&store, "two.db"), [round, 0, 0], "{what}");
                assert_eq!(
                    integer(&db, &format!("SELECT sum(n) FROM {reads}.t")),
                    round
                );
                run(
                    &db,
                    &format!(
                        "BEGIN; SELECT * FROM {reads}.t; UPDATE {writes}.t SET n = {round}; ROLLBACK"
                    ),
                );
            }
            // What was read through the other name counts.
            run(
                &db,
                &format!("BEGIN; SELECT * FROM {reads}.t; UPDATE two.t SET n = 8 WHERE id = 1"),
            );
            run(&store.connect("one.db"), "UPDATE t SET n = 7 WHERE id = 3");
            assert_eq!(refused(&db, "COMMIT"), 517, "{what}");
        }
    }
}

#[test]
fn both_names_written_are_refused_without_damage() {
    for settings in Settings::all() {
        for others in ["", "UPDATE two.t SET n = 4;"] {
            let store = store();
            let db = both(&store);
            attach(&db, &store.uri("one.db", ""), "again");
            settings.apply(&db);
            let what = format!("{settings:?} {others}");
            run(&db, "PRAGMA busy_timeout = 200");
            let before = ["one.db", "two.db"].map(|name| (name, versions(&store, name)));
            run(
                &db,
                &format!(
                    "BEGIN; {others} UPDATE main.t SET n = 1 WHERE id = 1; UPDATE again.t SET n = 2 WHERE id = 2"
                ),
            );
            let code = refused(&db, "COMMIT");
            let message = verso_vfs::last_error().expect("a reason");
            assert!(
                message.contains("two attachments"),
                "{what}: {code}: {message}"
            );
            assert!(db.is_autocommit(), "{what}");
            assert_unchanged(&store, &before, &what);
            run(
                &db,
                "UPDATE main.t SET n = 1 WHERE id = 1; UPDATE again.t SET n = 2 WHERE id = 2",
            );
            assert_eq!(numbers(&store, "one.db"), [1, 2, 0], "{what}");
        }
    }
}

/// As in SQLite: the second name would have to wait for the first.
#[test]
fn begin_immediate_with_one_database_under_two_names_does_not_hang() {
    let store = store();
    let db = both(&store);
    attach(&db, &store.uri("one.db", ""), "again");
    run(&db, "PRAGMA busy_timeout = 200");
    match verso_tests::sessions::execute(&db, "BEGIN IMMEDIATE; UPDATE main.t SET n = 1; COMMIT") {
        Ok(_) => assert_eq!(numbers(&store, "one.db"), [1, 1, 1]),
        Err(code) => {
            assert_eq!(code, 5);
            assert!(db.is_autocommit());
            run(&db, "UPDATE main.t SET n = 1");
        }
    }
    run(
        &store.connect("one.db"),
        "PRAGMA busy_timeout = 0; BEGIN IMMEDIATE; ROLLBACK",
    );
}
