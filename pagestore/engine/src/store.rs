//! The engine as a page store: each request goes to the module that serves it.

use verso_pagestore::{
    BeginError, Begun, CatalogueError, CommitError, CommitId, CommitOutcome, CommitRecord,
    CommitRequest, CopyBegun, DatabaseEntry, DatabaseId, DatabaseInfo, DatabaseName, Lease,
    LeaseAnswer, LeaseError, LeaseRequest, LoadError, Moment, MomentError, Origin, PageCount,
    PageNumber, PageSize, PageStore, PageWrite, Place, ReadError, RecordPosition, Since, Snapshot,
    Start, StoreError, VerifyReport, Version, VersionedPage,
};

use crate::Engine;
use crate::kv::Kv;
use crate::lease::Beginning;

impl<K: Kv> PageStore for Engine<K> {
    fn begin(&self, name: &DatabaseName, since: Option<Since>) -> Result<Begun, BeginError> {
        self.begin_snapshot(name, since)
    }

    fn is_newest(&self, snapshot: &Snapshot) -> bool {
        self.is_known_as_newest(snapshot)
    }

    fn read(
        &self,
        snapshot: &Snapshot,
        pages: &[PageNumber],
    ) -> Result<Vec<VersionedPage>, ReadError> {
        self.read_pages(snapshot, pages)
    }

    fn commit(&self, request: &CommitRequest) -> Result<CommitOutcome, CommitError> {
        self.commit_transaction(request)
    }

    fn stage(
        &self,
        commit: CommitId,
        database: DatabaseId,
        pages: &[PageWrite],
    ) -> Result<(), CommitError> {
        self.stage_pages(commit, database, pages)
    }

    fn validate(&self, request: &CommitRequest) -> Result<(), CommitError> {
        self.validate_transaction(request)
    }

    fn lease(&self, request: &LeaseRequest) -> Result<LeaseAnswer, LeaseError> {
        let (answer, _) = self.ask_for_lease(request, None)?;
        Ok(answer)
    }

    fn lease_and_begin(
        &self,
        request: &LeaseRequest,
        name: &DatabaseName,
        since: Option<Since>,
    ) -> Result<(LeaseAnswer, Option<Start>), LeaseError> {
        // Nobody is handed a lease without a place in the queue.
        let since = since.filter(|_| request.ticket.is_some());
        let since = since.filter(|since| since.database == request.database);
        let turn = since.map(|since| Beginning { name, since });
        let (answer, begun) = self.ask_for_lease(request, turn)?;
        // Which ones are wanted is known later, and each is one read then as now.
        let pages = Vec::new();
        Ok((answer, begun.map(|begun| Start { begun, pages })))
    }

    fn renew_lease(&self, lease: &Lease) -> Result<(), LeaseError> {
        self.move_beat(lease)
    }

    fn release_lease(&self, lease: &Lease) -> Result<(), LeaseError> {
        self.give_lease_back(lease)
    }

    fn leave_queue(&self, place: &Place) -> Result<(), LeaseError> {
        self.give_place_up(place)
    }

    fn snapshot_at(&self, name: &DatabaseName, moment: Moment) -> Result<Snapshot, MomentError> {
        self.moment(name, moment)
    }

    fn create(&self, name: &DatabaseName, id: DatabaseId) -> Result<(), CatalogueError> {
        self.create_database(name, id)
    }

    fn name_of(&self, id: DatabaseId) -> Result<Option<DatabaseName>, StoreError> {
        self.database_name(id)
    }

    fn list(
        &self,
        after: Option<&DatabaseName>,
        limit: usize,
    ) -> Result<Vec<DatabaseEntry>, StoreError> {
        self.list_databases(after, limit)
    }

    fn info(&self, name: &DatabaseName) -> Result<DatabaseInfo, CatalogueError> {
        self.database_info(name)
    }

    fn log(
        &self,
        name: &DatabaseName,
        before: Option<Version>,
        limit: usize,
    ) -> Result<Vec<CommitRecord>, CatalogueError> {
        self.commit_log(name, before, limit)
    }

    fn rename(&self, from: &DatabaseName, to: &DatabaseName) -> Result<(), CatalogueError> {
        self.rename_database(from, to)
    }

    fn remove(&self, name: &DatabaseName) -> Result<(), CatalogueError> {
        self.remove_database(name)
    }

    fn verify(
        &self,
        database: DatabaseId,
        after: Option<RecordPosition>,
    ) -> Result<VerifyReport, StoreError> {
        self.verify_records(database, after)
    }

    fn load_begin(&self, name: &DatabaseName, id: DatabaseId) -> Result<(), LoadError> {
        self.begin_load(name, id)
    }

    fn load_copy(
        &self,
        name: &DatabaseName,
        id: DatabaseId,
        origin: Origin,
    ) -> Result<CopyBegun, LoadError> {
        self.begin_copy(name, id, origin)
    }

    fn load_pages(&self, database: DatabaseId, pages: &[PageWrite]) -> Result<(), LoadError> {
        self.store_pages(database, pages)
    }

    fn load_finish(
        &self,
        database: DatabaseId,
        name: &DatabaseName,
        page_size: PageSize,
        page_count: PageCount,
    ) -> Result<Version, LoadError> {
        self.finish_load(database, name, page_size, page_count)
    }

    fn load_abort(&self, database: DatabaseId) -> Result<(), LoadError> {
        self.abort_load(database)
    }

    fn suspend(&self) {
        self.kv.suspend();
    }

    fn resume(&self) {
        self.kv.resume();
    }
}
