//! Copies exactly the rows that green is proven to lack.
//!
//! An INSERT writes to blue and, through the view, to green. When the server dies between the two,
//! blue has the rows and green does not. Nobody was told that this INSERT succeeded, but blue has
//! its rows, so green must have them too.
//!
//! Both tables are cloned at one moment at which no INSERT ran. A row that green lacked then it lacks
//! still, since every INSERT after that moment writes to both; so the rows can be copied while the
//! traffic goes on. A crash in the middle leaves some of them missing, which the next comparison
//! finds.
//!
//! Rows that green has too many are never dropped: someone may have begun to write there.

use std::collections::BTreeSet;

use serde::Deserialize;
use teal_schema::QualifiedName;

use crate::state::Migrating;
use crate::verify::{BUCKET, Sides};
use crate::{Event, MigrateError, Operator, Parity, Phase, Step, failpoint};

impl Operator<'_> {
    /// Copies what green lacks, and tells how many rows that were. Parity is still to be proven
    /// afterwards.
    ///
    /// # Errors
    /// [`MigrateError::NoParity`] when green has rows too many; what stopped the copy.
    pub fn repair(&self, migrating: &mut Migrating) -> Result<u64, MigrateError> {
        if !matches!(migrating.phase, Phase::Backfilled(_) | Phase::Verified(_)) {
            return Err(MigrateError::WrongPhase {
                migration: migrating.id.clone(),
                phase: migrating.phase.name(),
                wanted: "only a migration whose copy has ended, and which has not been cut over, can be repaired",
            });
        }
        if migrating.migration.green_folds && self.server.write_gate().is_none() {
            return Err(MigrateError::CannotRepair { green: migrating.migration.green.clone() });
        }
        self.step(migrating, Step::Repair, |migrating| {
            let parity =
                self.with_clones(migrating, |sides, parity| match parity.is_only_missing() {
                    true => self.copy_missing(migrating, sides, parity),
                    false => Ok(()),
                })?;
            if parity.extra > 0 {
                return Err(MigrateError::NoParity {
                    blue: migrating.migration.blue.clone(),
                    green: migrating.migration.green.clone(),
                    parity: Box::new(parity),
                });
            }
            if parity.missing > 0 {
                self.record(migrating, Event::Repaired { rows: parity.missing })?;
            }
            Ok((parity.missing, format!("{} rows copied that green lacked", parity.missing)))
        })
    }

    fn copy_missing(
        &self,
        migrating: &Migrating,
        sides: &Sides,
        parity: &Parity,
    ) -> Result<(), MigrateError> {
        let green = migrating.tables_now().1;
        for bucket in parity.buckets() {
            self.copy_surplus(migrating, &sides.blue, &sides.green, green, bucket)?;
            failpoint::reached("bucket-repaired");
        }
        Ok(())
    }

    /// Copies to `into` the rows that `from` has more often than `against`, as often as it has them more.
    /// Bucket by bucket, so that the hashes of a part of the rows are held at a time.
    pub(crate) fn copy_surplus(
        &self,
        migrating: &Migrating,
        from: &str,
        against: &str,
        into: &QualifiedName,
        bucket: u8,
    ) -> Result<(), MigrateError> {
        let columns = crate::backfill::columns(migrating);
        let within = format!("WHERE {BUCKET} = {bucket}");
        self.command(&format!(
            "INSERT INTO {into} ({columns}) SELECT {columns} FROM (\
                 SELECT {columns}, surplus, row_number() OVER (PARTITION BY _teal_hash) AS _teal_number \
                 FROM (SELECT * FROM ({from}) {within}) AS _teal_from \
                 INNER JOIN ({surplus}) AS _teal_surplus USING (_teal_hash)\
             ) WHERE _teal_number <= surplus \
             SETTINGS insert_deduplicate = 0, max_partitions_per_insert_block = 0",
            into = into.sql(),
            surplus = surplus(from, against, &within),
        ))
    }

    /// How many rows `from` has in these buckets that `against` lacks.
    pub(crate) fn count_surplus(
        &self,
        from: &str,
        against: &str,
        buckets: &BTreeSet<u8>,
    ) -> Result<u64, MigrateError> {
        #[derive(Deserialize)]
        struct Row {
            rows: u64,
        }
        let buckets = buckets.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
        let within = format!("WHERE {BUCKET} IN ({buckets})");
        let row: Row = self.with_control(|session| {
            session.row(&format!(
                "SELECT toUInt64(sum(surplus)) AS rows FROM ({})",
                surplus(from, against, &within)
            ))
        })?;
        Ok(row.rows)
    }
}

/// The hashes of the rows that `from` has more often than `against`, each with how often.
fn surplus(from: &str, against: &str, within: &str) -> String {
    format!(
        "SELECT _teal_hash, sum(_teal_sign) AS surplus FROM (\
             SELECT _teal_hash, 1::Int64 AS _teal_sign FROM ({from}) {within} \
             UNION ALL SELECT _teal_hash, -1::Int64 AS _teal_sign FROM ({against}) {within}\
         ) GROUP BY _teal_hash HAVING surplus > 0"
    )
}
