//! Commits whose answer is lost: they take effect exactly once.

use std::sync::Arc;

use proptest::prelude::*;
use verso_engine::kv::faulty::{Fault, Faulty};
use verso_engine::kv::memory::{MemoryKv, MemoryOptions};
use verso_pagestore::{CommitError, PageStore};

use crate::support::{
    commit, content, create, engine_over, fresh_id, memory, name, newest, participant, request,
};

#[test]
fn a_lost_answer_is_asked_for_again() {
    for fault in [
        Fault::UnknownApplied,
        Fault::UnknownNotApplied,
        Fault::Conflict,
        Fault::TooOld,
    ] {
        let kv = Faulty::new(MemoryKv::new(MemoryOptions::default()));
        let store = engine_over(kv.clone());
        let base = create(&store, "a", 2);
        kv.script([Some(fault), Some(fault)]);
        let outcome = commit(&store, base, &[2], &[(2, 9)], 2).unwrap();
        assert_eq!(newest(&store, "a").version, outcome.version, "{fault:?}");
        assert_eq!(content(&store, &newest(&store, "a")), [1, 9], "{fault:?}");
        let log = store.log(&name("a"), None, 100).unwrap();
        assert_eq!(log.len(), 3, "created, filled, and changed once: {fault:?}");
    }
}

#[test]
fn a_repeated_request_answers_the_same_version_whatever_came_between() {
    let store = memory();
    let base = create(&store, "a", 2);
    let first = request(vec![participant(base, &[2], &[(2, 9)], 2)]);
    let outcome = store.commit(&first).unwrap();
    // A-B-A: another commit changes the page, and one more changes it back.
    commit(&store, newest(&store, "a"), &[], &[(2, 8)], 2).unwrap();
    commit(&store, newest(&store, "a"), &[], &[(2, 2)], 2).unwrap();
    assert_eq!(store.commit(&first).unwrap().version, outcome.version);
    assert_eq!(content(&store, &newest(&store, "a")), [1, 2]);
    assert_eq!(store.log(&name("a"), None, 100).unwrap().len(), 5);
}

#[test]
fn a_result_that_stays_unknown_is_said_to_be() {
    let kv = Faulty::new(MemoryKv::new(MemoryOptions::default()));
    let store = engine_over(kv.clone());
    let base = create(&store, "a", 2);
    kv.script([Some(Fault::UnknownNotApplied), Some(Fault::Busy)]);
    let result = commit(&store, base, &[], &[(2, 9)], 2);
    assert!(
        matches!(result, Err(CommitError::Unknown { .. })),
        "{result:?}"
    );
}

#[test]
fn the_catalogue_is_exactly_once_too() {
    for fault in [Fault::UnknownApplied, Fault::UnknownNotApplied] {
        let kv = Faulty::new(MemoryKv::new(MemoryOptions::default()));
        let store = engine_over(kv.clone());
        kv.script([Some(fault)]);
        let id = fresh_id();
        store.create(&name("a"), id).unwrap();
        assert_eq!(newest(&store, "a").database, id);
        kv.script([Some(fault)]);
        store.rename(&name("a"), &name("b")).unwrap();
        assert_eq!(newest(&store, "b").database, id);
        kv.script([Some(fault)]);
        store.remove(&name("b")).unwrap();
        assert!(store.list(None, 10).unwrap().is_empty(), "{fault:?}");
    }
}

#[test]
fn threads_that_count_through_a_faulty_store_lose_and_double_nothing() {
    let kv = Faulty::seeded(MemoryKv::new(MemoryOptions::default()), 42, 300);
    let store: Arc<dyn PageStore> = Arc::new(engine_over(kv));
    create(&*store, "a", 2);
    commit(&*store, newest(&*store, "a"), &[], &[(2, 0)], 2).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..25).for_each(|_| increment(&*store)));
        }
    });
    assert_eq!(content(&*store, &newest(&*store, "a")), [1, 100]);
}

fn increment(store: &dyn PageStore) {
    loop {
        let snapshot = newest(store, "a");
        let value = *content(store, &snapshot).get(1).expect("two pages");
        match commit(store, snapshot, &[2], &[(2, value + 1)], 2) {
            Ok(_) => return,
            Err(CommitError::Conflict(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Transactions begin and commit in any order under faults; the store must accept
    /// exactly those whose reads did not change, and show the writes of those.
    #[test]
    fn any_interleaving_is_serializable(
        seed in any::<u64>(),
        steps in prop::collection::vec((0_usize..4, 2_u32..8, 2_u32..8, any::<u8>()), 1..60),
    ) {
        let kv = Faulty::seeded(MemoryKv::new(MemoryOptions::default()), seed, 200);
        let store = engine_over(kv);
        let base = create(&store, "a", 8);
        let mut model = content(&store, &base);
        let mut changed_at = [0_usize; 9];
        let mut open = [(base, 0_usize); 4];
        for (time, (slot, read, write, byte)) in steps.into_iter().enumerate() {
            let (snapshot, began) = open[slot];
            let result = commit(&store, snapshot, &[read], &[(write, byte)], 8);
            let stale = changed_at[read as usize].max(changed_at[write as usize]) > began;
            match result {
                Ok(_) => {
                    prop_assert!(!stale, "step {time} read or overwrote what had changed");
                    model[write as usize - 1] = byte;
                    changed_at[write as usize] = time + 1;
                }
                Err(CommitError::Conflict(_)) => prop_assert!(stale, "step {time} had no conflict"),
                Err(error) => prop_assert!(false, "step {time}: {error}"),
            }
            open[slot] = (newest(&store, "a"), time + 1);
            prop_assert_eq!(&content(&store, &open[slot].0), &model);
        }
    }
}
