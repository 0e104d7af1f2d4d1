//! Looking for commits of other nodes: once for all clients that watch a database.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use verso_pagestore::{DatabaseName, Since};

use crate::work::Work;

/// How often the store is looked at for commits of other nodes.
const LOOK: Duration = Duration::from_millis(100);

/// What was seen at the last look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Nobody has looked yet.
    Nothing,
    /// This was the newest state.
    State(Since),
    /// The look failed. Who watches finds out why.
    Failure,
}

/// The databases that are looked at. Each has one task, which ends after its last watcher.
#[derive(Default)]
pub(crate) struct Lookers(Mutex<HashMap<DatabaseName, watch::Sender<Seen>>>);

impl Lookers {
    /// What is seen from now on.
    pub(crate) fn look_at(
        self: &Arc<Self>,
        name: &DatabaseName,
        work: &Work,
    ) -> watch::Receiver<Seen> {
        match self.0.lock().entry(name.clone()) {
            Entry::Occupied(looker) => looker.get().subscribe(),
            Entry::Vacant(place) => {
                let (sender, receiver) = watch::channel(Seen::Nothing);
                place.insert(sender);
                let (lookers, name, work) = (Arc::clone(self), name.clone(), work.clone());
                tokio::spawn(async move { lookers.run(name, work).await });
                receiver
            }
        }
    }

    async fn run(&self, name: DatabaseName, work: Work) {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last = None;
        loop {
            looks.tick().await;
            let (asked, since) = (name.clone(), last);
            let begun = work.ask(move |store| store.begin(&asked, since)).await;
            last = begun.ok().map(|begun| Since {
                database: begun.snapshot.database,
                version: begun.snapshot.version,
                commit: begun.snapshot.commit,
            });
            if !self.tell(&name, last.map_or(Seen::Failure, Seen::State)) {
                return;
            }
        }
    }

    /// Tells the watchers. Says whether there is one; if not, the looker is forgotten.
    fn tell(&self, name: &DatabaseName, seen: Seen) -> bool {
        let mut lookers = self.0.lock();
        let Some(sender) = lookers.get(name) else {
            return false;
        };
        if sender.is_closed() {
            lookers.remove(name);
            return false;
        }
        sender.send_if_modified(|last| {
            // A failure is news each time: who watches meanwhile has not heard of the last one.
            let is_news = *last != seen || seen == Seen::Failure;
            *last = seen;
            is_news
        });
        true
    }
}

#[cfg(test)]
mod tests {
    use verso_pagestore::{DatabaseId, StoreUrl};

    use super::*;
    use crate::Limits;

    fn state(receiver: &watch::Receiver<Seen>) -> Option<Since> {
        match *receiver.borrow() {
            Seen::State(since) => Some(since),
            Seen::Nothing | Seen::Failure => None,
        }
    }

    #[tokio::test]
    async fn watchers_of_a_database_share_their_looks() {
        let url = StoreUrl::parse("memory:looks").unwrap();
        let store = verso_engine::open(&url).unwrap();
        let work = Work::new(Arc::clone(&store), &Limits::default());
        let name = DatabaseName::new("a").unwrap();
        store.create(&name, DatabaseId::new(1)).unwrap();
        let lookers = Arc::new(Lookers::default());
        let mut one = lookers.look_at(&name, &work);
        let mut two = lookers.look_at(&name, &work);
        assert_eq!(lookers.0.lock().len(), 1);
        one.changed().await.unwrap();
        two.changed().await.unwrap();
        assert!(state(&one).is_some());
        assert_eq!(state(&one), state(&two));
        drop(one);
        store.remove(&name).unwrap();
        two.changed().await.unwrap();
        assert_eq!(*two.borrow(), Seen::Failure);
        // It goes on for whoever is left, and no longer.
        store.create(&name, DatabaseId::new(2)).unwrap();
        while state(&two).is_none_or(|seen| seen.database != DatabaseId::new(2)) {
            two.changed().await.unwrap();
        }
        drop(two);
        while !lookers.0.lock().is_empty() {
            tokio::task::yield_now().await;
        }
    }
}
