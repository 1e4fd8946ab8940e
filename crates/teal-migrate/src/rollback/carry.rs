//! After a cutover: what one of the two tables alone has, and whether it may be carried to the other one.
//!
//! Rows are told by their values. So nothing is carried where a change in place (a mutation, a dropped
//! partition, a TTL) may be what the two differ by: a deleted row would be there again, a changed one twice.

use teal_catalog::CatalogTable;
use teal_plan::{Cutover, expired};

use crate::cutover::turn::cut_over;
use crate::fence::not_clean;
use crate::journal::phase::CutOver;
use crate::journal::state::Migrating;
use crate::repair::seen::PartsSeen;
use crate::repair::stale::first_of;
use crate::rollback::refuse_old_changed;
use crate::verify::Sought;
use crate::{MigrateError, Operator, Parity, Phase};

pub(crate) const CANNOT_TELL: &str =
    "a moment in which no rows are inserted that are equal to others";

impl Operator<'_> {
    /// Tells the rows that the old table got, and the new one.
    pub(crate) fn carry_both(&self, migrating: &Migrating) -> Result<(u64, u64), MigrateError> {
        let found = self.compare_alone(migrating)?;
        if found.holds() {
            return Ok((0, 0));
        }
        let by_ttl = match found.missing {
            0 => self.loss_by_ttl(migrating, &found)?,
            _ => None,
        };
        let refuse_changed = |found: &Parity| {
            match found.missing {
                // The new table has all that the old one has: nothing was deleted from it, or changed; at least no
                // row that is newer.
                0 => {
                    let change = self.loss_told_by(migrating, found)?;
                    let change = change.filter(|change| by_ttl.as_ref() != Some(change));
                    self.refuse(migrating, change.map(|change| in_place(migrating, &change)))?;
                }
                _ => self.refuse_either_changed(migrating)?,
            }
            match found.extra {
                0 => Ok(()),
                rows => self.refuse_old_lost(migrating, rows),
            }
        };
        refuse_changed(&found)?;
        let to_old = self.carry_back_found(migrating, &found, &refuse_changed)?;
        let to_new = if found.missing > 0 { self.carry_forth(migrating)? } else { 0 };
        Ok((to_old, to_new))
    }

    /// Copies what the old table alone has to the new one.
    fn carry_forth(&self, migrating: &Migrating) -> Result<u64, MigrateError> {
        let new = migrating.tables_now().1;
        let Parity { missing, unsure, .. } = self.with_clones(migrating, |sides, parity| {
            // Behind the clones: what is changed later they have not lost.
            self.refuse_either_changed(migrating)?;
            match parity.missing {
                0 => Ok(()),
                _ => self.attach_surplus(migrating, sides.of_blue_alone(), new, parity),
            }
        })?;
        match unsure {
            0 => Ok(missing),
            _ => Err(not_clean(CANNOT_TELL)),
        }
    }

    /// The new table must have every row of the old one whose time is not over.
    pub(crate) fn refuse_lacking(&self, migrating: &Migrating) -> Result<(), MigrateError> {
        let found = self.seek(migrating, Sought::OfBlue)?;
        let rows = match found.missing {
            0 if found.unsure > 0 => return Err(not_clean(CANNOT_TELL)),
            0 => 0,
            missing => self.rows_for_good(migrating, Sought::OfBlue)?.unwrap_or(missing),
        };
        if rows == 0 {
            return Ok(());
        }
        let reason = match self.refuse_either_changed(migrating) {
            Err(MigrateError::CannotTurn { reason, .. }) => reason,
            Ok(()) if cut_over(migrating)?.cleanup.is_some() => "they came there when its cleanup had begun, and no view forwards them any more; copy them yourself (INSERT INTO … SELECT)".into(),
            other => {
                other?;
                let state = cut_over(migrating)?;
                let is_exchange = state.cutover == Cutover::Exchange;
                let (old, new) = migrating.tables_now();
                match self.changes_since_proof(migrating)?.first().filter(|_| is_exchange) {
                    Some(change) => format!(
                        "{old} was changed in place as well ({change}), so that teal carries none of them: copy them yourself (INSERT INTO … SELECT)"
                    )
                    .into(),
                    None if is_exchange && state.compared => format!(
                        "somebody has written them there since, or deleted them from {new}; copy what is wanted (INSERT INTO … SELECT)"
                    )
                    .into(),
                    None if migrating.forwards_back() && self.can_turn(migrating)? => {
                        "`teal cutover` brings them there".into()
                    }
                    None if migrating.forwards_back() => format!(
                        "{old} was altered since, so that teal carries none of them: copy them yourself (INSERT INTO … SELECT)"
                    )
                    .into(),
                    None => {
                        "`teal rollback`, and `teal cutover` once more, brings them there".into()
                    }
                }
            }
        };
        let (old, new) = migrating.tables_now();
        let (old, new) = (old.clone(), new.clone());
        Err(MigrateError::NewLacks { old, new, rows, reason })
    }

    /// Rows of the old table (or of the new one) that the other one lacks, without those that the other one's TTL
    /// deletes: it comes to some of them earlier. Nothing where that has no such TTL, or one that asks for a column
    /// which these rows have not.
    pub(crate) fn rows_for_good(
        &self,
        migrating: &Migrating,
        sought: Sought,
    ) -> Result<Option<u64>, MigrateError> {
        let (old, new) = migrating.tables_now();
        let other = if sought == Sought::OfGreen { old } else { new };
        let catalog = self.catalog_of(&[other])?;
        let ttl = catalog.table(other).map(CatalogTable::ttl).transpose()?.flatten();
        let Some(expired) = ttl.and_then(|ttl| expired(&ttl)) else {
            return Ok(None);
        };
        let mut rows = 0;
        let counted = self.with_clones(migrating, |sides, parity| {
            if parity.unsure > 0 {
                return Err(not_clean(CANNOT_TELL));
            }
            if parity.holds() {
                return Ok(());
            }
            let alone = match sought {
                Sought::OfGreen => sides.of_green_alone(),
                Sought::OfBlue => sides.of_blue_alone(),
            };
            for within in self.pieces(&alone, &parity.buckets())? {
                rows += self.count_rows(&format!(
                    "SELECT 1 FROM ({}) WHERE NOT ifNull({expired}, 0)",
                    alone.rows(&within)
                ))?;
            }
            Ok(())
        });
        match counted {
            Ok(_) => Ok(Some(rows)),
            Err(MigrateError::Client(error))
                if error.server_name() == Some("UNKNOWN_IDENTIFIER") =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn refuse(&self, migrating: &Migrating, change: Option<String>) -> Result<(), MigrateError> {
        let Some(reason) = change else { return Ok(()) };
        let (old, new) = migrating.tables_now();
        Err(MigrateError::CannotTurn { old: old.clone(), new: new.clone(), reason: reason.into() })
    }

    /// What the two tables may differ by, if rows of the new one were lost or changed since the cutover. A row that
    /// was changed may be one that only the new one has, if none is newer by its version.
    pub(crate) fn loss_told_by(
        &self,
        migrating: &Migrating,
        found: &Parity,
    ) -> Result<Option<String>, MigrateError> {
        let by_version = migrating.migration.goes_by_version();
        // A key with another sum is one that each of the two lacks.
        let lacks = found.missing > 0 && (migrating.migration.rows_tell() || found.extra == 0);
        match found.missing > 0 || by_version && found.extra > 0 {
            true => self.loss_of_new(migrating, lacks),
            false => Ok(None),
        }
    }

    /// That loss, if the new table lacks only what its TTL has deleted. Not to be asked while clones are compared.
    pub(crate) fn loss_by_ttl(
        &self,
        migrating: &Migrating,
        found: &Parity,
    ) -> Result<Option<String>, MigrateError> {
        let loss = self.loss_told_by(migrating, found)?;
        match loss.is_some() && self.rows_for_good(migrating, Sought::OfBlue)? == Some(0) {
            true => Ok(loss),
            false => Ok(None),
        }
    }

    /// What may have taken rows from the new table since the cutover, or changed some: also of what came there
    /// since, as far as the log tells. `lacks`: the old table has rows that the new one lacks.
    pub(crate) fn loss_of_new(
        &self,
        migrating: &Migrating,
        lacks: bool,
    ) -> Result<Option<String>, MigrateError> {
        let (new, state) = (migrating.tables_now().1, cut_over(migrating)?);
        let seen = self.and_logged(new, &state.new_seen)?;
        match self.refuse_changed_in_place(migrating, state) {
            Err(MigrateError::ChangedSince { change, .. }) => Ok(Some(change.into())),
            other => {
                other?;
                self.parts_that_went(migrating, &seen, lacks)
            }
        }
    }

    pub(crate) fn parts_that_went(
        &self,
        migrating: &Migrating,
        seen: &PartsSeen,
        lacks: bool,
    ) -> Result<Option<String>, MigrateError> {
        let new = migrating.tables_now().1;
        let mut fate = seen.fate(&self.see(new)?);
        // Merges may forget rows that are deleted by their version.
        let may_forget = lacks && migrating.migration.deletes_by_version();
        let is_merged = match migrating.migration.goes_by_version() {
            true if fate.fewer.is_empty() || may_forget => false,
            true => self.keeps_newest(new)?,
            false => !migrating.migration.rows_tell() && !lacks,
        };
        if is_merged {
            fate.fewer.clear();
        }
        let ids = fate.gone.union(&fate.fewer).cloned().collect::<Vec<_>>();
        Ok((!ids.is_empty()).then(|| format!("parts of partition {} lost rows", first_of(&ids))))
    }

    /// Before rows of the old table come to the new one. What was changed in the old one is not what users have
    /// written, and what a TTL resets to another value is a row that both have.
    fn refuse_either_changed(&self, migrating: &Migrating) -> Result<(), MigrateError> {
        let change = match self.loss_of_new(migrating, true)? {
            Some(change) => Some(in_place(migrating, &change)),
            None => self.why_rows_are_not_told(migrating)?,
        };
        self.refuse(migrating, change)
    }

    /// Before rows of the new table come to the old one: what was deleted there since the proof must not be there
    /// again. What a TTL has deleted may, for it goes once more.
    fn refuse_old_lost(&self, migrating: &Migrating, rows: u64) -> Result<(), MigrateError> {
        refuse_old_changed(migrating, rows, self.removals_by_users(migrating)?)
    }

    /// What may have taken rows from the old table since the proof, or changed some, but for its TTL.
    pub(crate) fn removals_by_users(
        &self,
        migrating: &Migrating,
    ) -> Result<Vec<String>, MigrateError> {
        let old = migrating.tables_now().0;
        let catalog = self.catalog_of(&[old])?;
        match catalog.table(old).map(CatalogTable::ttl).transpose()?.flatten() {
            None => self.removals_since_proof(migrating),
            // That its parts went may be by it.
            Some(_) => self.row_mutations_since_proof(migrating),
        }
    }

    /// Whether the new table lacks rows, and only such as its TTL deletes. Not to be asked while clones are compared.
    pub(crate) fn are_over(
        &self,
        migrating: &Migrating,
        found: &Parity,
    ) -> Result<bool, MigrateError> {
        Ok(found.missing > 0 && self.rows_for_good(migrating, Sought::OfBlue)? == Some(0))
    }

    /// Before rows of the new table come to the old one. A row that reads differently in the two is one that each of
    /// them lacks. And while a view keeps the old table current, that has nothing which the new one lacks, but for
    /// what the new one has lost without a sign, or reads differently.
    pub(crate) fn refuse_rows_not_told(
        &self,
        migrating: &Migrating,
        found: &Parity,
        are_over: bool,
    ) -> Result<(), MigrateError> {
        if !migrating.migration.rows_tell() || found.missing == 0 || are_over {
            return Ok(());
        }
        let is_kept_current = match &migrating.phase {
            // What an INSERT that was cut off before the exchange left, the comparison behind it has carried.
            Phase::CutOver(CutOver {
                cutover: Cutover::Exchange, forwards_back, compared, ..
            }) => *forwards_back && *compared,
            // Somebody may write to the old table still.
            Phase::CutOver(CutOver { forwards_back, .. }) => *forwards_back && found.extra > 0,
            _ => false,
        };
        let why = match found.extra {
            0 => None,
            _ => self.why_rows_read_differently(migrating)?,
        };
        let (old, new) = migrating.tables_now();
        let reason = match why {
            Some(why) => why,
            None if is_kept_current => format!(
                "a view keeps {old} current, so they were deleted from {new} without a sign (with a partition that came since, say), written to {old} itself, or read differently in the two"
            ),
            None => return Ok(()),
        };
        let (missing, extra) = (found.missing, found.extra);
        let (old, new, reason) = (old.clone(), new.clone().into(), reason.into());
        Err(MigrateError::RowsNotTold { old, new, missing, extra, reason })
    }

    fn why_rows_are_not_told(&self, migrating: &Migrating) -> Result<Option<String>, MigrateError> {
        let why = match self.updates_since_proof(migrating)?.first() {
            Some(change) => {
                let old = migrating.tables_now().0;
                Some(format!("{old} was changed in place ({change})"))
            }
            None => self.why_rows_read_differently(migrating)?,
        };
        let told = |why| format!("{why}, so that rows are not told from those that it had before");
        Ok(why.map(told))
    }

    /// What may give a row other values in one of the two tables than in the other, although nobody has changed it.
    fn why_rows_read_differently(
        &self,
        migrating: &Migrating,
    ) -> Result<Option<String>, MigrateError> {
        let (old, new) = migrating.tables_now();
        let catalog = self.catalog_of(&[old, new])?;
        for table in [old, new] {
            let changes = catalog.table(table).map(CatalogTable::ttl_changes_rows).transpose()?;
            if changes == Some(true) {
                return Ok(Some(format!("{table} has a TTL that changes rows")));
            }
        }
        match self.refuse_other_columns(migrating) {
            Err(MigrateError::AlteredBeyondCompare { altered }) => {
                let first = altered.into_iter().next();
                Ok(first.map(|it| format!("{} was altered", it.object)))
            }
            other => other.map(|()| None),
        }
    }
}

fn in_place(migrating: &Migrating, change: &str) -> String {
    format!("{} was changed in place since the cutover ({change})", migrating.tables_now().1)
}
