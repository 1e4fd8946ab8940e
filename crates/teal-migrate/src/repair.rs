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

use crate::state::Migrating;
use crate::verify::{BUCKETS, Sides};
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
        let columns = crate::backfill::columns(migrating);
        let green = migrating.tables_now().1.sql();
        // Bucket by bucket, so that the hashes of a part of the rows are held at a time.
        for bucket in parity.buckets() {
            let within = format!("WHERE _teal_hash % {BUCKETS} = {bucket}");
            self.command(&format!(
                "INSERT INTO {green} ({columns}) SELECT {columns} FROM (\
                     SELECT {columns}, deficit, row_number() OVER (PARTITION BY _teal_hash) AS _teal_number \
                     FROM (SELECT * FROM ({blue}) {within}) AS _teal_blue \
                     INNER JOIN (\
                         SELECT _teal_hash, -sum(_teal_sign) AS deficit FROM (\
                             SELECT _teal_hash, -1::Int64 AS _teal_sign FROM ({blue}) {within} \
                             UNION ALL SELECT _teal_hash, 1::Int64 AS _teal_sign FROM ({green_side}) {within}\
                         ) GROUP BY _teal_hash HAVING deficit > 0\
                     ) AS _teal_deficits USING (_teal_hash)\
                 ) WHERE _teal_number <= deficit \
                 SETTINGS insert_deduplicate = 0, max_partitions_per_insert_block = 0",
                blue = sides.blue,
                green_side = sides.green,
            ))?;
            failpoint::reached("bucket-repaired");
        }
        Ok(())
    }
}
