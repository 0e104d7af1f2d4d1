//! A watched database begins without a request, on a state that is as new as it must be. The bound is an
//! hour, so that nothing but a push can bring news.

use std::thread;
use std::time::{Duration, Instant};

use verso_pagestore::{Bound, Changes, PageStore, Recent, RoaringBitmap, Since, Version};

use super::{Node, commit, create, name, since};

const HOUR: Duration = Duration::from_hours(1);

fn within(store: &dyn PageStore, since: Option<Since>, at_least: Version) -> Recent {
    let bound = Bound {
        age: HOUR,
        at_least,
    };
    store
        .begin_within(&name(), since, bound)
        .expect("it exists")
}

/// Asks until the answer is as wanted.
fn until(ask: impl Fn() -> Recent, is_wanted: impl Fn(&Recent) -> bool) -> Recent {
    let deadline = Instant::now() + Duration::from_mins(1);
    loop {
        let answer = ask();
        if is_wanted(&answer) {
            return answer;
        }
        assert!(Instant::now() < deadline, "it never came: {answer:?}");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn news_are_pushed() {
    let node = Node::start();
    let (store, other) = (node.client(), node.client());
    let first = create(&*other);
    let asked = within(&*store, None, Version::MIN);
    assert_eq!(asked.age, Duration::ZERO, "nothing was known yet");
    let known = until(
        || within(&*store, None, Version::MIN),
        |recent| !recent.age.is_zero(),
    );
    assert_eq!(known.begun.snapshot.version, first.version);
    let mut since = since(&known.begun.snapshot);
    for byte in 1..20 {
        let committed = commit(&*other, byte);
        // The bound would allow the old state for an hour.
        let pushed = until(
            || within(&*store, Some(since), Version::MIN),
            |recent| recent.begun.snapshot.version == committed.version,
        );
        let Changes::Commits(commits) = &pushed.begun.changes else {
            panic!("the commits are known: {pushed:?}");
        };
        let [only] = &commits[..] else {
            panic!("one commit: {commits:?}");
        };
        assert_eq!(only.version, committed.version);
        assert_eq!(only.commit, pushed.begun.snapshot.commit);
        assert_eq!(only.pages, RoaringBitmap::from([1]));
        since = super::since(&pushed.begun.snapshot);
    }
}

#[test]
fn all_who_watch_are_told() {
    let node = Node::start();
    let (other, clients) = (node.client(), [node.client(), node.client(), node.client()]);
    create(&*other);
    for byte in 1..5 {
        let committed = commit(&*other, byte);
        for client in &clients {
            until(
                || within(&**client, None, Version::MIN),
                |recent| recent.begun.snapshot.version == committed.version,
            );
        }
    }
}

#[test]
fn what_the_client_has_seen_is_never_missing() {
    let node = Node::start();
    let (store, other) = (node.client(), node.client());
    create(&*other);
    within(&*store, None, Version::MIN);
    for byte in 1..100 {
        let committed = commit(&*other, byte);
        let recent = within(&*store, None, committed.version);
        assert_eq!(recent.begun.snapshot.version, committed.version);
    }
}

#[test]
fn without_its_node_a_watch_knows_nothing() {
    let mut node = Node::start();
    let store = node.client();
    create(&*store);
    within(&*store, None, Version::MIN);
    until(
        || within(&*store, None, Version::MIN),
        |recent| !recent.age.is_zero(),
    );
    node.stop();
    let bound = Bound {
        age: HOUR,
        at_least: Version::MIN,
    };
    let deadline = Instant::now() + Duration::from_mins(1);
    while store.begin_within(&name(), None, bound).is_ok() {
        assert!(Instant::now() < deadline, "it goes on without a node");
        thread::sleep(Duration::from_millis(10));
    }
}
