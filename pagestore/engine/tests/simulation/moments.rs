//! Looks at the past.

use verso_pagestore::{DatabaseName, Moment, MomentError, PageStore, UnixMillis};

use crate::client::{Client, assert_passes};
use crate::history::Look;
use crate::pages::some_pages;

impl Client<'_> {
    /// Looks at a database as it was, and reads it.
    pub(crate) fn look_at_a_moment(&mut self) {
        let Some(old) = self.some_old_snapshot() else {
            return;
        };
        let name = self.some_name();
        let now = u64::try_from(self.world.simulation.now().as_millis()).expect("it is small");
        let moment = match self.random.below(3) {
            0 => Moment::Version(old.version),
            1 => Moment::ReadVersion(old.read_version),
            _ => {
                let any = UnixMillis::new(now - self.random.below(now + 1));
                Moment::Time(self.last_commit(&name).unwrap_or(any))
            }
        };
        let (answer, window) = self
            .world
            .ask_when(&mut self.random, |node| node.snapshot_at(&name, moment));
        let Ok(answer) = answer else {
            return;
        };
        if let Err(MomentError::Store(error)) = &answer {
            return assert_passes(error);
        }
        self.world.history.lock().looks.push(Look {
            name,
            moment,
            answer: answer.clone(),
            window,
        });
        if let Ok(snapshot) = answer {
            let pages = some_pages(&mut self.random, &snapshot, 6);
            self.read(&snapshot, &pages);
            self.old.push(snapshot);
        }
    }

    /// Now and then, when the last commit of a database was.
    fn last_commit(&mut self, name: &DatabaseName) -> Option<UnixMillis> {
        if self.random.below(2) == 0 {
            return None;
        }
        let info = self.world.ask(&mut self.random, |node| node.info(name));
        Some(info.ok()?.ok()?.committed)
    }
}
