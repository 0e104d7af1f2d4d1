//! What a store keeps of a database, asked behind the back of the VFS.

use std::sync::Arc;

use verso_pagestore::{CommitRecord, DatabaseName, PageStore, StoreUrl};

use crate::TestStore;

/// A database's commit records, newest first.
#[must_use]
pub fn commits(store: &TestStore, name: &str) -> Vec<CommitRecord> {
    pages(store)
        .log(&database(name), None, usize::MAX)
        .expect("the database has a changelog")
}

/// How many page records a database has, of all versions, and how many bytes they take with their
/// keys. All of them are checked.
#[must_use]
pub fn records(store: &TestStore, name: &str) -> (u64, u64) {
    let pages = pages(store);
    let info = pages.info(&database(name)).expect("there is a database");
    let (mut records, mut bytes, mut after) = (0, 0, None);
    loop {
        let report = pages.verify(info.id, after).expect("the store answers");
        assert_eq!(report.corrupt, [], "records are damaged");
        records += report.records;
        bytes += report.bytes;
        after = report.last;
        if after.is_none() {
            return (records, bytes);
        }
    }
}

fn pages(store: &TestStore) -> Arc<dyn PageStore> {
    let url: StoreUrl = store.url().parse().expect("the URL of a store");
    verso_open::open(&url).expect("the store opens")
}

fn database(name: &str) -> DatabaseName {
    DatabaseName::new(name).expect("a database name")
}
