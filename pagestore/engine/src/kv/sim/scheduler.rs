//! The baton: of all tasks exactly one runs at a time, and a seed decides which is next.
//!
//! Every task is a thread. Whoever waits for something puts an event in the future and hands the
//! baton over: virtual time jumps to the next event.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, MutexGuard};

use super::cluster::Cluster;
use super::faults::Faults;
use crate::kv::memory::ManualClock;
use crate::kv::seeded::Seeded;

/// Something that happens at a time.
#[derive(Debug, Clone, Copy)]
pub(super) enum Event {
    /// A task goes on.
    Wake(usize),
    /// A commit gets to the store.
    Arrive(u64),
    /// The store commits what has arrived.
    Batch,
}

/// What unwinds a task of a simulation that failed elsewhere.
pub(super) struct Stopped;

/// What unwinds an operation of a node that died.
pub(super) struct Death;

/// A node at work for a task.
#[derive(Debug, Clone, Copy)]
pub(super) struct Session {
    pub(super) node: usize,
    incarnation: u64,
}

#[derive(Debug)]
struct Task {
    turn: Arc<Condvar>,
    is_done: bool,
    session: Option<Session>,
}

/// Everything that the baton protects.
#[derive(Debug)]
pub(super) struct State {
    /// In microseconds.
    pub(super) now: u64,
    pub(super) random: Seeded,
    pub(super) faults: Faults,
    pub(super) cluster: Cluster,
    clock: Arc<ManualClock>,
    events: BTreeMap<(u64, u64), Event>,
    scheduled: u64,
    running: Option<usize>,
    tasks: Vec<Task>,
    /// How often each node has died.
    deaths: Vec<u64>,
    failure: Option<String>,
    trace: u64,
}

impl State {
    pub(super) fn new(
        seed: u64,
        faults: Faults,
        cluster: Cluster,
        clock: Arc<ManualClock>,
    ) -> Self {
        Self {
            now: 0,
            random: Seeded::new(seed),
            faults,
            cluster,
            clock,
            events: BTreeMap::new(),
            scheduled: 0,
            running: None,
            tasks: Vec::new(),
            deaths: Vec::new(),
            failure: None,
            trace: 0,
        }
    }

    /// Adds what happened to the number that tells two runs apart.
    pub(super) fn trace(&mut self, what: u64) {
        let mixed = (self.trace ^ what).wrapping_mul(0x0100_0000_01b3);
        self.trace = mixed ^ (mixed >> 29);
    }

    pub(super) const fn trace_hash(&self) -> u64 {
        self.trace
    }

    /// Lets an event happen so many microseconds from now.
    pub(super) fn schedule(&mut self, delay: u64, event: Event) {
        self.scheduled += 1;
        self.events
            .insert((self.now + delay, self.scheduled), event);
    }

    /// The task that holds the baton.
    pub(super) fn running(&self) -> usize {
        self.running
            .expect("only the tasks of a run use a simulated store")
    }

    /// How often a node has died.
    pub(super) fn incarnation(&self, node: usize) -> u64 {
        self.deaths.get(node).copied().unwrap_or(0)
    }

    /// Whom the running task works for.
    pub(super) fn set_session(&mut self, node: Option<usize>) {
        let session = node.map(|node| Session {
            node,
            incarnation: self.incarnation(node),
        });
        let me = self.running();
        if let Some(task) = self.tasks.get_mut(me) {
            task.session = session;
        }
    }

    fn session(&self, task: usize) -> Option<Session> {
        self.tasks.get(task)?.session
    }

    /// Kills the node that the running task works for, if that is what the seed says.
    pub(super) fn may_kill(&mut self) {
        let Some(Session { node, .. }) = self.session(self.running()) else {
            return;
        };
        if !self.random.happens(self.faults.death) {
            return;
        }
        if self.deaths.len() <= node {
            self.deaths.resize(node + 1, 0);
        }
        if let Some(deaths) = self.deaths.get_mut(node) {
            *deaths += 1;
        }
    }

    /// New tasks, each to begin at a moment of its own.
    pub(super) fn add_tasks(&mut self, count: usize) {
        self.tasks = (0..count)
            .map(|_| Task {
                turn: Arc::default(),
                is_done: false,
                session: None,
            })
            .collect();
        for task in 0..count {
            let delay = self.random.below(5_000);
            self.schedule(delay, Event::Wake(task));
        }
    }

    /// The running task is over, by its end or by a panic.
    pub(super) fn end(&mut self, result: Result<(), Box<dyn Any + Send>>) {
        let me = self.running();
        if let Some(task) = self.tasks.get_mut(me) {
            task.is_done = true;
        }
        if let Err(payload) = result
            && !payload.is::<Stopped>()
        {
            let text = payload.downcast_ref::<String>().cloned();
            let text = text.or_else(|| payload.downcast_ref::<&str>().map(|&text| text.into()));
            self.failure = Some(text.unwrap_or_else(|| "a task panicked".into()));
        }
    }

    pub(super) fn take_failure(&mut self) -> Option<String> {
        self.failure.take()
    }

    /// Makes the next events happen, up to the first that lets a task go on.
    pub(super) fn advance(&mut self) {
        self.running = None;
        while self.failure.is_none() {
            let Some(((time, _), event)) = self.events.pop_first() else {
                if self.tasks.iter().any(|task| !task.is_done) {
                    self.failure = Some("every task waits for another".into());
                }
                break;
            };
            self.clock.advance(Duration::from_micros(time - self.now));
            self.now = time;
            self.trace(time);
            match event {
                Event::Wake(task) => return self.let_run(task),
                Event::Arrive(commit) => self.arrive(commit),
                Event::Batch => self.commit_batch(),
            }
        }
        if self.failure.is_some()
            && let Some(task) = self.tasks.iter().position(|task| !task.is_done)
        {
            self.let_run(task);
        }
    }

    fn let_run(&mut self, task: usize) {
        self.trace(task as u64);
        self.running = Some(task);
        if let Some(task) = self.tasks.get(task) {
            task.turn.notify_one();
        }
    }

    /// Waits until a task has the baton.
    pub(super) fn wait_turn(mut guard: MutexGuard<'_, Self>, me: usize) -> MutexGuard<'_, Self> {
        if let Some(turn) = guard.tasks.get(me).map(|task| Arc::clone(&task.turn)) {
            while guard.running != Some(me) {
                turn.wait(&mut guard);
            }
        }
        guard
    }

    /// Lets the time of one call pass.
    pub(super) fn take_time(mut guard: MutexGuard<'_, Self>) {
        let me = guard.running();
        let Self { random, faults, .. } = &mut *guard;
        let delay = faults.delay(random);
        guard.schedule(delay, Event::Wake(me));
        drop(Self::hand_over(guard));
    }

    /// Hands the baton over, and waits until it comes back. Unwinds if the node died meanwhile.
    pub(super) fn hand_over(mut guard: MutexGuard<'_, Self>) -> MutexGuard<'_, Self> {
        let me = guard.running();
        guard.advance();
        let guard = Self::wait_turn(guard, me);
        if guard.failure.is_some() {
            drop(guard);
            resume_unwind(Box::new(Stopped));
        }
        let is_dead = |session: Session| guard.incarnation(session.node) != session.incarnation;
        if guard.session(me).is_some_and(is_dead) {
            drop(guard);
            resume_unwind(Box::new(Death));
        }
        guard
    }
}
