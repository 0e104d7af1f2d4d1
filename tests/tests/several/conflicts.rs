//! Commits and conflicts, in every journal mode and with every `synchronous`.

use verso_tests::integer;

use crate::pair::{
    Settings, assert_unchanged, assert_usable, attach, attached, both, numbers, refused, run,
    store, versions,
};

const WRITE_BOTH: &str = "UPDATE main.t SET n = n + 1 WHERE id = 1;
    UPDATE two.t SET n = n + 1 WHERE id = 1;";

#[test]
fn a_commit_makes_one_version_in_all_databases() {
    let store = store();
    let db = attached(&store, "one.db", &["two.db", "three.db"]);
    for (round, settings) in (1..).zip(Settings::all()) {
        settings.apply(&db);
        let before = ["one.db", "two.db", "three.db"].map(|name| versions(&store, name).len());
        run(&db, &format!("BEGIN; {WRITE_BOTH} COMMIT"));
        let [one, two, three] = ["one.db", "two.db", "three.db"].map(|name| versions(&store, name));
        assert_eq!(one.first(), two.first(), "{settings:?}");
        let counts = [one, two, three].map(|versions| versions.len());
        assert_eq!(
            counts,
            [before[0] + 1, before[1] + 1, before[2]],
            "{settings:?}"
        );
        assert_eq!(numbers(&store, "one.db"), [round, 0, 0], "{settings:?}");
        assert_eq!(numbers(&store, "two.db"), [round, 0, 0], "{settings:?}");
    }
}

#[test]
fn a_conflict_in_one_database_rolls_back_all() {
    for settings in Settings::all() {
        for loser in ["one.db", "two.db"] {
            let store = store();
            let db = both(&store);
            settings.apply(&db);
            let what = format!("{settings:?}, conflict in {loser}");
            run(&db, "SELECT * FROM main.t; SELECT * FROM two.t");
            run(&db, &format!("BEGIN; {WRITE_BOTH}"));
            let winner = store.connect(loser);
            run(&winner, "UPDATE t SET n = 10 WHERE id = 1");
            let before = ["one.db", "two.db"].map(|name| (name, versions(&store, name)));
            assert_eq!(refused(&db, "COMMIT"), 517, "{what}");
            let message = verso_vfs::last_error().expect("a reason");
            assert!(
                message.contains(loser) || message.contains("changed"),
                "{message}"
            );
            assert_unchanged(&store, &before, &what);
            assert_usable(&store, &db, &what);
        }
    }
}

#[test]
fn a_conflict_after_a_spill_rolls_back_all() {
    for settings in Settings::all() {
        let store = store();
        let db = both(&store);
        settings.apply(&db);
        let fill = |schema: &str| {
            format!(
                "PRAGMA {schema}.cache_size = 3;
                 WITH RECURSIVE i (n) AS (SELECT 10 UNION ALL SELECT n + 1 FROM i WHERE n < 60)
                 INSERT INTO {schema}.t SELECT n, n, zeroblob(2500) FROM i;
                 UPDATE {schema}.t SET n = n + 1;"
            )
        };
        run(&db, "BEGIN");
        run(&db, &fill("main"));
        run(&db, &fill("two"));
        run(&store.connect("two.db"), "UPDATE t SET n = 10 WHERE id = 2");
        let before = ["one.db", "two.db"].map(|name| (name, versions(&store, name)));
        let what = format!("{settings:?}");
        assert_eq!(refused(&db, "COMMIT"), 517, "{what}");
        assert_unchanged(&store, &before, &what);
        assert_usable(&store, &db, &what);
        run(
            &db,
            &format!("BEGIN; {} {} ROLLBACK", fill("main"), fill("two")),
        );
        assert_usable(&store, &db, &what);
        run(
            &db,
            &format!("BEGIN; {} {} COMMIT", fill("main"), fill("two")),
        );
        assert_usable(&store, &db, &what);
        assert_eq!(
            integer(&store.connect("two.db"), "SELECT count(*) FROM t"),
            54
        );
    }
}

#[test]
fn write_skew_over_two_databases_is_refused() {
    for settings in Settings::all() {
        for crossed in [false, true] {
            let store = store();
            let first = both(&store);
            let second = if crossed {
                attached(&store, "two.db", &["one.db"])
            } else {
                both(&store)
            };
            settings.apply(&first);
            settings.apply(&second);
            let (one, two) = if crossed {
                ("two", "main")
            } else {
                ("main", "two")
            };
            run(
                &first,
                "BEGIN; SELECT sum(n) FROM main.t; UPDATE two.t SET n = 1 WHERE id = 1",
            );
            run(
                &second,
                &format!(
                    "BEGIN; SELECT sum(n) FROM {two}.t; UPDATE {one}.t SET n = 1 WHERE id = 1"
                ),
            );
            run(&first, "COMMIT");
            let before = ["one.db", "two.db"].map(|name| (name, versions(&store, name)));
            assert_eq!(refused(&second, "COMMIT"), 517, "{settings:?}");
            assert_unchanged(&store, &before, &format!("{settings:?}"));
            assert_eq!(numbers(&store, "one.db"), [0, 0, 0]);
            assert_eq!(numbers(&store, "two.db"), [1, 0, 0]);
        }
    }
}

#[test]
fn a_database_that_was_only_read_counts() {
    for settings in Settings::all() {
        for parameters in ["", "&mode=ro"] {
            for reads in ["main", "two", "three"] {
                let store = store();
                let db = both(&store);
                attach(&db, &store.uri("three.db", parameters), "three");
                settings.apply(&db);
                let what = format!("{settings:?} reads {reads} {parameters}");
                let written: Vec<_> = ["main", "two", "three"]
                    .into_iter()
                    .filter(|schema| {
                        *schema != reads && (*schema != "three" || parameters.is_empty())
                    })
                    .collect();
                run(&db, &format!("BEGIN; SELECT sum(n) FROM {reads}.t"));
                for schema in written {
                    run(&db, &format!("UPDATE {schema}.t SET n = 1 WHERE id = 1"));
                }
                let name = match reads {
                    "main" => "one.db",
                    "two" => "two.db",
                    _ => "three.db",
                };
                run(&store.connect(name), "UPDATE t SET n = 5 WHERE id = 2");
                let before =
                    ["one.db", "two.db", "three.db"].map(|name| (name, versions(&store, name)));
                assert_eq!(refused(&db, "COMMIT"), 517, "{what}");
                assert_unchanged(&store, &before, &what);
                assert_usable(&store, &db, &what);
            }
        }
    }
}

#[test]
fn a_fixed_snapshot_never_conflicts() {
    for settings in Settings::all() {
        for fixed in ["&immutable=1", "&at=now"] {
            let store = store();
            let db = both(&store);
            let newest = versions(&store, "three.db").first().copied().unwrap();
            let parameters = match fixed {
                "&at=now" => format!("&at={newest}"),
                other => other.to_owned(),
            };
            settings.apply(&db);
            attach(&db, &store.uri("three.db", &parameters), "three");
            run(
                &db,
                &format!("BEGIN; SELECT sum(n) FROM three.t; {WRITE_BOTH}"),
            );
            run(&store.connect("three.db"), "UPDATE t SET n = 5");
            run(&db, "COMMIT");
            assert_eq!(numbers(&store, "one.db"), [1, 0, 0], "{settings:?}");
            assert_eq!(integer(&db, "SELECT sum(n) FROM three.t"), 0);
        }
    }
}

/// SQLite wrote page 1 of a database, but nothing in it has changed.
#[test]
fn a_database_that_was_written_and_did_not_change_has_no_new_version() {
    for settings in Settings::all() {
        let store = store();
        let db = both(&store);
        settings.apply(&db);
        let what = format!("{settings:?}");
        let before = ["one.db", "two.db"].map(|name| (name, versions(&store, name)));
        let same = |schema: &str| format!("PRAGMA {schema}.user_version = 0;");
        let (main, two) = (same("main"), same("two"));
        run(&db, &format!("BEGIN; {main} {two} COMMIT"));
        assert_unchanged(&store, &before, &what);
        for (unchanged, changed, name) in [("main", "two", "one.db"), ("two", "main", "two.db")] {
            let count = versions(&store, name).len();
            let (same, change) = (
                same(unchanged),
                format!("UPDATE {changed}.t SET n = n + 1 WHERE id = 1"),
            );
            run(&db, &format!("BEGIN; {same} {change}; COMMIT"));
            assert_eq!(versions(&store, name).len(), count, "{what}");
            // What it read there counts even so.
            let read = format!("SELECT sum(n) FROM {unchanged}.t");
            run(&db, &format!("BEGIN; {read}; {same} {change}"));
            run(&store.connect(name), "UPDATE t SET n = 3 WHERE id = 3");
            assert_eq!(refused(&db, "COMMIT"), 517, "{what} {unchanged}");
            assert!(db.is_autocommit(), "{what}");
        }
        assert_usable(&store, &db, &what);
    }
}
