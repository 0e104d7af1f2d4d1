//! What a request costs: how often it waits for the key-value store, one time after the other, and
//! how many reads and bytes it sends.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use verso_engine::kv::memory::{MemoryKv, MemoryOptions};
use verso_engine::kv::{
    Committed, Isolation, KeyRange, KeyValue, Kv, KvError, KvTransaction, Limits, RangeQuery,
};
use verso_pagestore::{
    Durability, Lease, LeaseAnswer, LeaseRequest, PageDelta, PageStore, Participant, Since,
    Snapshot,
};

use crate::publishing::{first_request, take_over};
use crate::support::{
    commit, content, create, engine_over, name, newest, page, participant, request,
};

/// What was asked of a store.
#[derive(Default)]
struct Counts {
    /// Times that somebody waited: for reads that are sent together, or for a commit.
    trips: AtomicUsize,
    /// Keys and ranges that were asked for.
    reads: AtomicUsize,
    /// Bytes of keys and values that were set, with stamps.
    bytes: AtomicUsize,
}

/// A store that counts.
#[derive(Clone)]
struct Counted {
    inner: MemoryKv,
    counts: Arc<Counts>,
}

impl Counted {
    fn new() -> Self {
        Self {
            inner: MemoryKv::new(MemoryOptions::default()),
            counts: Arc::default(),
        }
    }

    fn wrap(&self, inner: <MemoryKv as Kv>::Transaction) -> CountedTransaction {
        CountedTransaction {
            inner,
            counts: Arc::clone(&self.counts),
            writes: false,
        }
    }

    /// Trips, reads and bytes of some work.
    fn of<T>(&self, work: impl FnOnce() -> T) -> (T, [usize; 3]) {
        let Counts {
            trips,
            reads,
            bytes,
        } = &*self.counts;
        for count in [trips, reads, bytes] {
            count.store(0, Ordering::Relaxed);
        }
        let done = work();
        (
            done,
            [trips, reads, bytes].map(|it| it.load(Ordering::Relaxed)),
        )
    }
}

impl Kv for Counted {
    type Transaction = CountedTransaction;

    fn limits(&self) -> Limits {
        self.inner.limits()
    }

    fn begin(&self) -> Result<CountedTransaction, KvError> {
        Ok(self.wrap(self.inner.begin()?))
    }

    fn begin_at(&self, read_version: u64) -> Result<CountedTransaction, KvError> {
        Ok(self.wrap(self.inner.begin_at(read_version)?))
    }

    fn is_young(&self, read_version: u64) -> bool {
        self.inner.is_young(read_version)
    }

    fn pause(&self, time: Duration) {
        self.inner.pause(time);
    }

    fn suspend(&self) {
        self.inner.suspend();
    }

    fn resume(&self) {
        self.inner.resume();
    }
}

struct CountedTransaction {
    inner: <MemoryKv as Kv>::Transaction,
    counts: Arc<Counts>,
    /// Whether its commit has anything to send.
    writes: bool,
}

impl CountedTransaction {
    fn read(&self, keys: usize) {
        self.counts.trips.fetch_add(1, Ordering::Relaxed);
        self.counts.reads.fetch_add(keys, Ordering::Relaxed);
    }

    fn wrote(&mut self, bytes: usize) {
        self.writes = true;
        self.counts.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl KvTransaction for CountedTransaction {
    fn read_version(&mut self) -> Result<u64, KvError> {
        self.inner.read_version()
    }

    fn get(&mut self, key: &[u8], isolation: Isolation) -> Result<Option<Vec<u8>>, KvError> {
        self.read(1);
        self.inner.get(key, isolation)
    }

    fn range(
        &mut self,
        query: &RangeQuery,
        isolation: Isolation,
    ) -> Result<Vec<KeyValue>, KvError> {
        self.read(1);
        self.inner.range(query, isolation)
    }

    fn ranges(
        &mut self,
        queries: &[RangeQuery],
        isolation: Isolation,
    ) -> Result<Vec<Vec<KeyValue>>, KvError> {
        self.read(queries.len());
        self.inner.ranges(queries, isolation)
    }

    fn set(&mut self, key: &[u8], value: &[u8]) {
        self.wrote(key.len() + value.len());
        self.inner.set(key, value);
    }

    fn set_versionstamped(&mut self, prefix: &[u8], value: &[u8]) {
        self.wrote(prefix.len() + 10 + value.len());
        self.inner.set_versionstamped(prefix, value);
    }

    fn clear(&mut self, key: &[u8]) {
        self.writes = true;
        self.inner.clear(key);
    }

    fn clear_range(&mut self, range: &KeyRange) {
        self.writes = true;
        self.inner.clear_range(range);
    }

    fn add_read_conflict(&mut self, range: KeyRange) {
        self.inner.add_read_conflict(range);
    }

    fn add_write_conflict(&mut self, range: KeyRange) {
        self.inner.add_write_conflict(range);
    }

    fn commit(self, durability: Durability) -> Result<Committed, KvError> {
        if self.writes {
            self.counts.trips.fetch_add(1, Ordering::Relaxed);
        }
        self.inner.commit(durability)
    }
}

fn since(snapshot: &Snapshot) -> Since {
    Since {
        database: snapshot.database,
        version: snapshot.version,
        commit: snapshot.commit,
    }
}

fn under(lease: Lease, part: Participant) -> Participant {
    Participant {
        lease: Some(lease),
        ..part
    }
}

#[test]
fn a_begin_is_one_read_or_two_where_nothing_is_known() {
    let kv = Counted::new();
    let store = engine_over(kv.clone());
    let created = create(&store, "a", 3);
    let (_, first) = kv.of(|| store.begin(&name("a"), None).expect("it is there"));
    assert_eq!(first, [2, 2, 0]);
    let (begun, [trips, reads, _]) = kv.of(|| {
        store
            .begin(&name("a"), Some(since(&created)))
            .expect("it is there")
    });
    assert_eq!((trips, reads), (1, 1));
    assert_eq!(begun.snapshot.version, created.version);
    // The database has another name now, and its own stands for another one.
    store.rename(&name("a"), &name("b")).expect("it is free");
    let other = create(&store, "a", 2);
    let (begun, [trips, reads, _]) = kv.of(|| {
        store
            .begin(&name("a"), Some(since(&created)))
            .expect("it is there")
    });
    assert_eq!((trips, reads), (3, 3));
    assert_eq!(begun.snapshot.database, other.database);
}

#[test]
fn a_commit_is_one_trip_and_two_under_the_lease() {
    let kv = Counted::new();
    let store = engine_over(kv.clone());
    let snapshot = create(&store, "a", 3);
    let ((), [trips, reads, _]) = kv.of(|| {
        commit(&store, snapshot, &[1], &[(2, 7)], 3).expect("no conflict");
    });
    assert_eq!((trips, reads), (1, 0));
    let lease = take_over(&store, snapshot.database);
    let part = under(lease, participant(newest(&store, "a"), &[1], &[(2, 9)], 3));
    let ((), [trips, reads, _]) = kv.of(|| {
        store.commit(&request(vec![part])).expect("it holds it");
    });
    assert_eq!((trips, reads), (2, 1));
    assert_eq!(content(&store, &newest(&store, "a")), [1, 9, 3]);
}

/// From one commit under the lease to the next there is a look at the lease, which begins the next
/// transaction too, and the commit.
#[test]
fn a_turn_is_three_trips() {
    let kv = Counted::new();
    let store = engine_over(kv.clone());
    let base = create(&store, "a", 3);
    let ask = |asks: &LeaseRequest, known: &Snapshot| {
        let answer = store.lease_and_begin(asks, &name("a"), Some(since(known)));
        answer.expect("an answer")
    };
    let mut asks = first_request(base.database);
    let ((free, begun), [trips, reads, _]) = kv.of(|| ask(&asks, &base));
    // Others may commit until it is taken, so it does not begin: that the database exists is read.
    assert_eq!((trips, reads, begun), (3, 3, None));
    let LeaseAnswer::Granted(mut lease) = free else {
        panic!("it is free: {free:?}");
    };
    let mut known = newest(&store, "a");
    for turn in 0..5 {
        asks = first_request(base.database);
        if let (LeaseAnswer::Waiting { ticket, .. }, _) = ask(&asks, &known) {
            asks.ticket = Some(ticket);
        }
        let (_, [trips, reads, _]) = kv.of(|| ask(&asks, &known));
        assert_eq!((trips, reads), (1, 3), "a look before its turn");
        // Whoever joined the queue after its begin is not seen by the commit.
        known = newest(&store, "a");
        let part = under(lease, participant(known, &[1], &[(2, turn)], 3));
        let (_, [trips, reads, _]) = kv.of(|| {
            let outcome = store.commit(&request(vec![part]));
            outcome.expect("it holds it")
        });
        assert_eq!((trips, reads), (2, 1));
        let ((answer, start), [trips, reads, _]) = kv.of(|| ask(&asks, &known));
        assert_eq!((trips, reads), (1, 3));
        let LeaseAnswer::HandedOver(next) = answer else {
            panic!("it was handed over: {answer:?}");
        };
        lease = next;
        let started = start.expect("it begins").begun.snapshot;
        assert_eq!(started.version, newest(&store, "a").version);
    }
}

/// A page record and a commit record, without the prefix of a store.
#[test]
fn a_small_update_writes_few_bytes() {
    let kv = Counted::new();
    let store = engine_over(kv.clone());
    let snapshot = create(&store, "a", 3);
    let base = store.read(&snapshot, &[page(2)]).expect("it is there");
    let mut new = base[0].page.to_vec();
    new[100..140].copy_from_slice(&[9; 40]);
    let delta = PageDelta::between(page(2), &base[0], &new).expect("it is small");
    let delta_bytes = delta.delta.len();
    let mut part = participant(snapshot, &[2], &[], 3);
    part.change.as_mut().expect("it writes").deltas.push(delta);
    let (_, [.., bytes]) = kv.of(|| store.commit(&request(vec![part])).expect("no conflict"));
    let page_record = (1 + 8 + 1 + 4 + 10) + (2 + 3 + 8) + delta_bytes;
    let commit_record = (1 + 8 + 1 + 10) + (1 + 6 + 16 + 1 + 1 + 2);
    assert_eq!(bytes, page_record + commit_record);
}
