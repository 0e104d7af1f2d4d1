//! Large commits and other databases: those that they change or read beside, and those whose
//! transactions read what they change.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread;

use verso_engine::kv::faulty::Faulty;
use verso_pagestore::{CommitError, PageStore};

use crate::publishing::{World, all, large};
use crate::support::{
    commit, content, create, engine_over, name, newest, participant, reader, request,
};

/// The number of the transaction that makes a large commit visible.
fn last_step() -> usize {
    let world = World::new();
    let base = create(&world.other, "a", 3);
    let large = large(&world, base, 7, None);
    let last = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&last);
    world
        .faulty
        .before_commits(move |number| seen.store(number, Ordering::SeqCst));
    world.mortal.commit(&large).expect("nobody is in its way");
    last.load(Ordering::SeqCst)
}

/// The page records are there when it looks, and the commit is not; when it commits, both are.
#[test]
fn who_reads_pages_while_they_are_made_visible_and_writes_elsewhere_has_a_conflict() {
    let last = last_step();
    let world = World::new();
    let base = create(&world.other, "a", 3);
    create(&world.other, "b", 3);
    let large = large(&world, base, 7, None);
    let (reached, has_reached) = channel();
    let (go, may_go) = channel();
    let (done, is_done) = channel();
    world.faulty.before_commits(move |number| {
        if number == last {
            reached.send(()).expect("somebody waits");
            may_go.recv().expect("somebody says so");
        }
    });
    let faulty = Faulty::new(world.kv.clone());
    let others = engine_over(faulty.clone());
    faulty.before_commits(move |number| {
        if number == 0 {
            go.send(()).expect("somebody waits");
            is_done.recv().expect("somebody says so");
        }
    });
    thread::scope(|scope| {
        scope.spawn(|| {
            world.mortal.commit(&large).expect("nobody is in its way");
            done.send(()).expect("somebody waits");
        });
        has_reached.recv().expect("there is a last step");
        let read = reader(newest(&others, "a"), &[3]);
        let written = participant(newest(&others, "b"), &[], &[(1, 9)], 3);
        let refused = others.commit(&request(vec![read, written]));
        let refused = refused.expect_err("page 3 has changed");
        assert!(matches!(refused, CommitError::Conflict(_)), "{refused}");
    });
    assert_eq!(content(&others, &newest(&others, "b")), [1, 2, 3]);
    assert_eq!(content(&others, &newest(&others, "a")), all(7));
}

#[test]
fn what_took_effect_stays_so_when_a_database_that_it_read_has_changed() {
    let world = World::new();
    let base = create(&world.other, "a", 3);
    let read = create(&world.other, "b", 3);
    let mut large = large(&world, base, 7, None);
    large.participants.insert(0, reader(read, &[3]));
    let outcome = world.other.commit(&large).expect("no conflict");
    commit(&world.other, read, &[], &[(3, 9)], 3).expect("no conflict");
    let again = world.other.commit(&large).expect("it took effect");
    assert_eq!(again.version, outcome.version);
}

#[test]
fn what_took_effect_stays_so_when_a_database_that_it_changed_is_gone() {
    let world = World::new();
    let base = create(&world.other, "a", 3);
    let beside = create(&world.other, "b", 3);
    let mut large = large(&world, base, 7, None);
    let part = participant(beside, &[], &[(3, 9)], 3);
    large.participants.insert(0, part);
    let outcome = world.other.commit(&large).expect("no conflict");
    world.other.remove(&name("b")).expect("it is there");
    let again = world.other.commit(&large).expect("it took effect");
    assert_eq!(again.version, outcome.version);
    assert_eq!(world.records(base.database).1, 0);
}
