//! Ctrl-C: a flag for loops of ours, and an end for a statement that runs too long.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use rusqlite::{Connection, InterruptHandle};

/// Told when the user presses Ctrl-C, instead of the process ending at once.
#[derive(Clone, Default)]
pub(crate) struct Interrupt {
    pressed: Arc<AtomicBool>,
    statements: Arc<Mutex<Option<InterruptHandle>>>,
}

impl Interrupt {
    /// Takes Ctrl-C over for the rest of the process; possible once.
    pub(crate) fn install() -> anyhow::Result<Self> {
        let interrupt = Self::default();
        let told = interrupt.clone();
        ctrlc::set_handler(move || {
            told.pressed.store(true, Ordering::SeqCst);
            let statements = told
                .statements
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if let Some(handle) = statements.as_ref() {
                handle.interrupt();
            }
        })
        .context("Ctrl-C cannot be handled")?;
        Ok(interrupt)
    }

    /// From now on Ctrl-C also ends the statement that this connection runs.
    pub(crate) fn watch(&self, connection: &Connection) {
        let mut statements = self
            .statements
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *statements = Some(connection.get_interrupt_handle());
    }

    /// Whether it was pressed.
    pub(crate) fn pressed(&self) -> bool {
        self.pressed.load(Ordering::SeqCst)
    }

    /// Forgets that it was pressed.
    pub(crate) fn forget(&self) {
        self.pressed.store(false, Ordering::SeqCst);
    }
}
