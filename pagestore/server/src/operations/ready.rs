//! Whether a node is ready: it is not ending, and its store answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use verso_pagestore::{DatabaseId, PageStore};

/// For how long the store may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// Whether a node goes on, or is about to end.
#[derive(Debug, Clone, Default)]
pub struct Life {
    is_ending: Arc<AtomicBool>,
}

impl Life {
    /// Says that the node shuts down: it is not ready any more.
    pub fn end(&self) {
        self.is_ending.store(true, Ordering::Release);
    }

    fn is_ending(&self) -> bool {
        self.is_ending.load(Ordering::Acquire)
    }
}

type Question = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// Finds out whether a node is ready.
#[derive(Clone)]
pub(super) struct Readiness {
    life: Life,
    ask: Question,
    /// One question at a time: a store that hangs must not take a thread per probe.
    turn: Arc<Semaphore>,
}

impl Readiness {
    /// Of a node of this store.
    pub(super) fn of(store: Arc<dyn PageStore>, life: Life) -> Self {
        // No database has this id; the store must look to say so.
        let none = DatabaseId::new(0);
        let ask = move || match store.name_of(none) {
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        };
        Self::new(Arc::new(ask), life)
    }

    fn new(ask: Question, life: Life) -> Self {
        let turn = Arc::new(Semaphore::new(1));
        Self { life, ask, turn }
    }

    /// Whether the node is ready.
    ///
    /// # Errors
    /// Why it is not, in a sentence.
    pub(super) async fn check(&self) -> Result<(), String> {
        if self.life.is_ending() {
            return Err("the node is shutting down".to_owned());
        }
        let answer = tokio::time::timeout(PATIENCE, self.question()).await;
        answer.unwrap_or_else(|_| {
            let limit = PATIENCE.as_secs();
            Err(format!("the store has not answered within {limit} s"))
        })
    }

    async fn question(&self) -> Result<(), String> {
        let turn = Arc::clone(&self.turn).acquire_owned().await;
        let turn = turn.map_err(|error| error.to_string())?;
        let ask = Arc::clone(&self.ask);
        let answer = tokio::task::spawn_blocking(move || {
            let answer = ask();
            drop(turn);
            answer
        });
        answer
            .await
            .unwrap_or_else(|_| Err("the store's answer was lost".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use parking_lot::Mutex;

    use super::*;

    #[tokio::test]
    async fn a_store_that_answers_is_ready_and_an_end_is_not() {
        let life = Life::default();
        let readiness = Readiness::new(Arc::new(|| Ok(())), life.clone());
        assert_eq!(readiness.check().await, Ok(()));
        life.end();
        let reason = readiness.check().await.unwrap_err();
        assert_eq!(reason, "the node is shutting down");
    }

    #[tokio::test]
    async fn the_reason_of_a_store_that_fails_is_told() {
        let ask = || Err("the disk is gone".to_owned());
        let readiness = Readiness::new(Arc::new(ask), Life::default());
        assert_eq!(readiness.check().await.unwrap_err(), "the disk is gone");
    }

    #[tokio::test]
    async fn a_store_that_hangs_is_not_ready_until_it_answers_and_is_asked_once() {
        let (go, wait) = mpsc::channel::<()>();
        let (asked, questions) = mpsc::channel();
        let wait = Mutex::new(wait);
        let ask = move || {
            asked.send(()).unwrap();
            // The store hangs until the channel is closed.
            let _ = wait.lock().recv();
            Ok(())
        };
        let readiness = Readiness::new(Arc::new(ask), Life::default());
        for _ in 0..2 {
            let reason = readiness.check().await.unwrap_err();
            assert_eq!(reason, "the store has not answered within 1 s");
        }
        questions.recv().unwrap();
        assert!(questions.try_recv().is_err(), "asked once");
        drop(go);
        while readiness.check().await.is_err() {}
    }
}
