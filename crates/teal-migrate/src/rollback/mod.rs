//! The way back: readers and writers return to the old layout, and find there every row that was
//! written to the new one.
//!
//! Rows that the old layout lacks are told by comparing clones of the two tables, as a repair tells what
//! green lacks. They are built in a table of teal's own and attached to the old layout: no view
//! forwards what is attached, so they do not get into the new layout twice. A crash in the middle leaves
//! some of them there; the next comparison finds the others.
//!
//! When they have returned, what came to the new layout alone until then is carried once more.
//!
//! After `app`, the view goes on to forward from blue to green (where it was turned, it is turned back first),
//! so green is in step with blue from the first moment; after `alias` likewise, once the alias is blue's
//! again. After `exchange`, the names are exchanged once more.

mod attach;
pub(crate) mod carry;

use serde::Deserialize;
use teal_plan::Cutover;
use teal_schema::{QualifiedName, escape_ident, names as identifiers};

use crate::backfill::select_from;
use crate::cutover::missed::changes_rows;
use crate::cutover::swap::Way;
use crate::fence::not_clean;
use crate::journal::phase::{Backfilled, CutOver};
use crate::journal::state::{Definitions, Migrating};
use crate::repair::seen::PartsSeen;
use crate::repair::stale::{Mutation, shortened};
use crate::rollback::carry::CANNOT_TELL;
use crate::verify::Sought;
use crate::{Event, MigrateError, Operator, Parity, Phase, Step, Update, failpoint, names};

impl Operator<'_> {
    /// Takes the cutover back. Before a cutover, brings rows that were written to green only to blue.
    /// Tells how many rows were carried back.
    ///
    /// # Errors
    /// When (without `force`) rows of the new layout cannot be carried back, when the migration is in
    /// another phase, or the cut cannot be made.
    pub fn rollback(&self, migrating: &mut Migrating, force: bool) -> Result<u64, MigrateError> {
        self.heal_at_last(migrating)?;
        let cut_over = match &migrating.phase {
            Phase::CutOver(state) => Some(state.clone()),
            Phase::Backfilled(state) if state.rolled_back && !state.rest => {
                if !migrating.migration.rows_tell() {
                    return self.warn_of_folded_rest(migrating);
                }
                None
            }
            Phase::Backfilled(_) | Phase::Verified(_) => None,
            Phase::Cleaned(_) => return Err(migrating.wrong_phase("the old table is gone")),
            _ => return Err(migrating.wrong_phase("there is no cutover to take back")),
        };
        if let Some(state) = &cut_over {
            self.refuse_to_roll_back(migrating, state, force)?;
            self.turn_back(migrating)?;
        }
        // Where no view ran back; and where there was no cutover, in any case.
        let may_be_on_old = cut_over
            .as_ref()
            .is_none_or(|state| state.cutover != Cutover::Exchange && !state.forwards_back);
        let carried = self.until_clean(migrating, |migrating| {
            self.step(migrating, Step::Rollback, |migrating| {
                let (carried, told) = self.move_back(migrating, may_be_on_old, force)?;
                let old = migrating.tables_now().0;
                Ok((carried, format!("{carried} rows carried back to {old}{told}")))
            })
        });
        match carried {
            Err(MigrateError::NoCleanCut { reason, .. })
                if cut_over.is_some() && matches!(migrating.phase, Phase::Backfilled(_)) =>
            {
                let (old, new) = migrating.tables_now();
                Err(MigrateError::RestOpen { old: old.clone(), new: new.clone(), reason })
            }
            other => other,
        }
    }

    /// What keeps a cutover from being taken back, while all is still as it was.
    fn refuse_to_roll_back(
        &self,
        migrating: &mut Migrating,
        state: &CutOver,
        force: bool,
    ) -> Result<(), MigrateError> {
        let is_exchange = state.cutover == Cutover::Exchange;
        if !force {
            self.refuse_other_columns(migrating)?;
            self.refuse_changed_in_place(migrating, state)?;
            if is_exchange {
                self.refuse_missed(migrating, &self.changes_since_proof(migrating)?)?;
                self.refuse_views_that_would_fail(migrating)?;
                self.refuse_fed_in_background(migrating)?;
            }
        }
        self.refuse_unless_own_view_works(migrating)?;
        // Whoever is on the next version would be moved back by two.
        self.refuse_while_chained(migrating, &migrating.migration.green)?;
        if is_exchange {
            self.refuse_while_chained(migrating, &migrating.migration.blue)?;
            // There is nothing that the names could be exchanged with.
            self.refuse_without_new(migrating, state, force)?;
        } else if state.forwards_back && !force {
            self.until_clean(migrating, |migrating| self.refuse_to_lose_new(migrating))?;
        }
        Ok(())
    }

    /// While no view reads the old table, its columns may be altered such that the migration's view could not be made
    /// again: one that its SELECT names is gone, or `SELECT *` gives one that the new table has not.
    fn refuse_unless_own_view_works(&self, migrating: &Migrating) -> Result<(), MigrateError> {
        #[derive(Deserialize)]
        struct Row {
            name: String,
        }
        let (old, new) = migrating.tables_now();
        // Of tables that are gone others speak.
        if !self.exists(old)? || !self.exists(new)? {
            return Ok(());
        }
        let Some(Definitions { blue, green: Some(green), .. }) = &migrating.definitions else {
            return Ok(());
        };
        let (of_old, of_new) =
            (identifiers(blue).unwrap_or_default(), identifiers(green).unwrap_or_default());
        let catalog = self.catalog_of(&[old, new])?;
        let has = |table: &QualifiedName, name: &str| {
            catalog.table(table).is_some_and(|table| table.columns.iter().any(|it| it.name == name))
        };
        // A SELECT may have given more than the new one has from the beginning.
        let is_lost = |name: &String| of_new.contains(name) && !has(new, name);
        let has_come = |name: &String| !of_old.contains(name) && has(old, name) && !has(new, name);
        let select = select_from(migrating, old)?;
        let asked =
            self.with_control(|session| session.rows::<Row>(&format!("DESCRIBE TABLE ({select})")));
        // Other errors, as of a type that a function does not take any more, say what it is about themselves.
        const OF_NAMES: [&str; 4] = [
            "UNKNOWN_IDENTIFIER",
            "THERE_IS_NO_COLUMN",
            "NO_SUCH_COLUMN_IN_TABLE",
            "UNKNOWN_TABLE",
        ];
        let reason = match asked {
            Ok(columns) => {
                let mut names = columns.into_iter().map(|column| column.name);
                match names.find(|name| is_lost(name) || has_come(name)) {
                    Some(name) => format!("{new} has no column {name}"),
                    None => return Ok(()),
                }
            }
            Err(error) if error.server_name().is_some_and(|name| OF_NAMES.contains(&name)) => {
                error.to_string()
            }
            Err(error) => return Err(error.into()),
        };
        Err(MigrateError::NoWayBack { old: old.clone(), reason: reason.into() })
    }

    /// An exchange back has carried what its parts told, and of folded rows none would tell more.
    fn warn_of_folded_rest(&self, migrating: &Migrating) -> Result<u64, MigrateError> {
        if !self.seek(migrating, Sought::OfGreen)?.holds() {
            let (old, new) = migrating.tables_now();
            let what = format!(
                "{old} is what readers and writers are on, and {new} does not hold the same rows; folded, they do not tell which of the two has more, and nothing was carried back. `teal abort --force` drops {new}"
            );
            self.observer.update(Update::Warning { what });
        }
        Ok(0)
    }

    /// Readers and writers return, and what the new layout alone has comes with them, unless that is given up with
    /// `force`. Tells how many rows came, and how it went.
    fn move_back(
        &self,
        migrating: &mut Migrating,
        may_be_on_old: bool,
        force: bool,
    ) -> Result<(u64, String), MigrateError> {
        let cut_over = match &migrating.phase {
            Phase::CutOver(state) => Some(state.clone()),
            _ => None,
        };
        // What users deleted on the old layout is gone. A second try may find them there.
        let users_may_be_on_old = may_be_on_old || cut_over.is_none();
        // What comes behind this look, rows would not tell.
        let tells_by_parts = !force
            && !migrating.migration.rows_tell()
            && cut_over.as_ref().is_some_and(|state| !state.forwards_back);
        let seen_up_to = match tells_by_parts {
            true => Some(self.last_block_of(&migrating.migration.blue)?),
            false => None,
        };
        let carried = if force { 0 } else { self.carry_back(migrating, users_may_be_on_old)? };
        failpoint::reached("carried-back");
        let told = match &cut_over {
            Some(state) if state.cutover == Cutover::Exchange => {
                let name = migrating.migration.blue.clone();
                let readers = self.readers(migrating, &name)?;
                let held = self.exchange_back(migrating, state, seen_up_to, force)?;
                format!("{held}{}", self.probe_readers(&name, &readers)?)
            }
            Some(state) if state.cutover == Cutover::Alias => {
                self.swap_alias_back(migrating, state, force)?
            }
            _ => {
                self.record_rollback(migrating, false)?;
                return Ok((carried, String::new()));
            }
        };
        Ok((carried + self.carry_rest(migrating, force)?, told))
    }

    /// Copies what the new layout has and the old one lacks, and proves that it is the whole of that.
    pub(crate) fn carry_back(
        &self,
        migrating: &Migrating,
        users_may_be_on_old: bool,
    ) -> Result<u64, MigrateError> {
        let found = self.seek(migrating, Sought::OfGreen)?;
        let by_ttl = match &migrating.phase {
            Phase::CutOver(state) => self.refuse_new_lost(migrating, state, &found)?,
            _ => None,
        };
        let are_over = self.are_over(migrating, &found)?;
        self.refuse_rows_not_told(migrating, &found, are_over)?;
        let may_carry = |parity: &Parity| {
            match &migrating.phase {
                Phase::CutOver(state) => {
                    self.refuse_changed_in_place(migrating, state)?;
                    self.refuse_loss_but(migrating, parity, by_ttl.as_deref())?;
                }
                // What was changed in the moment in which readers and writers returned.
                _ => {
                    let new = migrating.tables_now().1;
                    if let Some(seen) = &migrating.new_seen {
                        self.refuse_changed_since(migrating, seen)?;
                        let seen = self.and_logged(new, seen)?;
                        if parity.missing > 0
                            && let Some(change) = self.parts_that_went(migrating, &seen, true)?
                        {
                            return Err(changed_since(new, &change));
                        }
                    } else if let Some(seen) = &migrating.seen {
                        refuse_mutated(migrating, self.mutations(new, seen.time)?)?;
                    }
                }
            }
            self.refuse_rows_not_told(migrating, parity, are_over)?;
            match users_may_be_on_old {
                true => {
                    // By the alias users are on the new table: what went from the old one by its TTL, they have not deleted.
                    let changes = match &migrating.phase {
                        Phase::CutOver(CutOver { cutover: Cutover::Alias, .. }) => {
                            self.removals_by_users(migrating)?
                        }
                        _ => self.removals_since_proof(migrating)?,
                    };
                    refuse_old_changed(migrating, parity.extra, changes)
                }
                false => Ok(()),
            }
        };
        self.carry_back_found(migrating, &found, &may_carry)
    }

    /// Rows of the new table alone that could not be carried back.
    fn refuse_to_lose_new(&self, migrating: &Migrating) -> Result<(), MigrateError> {
        let Phase::CutOver(state) = &migrating.phase else {
            return Ok(());
        };
        let found = self.seek(migrating, Sought::OfGreen)?;
        self.refuse_new_lost(migrating, state, &found)?;
        let are_over = self.are_over(migrating, &found)?;
        self.refuse_rows_not_told(migrating, &found, are_over)?;
        if found.missing > 0 && !are_over {
            self.refuse_dropped_untold(migrating, &found)?;
        }
        if found.extra == 0 {
            return Ok(());
        }
        if !migrating.migration.can_carry_back() {
            return Err(cannot_carry_back(migrating, found.extra));
        }
        // The view has brought all that was written since it was turned: what the old table lacks, users may have
        // deleted there before, or since. What comes later, while the view is turned back, is told from that.
        let changes = self.removals_by_users(migrating)?;
        if changes.is_empty() {
            return Ok(());
        }
        match self.rows_for_good(migrating, Sought::OfGreen)?.unwrap_or(found.extra) {
            0 => Ok(()),
            rows => refuse_old_changed(migrating, rows, changes),
        }
    }

    /// Copies what came to the new layout alone before the readers and writers left it: until an alias was
    /// swapped, or by an INSERT that was cut off between its two tables. With `force` it is given up.
    fn carry_rest(&self, migrating: &mut Migrating, force: bool) -> Result<u64, MigrateError> {
        if let Phase::Backfilled(Backfilled { rest: false, .. }) = &migrating.phase {
            return Ok(0);
        }
        // What they have deleted on the old layout since then must not come back.
        let carried = if force { 0 } else { self.carry_back(migrating, true)? };
        failpoint::reached("rest-carried-back");
        let rows = self.rows_of(&migrating.migration.blue)?;
        self.record(migrating, Event::RolledBack { rows, rest: false })?;
        Ok(carried)
    }

    /// As [`carry_back`](Self::carry_back), where a comparison has `found` this. `may_carry` is asked behind the
    /// clones that the rows are taken from, with what the two differ by.
    pub(crate) fn carry_back_found(
        &self,
        migrating: &Migrating,
        found: &Parity,
        may_carry: &dyn Fn(&Parity) -> Result<(), MigrateError>,
    ) -> Result<u64, MigrateError> {
        let can_carry = migrating.migration.can_carry_back();
        if found.extra + found.unsure == 0 {
            return Ok(0);
        }
        if found.extra == 0 {
            return Err(not_clean(CANNOT_TELL));
        }
        if !can_carry {
            return Err(cannot_carry_back(migrating, found.extra));
        }
        let migrating = &migrating.with_every_row();
        let old = migrating.tables_now().0;
        let parity = self.with_clones(migrating, |sides, parity| match parity.extra {
            0 => Ok(()),
            _ => {
                // What is changed later they have still.
                may_carry(parity)?;
                self.attach_surplus(migrating, sides.of_green_alone(), old, parity)
            }
        })?;
        match parity.unsure {
            0 => Ok(parity.extra),
            _ => Err(not_clean(CANNOT_TELL)),
        }
    }

    /// What a mutation has changed in the new layout since, the old one has as it was: carried back, a
    /// changed row would stand beside its former self, and a deleted one would be there again.
    pub(crate) fn refuse_changed_in_place(
        &self,
        migrating: &Migrating,
        state: &CutOver,
    ) -> Result<(), MigrateError> {
        self.refuse_changed_since(migrating, &state.new_seen)
    }

    /// The same, since the new layout was seen.
    fn refuse_changed_since(
        &self,
        migrating: &Migrating,
        seen: &PartsSeen,
    ) -> Result<(), MigrateError> {
        let new = migrating.tables_now().1;
        refuse_mutated(migrating, self.mutations_after(new, seen)?)?;
        // Before anything is cloned, which the server refuses of a table with such a part.
        match self.lightweight_update(new, seen)? {
            Some(update) => Err(changed_since(new, &update)),
            None => Ok(()),
        }
    }

    /// As [`refuse_changed_in_place`](Self::refuse_changed_in_place), of dropped and replaced partitions and
    /// lightweight updates too: the old layout has rows then that the new one lacks. Not those whose time is
    /// over by the new one's TTL; tells that loss.
    fn refuse_new_lost(
        &self,
        migrating: &Migrating,
        state: &CutOver,
        found: &Parity,
    ) -> Result<Option<String>, MigrateError> {
        self.refuse_changed_in_place(migrating, state)?;
        let by_ttl = self.loss_by_ttl(migrating, found)?;
        self.refuse_loss_but(migrating, found, by_ttl.as_deref())?;
        Ok(by_ttl)
    }

    fn refuse_loss_but(
        &self,
        migrating: &Migrating,
        found: &Parity,
        by_ttl: Option<&str>,
    ) -> Result<(), MigrateError> {
        match self.loss_told_by(migrating, found)? {
            Some(change) if by_ttl != Some(&change) => {
                Err(changed_since(migrating.tables_now().1, &change))
            }
            _ => Ok(()),
        }
    }

    fn exchange_back(
        &self,
        migrating: &mut Migrating,
        state: &CutOver,
        seen_up_to: Option<i64>,
        force: bool,
    ) -> Result<String, MigrateError> {
        let last_look = |migrating: &Migrating| match force {
            true => Ok(()),
            false => {
                self.refuse_other_columns(migrating)?;
                self.refuse_changed_in_place(migrating, state)
            }
        };
        let migration = migrating.migration.clone();
        let (old, new) = (migration.green.clone(), migration.blue.clone());
        let (blue_data, blue) = (self.data_of(&old)?, self.see(&old)?);
        self.record(migrating, Event::RollbackOpened { blue_data, blue, force })?;
        failpoint::reached("rollback-opened");
        if self.server.write_gate().is_none() {
            let told = self.swap_or_settle(migrating, Way::Back, seen_up_to, &last_look)?;
            return Ok(format!("; {told}"));
        }
        let cut = self.with_gate_closed(|| {
            last_look(migrating)?;
            self.exchange_tables(&new, &old)?;
            failpoint::reached("exchanged-back");
            // One that forwards back follows names: it forwards from the old layout to the new one again.
            match self.exists(&migration.view)? {
                true => Ok(()),
                false => self.command(&migration.create_view),
            }
        });
        if let Err(
            MigrateError::ChangedSince { .. }
            | MigrateError::AlteredBeyondCompare { .. }
            | MigrateError::FenceTimeout { .. },
        ) = cut
        {
            self.record(migrating, Event::RollbackUndone)?;
        }
        let held = cut?.held;
        self.record_rollback(migrating, true)?;
        Ok(format!("; {held}"))
    }

    /// Settles an exchange back that a process before did not journal as done: takes note of it if it
    /// happened.
    pub(crate) fn settle_rollback(&self, migrating: &mut Migrating) -> Result<(), MigrateError> {
        let Phase::CutOver(CutOver { rollback: Some(begun), .. }) = &migrating.phase else {
            return Ok(());
        };
        let happened = self.data_of(&migrating.migration.blue)? == begun.blue_data;
        let has_gate = self.server.write_gate().is_some();
        if !has_gate {
            self.settle_swap(migrating, Way::Back, happened)?;
        }
        let how = if happened {
            if has_gate && !self.exists(&migrating.migration.view)? {
                let create_view = migrating.migration.create_view.clone();
                // As after any crash, verification finds what was not forwarded meanwhile.
                self.with_gate_closed(|| self.command(&create_view))?;
            }
            self.record_rollback(migrating, true)?;
            "had happened"
        } else {
            self.record(migrating, Event::RollbackUndone)?;
            "had not happened"
        };
        let what = format!("the rollback of {}, which {how}, was noted", migrating.migration.green);
        self.observer.update(Update::Healed { what });
        Ok(())
    }

    /// `rest`: there may be something to carry still. Not where it is given up, nor where only parts tell it, and
    /// they have told it.
    pub(crate) fn record_rollback(
        &self,
        migrating: &mut Migrating,
        rest: bool,
    ) -> Result<(), MigrateError> {
        let by_parts = matches!(
            &migrating.phase,
            Phase::CutOver(CutOver { cutover: Cutover::Exchange, forwards_back: true, .. })
        ) && self.server.write_gate().is_none();
        let is_forced = matches!(&migrating.phase, Phase::CutOver(CutOver { rollback: Some(begun), .. }) if begun.forced);
        let rest = rest && !is_forced && (migrating.migration.rows_tell() || !by_parts);
        let rows = self.rows_of(&migrating.migration.blue)?;
        self.record(migrating, Event::RolledBack { rows, rest })?;
        failpoint::reached("rolled-back");
        Ok(())
    }
}

/// What these changes have taken from the old layout since the last proof, the new one has still: it must not
/// come back as if it had been written there.
pub(crate) fn refuse_old_changed(
    migrating: &Migrating,
    rows: u64,
    changes: Vec<String>,
) -> Result<(), MigrateError> {
    let (old, new) = migrating.tables_now();
    match changes.into_iter().next() {
        None => Ok(()),
        Some(change) => Err(MigrateError::OldChanged {
            old: old.clone(),
            new: new.clone(),
            change: change.into(),
            rows,
        }),
    }
}

fn refuse_mutated(migrating: &Migrating, mut mutations: Vec<Mutation>) -> Result<(), MigrateError> {
    // Of the repair before the cutover.
    let ours = escape_ident(&names::extra(&migrating.id).name);
    mutations
        .retain(|mutation| changes_rows(&mutation.command) && !mutation.command.contains(&ours));
    match mutations.first() {
        None => Ok(()),
        Some(first) => Err(changed_since(migrating.tables_now().1, &shortened(&first.command))),
    }
}

fn cannot_carry_back(migrating: &Migrating, rows: u64) -> MigrateError {
    let (old, new) = migrating.tables_now();
    MigrateError::CannotCarryBack { old: old.clone(), new: new.clone(), rows }
}

fn changed_since(new: &QualifiedName, change: &str) -> MigrateError {
    MigrateError::ChangedSince { new: new.clone(), change: change.into() }
}
