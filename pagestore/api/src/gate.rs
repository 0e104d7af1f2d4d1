//! The gate that requests pass, so that a fork can wait until none is under way.

use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

/// Counts the requests under way, and holds new ones back while suspended.
///
/// A thread that is inside must not enter a second time while another may suspend: each
/// would wait for the other.
#[derive(Debug, Default)]
pub struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    inside: usize,
    /// How many more times `suspend` was called than `resume`.
    suspensions: usize,
}

/// Proof of being inside; dropping it leaves.
#[derive(Debug)]
pub struct Pass(Arc<Gate>);

impl Gate {
    /// Enters, once nobody holds the gate closed.
    pub fn enter(self: &Arc<Self>) -> Pass {
        let mut state = self.state.lock();
        while state.suspensions > 0 {
            self.changed.wait(&mut state);
        }
        state.inside += 1;
        Pass(Arc::clone(self))
    }

    /// Closes the gate, and waits until everybody has left.
    pub fn suspend(&self) {
        let mut state = self.state.lock();
        state.suspensions += 1;
        while state.inside > 0 {
            self.changed.wait(&mut state);
        }
    }

    /// Opens the gate again.
    pub fn resume(&self) {
        let mut state = self.state.lock();
        state.suspensions = state.suspensions.saturating_sub(1);
        self.changed.notify_all();
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.inside -= 1;
        if state.suspensions > 0 && state.inside == 0 {
            self.0.changed.notify_all();
        }
    }
}
