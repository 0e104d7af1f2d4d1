//! `BEGIN IMMEDIATE` and `BEGIN EXCLUSIVE` over several databases.

use std::time::{Duration, Instant};

use crate::pair::{
    Settings, assert_unchanged, assert_usable, attach, attached, both, numbers, refused, run,
    store, versions,
};

const BEGINS: [&str; 2] = ["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"];

#[test]
fn begin_immediate_takes_all_leases_and_its_commit_does_not_fail() {
    for (settings, begin) in Settings::all().into_iter().zip(BEGINS.into_iter().cycle()) {
        for writes in [
            &["main", "two"][..],
            &["main"],
            &["two"],
            &["main", "two", "three"],
            &[],
        ] {
            let store = store();
            let db = attached(&store, "one.db", &["two.db", "three.db"]);
            settings.apply(&db);
            let what = format!("{settings:?} {begin} writes {writes:?}");
            let before =
                ["one.db", "two.db", "three.db"].map(|name| (name, versions(&store, name)));
            run(&db, &format!("{begin}; SELECT sum(n) FROM three.t"));
            for schema in writes {
                run(
                    &db,
                    &format!("UPDATE {schema}.t SET n = n + 1 WHERE id = 1"),
                );
            }
            for name in ["one.db", "two.db", "three.db"] {
                // It would wait for its turn, and has no patience.
                let other = store.connect(name);
                run(
                    &other,
                    "PRAGMA busy_timeout = 0; BEGIN; UPDATE t SET n = n + 5 WHERE id = 1",
                );
                assert_eq!(refused(&other, "COMMIT"), 5, "{what}: {name}");
                assert_eq!(
                    refused(
                        &store.connect(name),
                        "PRAGMA busy_timeout = 0; BEGIN IMMEDIATE"
                    ),
                    5
                );
            }
            run(&db, "COMMIT");
            let after = ["one.db", "two.db", "three.db"].map(|name| versions(&store, name));
            let mut newest = Vec::new();
            for (schema, ((name, before), after)) in ["main", "two", "three"]
                .iter()
                .zip(before.into_iter().zip(after))
            {
                let written = writes.contains(schema);
                assert_eq!(after.len(), before.len() + usize::from(written), "{what}");
                assert_eq!(numbers(&store, name), [i64::from(written), 0, 0], "{what}");
                newest.extend(after.first().copied().filter(|_| written));
                // The lease is free again.
                run(
                    &store.connect(name),
                    "PRAGMA busy_timeout = 0; BEGIN IMMEDIATE; ROLLBACK",
                );
            }
            newest.dedup();
            assert!(newest.len() <= 1, "{what}: {newest:?}");
            assert_usable(&store, &db, &what);
        }
    }
}

#[test]
fn begin_immediate_covers_a_database_that_is_attached_read_only() {
    for settings in Settings::all() {
        let store = store();
        let db = both(&store);
        attach(&db, &store.uri("three.db", "&mode=ro"), "three");
        settings.apply(&db);
        run(
            &db,
            "BEGIN IMMEDIATE; SELECT sum(n) FROM three.t; UPDATE t SET n = 1 WHERE id = 1",
        );
        let other = store.connect("three.db");
        run(&other, "PRAGMA busy_timeout = 0; BEGIN; UPDATE t SET n = 1");
        assert_eq!(refused(&other, "COMMIT"), 5, "{settings:?}");
        run(&db, "COMMIT");
        run(&other, "COMMIT");
    }
}

#[test]
fn begin_immediate_rolled_back_gives_all_leases_back() {
    for settings in Settings::all() {
        let store = store();
        let db = both(&store);
        settings.apply(&db);
        let before = ["one.db", "two.db"].map(|name| (name, versions(&store, name)));
        run(
            &db,
            "BEGIN IMMEDIATE; UPDATE main.t SET n = 1; UPDATE two.t SET n = 1; ROLLBACK",
        );
        assert_unchanged(&store, &before, &format!("{settings:?}"));
        for name in ["one.db", "two.db"] {
            run(
                &store.connect(name),
                "PRAGMA busy_timeout = 0; BEGIN IMMEDIATE; ROLLBACK",
            );
        }
        assert_usable(&store, &db, &format!("{settings:?}"));
    }
}

/// An optimistic transaction over two databases waits for whoever holds the lease of one.
#[test]
fn an_optimistic_transaction_waits_for_the_lease_of_any_of_its_databases() {
    for settings in Settings::all() {
        for name in ["one.db", "two.db"] {
            let store = store();
            let db = both(&store);
            settings.apply(&db);
            let what = format!("{settings:?} {name}");
            let holder = store.connect(name);
            run(&db, "PRAGMA busy_timeout = 0");
            run(
                &db,
                "BEGIN; UPDATE main.t SET n = 1 WHERE id = 1; UPDATE two.t SET n = 1 WHERE id = 1",
            );
            run(&holder, "BEGIN IMMEDIATE");
            let before = ["one.db", "two.db"].map(|name| (name, versions(&store, name)));
            assert_eq!(refused(&db, "COMMIT"), 517, "{what}");
            assert_unchanged(&store, &before, &what);
            run(&holder, "ROLLBACK");
            assert_usable(&store, &db, &what);
            // With patience, it waits until the holder is done.
            run(&db, "PRAGMA busy_timeout = 10000");
            run(
                &db,
                "BEGIN; UPDATE main.t SET n = 1 WHERE id = 1; UPDATE two.t SET n = 1 WHERE id = 1",
            );
            run(&holder, "BEGIN IMMEDIATE");
            let ender = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(20));
                run(&holder, "ROLLBACK");
            });
            run(&db, "COMMIT");
            ender.join().unwrap();
            assert_eq!(numbers(&store, "one.db")[..2], [1, 0], "{what}");
        }
    }
}

/// Two connections that name the same databases in another order do not wait for each other
/// forever.
#[test]
fn connections_that_attach_in_another_order_do_not_block_each_other() {
    let store = store();
    let began = Instant::now();
    let workers: Vec<_> = [("one.db", "two.db"), ("two.db", "one.db")]
        .into_iter()
        .map(|(main, other)| {
            let db = attached(&store, main, &[other]);
            std::thread::spawn(move || {
                run(&db, "PRAGMA busy_timeout = 30000");
                for _ in 0..100 {
                    run(&db, "BEGIN IMMEDIATE; UPDATE main.t SET n = n + 1; UPDATE two.t SET n = n + 1; COMMIT");
                }
            })
        })
        .collect();
    for worker in workers {
        worker.join().unwrap();
    }
    assert_eq!(numbers(&store, "one.db"), [200, 200, 200]);
    assert_eq!(numbers(&store, "two.db"), [200, 200, 200]);
    assert!(
        began.elapsed() < Duration::from_secs(25),
        "{:?}",
        began.elapsed()
    );
}

/// The same without `BEGIN IMMEDIATE`, where SQLite makes no super-journal.
#[test]
fn transactions_without_a_super_journal_do_not_block_each_other() {
    let store = store();
    let workers: Vec<_> = [("one.db", "two.db"), ("two.db", "one.db")]
        .into_iter()
        .zip(["main", "two"])
        .map(|((main, other), mine)| {
            let db = attached(&store, main, &[other]);
            std::thread::spawn(move || {
                run(&db, "PRAGMA busy_timeout = 30000; PRAGMA journal_mode = memory");
                let mut done = 0;
                while done < 100 {
                    let sql = format!(
                        "BEGIN; UPDATE main.t SET n = n + 1 WHERE id = 1; UPDATE two.t SET n = n + 1 WHERE id = 1;
                         SELECT * FROM {mine}.t; COMMIT"
                    );
                    match verso_tests::sessions::execute(&db, &sql) {
                        Ok(_) => done += 1,
                        Err(code) => assert_eq!(code, 517),
                    }
                }
            })
        })
        .collect();
    for worker in workers {
        worker.join().unwrap();
    }
    assert_eq!(numbers(&store, "one.db"), [200, 0, 0]);
    assert_eq!(numbers(&store, "two.db"), [200, 0, 0]);
}

/// A full page cache takes a lease only where files of another VFS may be written as well.
#[test]
fn a_spill_beside_a_fixed_snapshot_takes_no_lease() {
    let store = store();
    let db = both(&store);
    attach(&db, &store.uri("three.db", "&immutable=1"), "three");
    run(&db, "PRAGMA main.cache_size = 2; BEGIN");
    run(
        &db,
        "WITH RECURSIVE i (n) AS (SELECT 10 UNION ALL SELECT n + 1 FROM i WHERE n < 90)
         INSERT INTO main.t SELECT n, n, zeroblob(3000) FROM i",
    );
    let other = store.connect("one.db");
    run(
        &other,
        "PRAGMA busy_timeout = 0; UPDATE t SET n = 5 WHERE id = 1",
    );
    // They wrote different pages.
    run(&db, "COMMIT");
    assert_usable(&store, &db, "after a spill");
}

#[test]
fn a_database_attached_inside_of_a_transaction_takes_part() {
    for settings in Settings::all() {
        for begin in ["BEGIN", "BEGIN IMMEDIATE"] {
            let store = store();
            let db = store.connect("one.db");
            settings.apply(&db);
            let what = format!("{settings:?} {begin}");
            run(
                &db,
                &format!("{begin}; UPDATE main.t SET n = 1 WHERE id = 1"),
            );
            attach(&db, &store.uri("two.db", ""), "two");
            run(&db, "UPDATE two.t SET n = 1 WHERE id = 1");
            let other = store.connect("two.db");
            run(&other, "PRAGMA busy_timeout = 0");
            if begin == "BEGIN" {
                run(&other, "UPDATE t SET n = 5 WHERE id = 1");
                assert_eq!(refused(&db, "COMMIT"), 517, "{what}");
                assert_eq!(numbers(&store, "one.db"), [0, 0, 0], "{what}");
            } else {
                assert_eq!(refused(&other, "BEGIN IMMEDIATE"), 5, "{what}");
                run(&db, "COMMIT");
                assert_eq!(numbers(&store, "two.db"), [1, 0, 0], "{what}");
            }
            assert_usable(&store, &db, &what);
        }
    }
}
