//! Goal: a cache on disk gives a page only as the store has it, whatever becomes of its files and
//! whoever else uses them, and never takes more room than it may.
//! Method: a made-up database whose pages tell their number and version. A cache that is made
//! anew for a folder stands for another process. Files are cut off, removed and damaged at every
//! position.
#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests panic to fail the test"
)]

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use verso_cache::{DatabaseKey, DiskCache, DiskDatabase};
use verso_pagestore::{
    Begun, Chain, Changes, CommitId, CommitPages, DatabaseId, LeaseStanding, PageCount, PageNumber,
    PageSize, Since, Snapshot, Version, VersionedPage,
};

const PAGE_SIZE: u32 = 512;
const DATABASE: DatabaseId = DatabaseId::new(7);

fn version(number: u64) -> Version {
    Version::from_commit(number, 0)
}

fn commit(at: u64) -> CommitId {
    CommitId::from_bytes([u8::try_from(at % 251).unwrap(); 16])
}

fn snapshot(at: u64) -> Snapshot {
    Snapshot {
        database: DATABASE,
        version: version(at),
        commit: commit(at),
        read_version: at,
        lease: LeaseStanding::Free,
        mark: None,
        page_size: Some(PageSize::new(PAGE_SIZE).unwrap()),
        page_count: PageCount::new(1_000_000),
    }
}

fn since(at: u64) -> Since {
    Since {
        database: DATABASE,
        version: version(at),
        commit: commit(at),
    }
}

fn page(number: u32) -> PageNumber {
    PageNumber::new(number).unwrap()
}

/// A page at a version. Each commit writes the page of its own number, and no other does.
fn content(number: u32, at: u64) -> VersionedPage {
    let from = if u64::from(number) <= at { number } else { 0 };
    let mut bytes = vec![0x5a; PAGE_SIZE as usize];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    bytes[4..8].copy_from_slice(&from.to_be_bytes());
    VersionedPage {
        version: version(from.into()),
        page: bytes.into(),
        chain: Chain::new(1, 99),
    }
}

/// A store that is at a version.
struct Store {
    newest: u64,
    /// How often it was asked.
    begins: u64,
}

impl Store {
    fn at(newest: u64) -> Self {
        Self { newest, begins: 0 }
    }

    fn begin(&mut self, since: Option<Since>) -> Begun {
        self.begins += 1;
        let snapshot = snapshot(self.newest);
        let changes = since.map_or(Changes::Unknown, |since| {
            let first = since.version.commit_version() + 1;
            let commits = (first..=self.newest).map(|at| CommitPages {
                version: version(at),
                commit: commit(at),
                pages: [u32::try_from(at).unwrap()].into_iter().collect(),
            });
            Changes::Commits(commits.collect())
        });
        Begun { snapshot, changes }
    }

    /// Begins, and answers all questions.
    fn teach(&mut self, database: &DiskDatabase, known: Option<Since>) {
        database.learn(known, &self.begin(known));
        while let Some(question) = database.question() {
            database.learn(Some(question), &self.begin(Some(question)));
        }
    }
}

fn key() -> DatabaseKey {
    DatabaseKey {
        store: "http://127.0.0.1:4801".to_owned(),
        database: DATABASE,
    }
}

/// A cache as a new process has it.
fn cache(folder: &Path) -> DiskCache {
    DiskCache::new(folder.to_owned(), DiskCache::LEAST_BYTES)
}

fn put(database: &DiskDatabase, at: u64, numbers: impl IntoIterator<Item = u32>) {
    let pages = numbers.into_iter().map(|it| (page(it), content(it, at)));
    database.put(&snapshot(at), pages.collect());
}

/// The pages that are there, each of which must be what the store has.
fn got(database: &DiskDatabase, at: u64, numbers: impl IntoIterator<Item = u32>) -> Vec<u32> {
    let is_there = |number: &u32| {
        let found = database.get(&snapshot(at), page(*number));
        if let Some(found) = &found {
            assert_eq!(found, &content(*number, at), "page {number} at {at}");
        }
        found.is_some()
    };
    numbers.into_iter().filter(is_there).collect()
}

/// What a new process gets.
fn found(folder: &Path, store: &mut Store, numbers: impl IntoIterator<Item = u32>) -> Vec<u32> {
    let database = cache(folder).database(&key());
    store.teach(&database, None);
    got(&database, store.newest, numbers)
}

const ALL: [u32; 11] = [2, 100, 101, 102, 103, 104, 105, 106, 107, 108, 109];

/// Pages 100 to 109 at state 1, and page 2, which state 2 wrote, at state 3.
fn fill(folder: &Path) {
    let database = cache(folder).database(&key());
    Store::at(1).teach(&database, None);
    put(&database, 1, 100..110);
    Store::at(3).teach(&database, Some(since(1)));
    put(&database, 3, [2]);
}

fn filled() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path());
    folder
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).unwrap();
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.retain(|path| path.extension() == Some(extension.as_ref()));
    files.sort();
    files
}

fn only(folder: &Path, extension: &str) -> PathBuf {
    let [file] = <[_; 1]>::try_from(files(folder, extension)).expect("one file");
    file
}

fn bytes(folder: &Path) -> u64 {
    let files = fs::read_dir(folder).unwrap();
    let lengths = files.map(|file| file.unwrap().metadata().unwrap().len());
    lengths.sum()
}

fn overwrite(file: &Path, position: usize, bytes: &[u8]) {
    let file = fs::OpenOptions::new().write(true).open(file).unwrap();
    file.write_all_at(bytes, position as u64).unwrap();
}

fn cut(file: &Path, length: usize) {
    let file = fs::OpenOptions::new().write(true).open(file).unwrap();
    file.set_len(length as u64).unwrap();
}

#[test]
fn the_next_process_has_what_did_not_change() {
    let folder = filled();
    let mut store = Store::at(3);
    assert_eq!(found(folder.path(), &mut store, ALL), ALL);
    assert_eq!(store.begins, 1, "the newest state is one that is known");
    let mut store = Store::at(104);
    let expected = [2, 105, 106, 107, 108, 109];
    assert_eq!(found(folder.path(), &mut store, ALL), expected);
    assert_eq!(store.begins, 2);
}

#[test]
fn what_is_known_of_one_store_is_not_of_another() {
    let folder = filled();
    let cache = cache(folder.path());
    for key in [
        DatabaseKey {
            store: "http://127.0.0.1:4802".to_owned(),
            ..key()
        },
        DatabaseKey {
            database: DatabaseId::new(8),
            ..key()
        },
    ] {
        let database = cache.database(&key);
        Store::at(3).teach(&database, None);
        assert!(got(&database, 3, ALL).is_empty());
    }
}

#[test]
fn snapshots_of_other_pasts_and_sizes_get_nothing() {
    let folder = filled();
    let database = cache(folder.path()).database(&key());
    Store::at(3).teach(&database, None);
    let three = snapshot(3);
    let mut strange = [three; 4];
    strange[0].commit = commit(9);
    strange[1].version = version(4);
    strange[2].database = DatabaseId::new(8);
    strange[3].page_size = Some(PageSize::new(1024).unwrap());
    for strange in strange {
        assert_eq!(database.get(&strange, page(2)), None, "{strange:?}");
    }
}

#[test]
fn processes_that_go_on_with_each_others_pages_ask_once() {
    let folder = filled();
    for at in 4..20 {
        let mut store = Store::at(at);
        let database = cache(folder.path()).database(&key());
        store.teach(&database, None);
        assert_eq!(got(&database, at, ALL), ALL);
        put(&database, at, [u32::try_from(at).unwrap()]);
        assert!(store.begins <= 2, "{} begins", store.begins);
    }
    let segments = files(folder.path(), "index").len();
    assert_eq!(segments, 1, "one process after the other");
    let all = found(folder.path(), &mut Store::at(19), 4..20);
    assert_eq!(all.len(), 16);
}

#[test]
fn two_at_once_have_segments_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let caches = [cache(folder.path()), cache(folder.path())];
    for (cache, number) in caches.iter().zip([200, 300]) {
        let database = cache.database(&key());
        Store::at(number.into()).teach(&database, None);
        put(&database, number.into(), number..number + 10);
    }
    assert_eq!(files(folder.path(), "index").len(), 2);
    let mut store = Store::at(300);
    let all = found(folder.path(), &mut store, 200..400);
    assert_eq!(all, (200..201).chain(300..310).collect::<Vec<_>>());
    assert!(store.begins <= 3, "{} begins", store.begins);
}

#[test]
fn damage_at_any_position_is_noticed() {
    let folder = filled();
    for extension in ["index", "pages"] {
        let file = only(folder.path(), extension);
        let whole = fs::read(&file).unwrap();
        for (position, byte) in whole.iter().enumerate() {
            overwrite(&file, position, &[byte ^ 1 << (position % 8)]);
            // `found` looks at what it gets.
            let left = found(folder.path(), &mut Store::at(3), ALL);
            assert!(left.len() < ALL.len(), "{extension} {position}");
            if extension == "pages" {
                assert_eq!(left.len(), ALL.len() - 1, "the others are whole");
            }
            overwrite(&file, position, &[*byte]);
        }
    }
    assert_eq!(found(folder.path(), &mut Store::at(3), ALL), ALL);
}

#[test]
fn what_is_cut_off_is_missing_and_written_again() {
    for extension in ["index", "pages"] {
        let folder = filled();
        let file = only(folder.path(), extension);
        let whole = fs::read(&file).unwrap();
        for length in (0..whole.len()).rev() {
            cut(&file, length);
            let left = found(folder.path(), &mut Store::at(3), ALL);
            assert!(left.len() < ALL.len(), "{extension} of {length} bytes");
        }
        for length in (0..whole.len()).step_by(whole.len() / 20) {
            overwrite(&file, 0, &whole);
            cut(&file, length);
            let database = cache(folder.path()).database(&key());
            Store::at(3).teach(&database, None);
            let left = got(&database, 3, ALL);
            put(&database, 3, ALL);
            assert_eq!(got(&database, 3, ALL), ALL, "{left:?} were left");
            drop(database);
            let left = found(folder.path(), &mut Store::at(3), ALL);
            assert_eq!(left, ALL, "{extension} of {length} bytes");
        }
    }
}

#[test]
fn pages_of_another_segment_are_not_taken_for_its_own() {
    let (one, two) = (filled(), tempfile::tempdir().unwrap());
    let database = cache(two.path()).database(&key());
    Store::at(3).teach(&database, None);
    put(&database, 3, (100..111).rev());
    let pages = only(two.path(), "pages");
    fs::copy(pages, only(one.path(), "pages")).unwrap();
    // It looks at what it gets.
    found(one.path(), &mut Store::at(3), ALL);
}

#[test]
fn foreign_files_are_left_alone() {
    let folder = filled();
    let foreign = ["verso-x", "a.index", "verso-1.pages.bak", "notes"];
    for name in foreign {
        fs::write(folder.path().join(name), vec![0xff; 100]).unwrap();
    }
    fs::create_dir(folder.path().join("verso-folder.index")).unwrap();
    fs::write(folder.path().join("verso-ff.index"), "VersoPC\x01 no").unwrap();
    fs::write(folder.path().join("verso-00.pages"), vec![7; 9000]).unwrap();
    assert_eq!(found(folder.path(), &mut Store::at(3), ALL), ALL);
    let database = cache(folder.path()).database(&key());
    Store::at(3).teach(&database, None);
    put(&database, 3, 1000..60_000);
    assert!(foreign.iter().all(|name| folder.path().join(name).exists()));
}

#[test]
fn whoever_has_it_open_bears_its_removal() {
    let folder = filled();
    let database = cache(folder.path()).database(&key());
    Store::at(3).teach(&database, None);
    put(&database, 3, 200..210);
    fs::remove_dir_all(folder.path()).unwrap();
    // What is open may still be there, or not.
    got(&database, 3, ALL);
    put(&database, 3, 300..310);
    assert_eq!(got(&database, 3, 300..310).len(), 10);
    let next = |numbers| found(folder.path(), &mut Store::at(3), numbers).len();
    assert_eq!(next(300..310), 10);
    fs::remove_file(only(folder.path(), "pages")).unwrap();
    put(&database, 3, 400..410);
    assert_eq!(next(400..410), 10);
    for file in files(folder.path(), "pages") {
        fs::write(file, "").unwrap();
    }
    assert!(got(&database, 3, 400..410).is_empty());
    put(&database, 3, 400..410);
    assert_eq!(got(&database, 3, 400..410).len(), 10);
}

#[test]
fn it_keeps_to_its_limit_and_to_the_newest() {
    let folder = tempfile::tempdir().unwrap();
    let caches = [cache(folder.path()), cache(folder.path())];
    let databases = caches.each_ref().map(|cache| cache.database(&key()));
    for database in &databases {
        Store::at(3).teach(database, None);
    }
    let mut most = 0;
    for round in 0..100 {
        for (half, database) in [0, 500].iter().zip(&databases) {
            let first = 10_000 + round * 1000 + half;
            put(database, 3, first..first + 500);
            let last = got(database, 3, first + 400..first + 500);
            assert_eq!(last.len(), 100);
            most = most.max(bytes(folder.path()));
        }
    }
    assert!(most <= DiskCache::LEAST_BYTES, "{most} bytes");
    assert!(most > DiskCache::LEAST_BYTES * 9 / 10, "{most} bytes");
    // Of each cache, two that it appends to, and those that it reads.
    let open = open_files(folder.path());
    assert!(open <= 2 * (2 + 64 + 1), "{open} open files");
    let next = |numbers| found(folder.path(), &mut Store::at(3), numbers).len();
    assert_eq!(next(100_000..110_000), 10_000);
    assert_eq!(next(10_000..20_000), 0);
}

/// How many files of a folder this process has open, removed ones too.
fn open_files(folder: &Path) -> usize {
    let Ok(files) = fs::read_dir("/proc/self/fd") else {
        return 0;
    };
    let targets = files.filter_map(|file| fs::read_link(file.unwrap().path()).ok());
    targets.filter(|target| target.starts_with(folder)).count()
}

#[test]
fn more_writers_than_segments_do_without() {
    let folder = tempfile::tempdir().unwrap();
    let caches: Vec<_> = (0..70).map(|_| cache(folder.path())).collect();
    let mut writers = 0;
    for (number, cache) in (1000..).step_by(10).zip(&caches) {
        let database = cache.database(&key());
        Store::at(3).teach(&database, None);
        put(&database, 3, number..number + 10);
        writers += got(&database, 3, number..number + 10).len() / 10;
    }
    assert_eq!(writers, 64);
    assert_eq!(files(folder.path(), "index").len(), 64);
    let all = found(folder.path(), &mut Store::at(3), 1000..2000);
    assert_eq!(all.len(), 640);
    drop(caches);
    let database = cache(folder.path()).database(&key());
    Store::at(3).teach(&database, None);
    put(&database, 3, [5000]);
    assert_eq!(got(&database, 3, [5000]), [5000], "there is room again");
    assert_eq!(files(folder.path(), "index").len(), 64);
}

#[test]
fn a_folder_that_cannot_be_used_is_as_good_as_none() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "a file").unwrap();
    for path in [file.clone(), file.join("below")] {
        let database = cache(&path).database(&key());
        Store::at(3).teach(&database, None);
        put(&database, 3, ALL);
        assert!(got(&database, 3, ALL).is_empty());
    }
    assert_eq!(fs::read(&file).unwrap(), b"a file");
}

#[test]
fn many_threads_share_a_database() {
    let folder = tempfile::tempdir().unwrap();
    let cache = cache(folder.path());
    let database = cache.database(&key());
    Store::at(1).teach(&database, None);
    std::thread::scope(|scope| {
        for thread in 0..4_u32 {
            let database = &database;
            scope.spawn(move || {
                let mut known = since(1);
                for at in 2..200 {
                    Store::at(at).teach(database, Some(known));
                    known = since(at);
                    // Those that the next commits write, and others.
                    let near = u32::try_from(at).unwrap();
                    put(database, at, near.saturating_sub(3).max(1)..near + 3);
                    put(database, at, [1000 + thread * 1000 + near]);
                    got(database, at, near.saturating_sub(9).max(1)..near + 9);
                }
            });
        }
    });
    let numbers = (1..200).chain(1000..5000);
    let all = found(folder.path(), &mut Store::at(199), numbers);
    assert!(all.len() > 700, "{} pages", all.len());
}
