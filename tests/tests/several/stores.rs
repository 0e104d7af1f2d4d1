//! Databases of different stores.

use verso_tests::TestStore;

use crate::pair::{
    CREATE, Settings, assert_unchanged, attach, both, numbers, refused, run, store, versions,
};

#[test]
fn databases_of_different_stores_are_refused() {
    for settings in Settings::all() {
        for sql in [
            "UPDATE main.t SET n = 1; UPDATE other.t SET n = 1",
            "SELECT * FROM other.t; UPDATE main.t SET n = 1",
            "SELECT * FROM main.t; UPDATE other.t SET n = 1",
        ] {
            let (here, there) = (store(), TestStore::new());
            run(&there.connect("other.db"), CREATE);
            let db = both(&here);
            attach(&db, &there.uri("other.db", ""), "other");
            settings.apply(&db);
            let what = format!("{settings:?} {sql}");
            let before = [("one.db", versions(&here, "one.db"))];
            let other = [("other.db", versions(&there, "other.db"))];
            run(&db, &format!("BEGIN; {sql}"));
            assert_eq!(refused(&db, "COMMIT"), 1, "{what}");
            let message = verso_vfs::last_error().expect("a reason");
            for url in [here.url(), there.url()] {
                assert!(message.contains(&url), "{what}: {message}");
            }
            assert_unchanged(&here, &before, &what);
            assert_unchanged(&there, &other, &what);
            if !db.is_autocommit() {
                run(&db, "ROLLBACK");
            }
            // Each of them alone.
            run(&db, "UPDATE main.t SET n = 2; UPDATE other.t SET n = 3");
            assert_eq!(numbers(&here, "one.db"), [2, 2, 2], "{what}");
            assert_eq!(numbers(&there, "other.db"), [3, 3, 3], "{what}");
        }
    }
}

#[test]
fn a_fixed_snapshot_of_another_store_is_read_beside() {
    for settings in Settings::all() {
        let (here, there) = (store(), TestStore::new());
        run(&there.connect("other.db"), CREATE);
        let db = both(&here);
        settings.apply(&db);
        attach(&db, &there.uri("other.db", "&immutable=1"), "other");
        run(
            &db,
            "BEGIN; UPDATE main.t SET n = 1 + (SELECT sum(n) FROM other.t); UPDATE two.t SET n = 1",
        );
        run(&there.connect("other.db"), "UPDATE t SET n = 9");
        run(&db, "COMMIT");
        assert_eq!(numbers(&here, "one.db"), [1, 1, 1], "{settings:?}");
    }
}
