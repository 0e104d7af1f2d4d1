//! Looking for commits of other nodes: once for all clients that watch a database.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tonic::{Code, Status};
use verso_pagestore::{Begun, Changes, DatabaseName, Since};

use crate::work::Work;

/// How often the store is looked at for commits of other nodes.
const LOOK: Duration = Duration::from_millis(100);

/// What was seen at the last look that saw something.
#[derive(Debug, Clone)]
pub(crate) enum Seen {
    /// Nobody has looked yet.
    Nothing,
    /// A new state.
    News(Arc<News>),
    /// The look failed. Who watches finds out why.
    Failure,
}

/// A state that is new, and what changed since the one before.
#[derive(Debug)]
pub(crate) struct News {
    pub(crate) since: Option<Since>,
    pub(crate) begun: Begun,
}

impl News {
    /// The new state.
    pub(crate) const fn newest(&self) -> Since {
        position(&self.begun)
    }
}

/// The state that a begin has found.
pub(crate) const fn position(begun: &Begun) -> Since {
    Since {
        database: begun.snapshot.database,
        version: begun.snapshot.version,
        commit: begun.snapshot.commit,
    }
}

type Senders = HashMap<DatabaseName, watch::Sender<Seen>>;

/// The databases that are looked at. Each has one task, which ends after its last watcher.
pub(crate) struct Lookers {
    /// None once the node ends.
    senders: Mutex<Option<Senders>>,
}

impl Default for Lookers {
    fn default() -> Self {
        Self {
            senders: Mutex::new(Some(Senders::new())),
        }
    }
}

impl Lookers {
    /// What is seen from now on; nothing if the node ends.
    pub(crate) fn look_at(
        self: &Arc<Self>,
        name: &DatabaseName,
        work: &Work,
    ) -> Option<watch::Receiver<Seen>> {
        match self.senders.lock().as_mut()?.entry(name.clone()) {
            Entry::Occupied(looker) => Some(looker.get().subscribe()),
            Entry::Vacant(place) => {
                let (sender, receiver) = watch::channel(Seen::Nothing);
                place.insert(sender);
                let (lookers, name, work) = (Arc::clone(self), name.clone(), work.clone());
                tokio::spawn(async move { lookers.run(name, work).await });
                Some(receiver)
            }
        }
    }

    /// Ends all looking, and so all watches: the node ends.
    pub(crate) fn close(&self) {
        self.senders.lock().take();
    }

    async fn run(&self, name: DatabaseName, work: Work) {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last = None;
        loop {
            looks.tick().await;
            let begun = work.begin(name.clone(), last).await;
            let seen = seen(last, begun);
            match &seen {
                Some(Seen::News(news)) => last = Some(news.newest()),
                Some(Seen::Failure) => last = None,
                Some(Seen::Nothing) | None => {}
            }
            if !self.tell(&name, seen) {
                return;
            }
        }
    }

    /// Tells the watchers, if there is something to tell. Says whether there is a watcher; if not,
    /// the looker is forgotten.
    fn tell(&self, name: &DatabaseName, seen: Option<Seen>) -> bool {
        let mut senders = self.senders.lock();
        let Some(senders) = senders.as_mut() else {
            return false;
        };
        let Some(sender) = senders.get(name) else {
            return false;
        };
        if sender.is_closed() {
            senders.remove(name);
            return false;
        }
        if let Some(seen) = seen {
            // Nobody is left to be told if this fails.
            let _ = sender.send(seen);
        }
        true
    }
}

/// What a look has seen that is worth telling.
fn seen(since: Option<Since>, begun: Result<Begun, Status>) -> Option<Seen> {
    match begun {
        Ok(begun) if since.is_some() && begun.changes == Changes::Commits(Vec::new()) => None,
        Ok(begun) => Some(Seen::News(Arc::new(News { since, begun }))),
        // A node with too much to do must not be asked by all who watch.
        Err(status) if status.code() == Code::ResourceExhausted => None,
        Err(_) => Some(Seen::Failure),
    }
}

#[cfg(test)]
mod tests {
    use verso_pagestore::{DatabaseId, StoreUrl};

    use super::*;
    use crate::Limits;

    fn state(receiver: &watch::Receiver<Seen>) -> Option<Since> {
        match &*receiver.borrow() {
            Seen::News(news) => Some(news.newest()),
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
        let mut one = lookers.look_at(&name, &work).unwrap();
        let mut two = lookers.look_at(&name, &work).unwrap();
        assert_eq!(lookers.senders.lock().as_ref().map(HashMap::len), Some(1));
        one.changed().await.unwrap();
        two.changed().await.unwrap();
        assert!(state(&one).is_some());
        assert_eq!(state(&one), state(&two));
        drop(one);
        store.remove(&name).unwrap();
        two.changed().await.unwrap();
        assert!(matches!(*two.borrow(), Seen::Failure));
        // It goes on for whoever is left, and no longer.
        store.create(&name, DatabaseId::new(2)).unwrap();
        while state(&two).is_none_or(|seen| seen.database != DatabaseId::new(2)) {
            two.changed().await.unwrap();
        }
        drop(two);
        while lookers.senders.lock().as_ref().map(HashMap::len) != Some(0) {
            tokio::task::yield_now().await;
        }
        let mut last = lookers.look_at(&name, &work).unwrap();
        lookers.close();
        while last.changed().await.is_ok() {}
        assert!(lookers.look_at(&name, &work).is_none());
    }
}
