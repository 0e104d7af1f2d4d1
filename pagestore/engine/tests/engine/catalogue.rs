//! Names and ids.

use verso_pagestore::{BeginError, CatalogueError, CommitError, PageStore, ReadError};

use crate::support::{commit, content, create, fresh_id, memory, name, newest, page};

#[test]
fn databases_are_listed_in_pages_by_name() {
    let store = memory();
    for text in ["b", "a/2", "a", "ä", "c"] {
        store.create(&name(text), fresh_id()).unwrap();
    }
    let mut names = Vec::new();
    let mut after = None;
    loop {
        let page = store.list(after.as_ref(), 2).unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.name.clone());
        names.extend(page.iter().map(|entry| entry.name.to_string()));
    }
    assert_eq!(names, ["a", "a/2", "b", "c", "ä"]);
}

#[test]
fn a_rename_moves_the_name_and_never_the_id() {
    let store = memory();
    let before = create(&store, "a", 2);
    store.rename(&name("a"), &name("b")).unwrap();
    assert_eq!(newest(&store, "b").database, before.database);
    assert!(matches!(
        store.begin(&name("a"), None),
        Err(BeginError::NoSuchDatabase { .. })
    ));
    // A transaction that began under the old name commits: it is the same database.
    commit(&store, before, &[], &[(2, 9)], 2).unwrap();
    assert_eq!(content(&store, &newest(&store, "b")), [1, 9]);
    store.create(&name("a"), fresh_id()).unwrap();
    let taken = store.rename(&name("a"), &name("b"));
    assert_eq!(taken, Err(CatalogueError::Exists { name: name("b") }));
    let same = store.rename(&name("a"), &name("a"));
    assert_eq!(same, Err(CatalogueError::Exists { name: name("a") }));
}

#[test]
fn a_removed_database_is_gone_with_its_history() {
    let store = memory();
    let snapshot = create(&store, "a", 2);
    store.remove(&name("a")).unwrap();
    assert!(store.read(&snapshot, &[crate::support::page(1)]).is_err());
    assert!(matches!(
        commit(&store, snapshot, &[], &[(2, 9)], 2),
        Err(CommitError::Removed { .. })
    ));
    assert_eq!(
        store.remove(&name("a")),
        Err(CatalogueError::NoSuchDatabase { name: name("a") })
    );
    // The name is free again, for a database with another id.
    let again = create(&store, "a", 1);
    assert_ne!(again.database, snapshot.database);
    assert_eq!(store.log(&name("a"), None, 10).unwrap().len(), 2);
}

#[test]
fn info_and_log_tell_the_history() {
    let store = memory();
    let snapshot = create(&store, "a", 3);
    let info = store.info(&name("a")).unwrap();
    assert_eq!((info.version, info.page_count.get()), (snapshot.version, 3));
    assert!(info.oldest < info.version);
    let outcome = commit(&store, snapshot, &[], &[(2, 9)], 3).unwrap();
    let log = store.log(&name("a"), None, 2).unwrap();
    assert_eq!(log[0].version, outcome.version);
    assert_eq!(log[0].pages.iter().collect::<Vec<_>>(), [2]);
    assert_eq!(log[1].version, snapshot.version);
    let older = store.log(&name("a"), Some(snapshot.version), 10).unwrap();
    assert_eq!(older.len(), 1);
    assert_eq!(older[0].page_count.get(), 0);
}

#[test]
fn a_database_is_found_by_its_id() {
    let store = memory();
    let (id, other) = (fresh_id(), fresh_id());
    assert_eq!(store.name_of(id), Ok(None));
    store.create(&name("a"), id).unwrap();
    // The answer was lost, and the client asks again.
    store.create(&name("a"), id).unwrap();
    assert_eq!(store.name_of(id), Ok(Some(name("a"))));
    let taken = |text| Err(CatalogueError::Exists { name: name(text) });
    assert_eq!(store.create(&name("a"), other), taken("a"));
    assert_eq!(store.create(&name("b"), id), taken("b"), "the id is taken");
    store.rename(&name("a"), &name("c")).unwrap();
    assert_eq!(store.name_of(id), Ok(Some(name("c"))));
    store.remove(&name("c")).unwrap();
    assert_eq!(store.name_of(id), Ok(None));

    store.load_begin(&name("d"), other).unwrap();
    store.load_begin(&name("d"), other).unwrap();
    assert_eq!(store.name_of(other), Ok(Some(name("d"))));
    store.load_abort(other).unwrap();
    assert_eq!(store.name_of(other), Ok(None));
}

/// The creator did not hear of its success, somebody removed the database, and the creator asked
/// again: a transaction of the former life finds neither its pages there, nor the next life's.
#[test]
fn what_was_created_anew_is_not_what_it_was() {
    let store = memory();
    let before = create(&store, "a", 2);
    store.remove(&name("a")).unwrap();
    store.create(&name("a"), before.database).unwrap();
    let database = before.database;
    let refused = commit(&store, before, &[], &[(2, 9)], 2);
    assert_eq!(refused, Err(CommitError::Removed { database }));
    let read = store.read(&before, &[page(2)]);
    assert_eq!(read, Err(ReadError::Removed { database }));
    assert_eq!(newest(&store, "a").page_count.get(), 0);
}
