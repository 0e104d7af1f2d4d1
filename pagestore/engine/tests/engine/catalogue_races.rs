//! Names and loads, while others rename and remove what they are about.

use verso_engine::Engine;
use verso_engine::kv::faulty::{Fault, Faulty};
use verso_engine::kv::memory::{MemoryKv, MemoryOptions};
use verso_pagestore::{
    CatalogueError, DatabaseId, LoadError, PageCount, PageSize, PageStore, PageWrite, StoreError,
    Version,
};

use crate::support::{SIZE, create, engine_over, filled, fresh_id, memory, name, newest, page};

type Others = Engine<MemoryKv>;

/// A store with a database "a", and a node before whose next transaction others act, and which
/// then meets this fault.
fn overtaken(
    fault: Option<Fault>,
    act: impl Fn(&Others) + Send + 'static,
) -> (Others, Engine<Faulty<MemoryKv>>) {
    let kv = MemoryKv::new(MemoryOptions::default());
    let others = engine_over(kv.clone());
    create(&others, "a", 1);
    let faulty = Faulty::new(kv.clone());
    let node = engine_over(faulty.clone());
    let acting = engine_over(kv);
    faulty.script([fault]);
    faulty.before_commits(move |number| {
        if number == 0 {
            act(&acting);
        }
    });
    (others, node)
}

fn rename(store: &dyn PageStore, from: &str, to: &str) {
    store
        .rename(&name(from), &name(to))
        .expect("it is there, and the name is free");
}

fn is_unknown(error: &StoreError) -> bool {
    error.to_string().contains("unknown")
}

#[test]
fn what_was_renamed_meanwhile_is_not_said_to_be_removed() {
    let (others, node) = overtaken(None, |others| rename(others, "a", "b"));
    let missing = CatalogueError::NoSuchDatabase { name: name("a") };
    assert_eq!(node.remove(&name("a")), Err(missing));
    assert_eq!(newest(&others, "b").page_count.get(), 1);
}

#[test]
fn what_got_the_name_of_what_was_removed_meanwhile_stays() {
    let (others, node) = overtaken(None, |others| {
        others.remove(&name("a")).expect("it is there");
        create(others, "a", 2);
    });
    assert_eq!(node.remove(&name("a")), Ok(()));
    assert_eq!(newest(&others, "a").page_count.get(), 2);
}

/// Had the lost attempt taken effect, the store would look the same.
#[test]
fn a_lost_rename_of_what_others_have_renamed_is_neither_done_nor_refused() {
    let (others, node) = overtaken(Some(Fault::UnknownNotApplied), |others| {
        rename(others, "a", "c");
        create(others, "a", 2);
    });
    let result = node.rename(&name("a"), &name("b"));
    let Err(CatalogueError::Store(error)) = result else {
        panic!("{result:?}");
    };
    assert!(is_unknown(&error), "{error}");
    assert_eq!(newest(&others, "a").page_count.get(), 2);
    assert_eq!(newest(&others, "c").page_count.get(), 1);
}

#[test]
fn a_rename_whose_answer_is_lost_is_done_once() {
    for fault in [Fault::UnknownApplied, Fault::UnknownNotApplied] {
        let (others, node) = overtaken(Some(fault), |_| {});
        assert_eq!(node.rename(&name("a"), &name("b")), Ok(()));
        assert_eq!(newest(&others, "b").page_count.get(), 1);
    }
}

/// A load of one page that only has to be finished.
fn load(store: &dyn PageStore) -> DatabaseId {
    let id = fresh_id();
    let write = PageWrite {
        number: page(1),
        page: filled(1),
    };
    store.load_begin(&name("l"), id).expect("the name is free");
    store.load_pages(id, &[write]).expect("it goes on");
    id
}

fn finish(store: &dyn PageStore, id: DatabaseId) -> Result<Version, LoadError> {
    let size = PageSize::new(SIZE).expect("a page size");
    store.load_finish(id, &name("l"), size, PageCount::new(1))
}

#[test]
fn a_load_that_was_finished_is_so_under_any_name() {
    let store = memory();
    let id = load(&store);
    let version = finish(&store, id).expect("the name is free");
    rename(&store, "l", "m");
    create(&store, "l", 2);
    assert_eq!(finish(&store, id), Ok(version));
    assert_eq!(newest(&store, "m").version, version);
}

#[test]
fn a_lost_end_of_a_load_that_is_gone_is_neither_done_nor_refused() {
    let kv = Faulty::new(MemoryKv::new(MemoryOptions::default()));
    let node = engine_over(kv.clone());
    let id = load(&node);
    let others = engine_over(kv.inner().clone());
    kv.script([Some(Fault::UnknownNotApplied)]);
    kv.before_commits(move |_| others.load_abort(id).expect("it goes on"));
    let result = finish(&node, id);
    let Err(LoadError::Store(error)) = result else {
        panic!("{result:?}");
    };
    assert!(is_unknown(&error), "{error}");
    // Whoever asks later is not told more than the store knows.
    assert_eq!(finish(&node, id), Err(LoadError::Ended { database: id }));
}
