//! The newest state comes with the writer lease, and with it the pages that were written last.

use verso_pagestore::{
    Changes, DatabaseId, DatabaseName, Lease, LeaseAnswer, LeaseId, LeaseRequest, PageNumber,
    PageStore, Since, Start,
};

use super::{Duration, Node, commit, commit_on, create, name, since};

fn asks(database: DatabaseId) -> LeaseRequest {
    LeaseRequest {
        database,
        id: LeaseId::random().expect("random numbers"),
        time_to_live: Duration::from_mins(1),
        ticket: None,
        stuck: None,
    }
}

/// Asks for the lease, which must be free.
fn granted(
    store: &dyn PageStore,
    request: &LeaseRequest,
    since: Option<Since>,
) -> (Lease, Option<Start>) {
    match store.lease_and_begin(request, &name(), since) {
        Ok((LeaseAnswer::Granted(lease), start)) => (lease, start),
        other => panic!("the lease is free: {other:?}"),
    }
}

#[test]
fn whoever_waited_gets_what_was_committed_before() {
    let node = Node::start();
    let (store, other) = (node.client(), node.client());
    create(&*other);
    commit(&*other, 1);
    let known = store.begin(&name(), None).expect("it exists").snapshot;
    let (held, start) = granted(&*other, &asks(known.database), Some(since(&known)));
    let start = start.expect("it comes with the lease");
    assert_eq!(start.begun.snapshot.version, known.version);
    assert!(start.begun.snapshot.lease.is_held_as(&held));
    assert_eq!(start.pages, [], "nothing has changed");
    let mut request = asks(known.database);
    let waits = store.lease_and_begin(&request, &name(), Some(since(&known)));
    let Ok((LeaseAnswer::Waiting { ticket, .. }, None)) = waits else {
        panic!("somebody holds it: {waits:?}");
    };
    request.ticket = Some(ticket);
    // It hands the lease over to those that it can have seen in the queue.
    let snapshot = other.begin(&name(), None).expect("it exists").snapshot;
    let committed = commit_on(&*other, snapshot, Some(held), 2);
    for _ in 0..2 {
        // An answer that was lost is asked for again.
        let turn = store.lease_and_begin(&request, &name(), Some(since(&known)));
        let Ok((LeaseAnswer::HandedOver(lease), Some(start))) = turn else {
            panic!("it is its turn: {turn:?}");
        };
        let snapshot = start.begun.snapshot;
        assert_eq!(snapshot.version, committed.version);
        assert!(snapshot.lease.is_held_as(&lease));
        let Changes::Commits(commits) = &start.begun.changes else {
            panic!("one commit: {start:?}");
        };
        assert_eq!(commits.len(), 1);
        let [(PageNumber::FIRST, page)] = &start.pages[..] else {
            panic!("the page that it wrote: {start:?}");
        };
        let found = (page.version, page.page.first(), page.page.len());
        assert_eq!(found, (committed.version, Some(&2), 512));
    }
}

#[test]
fn a_state_that_the_store_does_not_have_brings_no_pages() {
    let node = Node::start();
    let store = node.client();
    let empty = create(&*store);
    commit(&*store, 1);
    let newest = store.begin(&name(), None).expect("it exists").snapshot;
    // Of another past.
    let lost = Since {
        version: newest.version,
        ..since(&empty)
    };
    for (since, changes) in [(None, Changes::Unknown), (Some(lost), Changes::Diverged)] {
        let request = asks(newest.database);
        let (lease, start) = granted(&*store, &request, since);
        let start = start.expect("it comes with the lease");
        assert_eq!((start.begun.changes, start.pages), (changes, vec![]));
        store.release_lease(&lease).expect("it is given back");
    }
}

#[test]
fn a_name_that_stands_for_nothing_leaves_the_lease() {
    let node = Node::start();
    let store = node.client();
    let id = create(&*store).database;
    let moved = DatabaseName::new("moved.db").expect("a name");
    store.rename(&name(), &moved).expect("it is renamed");
    let (lease, start) = granted(&*store, &asks(id), None);
    assert_eq!(start, None);
    store.release_lease(&lease).expect("it is held");
    let another = create(&*store).database;
    let (_, start) = granted(&*store, &asks(id), None);
    let begun = start.expect("it comes with the lease").begun;
    assert_eq!(begun.snapshot.database, another);
}
