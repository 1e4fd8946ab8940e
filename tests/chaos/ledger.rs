use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// What the users have written, as they know it: each INSERT is a batch with a number of its own.
#[derive(Default)]
pub(crate) struct Ledger {
    next: AtomicU64,
    batches: Mutex<BTreeMap<u64, Batch>>,
    broken: Mutex<Vec<String>>,
}

#[derive(Default, Clone, Copy)]
struct Batch {
    rows: u64,
    /// INSERTs that were told to have succeeded, and those whose end nobody knows.
    acknowledged: u64,
    unknown: u64,
    /// What was done to all of its rows since.
    removed: Happened,
    changed: Happened,
}

/// Whether something was done. A statement whose connection broke may have done it, or some of it.
#[derive(Default, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Happened {
    #[default]
    No,
    Perhaps,
    Yes,
}

/// What is in the table of one batch.
#[derive(Default, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Found {
    pub(crate) rows: u64,
    pub(crate) changed: u64,
}

impl Batch {
    fn is_settled(&self) -> bool {
        (self.acknowledged, self.unknown) == (1, 0)
            && (self.removed, self.changed) == (Happened::No, Happened::No)
    }

    /// Why this cannot be what became of it.
    fn differs(&self, found: Found) -> Option<String> {
        let mut least = self.rows * self.acknowledged;
        let mut most = least + self.rows * self.unknown;
        match self.removed {
            Happened::No => (),
            Happened::Perhaps => least = 0,
            Happened::Yes => (least, most) = (0, 0),
        }
        if !(least..=most).contains(&found.rows) {
            return Some(format!(
                "{} rows, where its writer knows of {least} to {most}",
                found.rows
            ));
        }
        let changed = match self.changed {
            Happened::No => found.changed == 0,
            Happened::Perhaps => [0, found.rows].contains(&found.changed),
            Happened::Yes => found.changed == found.rows,
        };
        (!changed).then(|| format!("{} rows of {} are changed", found.changed, found.rows))
    }
}

impl Ledger {
    pub(crate) fn begin(&self, rows: u64) -> u64 {
        let number = self.next.fetch_add(1, Ordering::SeqCst);
        self.batches.lock().insert(number, Batch { rows, ..Batch::default() });
        number
    }

    pub(crate) fn acknowledged(&self, batch: u64) {
        self.batches.lock().entry(batch).or_default().acknowledged += 1;
    }

    /// The connection broke, or the server died: some of the rows may be there, and once.
    pub(crate) fn unknown(&self, batch: u64) {
        self.batches.lock().entry(batch).or_default().unknown += 1;
    }

    pub(crate) fn removed(&self, batches: &[u64], happened: Happened) {
        let mut known = self.batches.lock();
        batches.iter().for_each(|batch| known.entry(*batch).or_default().removed = happened);
    }

    pub(crate) fn changed(&self, batches: &[u64], happened: Happened) {
        let mut known = self.batches.lock();
        batches.iter().for_each(|batch| known.entry(*batch).or_default().changed = happened);
    }

    /// Those of which every row is there, unchanged, and no more can come.
    pub(crate) fn settled(&self) -> Vec<u64> {
        let batches = self.batches.lock();
        batches.iter().filter(|(_, it)| it.is_settled()).map(|(number, _)| *number).collect()
    }

    pub(crate) fn are_settled(&self, batches: &[u64]) -> bool {
        let known = self.batches.lock();
        batches.iter().all(|batch| known.get(batch).is_some_and(Batch::is_settled))
    }

    /// A promise to the users was broken.
    pub(crate) fn breach(&self, what: String) {
        self.broken.lock().push(what);
    }

    /// Asserts that what was `found` of each batch is what the users know, and that no promise was broken.
    pub(crate) fn assert_kept(&self, found: &BTreeMap<u64, Found>, said: &str) {
        let broken = self.broken.lock();
        assert!(broken.is_empty(), "{said}: {broken:#?}");
        let batches = self.batches.lock();
        for (number, batch) in batches.iter() {
            let differs = batch.differs(found.get(number).copied().unwrap_or_default());
            assert_eq!(differs, None, "{said}: batch {number}");
        }
        let strange = found.keys().find(|number| !batches.contains_key(number));
        assert_eq!(strange, None, "{said}: a batch that nobody wrote");
    }

    pub(crate) fn has_acknowledged(&self) -> bool {
        self.batches.lock().values().any(|batch| batch.acknowledged > 0)
    }

    pub(crate) fn summary(&self) -> String {
        let batches = self.batches.lock();
        let sum = |count: &dyn Fn(&Batch) -> u64| batches.values().map(count).sum::<u64>();
        let acknowledged = sum(&|batch| batch.acknowledged);
        let unknown = sum(&|batch| batch.unknown);
        let rows = sum(&|batch| batch.rows * batch.acknowledged);
        let removed = sum(&|batch| u64::from(batch.removed == Happened::Yes));
        let changed = sum(&|batch| u64::from(batch.changed == Happened::Yes));
        format!(
            "{acknowledged} INSERTs of {rows} rows, {unknown} more cut off; {removed} removed, {changed} changed"
        )
    }
}
