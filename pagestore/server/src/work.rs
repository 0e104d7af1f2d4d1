//! Work on the store, which blocks: on threads of its own, and only so much at once. What is in memory
//! is answered without that.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use metrics::{
    Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;
use verso_pagestore::grpc::ServiceError;
use verso_pagestore::{Begun, DatabaseName, PageNumber, PageStore, Since, Snapshot, VersionedPage};

use crate::{Limits, Warm};

/// Requests that wait to be worked on: a gauge.
const WAITING: &str = "verso_work_waiting_requests";

/// Requests that are worked on: a gauge.
const RUNNING: &str = "verso_work_running_requests";

/// For how long requests waited, in seconds: a histogram.
const WAIT: &str = "verso_work_wait_seconds";

/// Requests that were refused because too many waited: a counter.
const REFUSED: &str = "verso_work_refused_requests_total";

/// The store, and how much of it may be asked at once.
#[derive(Clone)]
pub(crate) struct Work {
    store: Arc<dyn PageStore>,
    /// The same store, if it remembers.
    warm: Option<Arc<Warm>>,
    running: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
    most_waiting: usize,
}

/// A place among those who wait.
struct Waiting(Arc<AtomicUsize>);

impl Waiting {
    /// Takes a place. Says how many there were before.
    fn join(count: &Arc<AtomicUsize>) -> (Self, usize) {
        gauge!(WAITING).increment(1);
        let before = count.fetch_add(1, Ordering::Relaxed);
        (Self(Arc::clone(count)), before)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
        gauge!(WAITING).decrement(1);
    }
}

/// A request that is worked on.
struct Running {
    _permit: OwnedSemaphorePermit,
}

impl Running {
    fn new(permit: OwnedSemaphorePermit) -> Self {
        gauge!(RUNNING).increment(1);
        Self { _permit: permit }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        gauge!(RUNNING).decrement(1);
    }
}

impl Work {
    /// The store behind a cache, if the limits allow one.
    pub(crate) fn new(store: Arc<dyn PageStore>, limits: &Limits) -> Self {
        let warm = match limits.cache_bytes {
            0 => None,
            bytes => Some(Arc::new(Warm::new(Arc::clone(&store), bytes))),
        };
        Self {
            store: warm.clone().map_or(store, |warm| warm),
            warm,
            running: Arc::new(Semaphore::new(limits.running)),
            waiting: Arc::default(),
            most_waiting: limits.waiting,
        }
    }

    /// The newest state of a database. What is known is answered at once, however much there is to
    /// do: it costs less than waiting would.
    pub(crate) async fn begin(
        &self,
        name: DatabaseName,
        since: Option<Since>,
    ) -> Result<Begun, Status> {
        let warm = self.warm.as_ref();
        match warm.and_then(|warm| warm.begin_at_once(&name, since)) {
            Some(begun) => Ok(begun),
            None => self.ask(move |store| store.begin(&name, since)).await,
        }
    }

    /// Pages at a snapshot. Those that are in memory are answered at once.
    pub(crate) async fn read(
        &self,
        snapshot: Snapshot,
        pages: Vec<PageNumber>,
    ) -> Result<Vec<VersionedPage>, Status> {
        let warm = self.warm.as_ref();
        match warm.and_then(|warm| warm.read_at_once(&snapshot, &pages)) {
            Some(read) => Ok(read),
            None => self.ask(move |store| store.read(&snapshot, &pages)).await,
        }
    }

    /// Asks the store, once there is room. What was begun goes on to its end, also when the
    /// client has gone.
    pub(crate) async fn ask<T, E>(
        &self,
        request: impl FnOnce(&dyn PageStore) -> Result<T, E> + Send + 'static,
    ) -> Result<T, Status>
    where
        T: Send + 'static,
        E: Into<ServiceError> + Send + 'static,
    {
        let place = self.take_place()?;
        let began = Instant::now();
        let running = Arc::clone(&self.running).acquire_owned().await;
        let running = running.map_err(|_| Status::unavailable("the node is shutting down"))?;
        let running = Running::new(running);
        drop(place);
        histogram!(WAIT).record(began.elapsed().as_secs_f64());
        let store = Arc::clone(&self.store);
        let answer = tokio::task::spawn_blocking(move || {
            let answer = request(&*store);
            drop(running);
            answer
        });
        match answer.await {
            Ok(answer) => answer.map_err(|error| error.into().into()),
            Err(error) => {
                tracing::error!(%error, "a request failed inside the node");
                Err(Status::internal("the request failed inside the node"))
            }
        }
    }

    fn take_place(&self) -> Result<Waiting, Status> {
        let (place, before) = Waiting::join(&self.waiting);
        if before >= self.most_waiting {
            counter!(REFUSED).increment(1);
            return Err(Status::resource_exhausted(format!(
                "the node has {before} requests waiting and takes no more: ask another one, or later"
            )));
        }
        Ok(place)
    }
}

pub(crate) fn describe() {
    describe_gauge!(WAITING, "Requests that wait to be worked on");
    describe_gauge!(RUNNING, "Requests that are worked on");
    describe_histogram!(WAIT, Unit::Seconds, "For how long requests waited");
    describe_counter!(
        REFUSED,
        "Requests that were refused because too many waited"
    );
    gauge!(WAITING).set(0);
    gauge!(RUNNING).set(0);
    counter!(REFUSED).absolute(0);
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use tonic::Code;
    use verso_pagestore::{
        Change, CommitId, CommitRequest, DatabaseId, Durability, PageCount, PageSize, PageWrite,
        Participant, RoaringBitmap, StoreError, StoreUrl,
    };

    use super::*;

    #[tokio::test]
    async fn so_many_are_worked_on_so_many_wait_and_the_rest_is_refused() {
        let url = StoreUrl::parse("memory:work").unwrap();
        let limits = Limits {
            running: 1,
            waiting: 1,
            ..Limits::default()
        };
        let work = Work::new(verso_engine::open(&url).unwrap(), &limits);
        let (go, wait) = mpsc::channel::<()>();
        let (begun, begins) = tokio::sync::oneshot::channel();
        let running = {
            let work = work.clone();
            tokio::spawn(async move {
                let ask = move |_: &dyn PageStore| {
                    begun.send(()).unwrap();
                    // An error too lets it end.
                    let _ = wait.recv();
                    Ok::<_, StoreError>(1)
                };
                work.ask(ask).await
            })
        };
        begins.await.unwrap();
        let second = work.clone();
        let waiting = tokio::spawn(async move { second.ask(|_| Ok::<_, StoreError>(2)).await });
        while work.waiting.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        let refused = work.ask(|_| Ok::<_, StoreError>(3)).await.unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted);
        drop(go);
        assert_eq!(running.await.unwrap().unwrap(), 1);
        assert_eq!(waiting.await.unwrap().unwrap(), 2);
        assert_eq!(work.ask(|_| Ok::<_, StoreError>(4)).await.unwrap(), 4);
    }

    fn one_page(snapshot: Snapshot) -> CommitRequest {
        let change = Change {
            writes: vec![PageWrite {
                number: PageNumber::FIRST,
                page: vec![7; 512].into(),
            }],
            deltas: Vec::new(),
            staged: RoaringBitmap::new(),
            page_size: PageSize::MIN,
            page_count: PageCount::new(1),
        };
        CommitRequest {
            id: CommitId::from_bytes([7; 16]),
            durability: Durability::Off,
            participants: vec![Participant {
                snapshot,
                reads: RoaringBitmap::new(),
                lease: None,
                change: Some(change),
            }],
        }
    }

    #[tokio::test]
    async fn what_is_known_is_answered_while_all_places_are_taken() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("store.db").display());
        let store = verso_engine::open(&StoreUrl::parse(&url).unwrap()).unwrap();
        let name = DatabaseName::new("a").unwrap();
        store.create(&name, DatabaseId::new(1)).unwrap();
        let snapshot = store.begin(&name, None).unwrap().snapshot;
        store.commit(&one_page(snapshot)).unwrap();
        let limits = Limits {
            running: 1,
            ..Limits::default()
        };
        let work = Work::new(Arc::clone(&store), &limits);
        let begun = work.begin(name.clone(), None).await.unwrap();
        let pages = vec![PageNumber::FIRST];
        let read = work.read(begun.snapshot, pages.clone()).await.unwrap();
        let (go, wait) = mpsc::channel::<()>();
        let running = {
            let work = work.clone();
            tokio::spawn(async move { work.ask(move |_| Ok::<_, StoreError>(wait.recv())).await })
        };
        while work.running.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let again = work.begin(name.clone(), None).await.unwrap();
        assert_eq!(again.snapshot, begun.snapshot);
        assert_eq!(work.read(again.snapshot, pages).await.unwrap(), read);
        drop(go);
        running.await.unwrap().unwrap().unwrap_err();
    }
}
