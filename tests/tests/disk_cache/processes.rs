//! Several processes at once, and those that are killed.

use std::fs;
use std::time::{Duration, Instant};

use verso_tests::integer;
use verso_tests::random::Random;

use crate::reader::{Reader, SUM, Setup};

#[test]
fn processes_share_a_folder() {
    let setup = Setup::new();
    let mut readers: Vec<_> = (0..3).map(|_| setup.forgetful_reader()).collect();
    let writer = setup.writer();
    for round in 1..40 {
        writer
            .execute("UPDATE t SET n = n + 1 WHERE id % 997 = ?", [round % 997])
            .unwrap();
        let expected = integer(&writer, SUM);
        // All of them read and write at the same time.
        for reader in &mut readers {
            reader.0.tell(SUM);
        }
        for reader in &readers {
            let line = reader.0.line().expect("an answer");
            let value = line.split(' ').next().expect("a number");
            assert_eq!(value, expected.to_string(), "round {round}: {line}");
        }
        if round % 10 == 0 {
            let answer = setup.ask(SUM);
            assert_eq!(answer.value, expected);
            assert!(answer.pages_read < 100, "{answer:?}");
        }
    }
}

/// Those who come and go beside each other leave no more than a few segments.
#[test]
fn processes_that_come_and_go_use_each_others_segments() {
    let setup = Setup::new();
    let writer = setup.writer();
    for round in 0..30 {
        writer
            .execute("UPDATE t SET n = n + 1 WHERE id = ?", [round * 17])
            .unwrap();
        let (mut one, mut two) = (setup.reader(), setup.reader());
        let expected = integer(&writer, SUM);
        assert_eq!(one.ask(SUM).value, expected);
        assert_eq!(two.ask(SUM).value, expected);
    }
    let files = fs::read_dir(setup.cache()).unwrap().count();
    assert!(files <= 4, "{files} files of two processes at a time");
}

#[test]
fn a_process_may_be_killed_while_it_writes() {
    let mut random = Random::new(7);
    let setup = Setup::new();
    let writer = setup.writer();
    for _ in 0..15 {
        writer.execute("UPDATE t SET n = 3 - n", []).unwrap();
        let expected = integer(&writer, SUM);
        let mut reader: Reader = setup.reader();
        reader.0.tell(SUM);
        let pause = Duration::from_micros(random.below(60_000));
        let begin = Instant::now();
        while begin.elapsed() < pause {
            std::thread::yield_now();
        }
        let _ = reader.0.kill();
        assert_eq!(setup.ask(SUM).value, expected);
        assert_eq!(setup.ask(SUM).pages_read, 0);
    }
}
