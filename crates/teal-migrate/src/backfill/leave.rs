//! Leave to take the next chunk: between two chunks, and only there, the backfill waits for what was
//! asked of it and for what presses on the target.
//!
//! One thread looks about once a second, so that the workers lose no time by it. Interleavings:
//! - A worker takes a chunk just before a pause is seen: it copies and publishes that one chunk, and
//!   waits then. So at most one chunk of each worker comes after a pause.
//! - The last chunk is taken before a pause is seen: the backfill ends, and the migration waits before
//!   its next step.
//! - An abort is seen: the workers end as they do when one has failed, each at the end of its chunk, and
//!   only when all have ended are their tables dropped.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use parking_lot::{Condvar, Mutex};

use super::Shared;
use super::chunk::Chunk;
use crate::journal::state::Migrating;
use crate::requests::{self, Orders};
use crate::throttle::limits::{Bytes, Limit};
use crate::throttle::pressure::{Gauge, Pressure};
use crate::throttle::{Kind, Pace, Wait, paused, waits};
use crate::{MigrateError, Operator, Update};

/// Between two looks at requests and pressure.
const LOOK: Duration = Duration::from_secs(1);

/// A worker that waits looks so often whether another has failed.
const CHECK: Duration = Duration::from_millis(100);

pub(super) struct Leave {
    state: Mutex<State>,
    changed: Condvar,
}

/// How the server's threads that copy a chunk stand to those of the users' statements, where the server may
/// tell the operating system (`CAP_SYS_NICE`; elsewhere the setting is without effect).
///
/// Measured on 26.7, 2 cores, 20 million rows (`teal-bench latency`): the p99 of the users' INSERTs is 3.2 to
/// 3.6 times that before the migration at the same priority, 2.4 to 3.0 times at nice 10, and 3.7 to 5.4 at
/// nice 19, where a thread that holds a lock may be kept from running for a tenth of a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Priority {
    Same,
    Lower,
}

struct State {
    waits: bool,
    priority: Priority,
    bytes_per_second: Option<Bytes>,
    pace: Pace,
    /// Workers that wait for their turn by bytes per second.
    pacing: usize,
    /// Chunks that are being copied, and how many may be at the same time.
    copying: usize,
    at_once: usize,
}

impl Leave {
    pub(super) fn new(at_once: usize) -> Self {
        let pace = Pace::new(Instant::now());
        let state = State {
            waits: true,
            priority: Priority::Same,
            bytes_per_second: None,
            pace,
            pacing: 0,
            copying: 0,
            at_once,
        };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }
}

/// A chunk that may be copied, until this is dropped.
pub(super) struct Turn<'s> {
    pub(super) chunk: Chunk,
    pub(super) priority: Priority,
    leave: &'s Leave,
}

impl Turn<'_> {
    /// The chunk is copied, and another may be.
    pub(super) fn end(self) -> Chunk {
        self.chunk.clone()
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.leave.state.lock().copying -= 1;
        self.leave.changed.notify_all();
    }
}

impl Shared<'_> {
    /// The next chunk, when it may be copied; none when there is none or a worker has failed.
    pub(super) fn next_chunk(&self) -> Option<Turn<'_>> {
        let mut state = self.leave.state.lock();
        loop {
            if self.failed.lock().is_some() {
                return None;
            }
            let mut todo = self.todo.lock();
            let bytes = todo.last()?.bytes;
            let limit = state.bytes_per_second;
            let waits = state.waits || state.copying == state.at_once;
            let turn = match waits {
                true => Err(CHECK),
                false => state.pace.take(bytes, limit, Instant::now()),
            };
            let Err(time) = turn else {
                let chunk = todo.pop()?;
                state.copying += 1;
                return Some(Turn { chunk, priority: state.priority, leave: &self.leave });
            };
            drop(todo);
            let is_pacing = usize::from(!waits);
            state.pacing += is_pacing;
            self.leave.changed.wait_for(&mut state, time.min(CHECK));
            state.pacing -= is_pacing;
        }
    }
}

/// Looks, and lets the workers know.
pub(super) struct Watch<'a> {
    gauge: Gauge<'a>,
    looked: Option<Instant>,
    /// What was told last.
    told: Vec<Kind>,
}

impl Watch<'_> {
    pub(super) fn is_waiting(&self) -> bool {
        !self.told.is_empty()
    }
}

impl<'a> Operator<'a> {
    pub(super) fn watch(&self, shared: &Shared<'_>) -> Result<Watch<'a>, MigrateError> {
        let gauge = self.gauge(&shared.migrating.lock())?;
        Ok(Watch { gauge, looked: None, told: Vec::new() })
    }

    fn gauge(&self, migrating: &Migrating) -> Result<Gauge<'a>, MigrateError> {
        let migration = &migrating.migration;
        Ok(Gauge {
            server: self.server,
            session: self.server.session(&[])?,
            blue: migration.blue.clone(),
            green: migration.green.clone(),
            history: migration.keeps_order().then(|| migrating.published_to()),
        })
    }

    /// Waits until merges have made of the parts so few as they are between two chunks.
    pub(super) fn wait_for_fewer_parts(&self, migrating: &Migrating) -> Result<(), MigrateError> {
        let mut gauge = self.gauge(migrating)?;
        self.wait_out(|_| {
            let orders = self.orders(&migrating.id, migrating.settled)?;
            let pressure = gauge.read(&orders.limits)?;
            Ok(waits(&orders, &pressure).into_iter().find(|wait| wait.kind == Kind::Parts))
        })
    }

    /// Looks, if it is time to.
    pub(super) fn look(
        &self,
        watch: &mut Watch<'_>,
        shared: &Shared<'_>,
    ) -> Result<(), MigrateError> {
        if watch.looked.is_some_and(|looked| looked.elapsed() < LOOK) {
            return Ok(());
        }
        self.check_lock()?;
        let orders = self.orders(&shared.id, None)?;
        let pressure = match orders.paused {
            Some(_) => Pressure::default(),
            None => watch.gauge.read(&orders.limits)?,
        };
        let waits = waits(&orders, &pressure);
        watch.looked = Some(Instant::now());
        let mut state = shared.leave.state.lock();
        state.waits = !waits.is_empty();
        // One chunk for each worker is copied sooner than it would disturb anybody.
        state.priority = match orders.limits.query_latency {
            Some(Limit::Off) => Priority::Same,
            _ if shared.is_short => Priority::Same,
            _ => Priority::Lower,
        };
        state.bytes_per_second = orders.limits.bytes_per_second.and_then(Limit::at);
        let pacing = state.bytes_per_second.filter(|_| state.pacing > 0);
        drop(state);
        shared.leave.changed.notify_all();
        self.tell_waits(watch, &orders, &waits, pacing);
        Ok(())
    }

    fn tell_waits(
        &self,
        watch: &mut Watch<'_>,
        orders: &Orders,
        waits: &[Wait],
        pacing: Option<Bytes>,
    ) {
        let reasons = waits.iter().map(|wait| wait.reason.as_str()).collect::<Vec<_>>();
        let reason = reasons.join("; and for ");
        let kinds = waits.iter().map(|wait| wait.kind).collect::<Vec<_>>();
        if kinds != watch.told {
            self.observer.update(match kinds.is_empty() {
                true => Update::WentOn,
                false => Update::Waiting { reason: reason.clone() },
            });
            watch.told = kinds;
        }
        let pacing = pacing.map(|limit| format!("its turn ({limit} per second)"));
        self.observer.follow(orders.limits, &reason, pacing.as_deref());
    }
}

impl Operator<'_> {
    /// What is asked of a migration; an abort is an error, on which the work ends, and so is an interrupt.
    fn orders(&self, migration: &str, settled: Option<Timestamp>) -> Result<Orders, MigrateError> {
        self.refuse_interrupted()?;
        self.asked(migration, settled, requests::LOOK)
    }

    /// As they were read `max_age` ago, or later; an abort is an error. `settled`: when the last proof or cutover was,
    /// before this work.
    pub(crate) fn asked(
        &self,
        migration: &str,
        settled: Option<Timestamp>,
        max_age: Duration,
    ) -> Result<Orders, MigrateError> {
        let orders = self.requests.orders(migration, max_age)?.since(settled);
        match &orders.abort {
            Some(asked) => {
                Err(MigrateError::AbortAsked { by: asked.by.clone(), force: orders.force })
            }
            None => Ok(orders),
        }
    }

    /// Waits while the migration is paused, before its next step.
    pub(crate) fn wait_while_paused(&self, migrating: &Migrating) -> Result<(), MigrateError> {
        self.wait_out(|is_first| {
            let wait = paused(&self.orders(&migrating.id, migrating.settled)?);
            if is_first && wait.is_some() {
                self.observer.rest(&migrating.migration.green.to_string());
            }
            Ok(wait)
        })
    }

    /// Waits as long as there is something to wait for. `next` is told whether it is asked for the first time.
    fn wait_out(
        &self,
        mut next: impl FnMut(bool) -> Result<Option<Wait>, MigrateError>,
    ) -> Result<(), MigrateError> {
        let mut waited = false;
        while let Some(wait) = next(!waited)? {
            if !waited {
                self.observer.update(Update::Waiting { reason: wait.reason });
                waited = true;
            }
            self.check_lock()?;
            std::thread::sleep(CHECK);
        }
        if waited {
            self.observer.update(Update::WentOn);
        }
        Ok(())
    }
}
