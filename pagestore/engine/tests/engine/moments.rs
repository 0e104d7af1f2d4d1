//! The past: versions and times.

use proptest::prelude::*;
use verso_engine::Engine;
use verso_engine::kv::memory::{MemoryKv, MemoryOptions};
use verso_pagestore::{Moment, MomentError, PageStore, UnixMillis, Version};

use crate::support::{TestClock, commit, content, create, fresh_id, memory, name, newest};

#[test]
fn versions_and_times_of_the_past_are_found() {
    let clock = TestClock::default();
    clock.set(1000);
    let kv = MemoryKv::new(MemoryOptions::default());
    let store = Engine::new(kv, "test:", clock.clock()).unwrap();
    store.create(&name("a"), fresh_id()).unwrap();
    let mut versions = Vec::new();
    for step in 1..=20_u8 {
        clock.set(1000 + u64::from(step) * 10);
        let outcome = commit(&store, newest(&store, "a"), &[], &[(1, step)], 1).unwrap();
        versions.push(outcome.version);
    }
    let at = |moment| store.snapshot_at(&name("a"), moment);
    let time = |milliseconds| at(Moment::Time(UnixMillis::new(milliseconds)));
    for (step, version) in (1_u8..).zip(&versions) {
        let by_version = at(Moment::Version(*version)).unwrap();
        let exactly = time(1000 + u64::from(step) * 10).unwrap();
        let later = time(1009 + u64::from(step) * 10).unwrap();
        assert_eq!(content(&store, &by_version), [step]);
        assert_eq!((exactly.version, later.version), (*version, *version));
    }
    assert_eq!(time(1005).unwrap().page_count.get(), 0, "created and empty");
    assert!(matches!(time(999), Err(MomentError::TooEarly { .. })));
    assert!(matches!(
        at(Moment::Version(Version::MAX)),
        Err(MomentError::NoSuchVersion { .. })
    ));
    assert!(matches!(
        store.snapshot_at(&name("b"), Moment::Time(UnixMillis::new(5000))),
        Err(MomentError::NoSuchDatabase { .. })
    ));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn any_time_finds_the_newest_commit_at_or_before_it(
        gaps in prop::collection::vec(0_u64..5, 1..40),
        wanted in 0_u64..200,
    ) {
        let clock = TestClock::default();
        clock.set(10);
        let store =
            Engine::new(MemoryKv::new(MemoryOptions::default()), "test:", clock.clock()).unwrap();
        store.create(&name("a"), fresh_id()).unwrap();
        let mut history = vec![(10, newest(&store, "a").version)];
        for gap in gaps {
            let now = history.last().map_or(10, |(time, _)| time + gap);
            clock.set(now);
            let outcome = commit(&store, newest(&store, "a"), &[], &[(1, 1)], 1).unwrap();
            history.push((now, outcome.version));
        }
        let expected = history.iter().rev().find(|(time, _)| *time <= wanted).map(|(_, version)| *version);
        let found = store.snapshot_at(&name("a"), Moment::Time(UnixMillis::new(wanted)));
        prop_assert_eq!(found.ok().map(|snapshot| snapshot.version), expected);
    }
}

#[test]
fn a_read_version_is_one_moment_of_all_databases() {
    let store = memory();
    let a = create(&store, "a", 2);
    let before_b = Moment::ReadVersion(a.read_version);
    assert!(matches!(
        store.snapshot_at(&name("b"), before_b),
        Err(MomentError::NoSuchDatabase { .. })
    ));
    create(&store, "b", 2);
    assert!(matches!(
        store.snapshot_at(&name("b"), before_b),
        Err(MomentError::NoSuchVersion { .. })
    ));
    for byte in 10..20 {
        commit(&store, newest(&store, "b"), &[], &[(2, byte)], 2).unwrap();
        let seen = newest(&store, "a");
        let moment = Moment::ReadVersion(seen.read_version);
        commit(&store, newest(&store, "b"), &[], &[(2, 99)], 2).unwrap();
        let then = store.snapshot_at(&name("b"), moment).unwrap();
        assert_eq!(content(&store, &then), [1, byte]);
        assert_eq!(
            store.snapshot_at(&name("a"), moment).unwrap().version,
            a.version
        );
    }
}
