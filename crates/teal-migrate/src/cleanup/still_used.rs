//! What keeps the old table from being dropped: its time is not over, or somebody uses it.

use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use teal_catalog::{Features, LeftOut, Use, uses};
use teal_client::{ClientError, Session};
use teal_plan::Cutover;
use teal_schema::QualifiedName;

use crate::journal::phase::CutOver;
use crate::journal::state::Migrating;
use crate::{Event, MigrateError, Operator, Phase, Update, names};

/// A use that is longer ago does not keep a table.
const LOOKS_BACK: Duration = Duration::from_secs(24 * 60 * 60);

impl Operator<'_> {
    pub(crate) fn refuse_while_kept(
        &self,
        migrating: &mut Migrating,
        state: &CutOver,
    ) -> Result<(), MigrateError> {
        let until = kept_until(state.at, self.options.retention);
        if self.time() < until {
            return Err(MigrateError::Kept { old: migrating.tables_now().0.clone(), until });
        }
        // One that began long ago may be into the old table.
        self.wait_without_gate()?;
        // What came behind the last proof, the view may have made another value of.
        if self.exists(migrating.tables_now().0)? {
            self.refuse_lost_values(migrating)?;
        }
        // Where nothing forwards to the old table.
        if !state.forwards_back {
            self.refuse_if_written(migrating, state, state.cutover != Cutover::Exchange)?;
        }
        self.refuse_old_alone(migrating, state)?;
        if self.server.is_exclusive() {
            return Ok(());
        }
        if !self.with_control(Features::read)?.query_log.is_there {
            let what = format!(
                "without query_log it is not known who still reads {}; a retention (`--retention 7d`) gives them time",
                migrating.tables_now().0
            );
            self.observer.update(Update::Warning { what });
            return Ok(());
        }
        self.command("SYSTEM FLUSH LOGS")?;
        let now = self.time();
        let used = self.with_control(|session| uses_of_old(session, migrating, state, now))?;
        match used.is_empty() {
            true => Ok(()),
            false => {
                let (old, new) = migrating.tables_now();
                Err(MigrateError::UsedSinceCutover { old: old.clone(), new: new.clone(), used })
            }
        }
    }

    /// The new table must have what the old one has, as far as rows tell it.
    pub(crate) fn refuse_old_alone(
        &self,
        migrating: &mut Migrating,
        state: &CutOver,
    ) -> Result<(), MigrateError> {
        match state.cutover {
            _ if !state.forwards_back => self.look_past_view(migrating),
            Cutover::Exchange => {
                let can_tell = self.exists(migrating.tables_now().0)?;
                // Once both were equal, the new table lacks what users have deleted there.
                if can_tell && (!state.compared || self.loss_of_new(migrating, false)?.is_none()) {
                    match migrating.migration.rows_tell() {
                        true => self.refuse_lacking(migrating)?,
                        // Of rows that merges add up, the sums tell it, as long as the view brings all of them and
                        // no TTL comes to one table earlier.
                        false if state.compared && self.may_expire(migrating)? => (),
                        false => drop(self.verify(migrating)?),
                    }
                }
                Ok(())
            }
            // What the view brings makes blue's rows more.
            Cutover::App | Cutover::Alias => self.refuse_lacking(migrating),
        }
    }

    /// Whether a TTL takes rows from either table, or changes some.
    fn may_expire(&self, migrating: &Migrating) -> Result<bool, MigrateError> {
        let (old, new) = migrating.tables_now();
        let catalog = self.catalog_of(&[old, new])?;
        for table in [old, new].into_iter().filter_map(|name| catalog.table(name)) {
            if table.ttl()?.is_some() || table.ttl_changes_rows()? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Before the view is turned: nobody may write to blue any more. Who did since the last look is
    /// told, and the next look counts from here. `has_moved`: the alias was swapped just now, and what was
    /// written by it before does not count.
    pub(crate) fn refuse_while_written(
        &self,
        migrating: &mut Migrating,
        has_moved: bool,
    ) -> Result<(), MigrateError> {
        let Phase::CutOver(state) = migrating.phase.clone() else {
            return Ok(());
        };
        let (blue, green) = (migrating.migration.blue.clone(), migrating.migration.green.clone());
        let mut used = Vec::new();
        if !self.server.is_exclusive() {
            self.command("SYSTEM FLUSH LOGS")?;
            let (within, named) = match has_moved {
                true => (LOOKS_BACK, Some(migrating.migration.logical_name())),
                false => (since(state.looked, self.time()), None),
            };
            let left_out = LeftOut { forwarded_by: Some(names::reverse(&migrating.id)), named };
            used = self.with_control(|session| uses(session, &blue, &left_out, within))?;
            used.retain(|by| by.inserts > 0);
        }
        let blue_rows = self.rows_of(&blue)?;
        let rows = blue_rows.saturating_sub(state.blue_rows);
        if rows == 0 && used.is_empty() {
            return Ok(());
        }
        self.record(migrating, Event::StillWritten { blue_rows })?;
        let used = used.into_boxed_slice();
        Err(MigrateError::StillWrittenBeforeTurn { blue, green, rows, used })
    }

    fn refuse_if_written(
        &self,
        migrating: &Migrating,
        state: &CutOver,
        is_forwarded: bool,
    ) -> Result<(), MigrateError> {
        let (old, new) = migrating.tables_now();
        let more = self.rows_of(old)?.saturating_sub(state.blue_rows);
        let rows = match (more, state.old_block) {
            // A TTL may have deleted more than somebody has written.
            (0, Some(block)) => self.rows_behind(old, block)?,
            _ => more,
        };
        match rows {
            0 => Ok(()),
            rows => {
                let (blue, green) = (old.clone(), new.clone());
                Err(MigrateError::WrittenSinceCutover { blue, green, rows, is_forwarded })
            }
        }
    }

    /// Rows of the parts that have come since that block; of a merged part, all of them.
    fn rows_behind(&self, table: &QualifiedName, block: i64) -> Result<u64, MigrateError> {
        #[derive(Deserialize)]
        struct Row {
            found: u64,
        }
        let Row { found } = self.with_control(|session| {
            session.row(&format!(
                "SELECT sum(rows) AS found FROM system.parts \
                 WHERE active AND {} AND max_block_number > {block} \
                     AND NOT startsWith(partition_id, 'patch-')",
                table.condition("table")
            ))
        })?;
        Ok(found)
    }
}

/// Who has used the old table since the cutover, by the server's log.
pub(crate) fn uses_of_old(
    session: &mut dyn Session,
    migrating: &Migrating,
    state: &CutOver,
    now: Timestamp,
) -> Result<Vec<Use>, ClientError> {
    // What it forwards from the new table to the old one is no use of that.
    let left_out = LeftOut { forwarded_by: Some(view_back(migrating, state)), named: None };
    let since = since(state.at, now);
    uses(session, migrating.tables_now().0, &left_out, since.min(LOOKS_BACK))
}

/// The view that brings what is written to the new table to the old one, where there is one. An exchange has turned
/// the migration's own.
pub(crate) fn view_back(migrating: &Migrating, state: &CutOver) -> QualifiedName {
    match state.cutover {
        Cutover::Exchange => migrating.migration.view.clone(),
        Cutover::App | Cutover::Alias => names::reverse(&migrating.id),
    }
}

fn since(then: Timestamp, now: Timestamp) -> Duration {
    // The clock may have been set back since.
    Duration::try_from(now.duration_since(then)).unwrap_or(LOOKS_BACK)
}

fn kept_until(cutover: Timestamp, retention: Duration) -> Timestamp {
    cutover.saturating_add(retention).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_kept_for_its_time_and_not_a_second_longer() {
        let at = Timestamp::from_second(1_700_000_000).unwrap();
        let until = kept_until(at, Duration::from_secs(86_400));
        assert_eq!(until, Timestamp::from_second(1_700_086_400).unwrap());
        assert_eq!(kept_until(at, Duration::ZERO), at);
        assert_eq!(kept_until(at, Duration::MAX), Timestamp::MAX);
    }
}
