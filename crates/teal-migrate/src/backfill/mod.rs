//! The backfill of a rewrite: the snapshot's rows, chunk by chunk, through staging tables into
//! green. A chunk is in green as a whole or not at all, whatever crashes: see [`publish`].

mod chunk;
mod leave;
mod order;
mod publish;
mod worker;

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use chunk::Chunk;
use leave::Leave;
pub(crate) use order::{CAME, IN_ORDER};
use parking_lot::Mutex;
use teal_catalog::active_parts;
use teal_client::TEAL_LOG_COMMENT;
use worker::Worker;
pub(crate) use worker::{columns, select_from};

use crate::journal::phase::{Attached, Snapshot};
use crate::journal::state::Migrating;
use crate::{Event, MigrateError, Operator, Phase, Step, Update, failpoint, names};

#[derive(Debug, Clone)]
pub struct BackfillOptions {
    /// Chunks copied at the same time, each by one thread of the server.
    pub workers: usize,
    /// Rows of a chunk, at most. A chunk is sorted in one block, so a larger one makes fewer parts;
    /// a pause waits for its end. Measured on 20 million rows of 5 columns, 2 cores, 26.7: where the caches are a
    /// core's own, chunks of 2 to 10 M rows take the same time, and 0.5 M a quarter longer; on a virtual machine
    /// that shares them, sorting 5 M rows takes a fifth longer than sorting twice 2.5 M.
    pub chunk_rows: u64,
    /// Bytes of a chunk before compression, by the table's average row: what a worker holds in memory. Of
    /// rows that are wider, twice as many at most.
    pub chunk_bytes: u64,
}

impl BackfillOptions {
    pub(crate) const MOST_WORKERS: usize = 16;

    /// Rows of a chunk of a table of so many rows and bytes: within both limits, and such that the
    /// workers end together.
    pub(crate) fn chunk_rows(&self, rows: u64, bytes: u64) -> u64 {
        let row_bytes = (bytes / rows.max(1)).max(1);
        let most = self.chunk_rows.min(self.chunk_bytes / row_bytes).max(1);
        let workers = self.workers() as u64;
        let rounds = rows.div_ceil(most * workers).max(1);
        rows.div_ceil(rounds * workers).max(1)
    }

    pub(crate) fn workers(&self) -> usize {
        self.workers.clamp(1, Self::MOST_WORKERS)
    }
}

impl Default for BackfillOptions {
    fn default() -> Self {
        Self { workers: 2, chunk_rows: 2_500_000, chunk_bytes: 256 << 20 }
    }
}

/// What the workers share.
struct Shared<'m> {
    /// The migration's.
    id: String,
    leave: Leave,
    /// All chunks are copied at the same time.
    is_short: bool,
    todo: Mutex<Vec<Chunk>>,
    /// One publication at a time, and with it the journal's state.
    migrating: Mutex<&'m mut Migrating>,
    copied: AtomicU64,
    of: u64,
    failed: Mutex<Option<MigrateError>>,
}

impl Operator<'_> {
    /// Copies what the snapshot holds and green does not have yet.
    pub(crate) fn backfill(
        &self,
        migrating: &mut Migrating,
        attached: &Attached,
    ) -> Result<(), MigrateError> {
        self.step(migrating, Step::Backfill, |migrating| {
            let began = Instant::now();
            self.refuse_altered(migrating)?;
            let Some(snapshot) = &attached.snapshot else {
                self.record(migrating, Event::Backfilled { rows: attached.rows })?;
                return Ok(((), format!("{} rows shared with blue by hard links", attached.rows)));
            };
            // One may have failed in this very process; the staging tables are made anew below.
            self.finish_publication(migrating)?;
            let table = names::snapshot(&migrating.id);
            let (done, mut todo) = self.chunks(migrating, snapshot)?;
            let done_rows = done.iter().map(|chunk| chunk.rows).sum::<u64>();
            let copied = todo.iter().map(|chunk| chunk.rows).sum::<u64>();
            // Taken from the end.
            todo.reverse();
            if migrating.migration.keeps_order() && !todo.is_empty() {
                self.let_history_merge(migrating)?;
            }
            self.copy(migrating, todo, done_rows, snapshot.rows).inspect_err(
                |error| match error.is_silence() {
                    true => self.warn_of_merges(migrating),
                    false => self.settle_failed_publication(migrating),
                },
            )?;

            self.put_in_order(migrating)?;
            self.restore_merges(migrating)?;
            self.drop_own_tables(migrating, names::STAGING)?;
            failpoint::reached("staging-dropped");
            self.record(migrating, Event::Backfilled { rows: snapshot.rows })?;
            failpoint::reached("backfilled");
            // The next process does not need it any more, so it may go after the entry.
            self.drop_table(&table)?;
            let seconds = began.elapsed().as_secs_f64().max(1e-9);
            Ok(((), format!("{copied} rows copied, {:.0} rows/s", copied as f64 / seconds)))
        })
    }

    /// The chunks of the snapshot that have been published, and those that have not.
    fn chunks(
        &self,
        migrating: &Migrating,
        snapshot: &Snapshot,
    ) -> Result<(Vec<Chunk>, Vec<Chunk>), MigrateError> {
        let table = names::snapshot(&migrating.id);
        let parts = self.with_control(|session| active_parts(session, &table))?;
        // Chunks are known by their numbers, which count these parts' rows.
        let there = (parts.iter().map(|part| part.rows).sum::<u64>(), parts.len() as u64);
        if there != (snapshot.rows, snapshot.parts) {
            return Err(MigrateError::SnapshotLost { snapshot: table });
        }
        let chunks = chunk::cut(&parts, snapshot.chunk_rows, snapshot.chunk_bytes);
        let is_published = |chunk: &Chunk| match &migrating.phase {
            Phase::Attached(attached) => attached.published.contains_key(&chunk.number),
            _ => false,
        };
        Ok(chunks.into_iter().partition(is_published))
    }

    /// The migration in the middle of its copy as one in which green has what is still to be copied: every row of it
    /// would be a difference. As it is where that cannot be told.
    pub(crate) fn as_if_copied(&self, migrating: &Migrating) -> Result<Migrating, MigrateError> {
        let Phase::Attached(attached) = &migrating.phase else {
            return Ok(migrating.clone());
        };
        // A publication that was cut off may be in green; and in front of its rows nothing of the history is yet.
        let is_unclear = attached.publishing.is_some() || migrating.migration.keeps_order();
        match &attached.snapshot {
            Some(snapshot) if !is_unclear => match self.chunks(migrating, snapshot) {
                Ok((_, uncopied)) => {
                    let uncopied = Some(chunk::condition(&uncopied));
                    Ok(Migrating { uncopied, ..migrating.clone() })
                }
                Err(MigrateError::SnapshotLost { .. }) => Ok(migrating.clone()),
                Err(error) => Err(error),
            },
            _ => Ok(migrating.clone()),
        }
    }

    /// The view goes on to make parts, and while merges are off nobody merges them.
    fn settle_failed_publication(&self, migrating: &mut Migrating) {
        failpoint::reached("publication-failed");
        let settled = self
            .finish_publication(migrating)
            .and_then(|()| self.restore_merges_unless_late(migrating));
        // The error that it failed with tells why. Without the lock, merges are off where a publication is open.
        let is_open = matches!(&migrating.phase, Phase::Attached(it) if it.publishing.is_some());
        if settled.is_err() && (is_open || self.check_lock().is_ok()) {
            let what = format!(
                "merges of {} are off until the migration goes on (`teal apply`) or is given up (`teal abort`)",
                migrating.published_to()
            );
            self.observer.update(Update::Warning { what });
        }
    }

    fn copy(
        &self,
        migrating: &mut Migrating,
        todo: Vec<Chunk>,
        done_rows: u64,
        of: u64,
    ) -> Result<(), MigrateError> {
        /// Between two looks whether the workers have ended, and how many of them go by between two
        /// looks at how far they are.
        const LOOK: Duration = Duration::from_millis(5);
        const LOOKS: u64 = 100;
        self.observer.update(Update::Copied { rows: done_rows, of });
        // One more than may copy: it does while another publishes, which is waiting for the disk for the most part.
        let (at_once, workers) = match migrating.migration.keeps_order() {
            true => (1, 1),
            false => (self.options.backfill.workers(), self.options.backfill.workers() + 1),
        };
        let workers = workers.min(todo.len());
        let comment = format!("{TEAL_LOG_COMMENT} backfill of {}", migrating.id);
        let workers = (0..workers)
            .map(|number| Worker::new(self, migrating, number, &comment))
            .collect::<Result<Vec<_>, _>>()?;
        let shared = Shared {
            id: migrating.id.clone(),
            leave: Leave::new(at_once),
            is_short: todo.len() <= at_once,
            todo: Mutex::new(todo),
            migrating: Mutex::new(migrating),
            copied: AtomicU64::new(done_rows),
            of,
            failed: Mutex::new(None),
        };
        let shared_by_all = &shared;
        let mut watch = self.watch(shared_by_all)?;
        self.look(&mut watch, shared_by_all)?;
        thread::scope(|scope| {
            let running = workers
                .into_iter()
                .map(|worker| scope.spawn(move || worker.run(shared_by_all)))
                .collect::<Vec<_>>();
            for look in 1_u64.. {
                thread::sleep(LOOK);
                if running.iter().all(thread::ScopedJoinHandle::is_finished) {
                    break;
                }
                if look % LOOKS != 0 {
                    continue;
                }
                if let Err(error) = self.look(&mut watch, shared_by_all) {
                    shared_by_all.failed.lock().get_or_insert(error);
                }
                if !watch.is_waiting() {
                    self.tell_progress(shared_by_all, &comment);
                }
            }
        });
        match shared.failed.into_inner() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Tells the rows of the chunks that are in green, and those that the chunks under way have
    /// read. Progress is a courtesy: where it cannot be had, the copy goes on without.
    fn tell_progress(&self, shared: &Shared<'_>, comment: &str) {
        let copied = shared.copied.load(Ordering::Relaxed);
        if let Ok(running) = self.with_control(|session| session.running(comment)) {
            let reading = running.iter().map(|statement| statement.rows_read).sum::<u64>();
            let rows = (copied + reading).min(shared.of);
            self.observer.update(Update::Copied { rows, of: shared.of });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_even_and_within_both_limits() {
        let options = BackfillOptions { workers: 2, chunk_rows: 2_000_000, chunk_bytes: 256 << 20 };
        // 3 million rows: one round of two chunks.
        assert_eq!(options.chunk_rows(3_000_000, 48_000_000), 1_500_000);
        // 21 million rows: six rounds of two.
        assert_eq!(options.chunk_rows(21_000_000, 336_000_000), 1_750_000);
        // Rows of 10 KiB: the bytes decide.
        assert!(options.chunk_rows(1_000_000, 10_240_000_000) <= 26_214);
        assert_eq!(options.chunk_rows(0, 0), 1);
        assert_eq!(options.chunk_rows(1, 5), 1);
    }
}
