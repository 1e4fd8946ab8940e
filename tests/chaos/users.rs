use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use teal_client::{Answer, ClientError, Format, HttpServer, Server as _};

use super::ledger::Ledger;

/// The traffic: users who write and read through the proxy, until it is over.
pub(crate) struct Users<'a> {
    pub(crate) server: &'a HttpServer,
    pub(crate) ledger: &'a Ledger,
    /// Held by whoever wants to count rows while nobody writes.
    pub(crate) quiet: &'a RwLock<()>,
    /// Held while the table must stay as it is but for INSERTs.
    pub(crate) stays: &'a RwLock<()>,
    /// How often the table may still be changed in place: what is changed all the time is never equal.
    pub(crate) changes: &'a AtomicU32,
    /// The new table keeps one of equal rows, so an INSERT has none.
    pub(crate) folds: &'a AtomicBool,
    /// Months that lie beside the table, with their batches.
    pub(crate) detached: &'a Mutex<Vec<(String, Vec<u64>)>>,
    pub(crate) over: &'a AtomicBool,
}

impl Users<'_> {
    pub(crate) fn write(&self, seed: u64) {
        let mut rng = StdRng::seed_from_u64(seed);
        while !self.over.load(Ordering::SeqCst) {
            let _quiet = self.quiet.read();
            let rows = match rng.random_range(0..20) {
                0 if rng.random_range(0..4) == 0 => rng.random_range(20_000..=50_000),
                0..4 => rng.random_range(1_000..5_000),
                _ => rng.random_range(1..500),
            };
            let batch = self.ledger.begin(rows);
            let kind = rng.random_range(u32::from(self.folds.load(Ordering::SeqCst))..6);
            // A client that does not know whether its INSERT arrived sends it again, some times.
            for _ in 0..rng.random_range(1..4) {
                match self.insert(batch, rows, kind, &mut rng) {
                    Ok(_) => {
                        self.ledger.acknowledged(batch);
                        break;
                    }
                    Err(error) => {
                        self.ledger.unknown(batch);
                        self.judge("INSERT", &error);
                    }
                }
            }
            std::thread::sleep(Duration::from_millis(rng.random_range(10..150)));
        }
    }

    fn insert(
        &self,
        batch: u64,
        rows: u64,
        kind: u32,
        rng: &mut StdRng,
    ) -> Result<Answer, ClientError> {
        // As clients send them. The engine behind the tests' own server has no queue, and every INSERT is synchronous
        // (docs/engine.md); and no server queues an INSERT … SELECT.
        let settings: &[(&str, &str)] = match rng.random_range(0..3) {
            0 => &[("async_insert", "1"), ("wait_for_async_insert", "1")],
            1 => &[("async_insert", "1"), ("wait_for_async_insert", "0")],
            _ => &[("async_insert", "0")],
        };
        let mut session = self.server.user_session(settings)?;
        // Equal rows; rows of one month; rows of three; slow ones; rows that the client sends.
        let id = if kind == 0 { "7" } else { "number" };
        let day = if kind <= 1 { "1" } else { "number % 80" };
        let town = "concat('town ', toString(number % 100))";
        let when = format!("toDateTime('2024-01-01 00:00:00') + ({day}) * 86400");
        let slow = match kind {
            2 | 3 => format!(" WHERE sleep(0.{}) = 0", rng.random_range(1..6)),
            _ => String::new(),
        };
        if kind < 5 {
            return session.command(&format!(
                "INSERT INTO events SELECT {id}, {batch}, {town}, {when} FROM numbers({rows}){slow}"
            ));
        }
        let mut stream = session.insert("INSERT INTO events (id, batch, town, at)", Format::TSV)?;
        for first in (0..rows).step_by(1000) {
            let lines = (first..rows.min(first + 1000)).map(|id| {
                format!("{id}\t{batch}\ttown {}\t2024-0{}-02 00:00:00\n", id % 100, 1 + id % 3)
            });
            stream.send(lines.collect::<String>().as_bytes())?;
        }
        stream.finish()
    }

    pub(crate) fn may_change(&self) -> bool {
        let one_less = |left: u32| left.checked_sub(1);
        self.changes.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok()
    }

    pub(crate) fn read(&self, seed: u64) {
        let mut rng = StdRng::seed_from_u64(seed);
        while !self.over.load(Ordering::SeqCst) {
            let town = rng.random_range(0..100);
            let read = self.server.user_session(&[]).and_then(|mut session| {
                session.command(&format!(
                    "SELECT count(), max(at) FROM events WHERE town = 'town {town}'"
                ))
            });
            if let Err(error) = read {
                self.judge("SELECT", &error);
            }
            std::thread::sleep(Duration::from_millis(rng.random_range(5..60)));
        }
    }

    /// A connection may break; the server itself may refuse nothing on account of teal.
    pub(crate) fn judge(&self, what: &str, error: &ClientError) {
        if let ClientError::Server { name, .. } = error {
            // Its own client ends a statement whose connection broke; and in the very moment of an exchange
            // ClickHouse refuses a statement that looks for the table.
            // A mutation that has just begun when a cut does is done later, and its user is told that.
            let may_be = ["QUERY_WAS_CANCELLED", "TABLE_UUID_MISMATCH", "UNFINISHED"];
            if !may_be.contains(&name.as_str()) {
                self.ledger.breach(format!("a user's {what} failed: {error}"));
            }
        }
    }
}
