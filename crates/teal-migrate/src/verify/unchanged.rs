//! Partitions that need not be read again, since they hold the very parts of the last proof.
//!
//! A part never changes under its name: what changes its rows gives it another one, and no name comes
//! twice. So two partitions that were equal are equal for as long as each has the parts that it had. The
//! proof notes of a partition which parts it was made of: those that were there both before its query
//! began and after it had ended, and so were what it read. A partition to which something came meanwhile
//! is not noted, and is read the next time.
//!
//! This takes that a row of blue lies in green's partition of the same id: the SELECT gives blue's columns
//! as they are, and both tables have one partition key. Where this is not so, everything is read.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use teal_schema::{QualifiedName, hash_128, quoted_list};

use crate::journal::phase::Phase;
use crate::journal::state::Migrating;
use crate::settings::table_filters;
use crate::{MigrateError, Operator};

/// A partition that was equal in both tables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProvenPartition {
    pub id: String,
    pub rows: u64,
    /// Hashes of the parts, with the definition of their table.
    pub blue: String,
    pub green: String,
}

/// Another number where rows are compared otherwise than by the teal before: what that one has found equal is read
/// again.
const COMPARED_AS: u32 = 2;

/// More than these are not noted in the journal, whose entry they would make large.
const MOST_PARTITIONS: usize = 2_000;

/// The partitions that both tables have, with their parts.
pub(super) type Partitions = BTreeMap<String, ProvenPartition>;

impl Operator<'_> {
    /// Which parts are where. Empty where partitions of the two cannot be compared by their ids.
    pub(super) fn partitions(&self, migrating: &Migrating) -> Result<Partitions, MigrateError> {
        #[derive(Deserialize)]
        struct Of {
            is_green: u8,
            key: String,
            definition: String,
        }
        #[derive(Deserialize)]
        struct Row {
            is_green: u8,
            id: String,
            rows: u64,
            hash: String,
        }
        if !may_match(migrating) {
            return Ok(Partitions::new());
        }
        let (blue, green) = migrating.tables_now();
        // Two queries: to plan a JOIN of the two takes longer than both (26.7), and the gate may be closed.
        let tables = self.with_control(|session| {
            session.rows::<Of>(&format!(
                "SELECT {} AS is_green, partition_key AS key, \
                     toString(cityHash64(create_table_query)) AS definition \
                 FROM system.tables WHERE {}",
                green.condition("name"),
                QualifiedName::condition_of_any(&[blue, green], "name")
            ))
        })?;
        let mut rows = self.with_control(|session| {
            session.rows::<Row>(&format!(
                "SELECT {} AS is_green, partition_id AS id, sum(rows) AS rows, \
                     toString(sum({})) AS hash \
                 FROM system.parts WHERE active AND {} \
                 GROUP BY is_green, id",
                green.condition("table"),
                hash_128("name, hash_of_all_files"),
                QualifiedName::condition_of_any(&[blue, green], "table")
            ))
        })?;
        // A patch part changes what other parts say.
        let is_patched = rows.iter().any(|row| row.id.starts_with("patch-"));
        let [one, other] = tables.as_slice() else {
            return Ok(Partitions::new());
        };
        if one.key.is_empty() || one.key != other.key || is_patched {
            return Ok(Partitions::new());
        }
        for row in &mut rows {
            let table = if row.is_green == one.is_green { one } else { other };
            row.hash = format!("{COMPARED_AS}-{}-{}", row.hash, table.definition);
        }
        let (in_green, in_blue): (Vec<_>, Vec<_>) =
            rows.into_iter().partition(|row| row.is_green == 1);
        let mut in_green =
            in_green.into_iter().map(|row| (row.id.clone(), row)).collect::<BTreeMap<_, _>>();
        let both = in_blue.into_iter().filter_map(|blue| {
            let green = in_green.remove(&blue.id)?;
            let rows = green.rows;
            let id = blue.id;
            let proven =
                ProvenPartition { id: id.clone(), rows, blue: blue.hash, green: green.hash };
            Some((id, proven))
        });
        Ok(both.collect())
    }
}

/// Whether a row of blue may be known to lie in green's partition of the same id.
fn may_match(migrating: &Migrating) -> bool {
    let migration = &migrating.migration;
    let key = &migration.green_partition_key;
    let converts = |name: &str| key.contains(name);
    migration.is_identity
        && migration.fills_green
        && !migration.green_folds
        && !key.is_empty()
        && !migration
            .columns
            .iter()
            .any(|column| column.from_type.is_some() && converts(&column.name))
}

/// What was proven the last time.
pub(super) fn proven(migrating: &Migrating) -> &[ProvenPartition] {
    match &migrating.phase {
        Phase::Verified(verified) => &verified.proven,
        _ => &[],
    }
}

/// Those of `proven` whose parts are the same `now`.
pub(super) fn unchanged(proven: &[ProvenPartition], now: &Partitions) -> Vec<ProvenPartition> {
    proven.iter().filter(|then| now.get(&then.id) == Some(then)).cloned().collect()
}

/// What a proof may note: the partitions that were the same before and after it.
pub(super) fn noted(before: &Partitions, after: Partitions) -> Vec<ProvenPartition> {
    let same = after.into_values().filter(|now| before.get(&now.id) == Some(now));
    let same = same.collect::<Vec<_>>();
    if same.len() > MOST_PARTITIONS { Vec::new() } else { same }
}

/// The settings by which a SELECT leaves these partitions of both tables out.
pub(super) fn without(migrating: &Migrating, unchanged: &[ProvenPartition]) -> String {
    if unchanged.is_empty() {
        return String::new();
    }
    let ids = quoted_list(unchanged.iter().map(|partition| &partition.id));
    let others = format!("_partition_id NOT IN ({ids})");
    let (blue, green) = migrating.tables_now();
    format!(" SETTINGS {}", table_filters(&[(blue, &others), (green, &others)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(id: &str, blue: &str, green: &str) -> (String, ProvenPartition) {
        let (blue, green) = (blue.to_owned(), green.to_owned());
        (id.to_owned(), ProvenPartition { id: id.to_owned(), rows: 3, blue, green })
    }

    #[test]
    fn what_has_other_parts_or_came_meanwhile_is_read_again() {
        let before = Partitions::from([partition("1", "a", "b"), partition("2", "a", "b")]);
        let after = Partitions::from([
            partition("1", "a", "b"),
            partition("2", "a", "c"),
            partition("3", "a", "b"),
        ]);
        let proven = noted(&before, after.clone());
        assert_eq!(proven, [partition("1", "a", "b").1]);
        assert_eq!(unchanged(&proven, &after), proven);
        assert_eq!(unchanged(&proven, &Partitions::from([partition("1", "x", "b")])), []);
        assert_eq!(unchanged(&proven, &Partitions::new()), []);
    }
}
