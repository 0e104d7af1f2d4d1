//! What a store keeps of a database, asked behind the back of the VFS.

use verso_pagestore::{CommitRecord, DatabaseName, StoreUrl};

use crate::TestStore;

/// A database's commit records, newest first.
#[must_use]
pub fn commits(store: &TestStore, name: &str) -> Vec<CommitRecord> {
    let url: StoreUrl = store.url().parse().expect("the URL of a store");
    let pages = verso_open::open(&url).expect("the store opens");
    let name = DatabaseName::new(name).expect("a database name");
    pages
        .log(&name, None, usize::MAX)
        .expect("the database has a changelog")
}
