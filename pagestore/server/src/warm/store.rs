//! The page store in front of a page store: what is not a begin, a read or a commit goes through.

use verso_pagestore::{
    BeginError, Begun, Bound, CatalogueError, CommitError, CommitId, CommitOutcome, CommitRecord,
    CommitRequest, CopyBegun, DatabaseEntry, DatabaseId, DatabaseInfo, DatabaseName, Lease,
    LeaseAnswer, LeaseError, LeaseRequest, LoadError, Moment, MomentError, Origin, PageCount,
    PageNumber, PageSize, PageStore, PageWrite, Place, ReadError, Recent, RecordPosition, Since,
    Snapshot, Start, StoreError, VerifyReport, Version, VersionedPage,
};

use super::Warm;

impl PageStore for Warm {
    fn begin(&self, name: &DatabaseName, since: Option<Since>) -> Result<Begun, BeginError> {
        self.begin_warm(name, since)
    }

    fn begin_within(
        &self,
        name: &DatabaseName,
        since: Option<Since>,
        bound: Bound,
    ) -> Result<Recent, BeginError> {
        self.store.begin_within(name, since, bound)
    }

    fn is_newest(&self, snapshot: &Snapshot) -> bool {
        self.store.is_newest(snapshot)
    }

    fn read(
        &self,
        snapshot: &Snapshot,
        pages: &[PageNumber],
    ) -> Result<Vec<VersionedPage>, ReadError> {
        self.read_warm(snapshot, pages)
    }

    // The pages of a commit are not kept: a repeated commit is answered by its id alone, so that
    // nobody knows here whether these pages are what the first one wrote.
    fn commit(&self, request: &CommitRequest) -> Result<CommitOutcome, CommitError> {
        self.commit_marked(request)
    }

    fn stage(
        &self,
        commit: CommitId,
        database: DatabaseId,
        pages: &[PageWrite],
    ) -> Result<(), CommitError> {
        self.store.stage(commit, database, pages)
    }

    fn validate(&self, request: &CommitRequest) -> Result<(), CommitError> {
        self.store.validate(request)
    }

    fn lease(&self, request: &LeaseRequest) -> Result<LeaseAnswer, LeaseError> {
        self.store.lease(request)
    }

    fn lease_and_begin(
        &self,
        request: &LeaseRequest,
        name: &DatabaseName,
        since: Option<Since>,
    ) -> Result<(LeaseAnswer, Option<Start>), LeaseError> {
        self.take_turn(request, name, since)
    }

    fn renew_lease(&self, lease: &Lease) -> Result<(), LeaseError> {
        self.store.renew_lease(lease)
    }

    fn release_lease(&self, lease: &Lease) -> Result<(), LeaseError> {
        self.store.release_lease(lease)
    }

    fn leave_queue(&self, place: &Place) -> Result<(), LeaseError> {
        self.store.leave_queue(place)
    }

    fn snapshot_at(&self, name: &DatabaseName, moment: Moment) -> Result<Snapshot, MomentError> {
        self.store.snapshot_at(name, moment)
    }

    fn create(&self, name: &DatabaseName, id: DatabaseId) -> Result<(), CatalogueError> {
        self.store.create(name, id)
    }

    fn name_of(&self, id: DatabaseId) -> Result<Option<DatabaseName>, StoreError> {
        self.store.name_of(id)
    }

    fn list(
        &self,
        after: Option<&DatabaseName>,
        limit: usize,
    ) -> Result<Vec<DatabaseEntry>, StoreError> {
        self.store.list(after, limit)
    }

    fn info(&self, name: &DatabaseName) -> Result<DatabaseInfo, CatalogueError> {
        self.store.info(name)
    }

    fn log(
        &self,
        name: &DatabaseName,
        before: Option<Version>,
        limit: usize,
    ) -> Result<Vec<CommitRecord>, CatalogueError> {
        self.store.log(name, before, limit)
    }

    fn rename(&self, from: &DatabaseName, to: &DatabaseName) -> Result<(), CatalogueError> {
        self.store.rename(from, to)
    }

    fn remove(&self, name: &DatabaseName) -> Result<(), CatalogueError> {
        self.store.remove(name)?;
        self.forget_name(name);
        Ok(())
    }

    fn verify(
        &self,
        database: DatabaseId,
        after: Option<RecordPosition>,
    ) -> Result<VerifyReport, StoreError> {
        self.store.verify(database, after)
    }

    fn load_begin(&self, name: &DatabaseName, id: DatabaseId) -> Result<(), LoadError> {
        self.store.load_begin(name, id)
    }

    fn load_copy(
        &self,
        name: &DatabaseName,
        id: DatabaseId,
        origin: Origin,
    ) -> Result<CopyBegun, LoadError> {
        self.store.load_copy(name, id, origin)
    }

    fn load_pages(&self, database: DatabaseId, pages: &[PageWrite]) -> Result<(), LoadError> {
        self.store.load_pages(database, pages)
    }

    fn load_finish(
        &self,
        database: DatabaseId,
        name: &DatabaseName,
        page_size: PageSize,
        page_count: PageCount,
    ) -> Result<Version, LoadError> {
        self.store
            .load_finish(database, name, page_size, page_count)
    }

    fn load_abort(&self, database: DatabaseId) -> Result<(), LoadError> {
        self.store.load_abort(database)
    }

    fn suspend(&self) {
        self.store.suspend();
    }

    fn resume(&self) {
        self.store.resume();
    }
}
