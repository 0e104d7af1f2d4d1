//! The runtime of the client, and who drives it.
//!
//! A thread that waits for an answer drives the runtime itself: it writes to the socket and reads from
//! it, and no other thread has to be woken, which would take longer than all else that a request does.
//! If several wait, one of them drives for all. When nobody waits, as soon as that has lasted for a
//! moment, the keeper drives: a thread that is there to answer pings, to see that a connection has
//! ended, and to follow watches.

use std::panic::{AssertUnwindSafe, catch_unwind};
// Not those of parking_lot, whose list of the threads that wait would be inherited by a forked child.
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::Notify;

/// For so long nobody drives before the keeper does. Requests of one application that follow each
/// other faster find it out of their way.
const MOMENT: Duration = Duration::from_millis(10);

/// For how long its end waits for what cannot be interrupted, such as the look-up of a host's name.
const END_PATIENCE: Duration = Duration::from_secs(1);

/// A runtime that is driven.
pub(super) struct Driver {
    // First, so that the keeper has the last reference when it ends.
    runtime: Arc<Runtime>,
    keeper: Keeper,
}

/// The thread that drives when nobody else does. It ends with this value, and the runtime with it.
struct Keeper {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// Makes the keeper leave the runtime.
    leave: Notify,
}

#[derive(Default)]
struct State {
    keeper: Keeping,
    /// Threads that drive, or wait for another one that does.
    inside: usize,
    /// How many have come in all.
    came: u64,
    /// Threads that cannot drive, and wait for the keeper's work.
    passengers: usize,
}

/// What the keeper does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Keeping {
    /// It waits until nobody has come for a moment.
    #[default]
    Waiting,
    /// It drives until it is told to leave.
    Driving,
    /// The client ends.
    Ending,
}

impl Driver {
    /// Starts the keeper.
    pub(super) fn new() -> Result<Self, String> {
        let failed = |error| format!("no thread for it can be started: {error}");
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = Arc::new(runtime.map_err(failed)?);
        let shared = Arc::new(Shared::default());
        let (kept, kept_by) = (Arc::clone(&runtime), Arc::clone(&shared));
        let thread = thread::Builder::new()
            .name("verso-client".into())
            .spawn(move || keep(kept, &kept_by))
            .map_err(failed)?;
        let thread = Some(thread);
        let keeper = Keeper { shared, thread };
        Ok(Self { runtime, keeper })
    }

    /// For what must be made inside the runtime.
    pub(super) fn enter(&self) -> tokio::runtime::EnterGuard<'_> {
        self.runtime.enter()
    }

    /// Runs a request to its end, on any thread. `None` if it panicked.
    pub(super) fn run<T: Send + 'static>(
        &self,
        request: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        if may_drive() {
            let _inside = self.keeper.shared.come_in();
            // What it has seen of the request is not looked at again.
            return catch_unwind(AssertUnwindSafe(|| self.runtime.block_on(request))).ok();
        }
        let _passenger = self.keeper.shared.come_along();
        let (sender, receiver) = mpsc::sync_channel(1);
        self.runtime.spawn(async move {
            // Nobody else receives, so there is room.
            let _ = sender.send(request.await);
        });
        receiver.recv().ok()
    }

    /// Runs a task until it ends, or the client does.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(task);
    }
}

/// Whether this thread may drive a runtime: not if it belongs to another one, or is at its end.
fn may_drive() -> bool {
    Handle::try_current().is_err_and(|error| error.is_missing_context())
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics that holds it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn come_in(&self) -> Inside<'_> {
        let mut state = self.state();
        state.inside += 1;
        state.came += 1;
        if state.keeper == Keeping::Driving && state.passengers == 0 {
            state.keeper = Keeping::Waiting;
            drop(state);
            self.leave.notify_one();
        }
        Inside(self)
    }

    fn come_along(&self) -> Passenger<'_> {
        self.state().passengers += 1;
        self.changed.notify_one();
        Passenger(self)
    }

    /// Waits until the keeper is to drive, and says that it does: somebody waits for it, or nobody has
    /// come for a moment. False at the end of the client.
    fn take_over(&self) -> bool {
        let mut state = self.state();
        while state.keeper != Keeping::Ending && state.passengers == 0 {
            let came = state.came;
            let waited = self.changed.wait_timeout(state, MOMENT);
            let (again, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            state = again;
            if timeout.timed_out() && state.inside == 0 && state.came == came {
                break;
            }
        }
        let is_wanted = state.keeper != Keeping::Ending;
        if is_wanted {
            state.keeper = Keeping::Driving;
        }
        is_wanted
    }
}

/// The work of the keeper.
fn keep(runtime: Arc<Runtime>, shared: &Shared) {
    while shared.take_over() {
        // Whoever tells it to leave before it is inside is heard as well.
        runtime.block_on(shared.leave.notified());
    }
    if let Some(runtime) = Arc::into_inner(runtime) {
        runtime.shutdown_timeout(END_PATIENCE);
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.shared.state().keeper = Keeping::Ending;
        self.shared.changed.notify_one();
        self.shared.leave.notify_one();
        if let Some(thread) = self.thread.take() {
            // It has ended either way.
            let _ = thread.join();
        }
    }
}

/// A thread that drives, for as long as this lives.
struct Inside<'a>(&'a Shared);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.state().inside -= 1;
    }
}

/// A thread that waits for the keeper, for as long as this lives.
struct Passenger<'a>(&'a Shared);

impl Drop for Passenger<'_> {
    fn drop(&mut self) {
        self.0.state().passengers -= 1;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use tokio::sync::{mpsc as channel, oneshot};

    use super::*;

    type Asked = (u64, oneshot::Sender<u64>);

    /// A task that doubles numbers, as a connection's task answers requests.
    fn doubler(driver: &Driver) -> channel::Sender<Asked> {
        let (sender, mut asked) = channel::channel::<Asked>(1);
        driver.spawn(async move {
            while let Some((number, answer)) = asked.recv().await {
                let _ = answer.send(2 * number);
            }
        });
        sender
    }

    fn ask(driver: &Driver, doubler: &channel::Sender<Asked>, number: u64) -> Option<u64> {
        let doubler = doubler.clone();
        let request = async move {
            let (answer, answered) = oneshot::channel();
            doubler.send((number, answer)).await.ok()?;
            answered.await.ok()
        };
        driver.run(request).flatten()
    }

    #[test]
    fn who_waits_drives() {
        let driver = Driver::new().unwrap();
        let ran_on = driver.run(async { thread::current().id() });
        assert_eq!(ran_on, Some(thread::current().id()));
    }

    #[test]
    fn the_keeper_drives_when_nobody_waits() {
        let driver = Driver::new().unwrap();
        for _ in 0..3 {
            let (told, heard) = mpsc::channel();
            driver.spawn(async move {
                // Also what needs the clock.
                tokio::time::sleep(Duration::from_millis(1)).await;
                let _ = told.send(thread::current().name().map(str::to_owned));
            });
            let by = heard.recv().unwrap();
            assert_eq!(by.as_deref(), Some("verso-client"));
            assert_eq!(driver.run(async { 1 }), Some(1), "and leaves again");
        }
    }

    #[test]
    fn a_panic_is_no_answer_and_harms_nobody_else() {
        let driver = Driver::new().unwrap();
        let doubler = doubler(&driver);
        let none: Option<()> = driver.run(async { panic!("on purpose") });
        assert_eq!(none, None);
        assert_eq!(ask(&driver, &doubler, 4), Some(8));
    }

    /// Of another runtime, and at the end of a thread.
    #[test]
    fn who_may_not_drive_is_driven() {
        type Result = mpsc::Sender<Option<u64>>;
        struct Last(Option<(Arc<Driver>, channel::Sender<Asked>, Result)>);
        impl Drop for Last {
            fn drop(&mut self) {
                if let Some((driver, doubler, result)) = self.0.take() {
                    let _ = result.send(ask(&driver, &doubler, 3));
                }
            }
        }
        thread_local!(static LAST: RefCell<Last> = const { RefCell::new(Last(None)) });

        let driver = Arc::new(Driver::new().unwrap());
        let doubler = doubler(&driver);
        let other = Builder::new_current_thread().build().unwrap();
        assert_eq!(other.block_on(async { ask(&driver, &doubler, 2) }), Some(4));
        let (result, received) = mpsc::channel();
        let (theirs, asked) = (Arc::clone(&driver), doubler.clone());
        let thread = thread::spawn(move || {
            LAST.with_borrow_mut(|last| last.0 = Some((theirs, asked, result)));
            // The runtime's own thread-locals are made after, and so may be gone before.
            let _ = Handle::try_current();
        });
        thread.join().unwrap();
        assert_eq!(received.recv(), Ok(Some(6)));
    }

    #[test]
    fn many_threads_share_it() {
        let driver = Arc::new(Driver::new().unwrap());
        let doubler = doubler(&driver);
        thread::scope(|scope| {
            for thread in 0..8 {
                let (driver, doubler) = (&driver, &doubler);
                scope.spawn(move || {
                    let other = Builder::new_current_thread().build().unwrap();
                    for number in 0..500 {
                        let answer = if thread < 2 {
                            other.block_on(async { ask(driver, doubler, number) })
                        } else {
                            ask(driver, doubler, number)
                        };
                        assert_eq!(answer, Some(2 * number));
                        if number % (50 * (thread + 1)) == 0 {
                            // Long enough for the keeper to come.
                            thread::sleep(2 * MOMENT);
                        }
                    }
                });
            }
        });
    }

    #[test]
    fn it_ends_with_its_tasks() {
        let driver = Driver::new().unwrap();
        let kept = Arc::new(());
        for _ in 0..2 {
            let held = Arc::clone(&kept);
            driver.spawn(async move {
                std::future::pending::<()>().await;
                drop(held);
            });
        }
        assert_eq!(driver.run(async { 1 }), Some(1));
        drop(driver);
        assert_eq!(Arc::strong_count(&kept), 1);
    }
}
