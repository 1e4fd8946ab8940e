use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::{MigrateError, Operator};

/// Asks an operator, from another thread, to end at the next place from which it can go on.
#[derive(Debug, Clone, Default)]
pub struct Interrupt {
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    heeded: AtomicBool,
    asked: AtomicBool,
}

impl Interrupt {
    /// Asks. False where nobody heeds it, or it was asked before: then nothing comes of it.
    pub fn ask(&self) -> bool {
        self.state.heeded.load(Ordering::SeqCst) && !self.state.asked.swap(true, Ordering::SeqCst)
    }

    pub fn is_asked(&self) -> bool {
        self.state.asked.load(Ordering::SeqCst)
    }

    /// From now on somebody looks whether it was asked, until the value is dropped.
    pub(crate) fn heed(&self) -> Heeding<'_> {
        self.state.heeded.store(true, Ordering::SeqCst);
        Heeding { interrupt: self }
    }
}

pub(crate) struct Heeding<'a> {
    interrupt: &'a Interrupt,
}

impl Drop for Heeding<'_> {
    fn drop(&mut self) {
        self.interrupt.state.heeded.store(false, Ordering::SeqCst);
    }
}

impl Operator<'_> {
    pub(crate) fn refuse_interrupted(&self) -> Result<(), MigrateError> {
        match self.options.interrupt.is_asked() {
            true => Err(MigrateError::Interrupted),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_heeds_is_asked_and_only_once() {
        let interrupt = Interrupt::default();
        assert!(!interrupt.ask() && !interrupt.is_asked());
        let heeding = interrupt.heed();
        assert!(interrupt.clone().ask() && interrupt.is_asked());
        assert!(!interrupt.ask());
        drop(heeding);
        assert!(!interrupt.ask());
    }
}
