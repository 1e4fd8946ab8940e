use std::io::Write as _;

use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

/// What the writers know to be written: each batch whose INSERT was acknowledged. A batch is made
/// from its seed alone, so the rows need not be kept to be counted and compared afterwards.
#[derive(Default)]
pub(super) struct Ledger {
    batches: Mutex<Vec<Batch>>,
}

/// Some rows that one INSERT writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) seed: u64,
    pub(super) rows: u32,
}

impl Ledger {
    pub(super) fn acknowledge(&self, batch: Batch) {
        self.batches.lock().push(batch);
    }

    pub(super) fn batches(&self) -> Vec<Batch> {
        self.batches.lock().clone()
    }

    pub(super) fn rows(&self) -> u64 {
        self.batches.lock().iter().map(|batch| u64::from(batch.rows)).sum()
    }
}

const AIRPORTS: &[&str] = &[
    "ATL", "BOS", "CLT", "DEN", "DFW", "DTW", "EWR", "IAH", "JFK", "LAS", "LAX", "LGA", "MCO",
    "MDW", "MIA", "MSP", "OAK", "ORD", "PDX", "PHL", "PHX", "PIT", "SAN", "SEA", "SFO", "SJC",
    "SLC", "SMF", "STL", "TPA",
];

/// 2001-01-01 as seconds since 1970, and the seconds of that year.
const YEAR_BEGINS: u32 = 978_307_200;
const YEAR_SECONDS: u32 = 31_536_000;

impl Batch {
    /// The rows as `TabSeparated`: date, delay, distance, origin, destination.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let mut random = SmallRng::seed_from_u64(self.seed);
        for _ in 0..self.rows {
            let date = YEAR_BEGINS + random.random_range(0..YEAR_SECONDS);
            let delay = random.random_range(-30..180);
            let distance = random.random_range(50..3_000);
            let mut airport = || AIRPORTS[random.random_range(0..AIRPORTS.len())];
            let (origin, destination) = (airport(), airport());
            // Writing into memory cannot fail.
            let _ = writeln!(out, "{date}\t{delay}\t{distance}\t{origin}\t{destination}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_the_same_each_time_it_is_made() {
        let batch = Batch { seed: 7, rows: 100 };
        let (mut first, mut second) = (Vec::new(), Vec::new());
        batch.write(&mut first);
        batch.write(&mut second);
        assert_eq!(first, second);
        assert_eq!(first.iter().filter(|byte| **byte == b'\n').count(), 100);
    }
}
