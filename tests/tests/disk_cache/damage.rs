//! What becomes of the files does not matter to any query.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::reader::{Reader, SUM, Setup};

fn files(folder: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).expect("a folder");
    files.map(|file| file.expect("a file").path()).collect()
}

#[test]
fn damage_is_never_served() {
    let setup = Setup::new();
    let cold = setup.ask(SUM);
    for step in [1009, 4096, 50_021] {
        for file in files(&setup.cache()) {
            let opened = fs::OpenOptions::new().write(true).open(&file).unwrap();
            let length = opened.metadata().unwrap().len();
            for place in (step / 3..length).step_by(usize::try_from(step).unwrap()) {
                opened.write_all_at(&[0xa5, 0x5a], place).unwrap();
            }
        }
        let answer = setup.ask(SUM);
        assert_eq!(answer.value, cold.value);
        assert!(answer.pages_read > 10, "{answer:?}");
        let warm = setup.ask(SUM);
        assert_eq!((warm.value, warm.pages_read), (cold.value, 0), "mended");
    }
}

#[test]
fn files_may_be_removed_and_cut_off_while_they_are_in_use() {
    let setup = Setup::new();
    let expected = setup.ask(SUM).value;
    let mut reader = setup.forgetful_reader();
    for round in 0..20 {
        for (number, file) in files(&setup.cache()).into_iter().enumerate() {
            match (round + number) % 4 {
                0 => fs::remove_file(file).unwrap(),
                1 => {
                    let opened = fs::OpenOptions::new().write(true).open(file).unwrap();
                    opened
                        .set_len(opened.metadata().unwrap().len() / 2)
                        .unwrap();
                }
                2 => {
                    let mut opened = fs::OpenOptions::new().append(true).open(file).unwrap();
                    opened.write_all(b"something else").unwrap();
                }
                _ => {}
            }
        }
        if round % 7 == 6 {
            fs::remove_dir_all(setup.cache()).unwrap();
        }
        assert_eq!(reader.ask(SUM).value, expected, "round {round}");
        assert_eq!(setup.ask(SUM).value, expected, "round {round}");
    }
    let answer = setup.ask(SUM);
    assert_eq!((answer.value, answer.pages_read), (expected, 0));
}

#[test]
fn a_folder_that_cannot_be_made_is_done_without() {
    let setup = Setup::new();
    let cold = setup.ask(SUM);
    fs::remove_dir_all(setup.cache()).unwrap();
    fs::write(setup.cache(), "a file").unwrap();
    for _ in 0..2 {
        let answer = setup.ask(SUM);
        assert_eq!(answer, cold);
    }
    assert_eq!(fs::read(setup.cache()).unwrap(), b"a file");
}

/// A file that may grow no more fails as one on a disk that is full.
#[test]
fn a_disk_that_is_full_is_done_without() {
    let setup = Setup::new();
    let limited = || Reader::with_file_limit(&setup.uri(""), 200_000);
    let cold = limited().ask(SUM);
    assert!(cold.pages_read > 500, "{cold:?}");
    let again = limited().ask(SUM);
    assert_eq!(again.value, cold.value);
    // What there was room for may be there.
    assert!(again.pages_read <= cold.pages_read, "{again:?}");
    let unlimited = setup.ask(SUM);
    assert_eq!(unlimited.value, cold.value);
    assert_eq!(setup.ask(SUM).pages_read, 0);
}

#[test]
fn the_limit_is_kept() {
    let setup = Setup::new();
    setup
        .writer()
        .execute_batch(
            "CREATE TABLE large (id INTEGER PRIMARY KEY, b BLOB);
             WITH RECURSIVE i(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM i LIMIT 300)
                 INSERT INTO large SELECT n, randomblob(100000) FROM i",
        )
        .unwrap();
    let uri = setup.uri("&cache_dir_size=16MiB");
    for _ in 0..2 {
        let mut reader = Reader::start(&uri, &[]);
        let all = reader.ask("SELECT sum(length(b)) FROM large WHERE instr(b, 'x') >= 0");
        assert_eq!(all.value, 30_000_000);
        let lengths = files(&setup.cache()).into_iter();
        let bytes: u64 = lengths.map(|file| file.metadata().unwrap().len()).sum();
        assert!(bytes <= 16 << 20, "{bytes} bytes");
        assert!(bytes > 14 << 20, "{bytes} bytes");
    }
    // The newest pages have stayed.
    let mut reader = Reader::start(&uri, &[]);
    let last = reader.ask("SELECT count(*) FROM large WHERE id > 270 AND instr(b, 'x') >= 0");
    assert_eq!(last.value, 30);
    assert!(last.disk_hits > 500, "{last:?}");
    assert!(last.pages_read < 100, "{last:?}");
}
