//! What is gone: removed databases, moved names, and states of a store that was put back.

use std::time::Duration;

use verso_pagestore::{BeginError, Changes, PageStore as _, ReadError};

use super::support::{HOUR, World, commit, create, filled, name, page, since};

#[test]
fn a_removed_database_is_not_read_for_ever() {
    let world = World::new(1 << 20, Duration::ZERO);
    filled(&*world.store(), "a", 4);
    let snapshot = world.newest("a");
    world.read(&snapshot, &[1, 2]).expect("it exists");
    world.store().remove(&name("a")).expect("it exists");
    let refused = world.read(&snapshot, &[1, 2]);
    assert!(matches!(refused, Err(ReadError::Removed { .. })));
}

#[test]
fn a_removal_that_the_node_hears_of_counts_at_once() {
    for is_recreated in [false, true] {
        let world = World::new(1 << 20, HOUR);
        filled(&*world.store(), "a", 4);
        let snapshot = world.newest("a");
        world.read(&snapshot, &[1, 2]).expect("it exists");
        world.store().remove(&name("a")).expect("it exists");
        if is_recreated {
            filled(&*world.store(), "a", 4);
            let begun = world.begin("a", Some(since(&snapshot))).expect("a new one");
            assert_eq!(begun.changes, Changes::Unknown);
            world.read(&begun.snapshot, &[1, 2]).expect("it exists");
        } else {
            let begun = world.begin("a", Some(since(&snapshot)));
            assert!(matches!(begun, Err(BeginError::NoSuchDatabase { .. })));
        }
        world.read(&snapshot, &[1, 2]).expect_err("it is gone");
    }
}

#[test]
fn a_removal_that_one_page_shows_counts_for_all() {
    let world = World::new(1 << 20, HOUR);
    filled(&*world.store(), "a", 4);
    let snapshot = world.newest("a");
    world.read(&snapshot, &[1, 2]).expect("it exists");
    world.store().remove(&name("a")).expect("it exists");
    world.read(&snapshot, &[3]).expect_err("it is gone");
    world.read(&snapshot, &[1, 2]).expect_err("it is gone");
}

#[test]
fn a_removal_through_the_node_counts_at_once() {
    let world = World::new(1 << 20, HOUR);
    filled(&*world.store(), "a", 4);
    let snapshot = world.newest("a");
    world.read(&snapshot, &[1, 2]).expect("it exists");
    world.warm.remove(&name("a")).expect("it exists");
    world.read(&snapshot, &[1, 2]).expect_err("it is gone");
}

#[test]
fn a_renamed_database_is_itself() {
    let world = World::new(1 << 20, HOUR);
    filled(&*world.store(), "a", 4);
    let snapshot = world.newest("a");
    world.read(&snapshot, &[1, 2]).expect("it exists");
    world.store().rename(&name("a"), &name("b")).expect("free");
    create(&*world.store(), "a");
    let known = Some(since(&snapshot));
    world.begin("b", known).expect("it exists");
    world.begin("a", known).expect("it exists");
    commit(&*world.store(), "b", &[(1, 7)], 512, 4);
    let begun = world.begin("b", known).expect("it exists");
    world.read(&begun.snapshot, &[1, 2]).expect("it exists");
    world.read(&snapshot, &[1, 2]).expect("it exists");
}

/// Versions are given again after a store was put back: only the ids of commits tell them apart.
#[test]
fn a_store_that_was_put_back_is_not_mixed_with_what_it_was() {
    let world = World::new(1 << 20, HOUR);
    filled(&*world.store(), "a", 4);
    world.newest("a");
    world.save("old");
    commit(&*world.store(), "a", &[(2, 100)], 512, 4);
    commit(&*world.store(), "a", &[(3, 100)], 512, 4);
    let lost = world.newest("a");
    world.read(&lost, &[1, 2, 3, 4]).expect("it exists");
    world.put_back("old");
    commit(&*world.store(), "a", &[(3, 200)], 512, 4);
    commit(&*world.store(), "a", &[(4, 200)], 512, 4);
    // Another node's client reads here before this node has begun.
    let begun = world.store().begin(&name("a"), None).expect("it exists");
    let found = begun.snapshot;
    assert_eq!(found.version, lost.version, "given again");
    assert_ne!(found.commit, lost.commit);
    world.read(&found, &[1, 2, 3, 4]).expect("it exists");
    let begun = world.begin("a", Some(since(&lost))).expect("it exists");
    assert_eq!(begun.changes, Changes::Diverged);
    world.read(&found, &[1, 2, 3, 4]).expect("it exists");
    // Nothing is kept of the state that is gone.
    let pages = world.asked(|| drop(world.warm.read(&lost, &[page(1), page(2)])));
    assert_eq!(pages, (0, 2));
}

/// A node that does not notice that the store was put back, and forth again.
#[test]
fn what_a_store_says_of_a_state_that_it_lacks_is_not_kept() {
    let world = World::new(1 << 20, HOUR);
    filled(&*world.store(), "a", 4);
    world.save("old");
    commit(&*world.store(), "a", &[(2, 100)], 512, 4);
    commit(&*world.store(), "a", &[(1, 100)], 512, 4);
    world.save("new");
    world.put_back("old");
    let first = world.newest("a");
    world.put_back("new");
    let newest = world.begin("a", Some(since(&first))).expect("it exists");
    world.put_back("old");
    commit(&*world.store(), "a", &[(3, 200)], 512, 4);
    for number in 1..=4 {
        let read = world.warm.read(&newest.snapshot, &[page(number)]);
        read.expect("the store does not look at ids");
    }
    world.put_back("new");
    world.begin("a", None).expect("it exists");
    let read = world.read(&newest.snapshot, &[1, 2, 3, 4]);
    read.expect("it exists");
}
