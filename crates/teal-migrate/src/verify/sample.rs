//! A look at some partitions only, for tables that are too large to be read as a whole each time. It proves
//! nothing of the others, so no cutover takes it for a proof.

use std::hash::{BuildHasher as _, RandomState};

use super::unchanged::{Partitions, ProvenPartition};
use crate::journal::state::Migrating;
use crate::{MigrateError, Operator, Parity};

/// Partitions that stand for a table.
#[derive(Debug)]
pub(super) struct Sampled {
    chosen: usize,
    pub(super) left_out: Vec<ProvenPartition>,
}

/// What a look at some partitions found.
#[derive(Debug)]
pub struct SampleFound {
    pub parity: Parity,
    /// Partitions that were read.
    pub partitions: usize,
    /// Partitions that there are.
    pub of: usize,
}

impl Operator<'_> {
    /// Compares partitions with about this share of the rows, others each time. What differs is not looked
    /// into; on a server it may also be of INSERTs that were on their way at each look.
    ///
    /// # Errors
    /// [`MigrateError::NoSample`] where a row of blue need not be in green's partition of the same id; what
    /// stopped the comparison.
    pub fn compare_sample(
        &self,
        migrating: &Migrating,
        share: f64,
    ) -> Result<SampleFound, MigrateError> {
        self.refuse_other_blue(migrating)?;
        let all = self.partitions(migrating)?;
        let of = all.len();
        if of < 2 {
            let (blue, green) = migrating.tables_now();
            return Err(MigrateError::NoSample { blue: blue.clone(), green: green.clone() });
        }
        let sampled = choose(all, share);
        let found = match self.server.write_gate() {
            Some(_) => self.compare_at_once(migrating, Some(&sampled))?,
            None => self.compare_sample_with_looks(migrating, &sampled)?,
        };
        Ok(SampleFound { parity: found.parity, partitions: sampled.chosen, of })
    }
}

/// Partitions by lot, until they have their share of the rows; one at least.
fn choose(all: Partitions, share: f64) -> Sampled {
    let lots = RandomState::new();
    let mut all = all.into_values().collect::<Vec<_>>();
    all.sort_by_key(|partition| lots.hash_one(&partition.id));
    let rows = all.iter().map(|partition| partition.rows).sum::<u64>() as f64;
    let mut taken = 0;
    let mut chosen = 0;
    for partition in &all {
        if chosen > 0 && taken as f64 >= share * rows {
            break;
        }
        taken += partition.rows;
        chosen += 1;
    }
    Sampled { chosen, left_out: all.split_off(chosen) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_chosen_until_they_have_their_share() {
        let partition = |number: u64| {
            let id = number.to_string();
            let (blue, green) = (String::new(), String::new());
            (id.clone(), ProvenPartition { id, rows: 10, blue, green })
        };
        let all = (0..100).map(partition).collect::<Partitions>();
        for (share, chosen) in [(0.0, 1), (0.05, 5), (0.051, 6), (1.0, 100)] {
            let sampled = choose(all.clone(), share);
            assert_eq!((sampled.chosen, sampled.left_out.len()), (chosen, 100 - chosen));
        }
        let one = |all: &Partitions| choose(all.clone(), 0.0).left_out;
        let first = one(&all);
        assert!((0..50).any(|_| one(&all) != first), "always the same partition");
    }
}
