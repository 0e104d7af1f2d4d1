//! The thread that renews the leases which this process holds.
//!
//! It starts with the first lease, and sleeps while none is held for long.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use verso_pagestore::{Lease, LeaseRequest};

use crate::ffi;
use crate::process::{OpenStore, Process};

/// A lease is renewed so many times within its time to live.
const RENEWALS: u32 = 4;

/// A lease that was handed over is confirmed after this part of the time that there is for it. Most
/// have ended by then.
const PART_TO_CONFIRM: u32 = 8;

/// How a lease was come by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Others know that its holder lives.
    Confirmed,
    /// The holder before has handed it over.
    HandedOver,
}

/// A lease that must be renewed. Its clones are the same.
#[derive(Clone)]
pub(crate) struct Renewal(Arc<Entry>);

struct Entry {
    lease: Lease,
    time_to_live: Duration,
    /// `None` once the lease has ended. Whoever ends it takes the store out, so that no
    /// other thread ever closes a store.
    held: Mutex<Option<Held>>,
}

struct Held {
    open: Arc<OpenStore>,
    renewed: Instant,
    /// For how long that is enough.
    period: Duration,
}

impl Renewal {
    pub(crate) fn new(
        open: Arc<OpenStore>,
        lease: Lease,
        time_to_live: Duration,
        standing: Standing,
    ) -> Self {
        let held = Held {
            open,
            renewed: Instant::now(),
            period: match standing {
                Standing::Confirmed => time_to_live / RENEWALS,
                Standing::HandedOver => {
                    LeaseRequest::time_to_confirm(time_to_live) / PART_TO_CONFIRM
                }
            },
        };
        Self(Arc::new(Entry {
            lease,
            time_to_live,
            held: Mutex::new(Some(held)),
        }))
    }

    /// Ends the renewals of a lease that is not held any more.
    pub(crate) fn stop(&self) {
        self.0.held.lock().take();
    }

    /// How often it must be renewed now; `None` once it has ended.
    fn period(&self) -> Option<Duration> {
        self.0.held.lock().as_ref().map(|held| held.period)
    }

    fn renew_if_due(&self) {
        let Entry {
            lease,
            time_to_live,
            held,
        } = &*self.0;
        let mut held = held.lock();
        if let Some(held) = held
            .as_mut()
            .filter(|held| held.renewed.elapsed() >= held.period)
        {
            held.renewed = Instant::now();
            match held.open.store.renew_lease(lease) {
                Ok(()) => held.period = *time_to_live / RENEWALS,
                // The commit will be refused if the lease is lost, and this is tried again.
                Err(error) => {
                    tracing::warn!(%error, database = %lease.database, "a writer lease was not renewed");
                }
            }
        }
    }
}

/// The leases that this process holds.
#[derive(Default)]
pub(crate) struct Renewer {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    renewals: Vec<Renewal>,
    is_running: bool,
    /// For how long the thread sleeps at most; `None` while it has nothing to renew.
    pause: Option<Duration>,
}

impl Renewer {
    /// Renews a lease from now on.
    pub(crate) fn add(&self, renewal: Renewal, process: &'static Process) -> io::Result<()> {
        let mut state = self.state.lock();
        if !state.is_running {
            ffi::spawn("verso-leases", || process.leases.renewer().run())?;
            state.is_running = true;
        }
        // It need not wake up for each of many short leases.
        let period = renewal.period().unwrap_or(Duration::MAX);
        let is_early = state.pause.is_none_or(|pause| period < pause);
        state.renewals.push(renewal);
        drop(state);
        if is_early {
            self.changed.notify_one();
        }
        Ok(())
    }

    /// Ends the renewals of a lease. Says whether they had not ended before.
    pub(crate) fn remove(&self, renewal: &Renewal) -> bool {
        let is_other = |other: &Renewal| !Arc::ptr_eq(&other.0, &renewal.0);
        self.state.lock().renewals.retain(is_other);
        renewal.0.held.lock().take().is_some()
    }

    fn run(&self) -> ! {
        loop {
            let mut state = self.state.lock();
            let periods = state.renewals.iter().filter_map(Renewal::period);
            state.pause = periods.min();
            match state.pause {
                None => self.changed.wait(&mut state),
                Some(pause) => drop(self.changed.wait_for(&mut state, pause / 2)),
            }
            let renewals = state.renewals.clone();
            drop(state);
            for renewal in &renewals {
                // A panic in a store must not be the end of all leases.
                let renewed = catch_unwind(AssertUnwindSafe(|| renewal.renew_if_due()));
                if renewed.is_err() {
                    tracing::warn!(database = %renewal.0.lease.database, "renewing a lease failed");
                }
            }
        }
    }
}
