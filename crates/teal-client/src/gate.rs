//! The write gate: where every statement goes through teal, it can hold new writes for the few
//! milliseconds of a cut, after letting the running ones end.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// Invariant: while a [`GateClosing`] lives, no [`WritePass`] does.
#[derive(Debug, Default)]
pub struct WriteGate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Someone is closing the gate or has it closed: new writes wait.
    closed: bool,
    /// The writes that are running: pass number → when it was let in.
    running: BTreeMap<u64, Instant>,
    next_pass: u64,
    /// The longest life of a write that was running when the gate was last asked to close.
    slowest_running: Duration,
    stats: GateStats,
}

/// What the gate has cost those who write.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GateStats {
    /// How often the gate was closed, or was asked to close and gave up.
    pub closings: u64,
    /// Writes that had to wait, and have been let in.
    pub waits: u64,
    /// Writes that are waiting now.
    pub waiting: u64,
    pub longest_wait: Duration,
    /// The longest a wait may have been by the gate's promise: the slowest write that was running
    /// when it was asked to close.
    pub slowest_running: Duration,
    /// The most by which a wait was longer than the slowest write that it had to wait for: what the
    /// cut itself cost.
    pub longest_beyond: Duration,
    /// The longest that the gate was closed with no write running.
    pub longest_closed: Duration,
}

/// The running writes did not end in time; the gate is open again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{running} INSERT(s) were still running after {} ms", .patience.as_millis())]
pub struct GateTimeout {
    pub running: usize,
    pub patience: Duration,
}

/// Leave for one write, from its start to its end.
#[derive(Debug)]
pub struct WritePass<'gate> {
    gate: &'gate WriteGate,
    number: u64,
}

/// The gate, closed: no write is running. It opens again when this is dropped.
#[derive(Debug)]
pub struct GateClosing<'gate> {
    gate: &'gate WriteGate,
    since: Instant,
}

impl WriteGate {
    /// Waits while the gate is closed, then lets one write in.
    pub fn enter(&self) -> WritePass<'_> {
        let mut state = self.state.lock();
        if state.closed {
            let waiting_since = Instant::now();
            state.stats.waiting += 1;
            self.changed.wait_while(&mut state, |state| state.closed);
            state.stats.waiting -= 1;
            state.stats.waits += 1;
            let waited = waiting_since.elapsed();
            let beyond = waited.saturating_sub(state.slowest_running);
            state.stats.longest_wait = state.stats.longest_wait.max(waited);
            state.stats.longest_beyond = state.stats.longest_beyond.max(beyond);
        }
        let number = state.next_pass;
        state.next_pass += 1;
        state.running.insert(number, Instant::now());
        WritePass { gate: self, number }
    }

    /// Holds new writes and waits until the running ones have ended, for `patience` at most.
    ///
    /// # Errors
    /// When they did not end in time. The gate is open again then.
    pub fn close(&self, patience: Duration) -> Result<GateClosing<'_>, GateTimeout> {
        let deadline = Instant::now() + patience;
        let timeout = |state: &State| GateTimeout { running: state.running.len(), patience };
        let mut state = self.state.lock();
        // Another closing goes first.
        while state.closed {
            if self.changed.wait_until(&mut state, deadline).timed_out() && state.closed {
                return Err(timeout(&state));
            }
        }
        state.closed = true;
        state.slowest_running = Duration::ZERO;
        state.stats.closings += 1;
        while !state.running.is_empty() {
            if self.changed.wait_until(&mut state, deadline).timed_out()
                && !state.running.is_empty()
            {
                let oldest = state.running.values().map(Instant::elapsed).max();
                state.slowest_running = state.slowest_running.max(oldest.unwrap_or_default());
                let error = timeout(&state);
                self.open(&mut state);
                return Err(error);
            }
        }
        drop(state);
        Ok(GateClosing { gate: self, since: Instant::now() })
    }

    pub fn stats(&self) -> GateStats {
        self.state.lock().stats
    }

    fn open(&self, state: &mut State) {
        state.closed = false;
        state.stats.slowest_running = state.stats.slowest_running.max(state.slowest_running);
        self.changed.notify_all();
    }
}

impl Drop for WritePass<'_> {
    fn drop(&mut self) {
        let mut state = self.gate.state.lock();
        if let Some(since) = state.running.remove(&self.number)
            && state.closed
        {
            state.slowest_running = state.slowest_running.max(since.elapsed());
            self.gate.changed.notify_all();
        }
    }
}

impl Drop for GateClosing<'_> {
    fn drop(&mut self) {
        let mut state = self.gate.state.lock();
        state.stats.longest_closed = state.stats.longest_closed.max(self.since.elapsed());
        self.gate.open(&mut state);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    #[test]
    fn a_closed_gate_has_no_write_running_and_holds_new_ones() {
        let gate = WriteGate::default();
        let running = gate.enter();
        let (ended, let_in) = (AtomicBool::new(false), AtomicBool::new(false));
        thread::scope(|scope| {
            let closer = scope.spawn(|| {
                let closing = gate.close(LONG).unwrap();
                assert!(ended.load(Ordering::SeqCst), "closed while a write was running");
                assert!(!let_in.load(Ordering::SeqCst), "a write was let in");
                drop(closing);
            });
            while !gate.state.lock().closed {
                thread::yield_now();
            }
            scope.spawn(|| {
                let _pass = gate.enter();
                let_in.store(true, Ordering::SeqCst);
            });
            ended.store(true, Ordering::SeqCst);
            drop(running);
            closer.join().unwrap();
        });
        assert!(let_in.load(Ordering::SeqCst));
        assert_eq!(gate.stats().closings, 1);
    }

    #[test]
    fn a_gate_that_cannot_close_in_time_opens_again() {
        let gate = WriteGate::default();
        let _running = gate.enter();
        let error = gate.close(Duration::from_millis(5)).unwrap_err();
        assert_eq!(error.running, 1);
        let _next = gate.enter();
        assert!(gate.stats().slowest_running >= Duration::from_millis(5));
    }

    #[test]
    fn two_closings_never_overlap() {
        let gate = WriteGate::default();
        let inside = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let closing = gate.close(LONG).unwrap();
                        assert!(!inside.swap(true, Ordering::SeqCst));
                        inside.store(false, Ordering::SeqCst);
                        drop(closing);
                        let _pass = gate.enter();
                    }
                });
            }
        });
        assert_eq!(gate.stats().closings, 200);
    }

    #[test]
    fn a_second_closing_gives_up_while_the_first_lasts() {
        let gate = WriteGate::default();
        let first = gate.close(LONG).unwrap();
        assert!(gate.close(Duration::from_millis(5)).is_err());
        drop(first);
        let (sender, receiver) = mpsc::channel();
        thread::scope(|scope| {
            scope.spawn(|| {
                let _pass = gate.enter();
                sender.send(()).unwrap();
            });
            receiver.recv_timeout(LONG).unwrap();
        });
    }
}
