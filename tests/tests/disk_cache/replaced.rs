//! A store that was put back to an older state, and a database that was made anew: versions come
//! again, and pages with them that are others.

use std::fs;
use std::path::Path;

use verso_pagestore::{DatabaseName, StoreUrl};
use verso_tests::nodes::{self, Node};
use verso_tests::{TestStore, integer};

use crate::reader::{Reader, SUM, fill, uri, writer};

/// Copies the file of a store that nobody has open, and what stands beside it.
fn copy(from: &Path, to: &Path) {
    for suffix in ["", "-wal", "-shm"] {
        let name = |path: &Path| {
            let mut name = path.as_os_str().to_owned();
            name.push(suffix);
            name
        };
        let _ = fs::remove_file(name(to));
        if Path::new(&name(from)).exists() {
            fs::copy(name(from), name(to)).expect("a copy");
        }
    }
}

/// Three commits, each of one row, and the sum that follows.
fn commits(store: &Path, rows: [i64; 3]) -> i64 {
    let db = writer(store);
    for row in rows {
        db.execute("UPDATE t SET n = n + 1 WHERE id = ?", [row])
            .expect("SQL");
    }
    integer(&db, SUM)
}

#[test]
fn a_store_that_was_put_back_is_believed() {
    if nodes::on_a_cluster() {
        // There is no file to put back.
        return;
    }
    let store = TestStore::embedded();
    let path = store.path();
    fill(&writer(&path));
    let (older, newer) = (path.with_extension("older"), path.with_extension("newer"));
    copy(&path, &older);
    let mut node = Node::start(&path);
    let address = node.address().to_owned();
    let cache = store.folder().join("cache");
    let uri = uri(&address, &format!("&cache_dir={}", cache.display()));
    let first = commits(&path, [1000, 2000, 3000]);
    let mut stays = Reader::start(&uri, &[]);
    assert_eq!(stays.ask(SUM).value, first);
    assert_eq!(Reader::start(&uri, &[]).ask(SUM).pages_read, 0);

    node.kill();
    copy(&path, &newer);
    copy(&older, &path);
    // As many commits, so that the versions are the same.
    let second = commits(&path, [1000, 5000, 7000]);
    assert_ne!(first, second);
    let mut node = Node::start_at(&path, &address, &[]);
    assert_eq!(Reader::start(&uri, &[]).ask(SUM).value, second);
    assert_eq!(stays.ask(SUM).value, second, "which was open all the time");
    assert_eq!(Reader::start(&uri, &[]).ask(SUM).value, second);

    // The other state again, to which what is on disk belongs as well.
    node.kill();
    copy(&newer, &path);
    let _node = Node::start_at(&path, &address, &[]);
    assert_eq!(Reader::start(&uri, &[]).ask(SUM).value, first);
    assert_eq!(stays.ask(SUM).value, first);
    let third = commits(&path, [11, 12, 13]);
    for _ in 0..2 {
        assert_eq!(Reader::start(&uri, &[]).ask(SUM).value, third);
    }
    assert_eq!(stays.ask(SUM).value, third);
}

#[test]
fn a_database_that_was_made_anew_is_another_one() {
    let store = TestStore::new();
    let path = store.path();
    let node = Node::start(&path);
    let cache = store.folder().join("cache");
    let uri = uri(node.address(), &format!("&cache_dir={}", cache.display()));
    let url = StoreUrl::parse(&nodes::direct_url(&path)).unwrap();
    let direct = verso_open::open(&url).unwrap();
    for round in 0..3 {
        let db = writer(&path);
        fill(&db);
        db.execute("UPDATE t SET n = n + ?", [round]).unwrap();
        let expected = integer(&db, SUM);
        let cold = Reader::start(&uri, &[]).ask(SUM);
        assert_eq!(cold.value, expected);
        assert!(cold.pages_read > 500, "{cold:?}");
        let warm = Reader::start(&uri, &[]).ask(SUM);
        assert_eq!((warm.value, warm.pages_read), (expected, 0));
        drop(db);
        let name = DatabaseName::new("app.db").unwrap();
        direct.remove(&name).unwrap();
    }
}
