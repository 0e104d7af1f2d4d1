//! A new process asks the store for what has changed.

use verso_tests::{TestStore, code, integer, open};

use crate::reader::{Answer, ROWS, Reader, SUM, Setup, uri};

#[test]
fn a_new_process_reads_nothing_from_the_store() {
    let setup = Setup::new();
    let cold = setup.ask(SUM);
    assert!(cold.pages_read > 500, "{cold:?}");
    assert_eq!(cold.disk_hits, 0);
    for _ in 0..3 {
        let warm = setup.ask(SUM);
        assert_eq!(warm.value, cold.value);
        assert_eq!(warm.pages_read, 0, "{warm:?}");
        assert!(warm.disk_hits >= cold.pages_read, "{warm:?}");
        // Begins of the opening, of the look at the header, and of the query.
        assert!(warm.requests <= 4, "{warm:?}");
    }
}

#[test]
fn only_what_others_changed_is_read_again() {
    let setup = Setup::new();
    let mut expected = setup.ask(SUM).value;
    let writer = setup.writer();
    for round in 0..5 {
        let row = ROWS / 7 * (round + 1);
        for _ in 0..3 {
            writer
                .execute("UPDATE t SET n = n + 1 WHERE id = ?", [row])
                .unwrap();
            expected += row;
        }
        let answer = setup.ask(SUM);
        assert_eq!(answer.value, expected);
        assert_eq!(answer.pages_read, 1, "the leaf of the row: {answer:?}");
        assert!(answer.requests <= 6, "{answer:?}");
    }
}

#[test]
fn what_a_process_reads_is_there_for_the_next_in_part() {
    let setup = Setup::new();
    let lookup = |row: i64| setup.ask(&format!("SELECT length(s) FROM t WHERE id = {row}"));
    assert!(lookup(7).pages_read >= 2);
    assert_eq!(lookup(8).pages_read, 0, "the same pages");
    let other = lookup(ROWS);
    assert!(other.pages_read <= 2, "below the same root: {other:?}");
    assert_eq!(lookup(ROWS).pages_read, 0);
}

#[test]
fn too_many_commits_are_as_if_there_was_nothing() {
    let setup = Setup::new();
    let cold = setup.ask(SUM);
    let writer = setup.writer();
    for _ in 0..1100 {
        writer
            .execute("UPDATE t SET n = n + 1 WHERE id = 1", [])
            .unwrap();
    }
    let answer = setup.ask(SUM);
    assert_eq!(answer.value, cold.value + 1100);
    assert!(answer.pages_read >= cold.pages_read, "{answer:?}");
    assert_eq!(setup.ask(SUM).pages_read, 0, "and then it is warm again");
}

#[test]
fn a_process_that_reads_on_keeps_the_thread_through_any_number_of_commits() {
    let setup = Setup::new();
    let mut reader = setup.reader();
    let cold = reader.ask(SUM);
    let writer = setup.writer();
    for round in 1..=30 {
        for _ in 0..100 {
            writer
                .execute("UPDATE t SET n = n + 1 WHERE id = 1", [])
                .unwrap();
        }
        // It sees the commits, and reads nothing.
        reader.ask("SELECT 1 FROM sqlite_schema");
        if round % 10 == 0 {
            let answer = setup.ask(SUM);
            assert_eq!(answer.value, cold.value + round * 100);
            assert!(answer.pages_read <= 2, "{answer:?}");
        }
    }
}

#[test]
fn an_own_commit_is_followed_too() {
    let setup = Setup::new();
    let mut reader = setup.reader();
    let before = reader.ask(SUM);
    reader.run("UPDATE t SET n = n + 1 WHERE id = 5");
    assert_eq!(reader.ask(SUM).value, before.value + 5);
    let next = setup.ask(SUM);
    assert_eq!(next.value, before.value + 5);
    assert!(next.pages_read <= 1, "{next:?}");
}

#[test]
fn the_past_is_read_from_the_store() {
    let setup = Setup::new();
    let before = setup.ask(SUM).value;
    let writer = setup.writer();
    let version = verso_tests::text(&writer, "SELECT verso_version()");
    writer.execute("UPDATE t SET n = n + 1", []).unwrap();
    let sum_of_ids = ROWS * (ROWS + 1) / 2;
    assert_eq!(setup.ask(SUM).value, before + sum_of_ids);
    let mut past = Reader::start(&setup.uri(&format!("&at={version}")), &[]);
    assert_eq!(past.ask(SUM).value, before);
    assert_eq!(setup.ask(SUM).value, before + sum_of_ids);
    let mut both = setup.reader();
    assert_eq!(both.ask(SUM).value, before + sum_of_ids);
    both.run(&format!("PRAGMA verso_at = '{version}'"));
    assert_eq!(both.ask(SUM).value, before);
    both.run("PRAGMA verso_at = newest");
    assert_eq!(both.ask(SUM).value, before + sum_of_ids);
}

#[test]
fn it_is_off_unless_a_folder_is_named() {
    let setup = Setup::new();
    let plain = uri(setup.node.address(), "");
    let cache = setup.cache();
    let variable = ("VERSO_CACHE_DIR", cache.to_str().expect("UTF-8"));
    let ask = |uri: &str, environment: &[(&str, &str)]| {
        let mut reader = Reader::start(uri, environment);
        reader.ask(SUM)
    };
    let is_cold = |answer: Answer| answer.pages_read > 500 && answer.disk_hits == 0;
    assert!(is_cold(ask(&plain, &[])) && is_cold(ask(&plain, &[])));
    assert!(!cache.exists());
    assert!(is_cold(ask(&plain, &[variable])));
    assert_eq!(ask(&plain, &[variable]).pages_read, 0);
    let off = format!("{plain}&cache_dir=");
    assert!(is_cold(ask(&off, &[variable])), "switched off by the URI");
}

#[test]
fn an_embedded_store_has_none() {
    let store = TestStore::embedded();
    let folder = store.folder().join("cache");
    let parameters = format!("&cache_dir={}", folder.display());
    let db = store.try_connect("app.db", &parameters).unwrap();
    db.execute_batch("CREATE TABLE t (n); INSERT INTO t VALUES (1)")
        .unwrap();
    assert_eq!(integer(&db, "SELECT n FROM t"), 1);
    assert!(!folder.exists());
}

#[test]
fn a_size_that_is_none_is_refused() {
    let store = TestStore::new();
    for size in ["", "big", "1GB", "1MiB"] {
        let uri = store.uri("app.db", &format!("&cache_dir_size={size}"));
        let error = open(&uri).expect_err("it is refused");
        assert_eq!(code(&error), 14, "{error}");
        let told = verso_vfs::last_error().expect("a reason");
        assert!(told.contains("not below 16MiB"), "{told}");
    }
}
