//! Several processes on one store.

use std::process::Child;

use verso_engine::kv::{Isolation, Kv, KvTransaction};
use verso_pagestore::Durability;

use crate::support::{child, get, increment, number, open, playing, put};

const PROCESSES: u64 = 4;
const ROUNDS: u64 = 500;

fn join(children: Vec<Child>) {
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
}

#[test]
fn part_increment() {
    let Some(path) = playing("processes::part_increment") else {
        return;
    };
    let kv = open(&path);
    let own = format!("own/{}", std::process::id()).into_bytes();
    for _ in 0..ROUNDS {
        increment(&kv, &[b"shared", &own], Durability::Off);
    }
    println!("{}", number(get(&kv, &own)));
    assert_eq!(number(get(&kv, &own)), ROUNDS);
}

#[test]
fn counters_are_exact() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    let kv = open(&path);
    let children: Vec<_> = (0..PROCESSES)
        .map(|_| child("processes::part_increment", &path).spawn().unwrap())
        .collect();
    for _ in 0..ROUNDS {
        increment(&kv, &[b"shared", b"own/parent"], Durability::Normal);
    }
    join(children);
    assert_eq!(number(get(&kv, b"shared")), (PROCESSES + 1) * ROUNDS);
    assert_eq!(number(get(&kv, b"own/parent")), ROUNDS);
}

#[test]
fn part_create() {
    let Some(directory) = playing("processes::part_create") else {
        return;
    };
    // All start at the same moment, as near as processes can.
    while !directory.join("go").exists() {
        std::hint::spin_loop();
    }
    for round in 0..20 {
        let kv = open(&directory.join(format!("{round}.db")));
        increment(&kv, &[b"creators"], Durability::Off);
    }
}

#[test]
fn many_processes_may_create_a_store_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let children: Vec<_> = (0..PROCESSES)
        .map(|_| {
            child("processes::part_create", directory.path())
                .spawn()
                .unwrap()
        })
        .collect();
    std::fs::write(directory.path().join("go"), "").unwrap();
    join(children);
    for round in 0..20 {
        let kv = open(&directory.path().join(format!("{round}.db")));
        assert_eq!(number(get(&kv, b"creators")), PROCESSES, "store {round}");
    }
}

#[test]
fn part_overwrite() {
    let Some(path) = playing("processes::part_overwrite") else {
        return;
    };
    let kv = open(&path);
    for round in 0..30_u8 {
        // More pages than SQLite lets the log grow by before it copies them to the file.
        put(&kv, b"a", &vec![round; 6 << 20], Durability::Off).unwrap();
    }
}

#[test]
fn part_look() {
    let Some(path) = playing("processes::part_look") else {
        return;
    };
    assert_eq!(get(&open(&path), b"later"), Some(b"1".to_vec()));
}

/// A second handle in this process, or its closing, must not drop the locks of the first:
/// POSIX drops all locks of a process on a file with the first descriptor that it closes.
/// Another process could then take itself for the last one, and remove the log.
#[test]
fn opening_again_keeps_the_locks_of_this_process() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    let kv = open(&path);
    let old = vec![b'o'; 6 << 20];
    put(&kv, b"a", &old, Durability::Off).unwrap();
    let mut reader = kv.begin().unwrap();
    reader.read_version().unwrap();

    drop(open(&path));
    let play = |part| assert!(child(part, &path).status().unwrap().success());
    play("processes::part_overwrite");
    assert!(reader.get(b"a", Isolation::Serializable).unwrap() == Some(old));
    drop(reader);
    assert_eq!(get(&kv, b"a").unwrap().first(), Some(&29));
    put(&kv, b"later", b"1", Durability::Off).unwrap();
    play("processes::part_look");
}
