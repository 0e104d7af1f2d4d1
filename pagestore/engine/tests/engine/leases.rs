//! The writer lease: one holder at a time, turns in order, takeover, and commits under it.

use std::time::Duration;

use verso_engine::kv::faulty::{Fault, Faulty};
use verso_engine::kv::memory::{MemoryKv, MemoryOptions};
use verso_pagestore::{
    CommitError, DatabaseId, Lease, LeaseAnswer, LeaseError, LeaseId, LeaseRequest, LeaseView,
    PageStore, Place, Ticket,
};

use crate::support::{
    commit, content, create, engine_over, memory, name, newest, participant, reader, request,
};

const TIME_TO_LIVE: Duration = Duration::from_secs(5);

/// Somebody who wants a lease.
struct Client {
    request: LeaseRequest,
}

impl Client {
    fn of(database: DatabaseId) -> Self {
        let request = LeaseRequest {
            database,
            id: LeaseId::random().expect("random numbers"),
            time_to_live: TIME_TO_LIVE,
            ticket: None,
            stuck: None,
        };
        Self { request }
    }

    /// Asks once. What it sees instead of the lease, or the lease.
    fn ask(&mut self, store: &dyn PageStore) -> Result<Lease, LeaseView> {
        match store.lease(&self.request).expect("the store answers") {
            LeaseAnswer::Granted(lease) | LeaseAnswer::HandedOver(lease) => Ok(lease),
            LeaseAnswer::Waiting { ticket, view, .. } => {
                self.request.ticket = Some(ticket);
                Err(view)
            }
        }
    }

    fn ticket(&self) -> Ticket {
        self.request.ticket.expect("it waits")
    }

    fn place(&self) -> Place {
        Place {
            database: self.request.database,
            id: self.request.id,
            ticket: self.ticket(),
        }
    }
}

/// What somebody sees of a lease that was handed over with an epoch.
const fn handed_over(epoch: u64) -> LeaseView {
    LeaseView::Held {
        epoch,
        beat: 0,
        time_to_live: Duration::from_secs(1),
    }
}

#[test]
fn turns_come_in_the_order_of_arrival() {
    let store = memory();
    let database = create(&store, "a", 1).database;
    let mut clients: Vec<Client> = (0..5).map(|_| Client::of(database)).collect();
    let mut lease = clients[0].ask(&store).expect("it is free");
    for client in &mut clients[1..] {
        let held = LeaseView::Held {
            epoch: lease.epoch,
            beat: 0,
            time_to_live: TIME_TO_LIVE,
        };
        assert_eq!(client.ask(&store), Err(held));
    }
    for turn in 1..5 {
        store.release_lease(&lease).unwrap();
        // Nobody else gets it, and somebody new least of all.
        let mut new = Client::of(database);
        let next = handed_over(lease.epoch + 1);
        assert_eq!(new.ask(&store), Err(next));
        store.leave_queue(&new.place()).unwrap();
        for client in &mut clients[turn + 1..] {
            assert_eq!(client.ask(&store), Err(next));
        }
        let next = clients[turn].ask(&store).expect("its turn");
        assert_eq!(next.epoch, lease.epoch + 1);
        lease = next;
    }
    store.release_lease(&lease).unwrap();
    assert!(
        Client::of(database).ask(&store).is_ok(),
        "the queue is empty"
    );
}

#[test]
fn a_holder_that_stands_still_is_replaced_and_one_that_beats_is_not() {
    let store = memory();
    let database = create(&store, "a", 1).database;
    let lease = Client::of(database).ask(&store).unwrap();
    let mut waiting = Client::of(database);
    let seen = waiting.ask(&store).unwrap_err();
    store.renew_lease(&lease).unwrap();
    waiting.request.stuck = Some(seen);
    let later = waiting.ask(&store).unwrap_err();
    assert_ne!(later, seen, "it beat in between");
    waiting.request.stuck = Some(later);
    let taken = waiting.ask(&store).expect("it did not beat again");
    assert_eq!(taken.epoch, lease.epoch + 1);
    let lost = Err(LeaseError::Lost { database });
    assert_eq!(store.renew_lease(&lease), lost);
    store.release_lease(&lease).unwrap();
    store
        .renew_lease(&taken)
        .expect("the old holder gave nothing back");
    assert_eq!(waiting.ask(&store), Ok(taken), "asking again is harmless");
}

#[test]
fn whoever_misses_its_turn_goes_to_the_end() {
    let store = memory();
    let database = create(&store, "a", 1).database;
    let lease = Client::of(database).ask(&store).unwrap();
    let [mut slow, mut quick, mut last] = [(); 3].map(|()| Client::of(database));
    for client in [&mut slow, &mut quick, &mut last] {
        client.ask(&store).unwrap_err();
    }
    store.release_lease(&lease).unwrap();
    quick.request.stuck = Some(quick.ask(&store).unwrap_err());
    let lease = quick.ask(&store).expect("the first stood still");
    slow.ask(&store).unwrap_err();
    assert!(slow.ticket() > last.ticket());
    store.release_lease(&lease).unwrap();
    let lease = last.ask(&store).expect("its turn");
    store.release_lease(&lease).unwrap();
    slow.ask(&store).expect("its turn, at last");
}

#[test]
fn only_the_holder_commits_and_its_commit_gives_the_lease_back() {
    let store = memory();
    let base = create(&store, "a", 3);
    let lease = Client::of(base.database).ask(&store).unwrap();
    let leased = Err(CommitError::Leased {
        database: base.database,
    });
    let mut other = request(vec![participant(base, &[3], &[(3, 30)], 3)]);
    assert_eq!(store.commit(&other).map(|_| ()), leased);
    assert_eq!(store.validate(&other), leased);
    let mut part = participant(base, &[2], &[(2, 20)], 3);
    part.lease = Some(lease);
    let own = request(vec![part]);
    store.validate(&own).unwrap();
    let outcome = store.commit(&own).unwrap();
    assert_eq!(
        store.commit(&own).unwrap().version,
        outcome.version,
        "asked again, although its lease is gone"
    );
    store.commit(&other).expect("the lease is free");
    assert_eq!(content(&store, &newest(&store, "a")), [1, 20, 30]);
    // The lease went with the commit: it does not serve again.
    let mut part = participant(newest(&store, "a"), &[], &[(2, 21)], 3);
    part.lease = Some(lease);
    other = request(vec![part]);
    let lost = Err(CommitError::LeaseLost {
        database: base.database,
    });
    assert_eq!(store.commit(&other).map(|_| ()), lost);
    assert_eq!(store.validate(&other), lost);
}

#[test]
fn a_lease_does_not_spare_the_check_for_conflicts() {
    let store = memory();
    let base = create(&store, "a", 2);
    commit(&store, base, &[], &[(2, 20)], 2).unwrap();
    let lease = Client::of(base.database).ask(&store).unwrap();
    let mut part = participant(base, &[2], &[(2, 21)], 2);
    part.lease = Some(lease);
    let result = store.commit(&request(vec![part]));
    assert!(
        matches!(result, Err(CommitError::Conflict(_))),
        "{result:?}"
    );
    store.renew_lease(&lease).expect("it is still held");
}

#[test]
fn a_database_that_was_only_read_counts_in_the_check_and_gets_no_version() {
    let store = memory();
    let (a, b) = (create(&store, "a", 2), create(&store, "b", 2));
    let transfer = |from, byte| {
        request(vec![
            participant(newest(&store, "a"), &[], &[(2, byte)], 2),
            reader(from, &[2]),
        ])
    };
    store.commit(&transfer(b, 20)).unwrap();
    assert_eq!(newest(&store, "b").version, b.version);
    commit(&store, b, &[], &[(2, 9)], 2).unwrap();
    let Err(CommitError::Conflict(conflict)) = store.commit(&transfer(b, 21)) else {
        panic!("what was read of b has changed");
    };
    assert_eq!(conflict.database, b.database);
    assert_eq!(content(&store, &newest(&store, "a")), [1, 20]);
    assert_ne!(a.version, newest(&store, "a").version);
}

#[test]
fn lost_answers_make_no_second_holder() {
    for fault in [
        Fault::UnknownApplied,
        Fault::UnknownNotApplied,
        Fault::Conflict,
    ] {
        let kv = Faulty::new(MemoryKv::new(MemoryOptions::default()));
        let store = engine_over(kv.clone());
        let database = create(&store, "a", 1).database;
        let mut client = Client::of(database);
        kv.script([Some(fault)]);
        let lease = client.ask(&store).expect("it is free");
        assert_eq!(lease.epoch, 1, "{fault:?}");
        kv.script([Some(fault)]);
        store.renew_lease(&lease).unwrap();
        kv.script([Some(fault)]);
        store.release_lease(&lease).unwrap();
        assert_eq!(
            client.ask(&store).expect("it is free").epoch,
            2,
            "{fault:?}"
        );
    }
}

#[test]
fn a_removed_database_has_no_lease() {
    let store = memory();
    let database = create(&store, "a", 1).database;
    store.remove(&name("a")).unwrap();
    let result = store.lease(&Client::of(database).request);
    assert_eq!(result, Err(LeaseError::Removed { database }));
}
