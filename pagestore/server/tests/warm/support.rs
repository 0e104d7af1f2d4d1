//! What the tests share: a store that counts what it is asked and can be put back, and
//! transactions of few words.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use tempfile::TempDir;
use verso_pagestore::{
    BeginError, Begun, CatalogueError, Change, CommitError, CommitId, CommitOutcome, CommitRecord,
    CommitRequest, CopyBegun, DatabaseEntry, DatabaseId, DatabaseInfo, DatabaseName, Durability,
    Lease, LeaseAnswer, LeaseError, LeaseRequest, LoadError, Moment, MomentError, Origin,
    PageCount, PageNumber, PageSize, PageStore, PageWrite, Participant, Place, ReadError,
    RecordPosition, RoaringBitmap, Since, Snapshot, Start, StoreError, StoreUrl, VerifyReport,
    Version, VersionedPage,
};
use verso_server::Warm;

pub(crate) const HOUR: Duration = Duration::from_hours(1);

/// An embedded store, seen by the cache: what it asks is counted.
pub(crate) struct Counted {
    store: RwLock<Arc<dyn PageStore>>,
    pub(crate) begins: AtomicUsize,
    pub(crate) pages: AtomicUsize,
    has_marks: AtomicBool,
}

/// A store with a cache in front of it.
pub(crate) struct World {
    folder: TempDir,
    pub(crate) counted: Arc<Counted>,
    pub(crate) warm: Warm,
}

impl World {
    pub(crate) fn new(bytes: u64, confirming_after: Duration) -> Self {
        let folder = TempDir::new().expect("a folder");
        let counted = Arc::new(Counted {
            store: RwLock::new(open(&folder.path().join("store.db"))),
            begins: AtomicUsize::new(0),
            pages: AtomicUsize::new(0),
            has_marks: AtomicBool::new(false),
        });
        let behind: Arc<dyn PageStore> = counted.clone();
        let warm = Warm::new(behind, bytes).confirming_after(confirming_after);
        Self {
            folder,
            counted,
            warm,
        }
    }

    /// Lets the cache use the marks of the store, which must not be put back then: a node does not
    /// outlive that.
    pub(crate) fn with_marks(self) -> Self {
        self.counted.has_marks.store(true, Ordering::Relaxed);
        self
    }

    /// The store itself, as other clients have it.
    pub(crate) fn store(&self) -> Arc<dyn PageStore> {
        Arc::clone(&self.counted.store.read())
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    /// Copies the whole store.
    pub(crate) fn save(&self, copy: &str) {
        let store = self.store();
        store.suspend();
        fs::copy(self.path("store.db"), self.path(copy)).expect("room for a copy");
        store.resume();
    }

    /// Puts the store back to a copy.
    pub(crate) fn put_back(&self, copy: &str) {
        let mut store = self.counted.store.write();
        store.suspend();
        fs::copy(self.path(copy), self.path("store.db")).expect("the copy is there");
        *store = open(&self.path("store.db"));
    }

    /// Begins through the cache, and compares with the store.
    pub(crate) fn begin(&self, name: &str, since: Option<Since>) -> Result<Begun, BeginError> {
        let begun = self.warm.begin(&self::name(name), since);
        assert_eq!(begun, self.store().begin(&self::name(name), since));
        begun
    }

    /// The newest state, learnt through the cache.
    pub(crate) fn newest(&self, name: &str) -> Snapshot {
        self.begin(name, None).expect("it exists").snapshot
    }

    /// Reads through the cache, and compares with the store.
    pub(crate) fn read(
        &self,
        snapshot: &Snapshot,
        pages: &[u32],
    ) -> Result<Vec<VersionedPage>, ReadError> {
        let pages: Vec<_> = pages.iter().copied().map(page).collect();
        let read = self.warm.read(snapshot, &pages);
        assert_eq!(read, self.store().read(snapshot, &pages), "{snapshot:?}");
        read
    }

    /// How many begins and pages the store was asked for by something.
    pub(crate) fn asked(&self, something: impl FnOnce()) -> (usize, usize) {
        let count = || {
            let begins = self.counted.begins.load(Ordering::Relaxed);
            (begins, self.counted.pages.load(Ordering::Relaxed))
        };
        let before = count();
        something();
        let after = count();
        (after.0 - before.0, after.1 - before.1)
    }
}

fn open(path: &std::path::Path) -> Arc<dyn PageStore> {
    let url = StoreUrl::parse(&format!("sqlite:{}", path.display())).expect("a URL");
    verso_engine::open(&url).expect("a store")
}

pub(crate) fn name(text: &str) -> DatabaseName {
    DatabaseName::new(text).expect("a name")
}

pub(crate) fn page(number: u32) -> PageNumber {
    PageNumber::new(number).expect("pages count from 1")
}

pub(crate) fn since(snapshot: &Snapshot) -> Since {
    Since {
        database: snapshot.database,
        version: snapshot.version,
        commit: snapshot.commit,
    }
}

pub(crate) fn create(store: &dyn PageStore, name: &str) {
    let id = DatabaseId::random().expect("random numbers");
    store.create(&self::name(name), id).expect("it is free");
}

/// Commits pages that are filled with one byte to the newest state of a database.
pub(crate) fn commit(
    store: &dyn PageStore,
    name: &str,
    writes: &[(u32, u8)],
    size: u32,
    count: u32,
) -> CommitOutcome {
    let snapshot = store
        .begin(&self::name(name), None)
        .expect("it exists")
        .snapshot;
    try_commit(store, snapshot, writes, size, count).expect("no conflict")
}

pub(crate) fn try_commit(
    store: &dyn PageStore,
    snapshot: Snapshot,
    writes: &[(u32, u8)],
    size: u32,
    count: u32,
) -> Result<CommitOutcome, CommitError> {
    let page_size = PageSize::new(size).expect("a page size");
    let write = |&(number, byte): &(u32, u8)| PageWrite {
        number: page(number),
        page: vec![byte; page_size.length()].into(),
    };
    let change = Change {
        deltas: Vec::new(),
        writes: writes.iter().map(write).collect(),
        staged: RoaringBitmap::new(),
        page_size,
        page_count: PageCount::new(count),
    };
    store.commit(&CommitRequest {
        id: CommitId::random().expect("random numbers"),
        durability: Durability::Off,
        participants: vec![Participant {
            snapshot,
            reads: RoaringBitmap::new(),
            lease: None,
            change: Some(change),
        }],
    })
}

/// A database of so many pages, each filled with its number.
pub(crate) fn filled(store: &dyn PageStore, name: &str, count: u8) {
    create(store, name);
    let writes: Vec<_> = (1..=count).map(|page| (u32::from(page), page)).collect();
    commit(store, name, &writes, 512, u32::from(count));
}

impl Counted {
    fn store(&self) -> Arc<dyn PageStore> {
        Arc::clone(&self.store.read())
    }
}

const NOT_ASKED: &str = "no test asks for it";

impl PageStore for Counted {
    fn begin(&self, name: &DatabaseName, since: Option<Since>) -> Result<Begun, BeginError> {
        self.begins.fetch_add(1, Ordering::Relaxed);
        self.store().begin(name, since)
    }

    fn is_newest(&self, snapshot: &Snapshot) -> bool {
        self.has_marks.load(Ordering::Relaxed) && self.store().is_newest(snapshot)
    }

    fn read(
        &self,
        snapshot: &Snapshot,
        pages: &[PageNumber],
    ) -> Result<Vec<VersionedPage>, ReadError> {
        self.pages.fetch_add(pages.len(), Ordering::Relaxed);
        self.store().read(snapshot, pages)
    }

    fn commit(&self, request: &CommitRequest) -> Result<CommitOutcome, CommitError> {
        self.store().commit(request)
    }

    fn stage(&self, _: CommitId, _: DatabaseId, _: &[PageWrite]) -> Result<(), CommitError> {
        unreachable!("{NOT_ASKED}")
    }

    fn validate(&self, _: &CommitRequest) -> Result<(), CommitError> {
        unreachable!("{NOT_ASKED}")
    }

    fn lease(&self, request: &LeaseRequest) -> Result<LeaseAnswer, LeaseError> {
        self.store().lease(request)
    }

    fn lease_and_begin(
        &self,
        request: &LeaseRequest,
        name: &DatabaseName,
        since: Option<Since>,
    ) -> Result<(LeaseAnswer, Option<Start>), LeaseError> {
        self.store().lease_and_begin(request, name, since)
    }

    fn renew_lease(&self, _: &Lease) -> Result<(), LeaseError> {
        unreachable!("{NOT_ASKED}")
    }

    fn release_lease(&self, _: &Lease) -> Result<(), LeaseError> {
        unreachable!("{NOT_ASKED}")
    }

    fn leave_queue(&self, _: &Place) -> Result<(), LeaseError> {
        unreachable!("{NOT_ASKED}")
    }

    fn snapshot_at(&self, name: &DatabaseName, moment: Moment) -> Result<Snapshot, MomentError> {
        self.store().snapshot_at(name, moment)
    }

    fn create(&self, name: &DatabaseName, id: DatabaseId) -> Result<(), CatalogueError> {
        self.store().create(name, id)
    }

    fn name_of(&self, _: DatabaseId) -> Result<Option<DatabaseName>, StoreError> {
        unreachable!("{NOT_ASKED}")
    }

    fn list(&self, _: Option<&DatabaseName>, _: usize) -> Result<Vec<DatabaseEntry>, StoreError> {
        unreachable!("{NOT_ASKED}")
    }

    fn info(&self, _: &DatabaseName) -> Result<DatabaseInfo, CatalogueError> {
        unreachable!("{NOT_ASKED}")
    }

    fn log(
        &self,
        _: &DatabaseName,
        _: Option<Version>,
        _: usize,
    ) -> Result<Vec<CommitRecord>, CatalogueError> {
        unreachable!("{NOT_ASKED}")
    }

    fn rename(&self, from: &DatabaseName, to: &DatabaseName) -> Result<(), CatalogueError> {
        self.store().rename(from, to)
    }

    fn remove(&self, name: &DatabaseName) -> Result<(), CatalogueError> {
        self.store().remove(name)
    }

    fn verify(&self, _: DatabaseId, _: Option<RecordPosition>) -> Result<VerifyReport, StoreError> {
        unreachable!("{NOT_ASKED}")
    }

    fn load_begin(&self, _: &DatabaseName, _: DatabaseId) -> Result<(), LoadError> {
        unreachable!("{NOT_ASKED}")
    }

    fn load_copy(
        &self,
        _: &DatabaseName,
        _: DatabaseId,
        _: Origin,
    ) -> Result<CopyBegun, LoadError> {
        unreachable!("{NOT_ASKED}")
    }

    fn load_pages(&self, _: DatabaseId, _: &[PageWrite]) -> Result<(), LoadError> {
        unreachable!("{NOT_ASKED}")
    }

    fn load_finish(
        &self,
        _: DatabaseId,
        _: &DatabaseName,
        _: PageSize,
        _: PageCount,
    ) -> Result<Version, LoadError> {
        unreachable!("{NOT_ASKED}")
    }

    fn load_abort(&self, _: DatabaseId) -> Result<(), LoadError> {
        unreachable!("{NOT_ASKED}")
    }

    fn suspend(&self) {
        self.store().suspend();
    }

    fn resume(&self) {
        self.store().resume();
    }
}
