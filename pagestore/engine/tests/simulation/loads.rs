//! Databases that are loaded: from somewhere, or as copies that any client goes on with.

use verso_pagestore::{
    DatabaseId, DatabaseName, LoadError, Origin, PageCount, PageSize, PageStore, PageWrite,
};

use crate::client::{Client, assert_passes};
use crate::history::{Call, Load, Reply, Wish};
use crate::pages::{content, number, small};

/// How often something is asked for before a client gives up.
const PATIENCE: usize = 12;

/// What an attempt at a load came to.
enum Step<T> {
    Done(T),
    /// It cannot go on.
    Over,
}

impl Client<'_> {
    /// Loads a database, and now and then gives it up, or dies over it.
    pub(crate) fn load(&mut self) {
        let begun = match self.random.below(2) {
            0 => self.begin_load(),
            _ => self.begin_copy(),
        };
        let Some((name, id, mut loaded)) = begun else {
            return;
        };
        let load = self.world.history.lock().loads.get(&id).cloned();
        let load = load.expect("it was begun");
        while loaded < load.page_count.get() {
            match self.random.below(25) {
                0 => return,
                1 => return self.abort_load(id),
                _ => {}
            }
            let next = (loaded + 1 + small(self.random.below(6))).min(load.page_count.get());
            let write = |page| PageWrite {
                number: number(page),
                page: content(load.writer, id, page),
            };
            let pages: Vec<_> = (loaded + 1..=next).map(write).collect();
            let Step::Done(()) = self.insist_on_load(id, |node| node.load_pages(id, &pages)) else {
                return;
            };
            loaded = next;
        }
        self.finish_load(&name, id, load.page_count);
    }

    fn begin_load(&mut self) -> Option<(DatabaseName, DatabaseId, u32)> {
        let name = self.some_passing_name();
        let id = DatabaseId::new(self.random.below(u64::MAX));
        let load = Load {
            writer: self.commit_id(),
            page_count: PageCount::new(1 + small(self.random.below(12))),
            is_copy: false,
        };
        self.world.history.lock().loads.insert(id, load);
        match self.insist_on_load(id, |node| node.load_begin(&name, id)) {
            Step::Done(()) => Some((name, id, 0)),
            Step::Over => None,
        }
    }

    /// Begins a copy, or goes on with the last one of any client.
    fn begin_copy(&mut self) -> Option<(DatabaseName, DatabaseId, u32)> {
        let last = self.world.history.lock().copied.clone();
        let last = last.filter(|_| self.random.below(3) > 0);
        let (name, origin, page_count) = if let Some(last) = last {
            last
        } else {
            let origin = self
                .some_old_snapshot()
                .filter(|it| it.page_count.get() > 0)?;
            let name = self.some_passing_name();
            (name, Origin::from(&origin), origin.page_count)
        };
        let id = DatabaseId::new(self.random.below(u64::MAX));
        let load = Load {
            writer: origin.commit,
            page_count,
            is_copy: true,
        };
        let mut history = self.world.history.lock();
        history.loads.insert(id, load);
        history.copied = Some((name.clone(), origin, page_count));
        drop(history);
        match self.insist_on_load(id, |node| node.load_copy(&name, id, origin)) {
            Step::Done(begun) => {
                let history = self.world.history.lock();
                let load = history.loads.get(&begun.database).expect("it was begun");
                assert!(load.is_copy && load.writer == origin.commit, "{begun:?}");
                assert!(begun.loaded <= page_count, "{begun:?}");
                Some((name, begun.database, begun.loaded.get()))
            }
            Step::Over => None,
        }
    }

    /// Asks for something of a load until there is an answer.
    fn insist_on_load<T>(
        &mut self,
        id: DatabaseId,
        ask: impl Fn(&dyn PageStore) -> Result<T, LoadError>,
    ) -> Step<T> {
        for _ in 0..PATIENCE {
            let (answer, window) = self.world.ask_when(&mut self.random, |node| ask(node));
            match answer {
                Ok(Ok(done)) => return Step::Done(done),
                Ok(Err(LoadError::Store(error))) => assert_passes(&error),
                Ok(Err(LoadError::Ended { .. })) => {
                    self.world.history.lock().ended.push((id, window));
                    return Step::Over;
                }
                Ok(Err(LoadError::Exists { .. })) => return Step::Over,
                Err(_) => {}
            }
        }
        Step::Over
    }

    fn finish_load(&mut self, name: &DatabaseName, id: DatabaseId, page_count: PageCount) {
        for _ in 0..PATIENCE {
            let (answer, window) = self.world.ask_when(&mut self.random, |node| {
                node.load_finish(id, name, PageSize::MIN, page_count)
            });
            let mut history = self.world.history.lock();
            let reply = match answer {
                Ok(Ok(version)) => {
                    history.finished.push((id, version));
                    Reply::Done
                }
                Ok(Err(LoadError::Exists { .. })) => Reply::Exists,
                Ok(Err(LoadError::Ended { .. })) => Reply::Missing,
                Ok(Err(LoadError::Store(error))) => {
                    assert_passes(&error);
                    Reply::Nothing
                }
                Err(_) => Reply::Nothing,
            };
            history.calls.push(Call {
                wish: Wish::FinishLoad(name.clone(), id),
                reply,
                window,
            });
            if reply != Reply::Nothing {
                return;
            }
        }
    }

    /// Gives a load up, and removes what is there of it.
    pub(crate) fn abort_load(&mut self, id: DatabaseId) {
        let _: Step<()> = self.insist_on_load(id, |node| node.load_abort(id));
    }
}
