//! Many threads on one store.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use verso_engine::kv::{Isolation, KeyRange, Kv, KvTransaction, RunError, run};
use verso_pagestore::Durability;

use crate::support::{begin, commit, get, put, read, scan};

const THREADS: u64 = 8;

fn number(value: Option<Vec<u8>>) -> u64 {
    value.map_or(0, |value| u64::from_be_bytes(value.try_into().unwrap()))
}

pub(crate) fn counters_are_exact<K: Kv>(kv: &K) {
    const ROUNDS: u64 = 60;
    thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let shared = format!("shared/{}", round % 2).into_bytes();
                    let own = format!("own/{thread}").into_bytes();
                    run(kv, Durability::Off, |transaction| {
                        for key in [&shared, &own] {
                            let old = number(transaction.get(key, Isolation::Serializable)?);
                            transaction.set(key, &(old + 1).to_be_bytes());
                        }
                        Ok::<_, RunError<()>>(())
                    })
                    .unwrap();
                }
            });
        }
    });
    for shared in ["shared/0", "shared/1"] {
        assert_eq!(number(get(kv, shared.as_bytes())), THREADS * ROUNDS / 2);
    }
    for thread in 0..THREADS {
        assert_eq!(number(get(kv, format!("own/{thread}").as_bytes())), ROUNDS);
    }
}

/// Money moves between accounts; whoever looks sees the same sum.
pub(crate) fn sums_are_constant_in_every_snapshot<K: Kv>(kv: &K) {
    const ACCOUNTS: u64 = 5;
    for account in 0..ACCOUNTS {
        put(kv, &account.to_be_bytes(), &100_u64.to_be_bytes());
    }
    let sum = |pairs: Vec<(Vec<u8>, Vec<u8>)>| -> u64 {
        pairs
            .into_iter()
            .map(|(_, value)| number(Some(value)))
            .sum()
    };
    let start = Barrier::new(5);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let movers: Vec<_> = (0..4_u64)
            .map(|mover| {
                let start = &start;
                scope.spawn(move || {
                    start.wait();
                    for round in 0..60_u64 {
                        let from = ((mover + round) % ACCOUNTS).to_be_bytes();
                        let to = ((mover * 3 + round * 2 + 1) % ACCOUNTS).to_be_bytes();
                        run(kv, Durability::Off, |transaction| {
                            let source = number(transaction.get(&from, Isolation::Serializable)?);
                            let moved = source.min(7);
                            transaction.set(&from, &(source - moved).to_be_bytes());
                            let target = number(transaction.get(&to, Isolation::Serializable)?);
                            transaction.set(&to, &(target + moved).to_be_bytes());
                            Ok::<_, RunError<()>>(())
                        })
                        .unwrap();
                    }
                })
            })
            .collect();
        let watcher = scope.spawn(|| {
            start.wait();
            while !done.load(Ordering::Relaxed) {
                let mut transaction = begin(kv);
                for _ in 0..2 {
                    let pairs = scan(&mut transaction, KeyRange::prefix(b""));
                    assert_eq!(sum(pairs), ACCOUNTS * 100);
                }
            }
        });
        for mover in movers {
            mover.join().unwrap();
        }
        done.store(true, Ordering::Relaxed);
        watcher.join().unwrap();
    });
    assert_eq!(
        sum(scan(&mut begin(kv), KeyRange::prefix(b""))),
        ACCOUNTS * 100
    );
}

pub(crate) fn suspension_waits_and_holds_back<K: Kv>(kv: &K) {
    put(kv, b"a", b"1");
    let mut under_way = begin(kv);
    assert_eq!(read(&mut under_way, b"a"), Some(b"1".to_vec()));
    let quiet = AtomicBool::new(false);
    let late = AtomicBool::new(false);
    thread::scope(|scope| {
        let suspender = scope.spawn(|| {
            kv.suspend();
            quiet.store(true, Ordering::SeqCst);
        });
        // Long enough that a suspension which does not wait would be over.
        thread::sleep(Duration::from_millis(30));
        assert!(!quiet.load(Ordering::SeqCst), "a transaction is under way");
        under_way.set(b"a", b"2");
        commit(under_way).unwrap();
        suspender.join().unwrap();

        let beginner = scope.spawn(|| {
            let value = get(kv, b"a");
            late.store(true, Ordering::SeqCst);
            value
        });
        thread::sleep(Duration::from_millis(30));
        assert!(!late.load(Ordering::SeqCst), "transactions are held back");
        kv.resume();
        assert_eq!(beginner.join().unwrap(), Some(b"2".to_vec()));
    });
    put(kv, b"a", b"3");
    assert_eq!(get(kv, b"a"), Some(b"3".to_vec()));
}
