//! Injected faults, and how a caller survives them.

use std::thread;

use verso_engine::kv::faulty::{Fault, Faulty};
use verso_engine::kv::{Isolation, KeyRange, Kv, KvError, KvTransaction, RunError, run};
use verso_pagestore::Durability;

use crate::support::{begin, commit, get, scan};

pub(crate) fn scripted_faults_do_what_they_say<K: Kv + Clone>(kv: &K) {
    let faulty = Faulty::new(kv.clone());
    let attempt = |key: &[u8]| {
        let mut writer = begin(&faulty);
        writer.set(key, b"1");
        commit(writer)
    };
    faulty.script([
        Some(Fault::Conflict),
        None,
        Some(Fault::TooOld),
        Some(Fault::Busy),
        Some(Fault::UnknownApplied),
        Some(Fault::UnknownNotApplied),
    ]);
    assert_eq!(attempt(b"conflict"), Err(KvError::Conflict));
    commit(begin(&faulty)).expect("without writes there is no fault");
    assert!(attempt(b"none").is_ok());
    assert_eq!(attempt(b"too old"), Err(KvError::TooOld));
    assert!(matches!(attempt(b"busy"), Err(KvError::Busy(_))));
    assert!(matches!(
        attempt(b"applied"),
        Err(KvError::CommitUnknown(_))
    ));
    assert!(matches!(
        attempt(b"not applied"),
        Err(KvError::CommitUnknown(_))
    ));
    assert!(attempt(b"after the script").is_ok());
    assert_eq!(faulty.injected(), 5);
    let mut there: Vec<_> = scan(&mut begin(kv), KeyRange::prefix(b""))
        .into_iter()
        .map(|(key, _)| key)
        .collect();
    there.sort();
    assert_eq!(there, [&b"after the script"[..], b"applied", b"none"]);
}

/// Adds one to a counter, once per `id` whatever happens.
fn increment<K: Kv>(kv: &K, id: &[u8]) {
    let marker = [b"done/", id].concat();
    run(kv, Durability::Off, |transaction| {
        if transaction.get(&marker, Isolation::Serializable)?.is_some() {
            return Ok(());
        }
        let old = number(transaction.get(b"counter", Isolation::Serializable)?);
        transaction.set(b"counter", &(old + 1).to_be_bytes());
        transaction.set(&marker, b"");
        Ok::<_, RunError<()>>(())
    })
    .unwrap();
}

fn number(value: Option<Vec<u8>>) -> u64 {
    value.map_or(0, |value| u64::from_be_bytes(value.try_into().unwrap()))
}

pub(crate) fn unknown_results_are_found_out_by_looking<K: Kv + Clone>(kv: &K) {
    let faulty = Faulty::new(kv.clone());
    faulty.script([Some(Fault::UnknownApplied)]);
    increment(&faulty, b"1");
    assert_eq!(number(get(kv, b"counter")), 1);
    faulty.script([Some(Fault::UnknownNotApplied), Some(Fault::UnknownApplied)]);
    increment(&faulty, b"2");
    assert_eq!(number(get(kv, b"counter")), 2);
}

pub(crate) fn random_faults_lose_and_repeat_nothing<K: Kv + Clone>(kv: &K) {
    let faulty = Faulty::seeded(kv.clone(), 42, 300);
    thread::scope(|scope| {
        for thread in 0..4_u8 {
            let faulty = &faulty;
            scope.spawn(move || {
                for round in 0..50_u8 {
                    increment(faulty, &[thread, round]);
                }
            });
        }
    });
    assert_eq!(number(get(kv, b"counter")), 200);
    assert!(faulty.injected() > 40, "{} faults", faulty.injected());
}
