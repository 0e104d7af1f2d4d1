//! The client's side of writer leases: waiting for one, holding it, giving it back.
//!
//! Whoever must wait does so in SQLite's busy handler, so under the application's own
//! `busy_timeout`. The handler sleeps through the VFS's `xSleep`, which lands in [`sleep`]:
//! there the thread wakes as soon as its turn has come.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use verso_pagestore::{
    DatabaseId, DatabaseName, Lease, LeaseAnswer, LeaseError, LeaseId, LeaseRequest, LeaseStanding,
    LeaseView, Place, Since, Start, StoreUrl, Ticket, Version,
};

use crate::cache::StoreKey;
use crate::error::VfsError;
use crate::process::{Process, StoreClient};
use crate::renewer::{Renewal, Renewer, Standing};

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
/// Who is woken looks for itself now and then all the same, often enough to confirm a lease that
/// was handed over.
const PAUSE_UNTIL_WOKEN: Duration = Duration::from_millis(100);

/// A database of a store that this process has open.
type Key = (StoreKey, DatabaseId);

/// What the connections of one process know of leases.
#[derive(Default)]
pub(crate) struct Leases {
    /// Who waits in this process, in the order of their turns.
    waiting: Mutex<BTreeMap<(Key, Ticket), Arc<Bell>>>,
    /// What is held in this process.
    held: Mutex<HashSet<(Key, LeaseId)>>,
    /// Since when a lease has looked the same. Kept between waits, and when a store is closed
    /// and opened again, or connections with a short patience would never see that a holder
    /// is dead.
    seen: Mutex<HashMap<(StoreUrl, DatabaseId), (LeaseView, Instant)>>,
    renewer: Renewer,
    /// What the ids of this process begin with.
    client: OnceLock<LeaseId>,
}

impl Leases {
    fn new_id(&self) -> Result<LeaseId, VfsError> {
        let id = match self.client.get() {
            Some(client) => client.beside(),
            None => LeaseId::random().and_then(|new| self.client.get_or_init(|| new).beside()),
        };
        id.map_err(|error| VfsError::Random(error.to_string()))
    }

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

    /// Whether whoever waits here is woken when the lease may be there: its turn comes after that of
    /// others in this process.
    fn is_woken(&self, key: Key, ticket: Option<Ticket>) -> bool {
        let is_held_here = self.held.lock().iter().any(|(held, _)| *held == key);
        is_held_here || !ticket.is_some_and(|ticket| self.is_next(key, ticket))
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

/// What a transaction asks for that begins as soon as it holds the lease.
pub(crate) struct Beginning {
    pub(crate) name: DatabaseName,
    pub(crate) since: Option<Since>,
}

/// The answer to it.
pub(crate) struct Started {
    /// As it was asked for.
    pub(crate) since: Option<Since>,
    pub(crate) start: Start,
}

/// A lease that this process holds. Dropping it gives it back.
pub(crate) struct HeldLease {
    lease: Lease,
    started: Option<Started>,
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

    /// What the transaction starts with, if that came with the lease.
    pub(crate) const fn take_start(&mut self) -> Option<Started> {
        self.started.take()
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
        leases.held.lock().remove(&(self.key, self.lease.id));
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
    beginning: Option<Beginning>,
    busy: Busy<'_>,
) -> Result<Option<HeldLease>, VfsError> {
    let id = process.leases.new_id()?;
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
        beginning,
        bell: Arc::default(),
        granted: None,
        ahead: 0,
        looked: Instant::now(),
        pause: SHORTEST_PAUSE,
        has_slept: false,
    };
    wait.ask()?;
    let has_waited = wait.granted.is_none();
    let wait = Rc::new(RefCell::new(wait));
    loop {
        if let Some(granted) = wait.borrow_mut().granted.take() {
            return hold(process, client, granted, time_to_live, has_waited).map(Some);
        }
        if !call_handler(&wait, busy) {
            // It may have been granted in the last moment.
            if let Some(granted) = wait.borrow_mut().granted.take() {
                return hold(process, client, granted, time_to_live, has_waited).map(Some);
            }
            return Ok(None);
        }
        let mut wait = wait.borrow_mut();
        // A handler of the application's own has not looked meanwhile.
        if !std::mem::take(&mut wait.has_slept) && wait.granted.is_none() {
            wait.ask()?;
        }
    }
}

fn hold(
    process: &'static Process,
    client: &StoreClient,
    Grant {
        lease,
        standing,
        started,
    }: Grant,
    time_to_live: Duration,
    has_waited: bool,
) -> Result<HeldLease, VfsError> {
    let renewal = Renewal::new(Arc::clone(&client.open), lease, time_to_live, standing);
    let held = HeldLease {
        lease,
        started,
        key: (client.open.key, lease.database),
        process,
        client: client.clone(),
        renewal: renewal.clone(),
        has_waited,
    };
    let leases = &process.leases;
    leases.held.lock().insert((held.key, lease.id));
    // On failure the lease is given back: unrenewed, it could be lost at any time.
    leases
        .renewer
        .add(renewal, process)
        .map_err(VfsError::Thread)?;
    Ok(held)
}

/// A lease that came, with what its transaction starts with.
struct Grant {
    lease: Lease,
    standing: Standing,
    started: Option<Started>,
}

/// The state is the newest still, and the lease's record has changed since: a commit must look at
/// it, or it would meet that change.
fn before_renewal(mut start: Start) -> Start {
    start.begun.snapshot.lease = LeaseStanding::Unknown;
    start
}

/// Somebody who waits for a lease. Dropping it leaves the queue.
struct Wait {
    process: &'static Process,
    client: StoreClient,
    request: LeaseRequest,
    beginning: Option<Beginning>,
    bell: Arc<Bell>,
    granted: Option<Grant>,
    /// How many wait before this one, in all processes.
    ahead: usize,
    /// When the last look at the lease began.
    looked: Instant,
    /// How long after it comes the next.
    pause: Duration,
    /// Whether the busy handler came to [`sleep`](Self::sleep).
    has_slept: bool,
}

impl Wait {
    fn key(&self) -> Key {
        (self.client.open.key, self.request.database)
    }

    /// Asks the store.
    fn ask(&mut self) -> Result<(), LeaseError> {
        let leases = &self.process.leases;
        loop {
            let before = std::mem::replace(&mut self.looked, Instant::now());
            let (answer, start) = self.request()?;
            match answer {
                LeaseAnswer::Granted(lease) => {
                    self.take(lease, Standing::Confirmed, start);
                    return Ok(());
                }
                LeaseAnswer::HandedOver(lease) => {
                    // It has been so since the look before, at most.
                    let time_to_live = self.request.time_to_live;
                    if before.elapsed() < LeaseRequest::time_to_confirm(time_to_live) / 4 {
                        self.take(lease, Standing::HandedOver, start);
                        return Ok(());
                    }
                    match self.client.pages().renew_lease(&lease) {
                        Ok(()) => {
                            self.take(lease, Standing::Confirmed, start.map(before_renewal));
                            return Ok(());
                        }
                        // Somebody took it over: there is another turn to wait for.
                        Err(LeaseError::Lost { .. }) => {}
                        Err(error) => return Err(error),
                    }
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

    fn request(&self) -> Result<(LeaseAnswer, Option<Start>), LeaseError> {
        let pages = self.client.pages();
        match &self.beginning {
            Some(Beginning { name, since }) => pages.lease_and_begin(&self.request, name, *since),
            None => Ok((pages.lease(&self.request)?, None)),
        }
    }

    fn take(&mut self, lease: Lease, standing: Standing, start: Option<Start>) {
        self.leave_local_queue();
        self.request.ticket = None;
        let since = self.beginning.as_ref().and_then(|asked| asked.since);
        self.granted = Some(Grant {
            lease,
            standing,
            started: start.map(|start| Started { since, start }),
        });
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
        self.has_slept = true;
        while self.granted.is_none() {
            let ticket = self.request.ticket;
            let pause = if self.process.leases.is_woken(self.key(), ticket) {
                PAUSE_UNTIL_WOKEN
            } else {
                self.pause
            };
            let (now, due) = (Instant::now(), self.looked + pause);
            let wait = due.min(deadline).saturating_duration_since(now);
            if self.bell.wait(wait) {
                self.pause = SHORTEST_PAUSE;
            } else if Instant::now() >= due {
                self.pause = (self.pause * 2).min(self.longest_pause());
            } else {
                break;
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
        let left = self.client.pages().leave_queue(&Place {
            database: self.request.database,
            id: self.request.id,
            ticket,
        });
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
        if !*rung && !longest.is_zero() {
            self.changed.wait_for(&mut rung, longest);
        }
        std::mem::take(&mut *rung)
    }
}
