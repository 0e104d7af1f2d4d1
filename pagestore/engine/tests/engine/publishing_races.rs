//! Large commits while others act between the reads and the commit of each of their transactions.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use verso_engine::kv::faulty::{Fault, Faulty};
use verso_pagestore::{
    CommitError, CommitRequest, Lease, LeaseAnswer, LeaseStanding, LeaseView, PageStore,
    Participant,
};

use crate::publishing::{MANY, PAGES, World, all, first_request, large, take_over};
use crate::support::{commit, content, create, engine_over, name, newest, participant, reader};

/// A commit of two pages under a lease.
fn small(store: &dyn PageStore, lease: Lease) -> CommitRequest {
    let part = participant(newest(store, "a"), &[], &[(1, 9), (4, 9)], 4);
    let lease = Some(lease);
    crate::support::request(vec![Participant { lease, ..part }])
}

#[test]
fn a_publication_that_is_taken_over_while_its_node_works_ends_there() {
    for (step, at_once) in (0..MANY).flat_map(|step| [(step, true), (step, false)]) {
        let world = World::new();
        let base = create(&world.other, "a", 3);
        let database = base.database;
        let (before, _) = world.records(database);
        let large = large(&world, base, 7, None);
        let stranger = engine_over(world.kv.clone());
        let taken = Arc::new(Mutex::new(None));
        let theirs = Arc::clone(&taken);
        world.faulty.before_commits(move |number| {
            if number == step {
                let lease = take_over(&stranger, database);
                *theirs.lock().expect("no panic") = Some(lease);
                if at_once {
                    let small = small(&stranger, lease);
                    stranger.commit(&small).expect("it holds the lease");
                }
            }
        });
        let result = world.mortal.commit(&large);
        let Some(lease) = *taken.lock().expect("no panic") else {
            result.expect("nobody was in its way");
            assert!(step > 8);
            return;
        };
        result.expect_err("it has lost the lease");
        if !at_once {
            let small = small(&world.other, lease);
            world.other.commit(&small).expect("it holds the lease");
        }
        assert_eq!(
            content(&world.other, &newest(&world.other, "a")),
            [9, 2, 3, 9],
            "step {step}"
        );
        // Who has to wait may ask again, and its pages stay so long.
        let again = world.other.commit(&large).expect_err("page 1 has changed");
        assert!(matches!(again, CommitError::Conflict(_)), "{again}");
        assert_eq!(world.records(database), (before + 2, 0), "step {step}");
        assert_eq!(newest(&world.other, "a").lease, LeaseStanding::Free);
    }
    panic!("it has fewer steps");
}

/// A network may deliver a request once more, after its client was told that it is lost.
#[test]
fn what_was_said_to_be_lost_stays_so() {
    for step in 0..MANY {
        let world = World::new();
        let base = create(&world.other, "a", 3);
        let request = large(&world, base, 7, None);
        let is_reached = publish_ousted(&world, &request, step);
        if !is_reached {
            assert!(step > 8);
            return;
        }
    }
    panic!("it has fewer steps");
}

/// The same for one whose pages all come with it, so that each attempt has them.
#[test]
fn what_can_be_staged_again_is_not_said_to_be_lost() {
    for step in 0..MANY {
        let world = World::new();
        let base = create(&world.other, "a", 3);
        let pages: Vec<_> = (1..=PAGES).map(|page| (page, 7)).collect();
        let request = crate::support::request(vec![participant(base, &[], &pages, PAGES)]);
        let is_reached = publish_ousted(&world, &request, step);
        assert_eq!(content(&world.other, &newest(&world.other, "a")), all(7));
        if !is_reached {
            assert!(step > 8);
            return;
        }
    }
    panic!("it has fewer steps");
}

/// Publishes, while somebody takes the lease over at a step, and gives it back. Then once more.
fn publish_ousted(world: &World, request: &CommitRequest, step: usize) -> bool {
    let database = newest(&world.other, "a").database;
    let stranger = engine_over(world.kv.clone());
    let is_reached = Arc::new(AtomicBool::new(false));
    let reaches = Arc::clone(&is_reached);
    world.faulty.before_commits(move |number| {
        if number == step {
            let lease = take_over(&stranger, database);
            stranger.release_lease(&lease).expect("it is its own");
            reaches.store(true, Ordering::SeqCst);
        }
    });
    let result = world.mortal.commit(request);
    let again = world.other.commit(request);
    if let Ok(outcome) = &result {
        let again = again.expect("it took effect");
        assert_eq!(again.version, outcome.version, "step {step}");
    } else {
        let lost = Err(CommitError::LeaseLost { database });
        assert_eq!((&result, &again), (&lost, &lost), "step {step}");
    }
    assert_eq!(world.records(database).1, 0, "step {step}");
    is_reached.load(Ordering::SeqCst)
}

#[test]
fn two_nodes_that_publish_one_commit_make_one_of_it() {
    for step in 0..MANY {
        let world = World::new();
        let base = create(&world.other, "a", 3);
        let request = large(&world, base, 7, None);
        let other = engine_over(world.kv.clone());
        let same = request.clone();
        let outcome = Arc::new(Mutex::new(None));
        let first = Arc::clone(&outcome);
        world.faulty.before_commits(move |number| {
            if number == step {
                let outcome = other.commit(&same).expect("it goes on");
                *first.lock().expect("no panic") = Some(outcome.version);
            }
        });
        let result = world.mortal.commit(&request).expect("it is done");
        assert_eq!(content(&world.other, &newest(&world.other, "a")), all(7));
        assert_eq!(world.records(base.database).1, 0, "step {step}");
        let log = world.other.log(&name("a"), None, 10).expect("a log");
        let own = log.iter().filter(|commit| commit.id == request.id);
        assert_eq!(own.count(), 1, "step {step}");
        let Some(version) = *outcome.lock().expect("no panic") else {
            assert!(step > 8);
            return;
        };
        assert_eq!(result.version, version, "step {step}");
    }
    panic!("it has fewer steps");
}

#[test]
fn whoever_commits_at_any_step_either_waits_or_wins() {
    let (mut waited, mut won) = (0, 0);
    for step in 0..MANY {
        let world = World::new();
        let base = create(&world.other, "a", 3);
        let request = large(&world, base, 7, None);
        let other = engine_over(world.kv.clone());
        let result = Arc::new(Mutex::new(None));
        let theirs = Arc::clone(&result);
        world.faulty.before_commits(move |number| {
            if number == step {
                let small = commit(&other, newest(&other, "a"), &[], &[(1, 9)], 3);
                *theirs.lock().expect("no panic") = Some(small);
            }
        });
        let ours = world.mortal.commit(&request);
        let content = content(&world.other, &newest(&world.other, "a"));
        let Some(theirs) = result.lock().expect("no panic").take() else {
            assert!(waited > 5 && won > 0);
            return;
        };
        match theirs {
            Ok(_) => {
                let refused = ours.expect_err("page 1 has changed");
                assert!(matches!(refused, CommitError::Conflict(_)), "{refused}");
                assert_eq!(content, [9, 2, 3], "step {step}");
                won += 1;
            }
            Err(CommitError::Leased { .. }) => {
                ours.expect("it was first");
                assert_eq!(content, all(7), "step {step}");
                waited += 1;
            }
            Err(other) => panic!("{other}"),
        }
        assert_eq!(world.records(base.database).1, 0, "step {step}");
    }
    panic!("it has fewer steps");
}

#[test]
fn what_it_only_read_must_stay_until_the_last_step() {
    for step in 0..MANY {
        let world = World::new();
        let base = create(&world.other, "a", 3);
        let only_read = create(&world.other, "b", 2);
        let (before, _) = world.records(base.database);
        let first = large(&world, base, 7, None);
        let mut participants = first.participants.clone();
        participants.push(reader(only_read, &[2]));
        let request = CommitRequest {
            participants,
            ..first
        };
        let other = engine_over(world.kv.clone());
        let acted = Arc::new(AtomicBool::new(false));
        let acts = Arc::clone(&acted);
        world.faulty.before_commits(move |number| {
            if number == step {
                commit(&other, only_read, &[], &[(2, 9)], 2).expect("nobody minds");
                acts.store(true, Ordering::Relaxed);
            }
        });
        let result = world.mortal.commit(&request);
        if !acted.load(Ordering::Relaxed) {
            assert!(step > 8);
            return;
        }
        let refused = result.expect_err("page 2 of b has changed");
        assert!(matches!(refused, CommitError::Conflict(_)), "{refused}");
        assert_eq!(content(&world.other, &newest(&world.other, "a")), [1, 2, 3]);
        assert_eq!(world.records(base.database), (before, 0), "step {step}");
    }
    panic!("it has fewer steps");
}

#[test]
fn those_who_wait_see_that_a_publication_goes_on() {
    let world = World::new();
    let base = create(&world.other, "a", 3);
    let request = large(&world, base, 7, None);
    let other = engine_over(world.kv.clone());
    let mut asks = first_request(base.database);
    let views = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&views);
    world.faulty.before_commits(move |number| {
        if number > 2 {
            match other.lease(&asks).expect("the store answers") {
                LeaseAnswer::Waiting { ticket, view, .. } => {
                    asks.ticket = Some(ticket);
                    seen.lock().expect("no panic").push(view);
                }
                LeaseAnswer::Granted(_) | LeaseAnswer::HandedOver(_) => panic!("it is held"),
            }
        }
    });
    world.mortal.commit(&request).expect("no conflict");
    let views = views.lock().expect("no panic");
    assert!(views.len() > 5, "{views:?}");
    assert!(
        views
            .iter()
            .all(|view| matches!(view, LeaseView::Held { .. }))
    );
    let changes = views.windows(2).filter(|pair| pair[0] != pair[1]);
    assert_eq!(changes.count(), views.len() - 1, "{views:?}");
}

#[test]
fn a_commit_that_was_given_up_half_way_is_not_taken_up_again() {
    for step in 0..MANY {
        let world = World::new();
        let base = create(&world.other, "a", 3);
        let lease = take_over(&world.other, base.database);
        let request = large(&world, newest(&world.other, "a"), 7, Some(lease));
        world.dies_after(8);
        world
            .mortal
            .commit(&request)
            .expect_err("its node has died");
        // So does the next, while it gives the lease back.
        let faulty = Faulty::new(world.kv.clone());
        let second = engine_over(faulty.clone());
        let lives = std::iter::repeat_n(None, step);
        faulty.script(lives.chain(std::iter::repeat_n(Some(Fault::Busy), MANY)));
        if second.release_lease(&lease).is_ok() {
            assert!(step > 1);
            return;
        }
        if step > 0 {
            let database = base.database;
            let lost = CommitError::LeaseLost { database };
            assert_eq!(world.other.commit(&request), Err(lost), "step {step}");
        }
        world.other.release_lease(&lease).expect("it is its own");
        let seen = newest(&world.other, "a");
        assert_eq!(content(&world.other, &seen), [1, 2, 3], "step {step}");
        let part = participant(seen, &[], &[(1, 9)], PAGES.min(3));
        world
            .other
            .commit(&crate::support::request(vec![part]))
            .expect("it is free");
        assert_eq!(content(&world.other, &newest(&world.other, "a")), [9, 2, 3]);
        assert_eq!(world.records(base.database).1, 0, "step {step}");
    }
    panic!("it has fewer steps");
}
