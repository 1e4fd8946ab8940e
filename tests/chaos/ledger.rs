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

    /// A promise to the users was broken.
    pub(crate) fn breach(&self, what: String) {
        self.broken.lock().push(what);
    }

    /// Asserts that `found` rows of each batch are what the users know, and that no promise was broken.
    pub(crate) fn assert_kept(&self, found: &BTreeMap<u64, u64>, said: &str) {
        let broken = self.broken.lock();
        assert!(broken.is_empty(), "{said}: {broken:#?}");
        let batches = self.batches.lock();
        for (number, batch) in batches.iter() {
            let found = found.get(number).copied().unwrap_or(0);
            let least = batch.rows * batch.acknowledged;
            let most = least + batch.rows * batch.unknown;
            assert!(
                (least..=most).contains(&found),
                "{said}: batch {number}: {found} rows, where its writer knows of {least} to {most}"
            );
        }
        let strange = found.keys().find(|number| !batches.contains_key(number));
        assert_eq!(strange, None, "{said}: a batch that nobody wrote");
    }

    pub(crate) fn summary(&self) -> String {
        let batches = self.batches.lock();
        let acknowledged = batches.values().map(|batch| batch.acknowledged).sum::<u64>();
        let unknown = batches.values().map(|batch| batch.unknown).sum::<u64>();
        let rows = batches.values().map(|batch| batch.rows * batch.acknowledged).sum::<u64>();
        format!("{acknowledged} INSERTs of {rows} rows, {unknown} more cut off")
    }
}
