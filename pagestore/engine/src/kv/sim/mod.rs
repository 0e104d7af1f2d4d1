//! The simulator: the store in memory, with many clients, faults and a time of its own, all
//! decided by a seed.
//!
//! Operations on a [`Simulation`] run as tasks, of which one runs at a time. Each call of the
//! key-value contract hands control to the scheduler, which decides who goes on, what fails, and
//! how much virtual time passes. Commits travel by themselves: their sender may be told that the
//! result is unknown, or die, before they take effect, and those that arrive close together share
//! a commit version. The same seed and the same tasks give the same run.

mod cluster;
mod faults;
mod scheduler;
mod transaction;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use verso_pagestore::Version;

use super::memory::{ManualClock, MemoryKv, MemoryOptions};
use super::{Kv, KvError, Limits};
use cluster::Cluster;
use scheduler::{Death, Event, State};

pub use super::seeded::Seeded;
pub use cluster::Applied;
pub use faults::Faults;
pub use transaction::SimulatedTransaction;

/// A task of a simulation.
pub type Task<'a> = Box<dyn FnOnce() + Send + 'a>;

/// The node died before it answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the node died")]
pub struct NodeDied;

/// A simulated store and the tasks that use it. Its clones are the same simulation.
///
/// It may only be used from its own tasks, but for [`run`](Self::run), [`store`](Self::store),
/// [`applied`](Self::applied) and [`trace`](Self::trace).
#[derive(Clone)]
pub struct Simulation {
    state: Arc<Mutex<State>>,
    store: MemoryKv,
    transaction_bytes: usize,
}

impl fmt::Debug for Simulation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Simulation").finish_non_exhaustive()
    }
}

impl Simulation {
    /// An empty store at the begin of time. Its limits are FoundationDB's, but that it says it takes
    /// so many bytes in one transaction. It takes room for the longest key beside them.
    #[must_use]
    pub fn new(seed: u64, faults: Faults, transaction_bytes: usize) -> Self {
        let clock = Arc::new(ManualClock::default());
        let mut options = MemoryOptions {
            clock: clock.clone(),
            seed,
            ..MemoryOptions::default()
        };
        let most = options.limits.transaction_bytes;
        let room = 2 * options.limits.key_bytes;
        options.limits.transaction_bytes = most.min(transaction_bytes + room);
        let store = MemoryKv::new(options);
        let cluster = Cluster::new(store.clone());
        let state = State::new(seed, faults, cluster, clock);
        Self {
            state: Arc::new(Mutex::new(state)),
            store,
            transaction_bytes,
        }
    }

    /// Runs tasks to their end, and then lets what is under way arrive.
    ///
    /// # Errors
    /// With the message of the first panic of a task.
    pub fn run(&self, tasks: Vec<Task<'_>>) -> Result<(), String> {
        self.state.lock().add_tasks(tasks.len());
        std::thread::scope(|scope| {
            for (me, task) in tasks.into_iter().enumerate() {
                scope.spawn(move || {
                    drop(State::wait_turn(self.state.lock(), me));
                    let result = catch_unwind(AssertUnwindSafe(task));
                    let mut state = self.state.lock();
                    state.end(result);
                    state.advance();
                });
            }
            self.state.lock().advance();
        });
        self.state.lock().take_failure().map_or(Ok(()), Err)
    }

    /// Changes how often things go wrong from here on.
    pub fn set_faults(&self, faults: Faults) {
        self.state.lock().faults = faults;
    }

    /// Waits in virtual time.
    pub fn sleep(&self, time: Duration) {
        let mut state = self.state.lock();
        let me = state.running();
        let microseconds = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        state.schedule(microseconds, Event::Wake(me));
        drop(State::hand_over(state));
    }

    /// Virtual time since the begin.
    #[must_use]
    pub fn now(&self) -> Duration {
        Duration::from_micros(self.state.lock().now)
    }

    /// How often a node has died.
    #[must_use]
    pub fn incarnation(&self, node: usize) -> u64 {
        self.state.lock().incarnation(node)
    }

    /// Does something at a node, which may die meanwhile: at any call of the store, or just
    /// before the answer gets to the client.
    ///
    /// # Errors
    /// If it died. What it had sent to the store may still take effect.
    pub fn at_node<T>(&self, node: usize, work: impl FnOnce() -> T) -> Result<T, NodeDied> {
        self.state.lock().set_session(Some(node));
        let answered = catch_unwind(AssertUnwindSafe(|| {
            let answer = work();
            // The answer's way may fail, so that nobody hears of what was done.
            let mut state = self.state.lock();
            state.may_kill();
            State::take_time(state);
            answer
        }));
        match answered {
            Ok(answer) => {
                self.state.lock().set_session(None);
                Ok(answer)
            }
            Err(payload) if payload.is::<Death>() => {
                self.state.lock().set_session(None);
                Err(NodeDied)
            }
            Err(payload) => resume_unwind(payload),
        }
    }

    /// The store itself, without faults and delays.
    #[must_use]
    pub const fn store(&self) -> &MemoryKv {
        &self.store
    }

    /// Every transaction that has taken effect, in the order of versions.
    #[must_use]
    pub fn applied(&self) -> Vec<Applied> {
        self.state.lock().cluster.applied.clone()
    }

    /// The version of the last transaction that has taken effect.
    #[must_use]
    pub fn newest(&self) -> Version {
        let state = self.state.lock();
        let last = state.cluster.applied.last();
        last.map_or(Version::MIN, |applied| applied.version)
    }

    /// A number that differs, in all likelihood, between two runs that differ.
    #[must_use]
    pub fn trace(&self) -> u64 {
        self.state.lock().trace_hash()
    }

    /// A call of the store that takes time, and that may fail.
    fn call(&self) -> Result<(), KvError> {
        let mut state = self.state.lock();
        state.may_kill();
        let State { random, faults, .. } = &mut *state;
        let fault = faults.of_call(random);
        State::take_time(state);
        fault.map_or(Ok(()), Err)
    }
}

impl Kv for Simulation {
    type Transaction = SimulatedTransaction;

    fn limits(&self) -> Limits {
        Limits {
            transaction_bytes: self.transaction_bytes,
            ..self.store.limits()
        }
    }

    fn begin(&self) -> Result<SimulatedTransaction, KvError> {
        // The version is that of the moment when the call was made: its way back takes time.
        let begun = self.store.begin()?;
        self.call()?;
        Ok(self.transaction(begun))
    }

    fn begin_recent(&self, at_least: u64) -> Result<SimulatedTransaction, KvError> {
        // Somebody on the same node may have asked since, or not.
        let is_known = self.state.lock().random.below(2) == 0;
        if is_known {
            self.begin_at(at_least)
        } else {
            self.begin()
        }
    }

    fn begin_at(&self, read_version: u64) -> Result<SimulatedTransaction, KvError> {
        Ok(self.transaction(self.store.begin_at(read_version)?))
    }

    fn is_young(&self, read_version: u64) -> bool {
        // Only a guess, so now and then it is wrong.
        let is_wrong = self.state.lock().random.happens(500);
        self.store.is_young(read_version) != is_wrong
    }

    fn pause(&self, time: Duration) {
        self.sleep(time);
    }

    fn suspend(&self) {
        self.store.suspend();
    }

    fn resume(&self) {
        self.store.resume();
    }
}
