//! The client's side of writer leases: waiting for one, holding it, giving it back.
//!
//! Whoever must wait does so in SQLite's busy handler, so under the application's own
//! `busy_timeout`. The handler sleeps through the VFS's `xSleep`, which lands in [`sleep`]:
//! there the thread wakes as soon as its turn has come.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use verso_pagestore::{
    DatabaseId, Lease, LeaseAnswer, LeaseError, LeaseId, LeaseRequest, LeaseView, StoreUrl, Ticket,
    Version,
};

use crate::cache::StoreKey;
use crate::error::VfsError;
use crate::process::{Process, StoreClient};
use crate::renewer::{Renewal, Renewer};

/// The busy handler of a connection: false when its patience is over.
pub(crate) type Busy<'a> = &'a mut dyn FnMut() -> bool;

/// How long the first in the queue may leave a free lease untaken.
const MISSED_TURN: Duration = Duration::from_millis(250);

/// How often to look for the lease: whoever is next in this process, and the others, who are
/// woken when they become that.
const SHORTEST_PAUSE: Duration = Duration::from_micros(500);
const LONGEST_PAUSE: Duration = Duration::from_millis(4);
/// The longest pause grows with the number of those who come before, up to this.
const LONGEST_PAUSE_IN_QUEUE: Duration = Duration::from_millis(20);
const PAUSE_BEHIND_OTHERS: Duration = Duration::from_millis(50);

/// A database of a store that this process has open.
type Key = (StoreKey, DatabaseId);

/// What the connections of one process know of leases.
#[derive(Default)]
pub(crate) struct Leases {
    /// Who waits in this process, in the order of their turns.
    waiting: Mutex<BTreeMap<(Key, Ticket), Arc<Bell>>>,
    /// Since when a lease has looked the same. Kept between waits, and when a store is closed
    /// and opened again, or connections with a short patience would never see that a holder
    /// is dead.
    seen: Mutex<HashMap<(StoreUrl, DatabaseId), (LeaseView, Instant)>>,
    renewer: Renewer,
}

impl Leases {
    pub(crate) const fn renewer(&self) -> &Renewer {
        &self.renewer
    }

    /// Wakes the next in this process who waits for the lease.
    fn ring_next(&self, (store, database): Key) {
        let from = ((store, database), Ticket(Version::MIN));
        let waiting = self.waiting.lock();
        if let Some((_, bell)) = waiting
            .range(from..)
            .next()
            .filter(|((key, _), _)| *key == (store, database))
        {
            bell.ring();
        }
    }

    fn is_next(&self, key: Key, ticket: Ticket) -> bool {
        let waiting = self.waiting.lock();
        let first = waiting.range((key, Ticket(Version::MIN))..).next();
        first.is_some_and(|(place, _)| *place == (key, ticket))
    }

    /// Remembers what a lease looks like. The answer is the view itself, if it has been the
    /// same for so long that nobody can be alive behind it.
    fn watch(&self, url: &StoreUrl, database: DatabaseId, view: LeaseView) -> Option<LeaseView> {
        let limit = match view {
            LeaseView::Held { time_to_live, .. } => time_to_live,
            LeaseView::Free { .. } => MISSED_TURN,
        };
        let mut seen = self.seen.lock();
        let entry = seen.entry((url.clone(), database));
        let (known, since) = entry.or_insert_with(|| (view, Instant::now()));
        if *known != view {
            (*known, *since) = (view, Instant::now());
        }
        (since.elapsed() >= limit).then_some(view)
    }
}

/// A lease that this process holds. Dropping it gives it back.
pub(crate) struct HeldLease {
    lease: Lease,
    key: Key,
    process: &'static Process,
    client: StoreClient,
    renewal: Renewal,
    has_waited: bool,
}

impl HeldLease {
    /// Whether it was not to be had at once.
    pub(crate) const fn has_waited(&self) -> bool {
        self.has_waited
    }

    pub(crate) const fn lease(&self) -> Lease {
        self.lease
    }

    /// After a commit, with which the store took the lease back.
    pub(crate) fn ended(self) {
        self.renewal.stop();
    }
}

impl Drop for HeldLease {
    fn drop(&mut self) {
        // A forked child holds nothing: the lease is its parent's.
        if !self.process.is_current() {
            return;
        }
        let leases = &self.process.leases;
        if leases.renewer.remove(&self.renewal)
            && let Err(error) = self.client.pages().release_lease(&self.lease)
        {
            // It expires by itself.
            tracing::warn!(%error, database = %self.lease.database, "a writer lease was not given back");
        }
        leases.ring_next(self.key);
    }
}

/// Takes a lease, and waits for it as long as the busy handler does.
/// `None` is the answer if that was not long enough.
pub(crate) fn acquire(
    process: &'static Process,
    client: &StoreClient,
    database: DatabaseId,
    time_to_live: Duration,
    busy: Busy<'_>,
) -> Result<Option<HeldLease>, VfsError> {
    let id = LeaseId::random().map_err(|error| VfsError::Random(error.to_string()))?;
    let mut wait = Wait {
        process,
        client: client.clone(),
        request: LeaseRequest {
            database,
            id,
            time_to_live,
            ticket: None,
            stuck: None,
        },
        bell: Arc::default(),
        granted: None,
        ahead: 0,
    };
    wait.ask()?;
    let has_waited = wait.granted.is_none();
    let wait = Rc::new(RefCell::new(wait));
    loop {
        if let Some(lease) = wait.borrow_mut().granted.take() {
            return hold(process, client, lease, time_to_live, has_waited).map(Some);
        }
        if !call_handler(&wait, busy) {
            // It may have been granted in the last moment.
            if let Some(lease) = wait.borrow_mut().granted.take() {
                return hold(process, client, lease, time_to_live, has_waited).map(Some);
            }
            return Ok(None);
        }
        let mut wait = wait.borrow_mut();
        if wait.granted.is_none() {
            wait.ask()?;
        }
    }
}

fn hold(
    process: &'static Process,
    client: &StoreClient,
    lease: Lease,
    time_to_live: Duration,
    has_waited: bool,
) -> Result<HeldLease, VfsError> {
    let renewal = Renewal::new(Arc::clone(&client.open), lease, time_to_live);
    let held = HeldLease {
        lease,
        key: (client.open.key, lease.database),
        process,
        client: client.clone(),
        renewal: renewal.clone(),
        has_waited,
    };
    // On failure the lease is given back: unrenewed, it could be lost at any time.
    let renewer = &process.leases.renewer;
    renewer.add(renewal, process).map_err(VfsError::Thread)?;
    Ok(held)
}

/// Somebody who waits for a lease. Dropping it leaves the queue.
struct Wait {
    process: &'static Process,
    client: StoreClient,
    request: LeaseRequest,
    bell: Arc<Bell>,
    granted: Option<Lease>,
    /// How many wait before this one, in all processes.
    ahead: usize,
}

impl Wait {
    fn key(&self) -> Key {
        (self.client.open.key, self.request.database)
    }

    /// Asks the store.
    fn ask(&mut self) -> Result<(), LeaseError> {
        let leases = &self.process.leases;
        loop {
            match self.client.pages().lease(&self.request)? {
                LeaseAnswer::Granted(lease) => {
                    self.leave_local_queue();
                    self.request.ticket = None;
                    self.granted = Some(lease);
                    return Ok(());
                }
                LeaseAnswer::Waiting {
                    ticket,
                    ahead,
                    view,
                } => {
                    self.ahead = ahead;
                    self.take_place(ticket);
                    let stuck = leases.watch(&self.client.open.url, self.request.database, view);
                    if stuck.is_none() || stuck == self.request.stuck {
                        self.request.stuck = stuck;
                        return Ok(());
                    }
                    self.request.stuck = stuck;
                }
            }
        }
    }

    fn take_place(&mut self, ticket: Ticket) {
        if self.request.ticket != Some(ticket) {
            self.leave_local_queue();
            self.request.ticket = Some(ticket);
            let mut waiting = self.process.leases.waiting.lock();
            waiting.insert((self.key(), ticket), Arc::clone(&self.bell));
        }
    }

    fn leave_local_queue(&self) {
        if let Some(ticket) = self.request.ticket {
            let mut waiting = self.process.leases.waiting.lock();
            waiting.remove(&(self.key(), ticket));
        }
    }

    /// Whoever is next or next but one looks often, so that no time is lost between turns.
    fn longest_pause(&self) -> Duration {
        if self.ahead <= 1 {
            LONGEST_PAUSE
        } else {
            LONGEST_PAUSE_IN_QUEUE
        }
    }

    /// Sleeps until the lease is granted, but no longer than `duration`.
    fn sleep(&mut self, duration: Duration) -> Result<(), LeaseError> {
        let deadline = Instant::now() + duration;
        let mut pause = SHORTEST_PAUSE;
        while self.granted.is_none() {
            let rest = deadline.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                break;
            }
            let is_next = |ticket| self.process.leases.is_next(self.key(), ticket);
            let longest = if self.request.ticket.is_some_and(is_next) {
                pause
            } else {
                PAUSE_BEHIND_OTHERS
            };
            if self.bell.wait(longest.min(rest)) {
                pause = SHORTEST_PAUSE;
            } else {
                pause = (pause * 2).min(self.longest_pause());
            }
            self.ask()?;
        }
        Ok(())
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        let Some(ticket) = self.request.ticket else {
            return;
        };
        self.leave_local_queue();
        let left = self
            .client
            .pages()
            .leave_queue(self.request.database, ticket);
        if let Err(error) = left {
            // Its turn will come and be missed.
            tracing::debug!(%error, "a place in the queue for a lease was not given up");
        }
        self.process.leases.ring_next(self.key());
    }
}

thread_local! {
    /// Who waits for a lease on this thread, inside of SQLite's busy handler.
    static SLEEPER: RefCell<Option<Rc<RefCell<Wait>>>> = const { RefCell::new(None) };
}

/// Calls the busy handler, with `xSleep` waiting for the lease.
fn call_handler(wait: &Rc<RefCell<Wait>>, busy: Busy<'_>) -> bool {
    let before = SLEEPER.with(|sleeper| sleeper.replace(Some(Rc::clone(wait))));
    let goes_on = busy();
    SLEEPER.with(|sleeper| sleeper.replace(before));
    goes_on
}

/// `xSleep` on a thread that waits for a lease. False if this thread does not.
pub(crate) fn sleep(duration: Duration) -> bool {
    let sleeper = SLEEPER.try_with(|sleeper| sleeper.borrow().clone());
    let Some(wait) = sleeper.ok().flatten() else {
        return false;
    };
    let Ok(mut wait) = wait.try_borrow_mut() else {
        return false;
    };
    if let Err(error) = wait.sleep(duration) {
        // The next request meets the same failure, and reports it.
        tracing::debug!(%error, "while waiting for a writer lease");
    }
    true
}

/// Wakes one thread.
#[derive(Default)]
struct Bell {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Bell {
    fn ring(&self) {
        *self.rung.lock() = true;
        self.changed.notify_one();
    }

    /// Whether it was rung within `longest`.
    fn wait(&self, longest: Duration) -> bool {
        let mut rung = self.rung.lock();
        if !*rung {
            self.changed.wait_for(&mut rung, longest);
        }
        std::mem::take(&mut *rung)
    }
}
