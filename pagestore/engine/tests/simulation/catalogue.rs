//! Databases that come, go, and change their names.

use verso_engine::Engine;
use verso_engine::kv::sim::Simulation;
use verso_pagestore::{CatalogueError, DatabaseId, DatabaseName, PageStore};

use crate::client::{Client, assert_passes};
use crate::history::{Call, Reply, Wish};
use crate::world::name;

/// How often something is asked for before a client gives up.
const PATIENCE: usize = 12;

/// The names of databases that come and go.
pub(crate) const PASSING: [&str; 2] = ["passing", "other"];

impl Client<'_> {
    pub(crate) fn some_passing_name(&mut self) -> DatabaseName {
        let index = usize::from(self.random.below(2) == 0);
        name(PASSING[index])
    }

    /// Makes a database that comes and goes, or removes it.
    pub(crate) fn create_or_remove(&mut self) {
        let passing = self.some_passing_name();
        match self.begin(&passing) {
            Some(_) => self.remove(&passing),
            None => self.create(&passing),
        }
    }

    pub(crate) fn create(&mut self, name: &DatabaseName) {
        let id = DatabaseId::new(self.random.below(u64::MAX));
        let wish = Wish::Create(name.clone(), id);
        self.insist(&wish, |node| node.create(name, id));
    }

    /// Removes what has this name.
    pub(crate) fn remove(&mut self, name: &DatabaseName) {
        let wish = Wish::Remove(name.clone());
        self.insist(&wish, |node| node.remove(name));
    }

    /// Gives a database that comes and goes another name. Now and then one that is taken.
    pub(crate) fn rename(&mut self) {
        let (from, to) = match (self.some_passing_name(), self.random.below(10)) {
            (from, 0) => (from, self.some_name()),
            (from, _) if from.as_str() == PASSING[0] => (from, name(PASSING[1])),
            (from, _) => (from, name(PASSING[0])),
        };
        let wish = Wish::Rename(from.clone(), to.clone());
        self.insist(&wish, |node| node.rename(&from, &to));
    }

    pub(crate) fn list(&mut self) {
        let (answer, window) = self
            .world
            .ask_when(&mut self.random, |node| node.list(None, 100));
        if let Ok(Ok(entries)) = answer {
            self.world.history.lock().lists.push((window, entries));
        }
    }

    /// Asks until there is an answer.
    fn insist(
        &mut self,
        wish: &Wish,
        ask: impl Fn(&Engine<Simulation>) -> Result<(), CatalogueError>,
    ) {
        for _ in 0..PATIENCE {
            let (answer, window) = self.world.ask_when(&mut self.random, |node| ask(node));
            let reply = match answer {
                Ok(Ok(())) => Reply::Done,
                Ok(Err(CatalogueError::Exists { .. })) => Reply::Exists,
                Ok(Err(CatalogueError::NoSuchDatabase { .. })) => Reply::Missing,
                Ok(Err(CatalogueError::Store(error))) => {
                    assert_passes(&error);
                    Reply::Nothing
                }
                Err(_) => Reply::Nothing,
            };
            let wish = wish.clone();
            self.world.history.lock().calls.push(Call {
                wish,
                reply,
                window,
            });
            if reply != Reply::Nothing {
                return;
            }
        }
    }
}
