//! Work on the store, which blocks: on threads of its own, and only so much at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use metrics::{
    Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;
use verso_pagestore::PageStore;
use verso_pagestore::grpc::ServiceError;

use crate::Limits;

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
    pub(crate) fn new(store: Arc<dyn PageStore>, limits: &Limits) -> Self {
        Self {
            store,
            running: Arc::new(Semaphore::new(limits.running)),
            waiting: Arc::default(),
            most_waiting: limits.waiting,
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
    use verso_pagestore::{StoreError, StoreUrl};

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
}
