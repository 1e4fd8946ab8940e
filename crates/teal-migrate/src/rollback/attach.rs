//! How rows come to the table that lacks them: built in a table of teal's own, looked at, and attached.

use serde::Deserialize;
use teal_schema::QualifiedName;

use super::cannot_carry_back;
use crate::journal::state::Migrating;
use crate::repair::stale::first_of;
use crate::verify::{Surplus, partition_expression, sides};
use crate::{MigrateError, Operator, Parity, Phase, failpoint, names};

impl Operator<'_> {
    /// Attaches rows to `into` that it lacks. No view forwards them.
    ///
    /// # Errors
    /// [`MigrateError::CannotCarryBack`] when the old table's types, say, do not hold them; none is attached then.
    pub(crate) fn attach_surplus(
        &self,
        migrating: &Migrating,
        surplus: Surplus,
        into: &QualifiedName,
        parity: &Parity,
    ) -> Result<(), MigrateError> {
        let back = names::back(&migrating.id);
        self.make_own(&back, into)?;
        let pieces = self.pieces(&surplus, &parity.buckets())?;
        for within in &pieces {
            self.copy_within(&surplus, &back, within)?;
            failpoint::reached("piece-carried-back");
        }
        self.refuse_partitions_gone(migrating, into)?;
        if into == migrating.tables_now().0 {
            self.prove_carried(migrating, surplus, &pieces)?;
        }
        self.attach_all(&back, into)?;
        failpoint::reached("rows-attached-back");
        self.drop_table(&back)
    }

    /// What came to a table behind the last look at it, and was dropped with its partition, only a log of parts tells.
    /// Without one, a partition of which users may have dropped all rows gets none.
    fn refuse_partitions_gone(
        &self,
        migrating: &Migrating,
        into: &QualifiedName,
    ) -> Result<(), MigrateError> {
        let (old, new) = migrating.tables_now();
        let is_cut_over = matches!(migrating.phase, Phase::CutOver(_));
        // Behind a cutover they are on the new table, and what that got since, the old one may never have had.
        if into == old && is_cut_over || self.logs_parts_since_look(migrating, into)? {
            return Ok(());
        }
        let back = names::back(&migrating.id);
        let gone = self.partitions_beside(&back, into)?;
        if gone.is_empty() {
            return Ok(());
        }
        self.drop_table(&back)?;
        let partition = first_of(&gone).into();
        let (old, new) = (old.clone(), new.clone());
        Err(match is_cut_over {
            true => {
                let reason = format!(
                    "{into} has no rows of partition {partition}, of which the other table has some: they may have been dropped there"
                );
                MigrateError::CannotTurn { old, new, reason: reason.into() }
            }
            false => MigrateError::PartitionsUntold { old, new, partition },
        })
    }

    /// The same, where readers return to an old table that has such rows.
    pub(super) fn refuse_dropped_untold(
        &self,
        migrating: &Migrating,
        found: &Parity,
    ) -> Result<(), MigrateError> {
        let (old, new) = migrating.tables_now();
        if self.logs_parts_since_look(migrating, new)? {
            return Ok(());
        }
        let partition = partition_expression(migrating);
        let mut missing = 0;
        self.with_clones(migrating, |sides, parity| {
            let alone = sides.of_blue_alone();
            if parity.missing == 0 {
                return Ok(());
            }
            for within in self.pieces(&alone, &parity.buckets())? {
                missing += self.count_rows(&format!(
                    "SELECT 1 FROM ({}) WHERE toString({partition}) NOT IN (\
                         SELECT DISTINCT toString({partition}) FROM {})",
                    alone.rows(&within),
                    new.sql()
                ))?;
            }
            Ok(())
        })?;
        if missing == 0 {
            return Ok(());
        }
        let reason = format!(
            "{new} has no others of the same partition, so they may have been dropped there"
        );
        let (old, new, reason) = (old.clone(), new.clone().into(), reason.into());
        Err(MigrateError::RowsNotTold { old, new, missing, extra: found.extra, reason })
    }

    /// Partitions of which `table` has rows and `other`, of the same layout, has none.
    fn partitions_beside(
        &self,
        table: &QualifiedName,
        other: &QualifiedName,
    ) -> Result<Vec<String>, MigrateError> {
        #[derive(Deserialize)]
        struct Row {
            id: String,
        }
        let of = |table: &QualifiedName| {
            format!(
                "SELECT DISTINCT partition_id FROM system.parts WHERE active AND rows > 0 AND {}",
                table.condition("table")
            )
        };
        let rows = self.with_control(|session| {
            session.rows::<Row>(&format!(
                "SELECT partition_id AS id FROM ({}) WHERE id NOT IN ({}) ORDER BY id",
                of(table),
                of(other)
            ))
        })?;
        Ok(rows.into_iter().map(|row| row.id).collect())
    }

    /// With what is about to be attached, the old table has every row that was sought. A type that does not hold what
    /// the other one does, say, loses it without a word.
    fn prove_carried(
        &self,
        migrating: &Migrating,
        surplus: Surplus,
        pieces: &[String],
    ) -> Result<(), MigrateError> {
        let back = names::back(&migrating.id);
        let left = surplus.without(&sides(migrating, &back, migrating.tables_now().1)?);
        let mut lost = 0;
        for within in pieces {
            lost += self.count_within(&left, within)?;
        }
        match lost {
            0 => Ok(()),
            lost => {
                self.drop_table(&back)?;
                Err(cannot_carry_back(migrating, lost))
            }
        }
    }
}
