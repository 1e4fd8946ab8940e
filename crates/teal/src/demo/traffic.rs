//! Writers and readers that do not know of the migration, each on a connection of its own.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use serde::Deserialize;
use teal_client::{ClientError, Format, Server, Session};
use teal_schema::QualifiedName;

use super::ledger::{Batch, Ledger};

/// Rows of a batch: 1 to this, small ones as often as large ones (by their logarithm).
const MOST_ROWS: f64 = 20_000.0;
/// One INSERT of twenty takes this long, because its client is slow.
const SLOW: Duration = Duration::from_millis(300);
const SLOW_SHARE: f64 = 0.05;
/// Between two statements of a connection. The traffic should be always there, and leave some of
/// the machine to the migration: with none, 2 cores would show their own limits and nothing else.
const WRITE_PAUSE: Duration = Duration::from_millis(25);
const READ_PAUSE: Duration = Duration::from_millis(100);

/// The question that the new sorting key is for.
pub(super) fn question(table: &QualifiedName) -> String {
    format!(
        "SELECT count(), avg(delay) FROM {} WHERE origin = 'SFO' AND destination = 'LAX'",
        table.sql()
    )
}

/// What the traffic has seen.
#[derive(Default)]
pub(super) struct Traffic {
    stop: AtomicBool,
    pub(super) ledger: Ledger,
    seen: Mutex<Seen>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    pub(super) inserts: u64,
    pub(super) failed_inserts: u64,
    pub(super) reads: u64,
    pub(super) failed_reads: u64,
    /// Reads that saw fewer rows than one before them on the same connection.
    pub(super) reads_backwards: u64,
    pub(super) longest_insert: Duration,
    pub(super) longest_read: Duration,
    /// The first few errors, for people.
    pub(super) errors: Vec<String>,
}

impl Traffic {
    pub(super) fn start<'scope>(
        &'scope self,
        scope: &'scope thread::Scope<'scope, '_>,
        engine: &'scope dyn Server,
        table: &'scope QualifiedName,
        (writers, readers): (usize, usize),
        seed: u64,
    ) -> Vec<ScopedJoinHandle<'scope, Result<(), ClientError>>> {
        let writers = (0..writers as u64).map(|writer| {
            // Seeds of different writers are far apart, so no batch is made twice.
            let first = (seed << 40) + (writer << 32);
            scope.spawn(move || self.write(engine, table, first))
        });
        let writers = writers.collect::<Vec<_>>();
        let readers = (0..readers).map(|_| scope.spawn(move || self.read(engine, table)));
        writers.into_iter().chain(readers).collect()
    }

    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    pub(super) fn seen(&self) -> Seen {
        self.seen.lock().clone()
    }

    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    fn write(
        &self,
        engine: &dyn Server,
        table: &QualifiedName,
        first_seed: u64,
    ) -> Result<(), ClientError> {
        let statement =
            format!("INSERT INTO {} (date, delay, distance, origin, destination)", table.sql());
        let mut session = engine.user_session(&[])?;
        let mut random = SmallRng::seed_from_u64(first_seed);
        let mut rows = Vec::new();
        for seed in first_seed.. {
            if !self.goes_on() {
                break;
            }
            let size = (random.random_range(0.0..1.0) * MOST_ROWS.ln()).exp();
            let batch = Batch { seed, rows: (size.ceil() as u32).min(MOST_ROWS as u32) };
            let is_slow = random.random_bool(SLOW_SHARE);
            rows.clear();
            batch.write(&mut rows);
            let began = Instant::now();
            let outcome = insert(session.as_mut(), &statement, &rows, is_slow);
            let took = began.elapsed();
            let mut seen = self.seen.lock();
            match outcome {
                Ok(()) => {
                    self.ledger.acknowledge(batch);
                    seen.inserts += 1;
                    seen.longest_insert = seen.longest_insert.max(took);
                }
                Err(error) => {
                    seen.failed_inserts += 1;
                    seen.note(&error);
                }
            }
            drop(seen);
            thread::sleep(WRITE_PAUSE);
        }
        Ok(())
    }

    fn read(&self, engine: &dyn Server, table: &QualifiedName) -> Result<(), ClientError> {
        #[derive(Deserialize)]
        struct Count {
            rows: u64,
        }
        let mut session = engine.user_session(&[])?;
        let count = format!("SELECT count() AS rows FROM {}", table.sql());
        let question = question(table);
        let mut rows = 0;
        while self.goes_on() {
            let began = Instant::now();
            let asked = session.run(&question, Format::JSON_EACH_ROW);
            let counted = session.row::<Count>(&count);
            let took = began.elapsed();
            let mut seen = self.seen.lock();
            seen.reads += 2;
            seen.longest_read = seen.longest_read.max(took);
            if let Err(error) = asked {
                seen.failed_reads += 1;
                seen.note(&error);
            }
            match counted {
                Ok(Count { rows: now }) => {
                    seen.reads_backwards += u64::from(now < rows);
                    rows = now;
                }
                Err(error) => {
                    seen.failed_reads += 1;
                    seen.note(&error);
                }
            }
            drop(seen);
            thread::sleep(READ_PAUSE);
        }
        Ok(())
    }
}

impl Seen {
    fn note(&mut self, error: &ClientError) {
        const SHOWN: usize = 3;
        if self.errors.len() < SHOWN {
            self.errors.push(error.to_string());
        }
    }
}

/// A slow INSERT sends half of its rows, waits, and sends the rest.
fn insert(
    session: &mut dyn Session,
    statement: &str,
    rows: &[u8],
    is_slow: bool,
) -> Result<(), ClientError> {
    let mut insert = session.insert(statement, Format::TSV)?;
    if is_slow {
        let half = rows.len() / 2;
        let line_end = rows.iter().skip(half).position(|byte| *byte == b'\n');
        let (first, second) = rows.split_at(line_end.map_or(rows.len(), |at| half + at + 1));
        insert.send(first)?;
        thread::sleep(SLOW);
        if !second.is_empty() {
            insert.send(second)?;
        }
    } else {
        insert.send(rows)?;
    }
    insert.finish().map(drop)
}
