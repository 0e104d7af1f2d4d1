//! Work on the store, which blocks: on threads of its own, and only so much at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Semaphore;
use tonic::Status;
use verso_pagestore::PageStore;
use verso_pagestore::grpc::ServiceError;

use crate::Limits;

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

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
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
        let running = Arc::clone(&self.running).acquire_owned().await;
        let running = running.map_err(|_| Status::unavailable("the node is shutting down"))?;
        drop(place);
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
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let place = Waiting(Arc::clone(&self.waiting));
        if before >= self.most_waiting {
            return Err(Status::resource_exhausted(format!(
                "the node has {before} requests waiting and takes no more: ask another one, or later"
            )));
        }
        Ok(place)
    }
}
