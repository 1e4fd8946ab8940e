use std::sync::atomic::Ordering;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use teal_client::{ClientError, Server as _};

use super::ledger::Happened;
use super::users::Users;

/// A user who changes the table in place: what no view forwards. Each statement is about whole batches,
/// which nobody writes to any more, so that the ledger knows what must be left.
pub(crate) struct Changes<'a> {
    users: &'a Users<'a>,
    rng: StdRng,
    /// Months of their own, with their batches: the table's other rows are of others.
    months: Vec<(String, Vec<u64>)>,
    next_month: u32,
}

impl<'a> Changes<'a> {
    pub(crate) fn new(users: &'a Users<'a>, seed: u64) -> Self {
        Self { users, rng: StdRng::seed_from_u64(seed), months: Vec::new(), next_month: 0 }
    }

    pub(crate) fn make(mut self) {
        while !self.users.over.load(Ordering::SeqCst) {
            {
                let _quiet = self.users.quiet.read();
                match self.rng.random_range(0..10) {
                    // It is refused where merges are off; that is no promise of teal's.
                    0..2 => drop(self.run("OPTIMIZE TABLE events FINAL")),
                    2..5 => self.fill_a_month(),
                    change => {
                        // Not while the names change places: what that leaves is teal's to tell, and
                        // no count of rows can.
                        if let Some(_still) = self.users.stays.try_read()
                            && self.users.may_change()
                        {
                            self.change(change);
                        }
                    }
                }
            }
            std::thread::sleep(Duration::from_millis(self.rng.random_range(100..1500)));
        }
    }

    fn change(&mut self, kind: u32) {
        match kind {
            5 => self.delete("ALTER TABLE events DELETE WHERE"),
            6 => self.delete("DELETE FROM events WHERE"),
            7 => self.update(),
            8 => {
                if let Some((month, batches)) = taken(&mut self.months, &mut self.rng) {
                    let drop = format!("ALTER TABLE events DROP PARTITION {month}");
                    self.removing(&batches, &drop);
                }
            }
            _ => self.detach_or_attach(),
        }
    }

    fn delete(&mut self, statement: &str) {
        let batches = self.some_settled();
        if let Some(of) = those(&batches) {
            let sync = self.sync();
            self.removing(&batches, &format!("{statement} {of}{sync}"));
        }
    }

    fn update(&mut self) {
        let batches = self.some_settled();
        let Some(of) = those(&batches) else { return };
        let statement =
            format!("ALTER TABLE events UPDATE town = 'changed' WHERE {of}{}", self.sync());
        self.users.ledger.changed(&batches, Happened::Perhaps);
        if self.run(&statement).is_ok() {
            self.users.ledger.changed(&batches, Happened::Yes);
        }
    }

    fn fill_a_month(&mut self) {
        // Of 2030 and later; the others' rows are of 2024.
        let month = format!("{}{:02}", 2030 + self.next_month / 12 % 70, 1 + self.next_month % 12);
        self.next_month += 1;
        let mut batches = Vec::new();
        for _ in 0..self.rng.random_range(1..4) {
            let rows = self.rng.random_range(1..2_000);
            let batch = self.users.ledger.begin(rows);
            let insert = format!(
                "INSERT INTO events SELECT number, {batch}, 'of a month', \
                     toDateTime(parseDateTimeBestEffort('{month}01')) + number % 80000 FROM numbers({rows})"
            );
            match self.run(&insert) {
                Ok(()) => self.users.ledger.acknowledged(batch),
                // What still runs may come behind a DROP: this month stays.
                Err(_) => return self.users.ledger.unknown(batch),
            }
            batches.push(batch);
        }
        self.months.push((month, batches));
    }

    fn detach_or_attach(&mut self) {
        if self.rng.random_range(0..2) == 0 {
            let Some((month, batches)) = taken(&mut self.months, &mut self.rng) else { return };
            // What a DELETE has not come to yet would come back with the partition.
            if self.users.ledger.are_settled(&batches)
                && self.removing(&batches, &format!("ALTER TABLE events DETACH PARTITION {month}"))
            {
                self.users.detached.lock().push((month, batches));
            }
            return;
        }
        let detached = taken(&mut self.users.detached.lock(), &mut self.rng);
        if let Some((month, batches)) = detached {
            self.users.ledger.removed(&batches, Happened::Perhaps);
            if self.run(&format!("ALTER TABLE events ATTACH PARTITION {month}")).is_ok() {
                self.users.ledger.removed(&batches, Happened::No);
            }
        }
    }

    fn removing(&self, batches: &[u64], statement: &str) -> bool {
        let ledger = self.users.ledger;
        ledger.removed(batches, Happened::Perhaps);
        let is_done = self.run(statement).is_ok();
        if is_done {
            ledger.removed(batches, Happened::Yes);
        }
        is_done
    }

    /// Some that nothing was done to yet.
    fn some_settled(&mut self) -> Vec<u64> {
        let mut settled = self.users.ledger.settled();
        let number = self.rng.random_range(1..6);
        (0..number)
            .filter_map(|_| match settled.len() {
                0 => None,
                left => Some(settled.swap_remove(self.rng.random_range(0..left))),
            })
            .collect()
    }

    fn sync(&mut self) -> &'static str {
        [" SETTINGS mutations_sync = 0", " SETTINGS mutations_sync = 1"]
            [self.rng.random_range(0..2)]
    }

    fn run(&self, statement: &str) -> Result<(), ClientError> {
        let result = self.users.server.user_session(&[])?.command(statement);
        if let Err(error) = &result
            && !statement.starts_with("OPTIMIZE")
        {
            self.users.judge(statement, error);
        }
        result.map(drop)
    }
}

fn taken<T>(of: &mut Vec<T>, rng: &mut StdRng) -> Option<T> {
    match of.len() {
        0 => None,
        length => Some(of.swap_remove(rng.random_range(0..length))),
    }
}

fn those(batches: &[u64]) -> Option<String> {
    let list = batches.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
    (!list.is_empty()).then(|| format!("batch IN ({list})"))
}
