//! Random interleaved transactions against a plain model.
//!
//! Goal: every read equals the model's state at the read version with the transaction's
//! own writes on it, every commit succeeds or fails exactly as the conflict sets say, and
//! what commits is serializable. Method: a handful of short keys over the bytes 0, `a` and
//! 255; the model keeps every state as a map and every conflict set as a list of ranges;
//! and every committed transaction is run again, at once, on the newest state, where all
//! of its serializable reads must come out the same.

use std::cell::Cell;
use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use verso_engine::kv::{
    Direction, Isolation, KeyRange, KeyValue, Kv, KvError, KvTransaction, LateRanges, RangeQuery,
    Until,
};
use verso_pagestore::Version;

use crate::support::{begin, commit, scan};

const SLOTS: usize = 4;

type Key = Vec<u8>;
type State = BTreeMap<Key, Vec<u8>>;

#[derive(Debug, Clone)]
enum Op {
    Begin,
    /// So many commits back.
    BeginAt(usize),
    Get(Key, Isolation),
    Range(RangeQuery, Isolation),
    Write(Write),
    AddReadConflict(KeyRange),
    AddWriteConflict(KeyRange),
    Commit,
    Drop,
}

#[derive(Debug, Clone)]
enum Write {
    Set(Key, Vec<u8>),
    Stamped(Key, Vec<u8>),
    Clear(Key),
    ClearRange(KeyRange),
}

fn key() -> impl Strategy<Value = Key> {
    vec(prop_oneof![Just(0), Just(b'a'), Just(255)], 0..3)
}

fn range() -> impl Strategy<Value = KeyRange> {
    prop_oneof![
        4 => (key(), key()).prop_map(|(begin, end)| KeyRange::new(begin, end)),
        1 => key().prop_map(|key| KeyRange::prefix(&key)),
        1 => key().prop_map(|key| KeyRange::single(&key)),
    ]
}

fn isolation() -> impl Strategy<Value = Isolation> {
    prop_oneof![3 => Just(Isolation::Serializable), 1 => Just(Isolation::Snapshot)]
}

fn query() -> impl Strategy<Value = RangeQuery> {
    let direction = prop_oneof![Just(Direction::Forward), Just(Direction::Reverse)];
    let limit = prop_oneof![0..4_usize, Just(usize::MAX)];
    let until = (0..3_u8).prop_map(|other_than| Until {
        other_than,
        bytes_at_once: 1,
    });
    let until = prop_oneof![2 => Just(None), 1 => until.prop_map(Some)];
    (range(), direction, limit, until).prop_map(|(range, direction, limit, until)| RangeQuery {
        range,
        direction,
        limit,
        until,
    })
}

fn write() -> impl Strategy<Value = Write> {
    let value = || vec(0..4_u8, 0..3);
    prop_oneof![
        4 => (key(), value()).prop_map(|(key, value)| Write::Set(key, value)),
        1 => (key(), value()).prop_map(|(prefix, value)| Write::Stamped(prefix, value)),
        2 => key().prop_map(Write::Clear),
        1 => range().prop_map(Write::ClearRange),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => Just(Op::Begin),
        1 => (0..4_usize).prop_map(Op::BeginAt),
        8 => (key(), isolation()).prop_map(|(key, isolation)| Op::Get(key, isolation)),
        5 => (query(), isolation()).prop_map(|(query, isolation)| Op::Range(query, isolation)),
        10 => write().prop_map(Op::Write),
        1 => range().prop_map(Op::AddReadConflict),
        1 => range().prop_map(Op::AddWriteConflict),
        8 => Just(Op::Commit),
        1 => Just(Op::Drop),
    ]
}

/// The store as it should be.
struct Model {
    /// Every state with the read version it is seen at, and what its commit wrote.
    states: Vec<(u64, State, Vec<KeyRange>)>,
}

/// A transaction of both the store and the model.
struct Open<T> {
    transaction: T,
    read_version: u64,
    /// What it reads: its snapshot with its own writes.
    view: State,
    steps: Vec<Step>,
    /// Ranges whose content its own writes settle.
    settled: Vec<KeyRange>,
    reads: Vec<KeyRange>,
    writes: Vec<KeyRange>,
    /// It was begun at a given version, whose state the store may have lost.
    may_be_lost: bool,
}

/// What a transaction did, to do it again.
enum Step {
    Write(Write),
    Got(Key, Option<Vec<u8>>),
    Ranged(RangeQuery, Vec<KeyValue>),
}

fn apply(state: &mut State, write: &Write, stamp: Option<Version>) {
    match write {
        Write::Set(key, value) => {
            state.insert(key.clone(), value.clone());
        }
        Write::Stamped(prefix, value) => {
            if let Some(stamp) = stamp {
                state.insert(
                    [prefix.as_slice(), stamp.as_bytes()].concat(),
                    value.clone(),
                );
            }
        }
        Write::Clear(key) => {
            state.remove(key);
        }
        Write::ClearRange(range) => state.retain(|key, _| !range.contains(key)),
    }
}

/// Whether nothing is asked for behind a value.
fn is_end(query: &RangeQuery, value: &[u8]) -> bool {
    let until = query.until.map(|until| until.other_than);
    until.is_some_and(|byte| value.first() != Some(&byte))
}

fn answer(state: &State, query: &RangeQuery) -> Vec<KeyValue> {
    let mut found: Vec<KeyValue> = state
        .iter()
        .filter(|(key, _)| query.range.contains(key))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    if query.direction == Direction::Reverse {
        found.reverse();
    }
    let end = found.iter().position(|(_, value)| is_end(query, value));
    found.truncate(end.map_or(query.limit, |end| query.limit.min(end + 1)));
    found
}

/// The part of a range read that its answer depends on.
fn depends_on(query: &RangeQuery, found: &[KeyValue]) -> KeyRange {
    match found.last() {
        _ if query.limit == 0 => KeyRange::new("", ""),
        Some((last, value)) if found.len() == query.limit || is_end(query, value) => {
            match query.direction {
                Direction::Forward => {
                    KeyRange::new(query.range.begin.clone(), KeyRange::single(last).end)
                }
                Direction::Reverse => KeyRange::new(last.clone(), query.range.end.clone()),
            }
        }
        _ => query.range.clone(),
    }
}

impl Model {
    fn newest(&self) -> &(u64, State, Vec<KeyRange>) {
        self.states.last().unwrap()
    }

    /// The state that a read version sees.
    fn at(&self, read_version: u64) -> &State {
        let mut states = self.states.iter().rev();
        &states
            .find(|(version, ..)| *version <= read_version)
            .unwrap()
            .1
    }

    fn conflicts<T>(&self, open: &Open<T>) -> bool {
        self.states
            .iter()
            .filter(|(version, ..)| *version > open.read_version)
            .flat_map(|(_, _, writes)| writes)
            .any(|write| open.reads.iter().any(|read| read.intersects(write)))
    }

    fn commit<T: KvTransaction>(&mut self, open: Open<T>) {
        let expect_conflict = self.conflicts(&open);
        let wrote = open.writes.iter().any(|range| !range.is_empty());
        let result = commit(open.transaction);
        if wrote && expect_conflict {
            assert_eq!(result, Err(KvError::Conflict));
            return;
        }
        let committed = result.expect("nothing conflicts");
        assert_eq!(committed.versionstamp.is_some(), wrote);
        if !wrote {
            assert_eq!(committed.read_version, open.read_version);
            return;
        }
        let stamp = committed.versionstamp.unwrap();
        let mut state = self.newest().1.clone();
        for step in &open.steps {
            match step {
                Step::Write(step) => apply(&mut state, step, None),
                Step::Got(key, value) => assert_eq!(state.get(key), value.as_ref()),
                Step::Ranged(query, found) => assert_eq!(&answer(&state, query), found),
            }
        }
        let mut state = self.newest().1.clone();
        for step in &open.steps {
            if let Step::Write(write) = step {
                apply(&mut state, write, Some(stamp));
            }
        }
        assert!(committed.read_version > self.newest().0);
        self.states
            .push((committed.read_version, state, open.writes));
    }
}

impl<T: KvTransaction> Open<T> {
    fn new(mut transaction: T, model: &Model, may_be_lost: bool) -> Self {
        let read_version = transaction.read_version().unwrap();
        Self {
            transaction,
            read_version,
            view: model.at(read_version).clone(),
            steps: Vec::new(),
            settled: Vec::new(),
            reads: Vec::new(),
            writes: Vec::new(),
            may_be_lost,
        }
    }

    /// Reads a key; false if the store has lost the old state.
    fn get(&mut self, key: &Key, isolation: Isolation) -> bool {
        let settled = self.settled.iter().any(|range| range.contains(key));
        match self.transaction.get(key, isolation) {
            Err(KvError::TooOld) if self.may_be_lost && !settled => return false,
            value => assert_eq!(value.unwrap().as_ref(), self.view.get(key), "{key:?}"),
        }
        if isolation == Isolation::Serializable {
            self.steps
                .push(Step::Got(key.clone(), self.view.get(key).cloned()));
            if !settled {
                self.reads.push(KeyRange::single(key));
            }
        }
        true
    }

    fn range(&mut self, query: &RangeQuery, isolation: Isolation) -> bool {
        let expected = answer(&self.view, query);
        match self.transaction.range(query, isolation) {
            Err(KvError::TooOld) if self.may_be_lost => return false,
            found => assert_eq!(found.unwrap(), expected, "{query:?}"),
        }
        if isolation == Isolation::Serializable {
            self.reads.push(depends_on(query, &expected));
            self.steps.push(Step::Ranged(query.clone(), expected));
        }
        true
    }

    fn write(&mut self, write: &Write) {
        let range = match write {
            Write::Set(key, value) => {
                self.transaction.set(key, value);
                KeyRange::single(key)
            }
            Write::Stamped(prefix, value) => {
                self.transaction.set_versionstamped(prefix, value);
                KeyRange::prefix(prefix)
            }
            Write::Clear(key) => {
                self.transaction.clear(key);
                KeyRange::single(key)
            }
            Write::ClearRange(range) => {
                self.transaction.clear_range(range);
                range.clone()
            }
        };
        apply(&mut self.view, write, None);
        self.steps.push(Step::Write(write.clone()));
        if !matches!(write, Write::Stamped(..)) {
            self.settled.push(range.clone());
        }
        self.writes.push(range);
    }
}

/// Begins a transaction, at an older version if `back` says so.
fn open<K: Kv>(kv: &K, model: &Model, back: Option<usize>) -> Open<K::Transaction> {
    match back {
        None => Open::new(begin(kv), model, false),
        Some(back) => {
            let index = model.states.len().saturating_sub(back + 1);
            Open::new(kv.begin_at(model.states[index].0).unwrap(), model, true)
        }
    }
}

fn run<K: Kv>(kv: &K, ops: &[(usize, Op)]) -> usize {
    let mut cleaner = begin(kv);
    cleaner.clear_range(&KeyRange::prefix(b""));
    let start = commit(cleaner).unwrap().read_version;
    let mut model = Model {
        states: vec![(start, State::new(), Vec::new())],
    };
    let mut slots: [Option<Open<K::Transaction>>; SLOTS] = Default::default();
    let mut commits = 0;
    for (slot, op) in ops {
        let slot = &mut slots[*slot];
        let back = if let Op::BeginAt(back) = op {
            Some(*back)
        } else {
            None
        };
        if slot.is_none() || matches!(op, Op::Begin | Op::BeginAt(_)) {
            *slot = Some(open(kv, &model, back));
        }
        let current = slot.as_mut().unwrap();
        let alive = match op {
            Op::Begin | Op::BeginAt(_) => true,
            Op::Get(key, isolation) => current.get(key, *isolation),
            Op::Range(query, isolation) => current.range(query, *isolation),
            Op::Write(write) => {
                current.write(write);
                true
            }
            Op::AddReadConflict(range) => {
                // Both ways of saying it mean the same.
                if current.reads.len().is_multiple_of(2) {
                    current.transaction.add_read_conflict(range.clone());
                } else {
                    current.transaction.add_read_conflicts(late(range.clone()));
                }
                current.reads.push(range.clone());
                true
            }
            Op::AddWriteConflict(range) => {
                current.transaction.add_write_conflict(range.clone());
                current.writes.push(range.clone());
                true
            }
            Op::Commit => {
                model.commit(slot.take().unwrap());
                commits += 1;
                true
            }
            Op::Drop => false,
        };
        if !alive {
            *slot = None;
        }
    }
    drop(slots);
    let all = scan(&mut begin(kv), KeyRange::prefix(b""));
    assert!(
        all.into_iter().eq(model.newest().1.clone()),
        "the final state"
    );
    commits
}

fn check<K: Kv>(kv: impl Fn() -> K, cases: u32) {
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    let commits = Cell::new(0);
    let result = TestRunner::new(config).run(&vec((0..SLOTS, op()), 1..120), |ops| {
        commits.set(commits.get() + run(&kv(), &ops));
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    assert!(commits.get() > 2000, "{} commits", commits.get());
}

#[test]
fn memory_agrees_with_the_model() {
    check(crate::support::memory, 2000);
}

#[test]
fn sqlite_agrees_with_the_model() {
    let (kv, _directory) = crate::support::sqlite();
    check(|| kv.clone(), 1000);
}

#[test]
fn sqlite_that_flushes_often_agrees_with_the_model() {
    let (kv, _directory) = crate::support::sqlite_with_short_tail();
    check(|| kv.clone(), 1000);
}

fn late(range: KeyRange) -> LateRanges {
    LateRanges {
        most: 1,
        longest: range.begin.len() + range.end.len(),
        ranges: Box::new(move || vec![range]),
    }
}
