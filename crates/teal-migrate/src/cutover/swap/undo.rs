//! How an exchange on a server is taken back before the names have changed places.

use super::{Swap, Way, swapping_of};
use crate::fence::{not_clean, refuse_merged};
use crate::journal::phase::Swapping;
use crate::journal::state::Migrating;
use crate::logs::of_data;
use crate::{Event, MigrateError, Operator, Update, failpoint};

impl Operator<'_> {
    /// The view is there again. What it has not forwarded meanwhile is found by the next comparison of the rows,
    /// or, where rows tell nothing, brought to the other table.
    pub(super) fn undo_swap(
        &self,
        migrating: &mut Migrating,
        swap: &Swap,
    ) -> Result<(), MigrateError> {
        let by_parts = match migrating.migration.rows_tell() {
            true => None,
            false => swapping_of(migrating).cloned(),
        };
        // What follows may take its time, and ends with an error where an INSERT goes on for longer.
        if by_parts.is_none() {
            self.resume_merges(migrating)?;
        }
        if !self.exists(&migrating.migration.view)? {
            self.command(&migrating.migration.create_view)?;
            failpoint::reached("view-put-back");
        }
        // One that began without the view may still be writing to blue. It ends here, or the next
        // verification could look before it does, and not find what it wrote. Also where the view is
        // there: a process before may have made it, and not waited.
        let waited = self.wait_for_inserts_in_time();
        if waited.is_err() {
            self.resume_merges(migrating)?;
        }
        waited?;
        match by_parts {
            None => Ok(()),
            Some(swapping) => match self.carry_what_was_missed(migrating, swap, &swapping) {
                Err(MigrateError::NotClean { reason }) => {
                    self.not_told(migrating, swap, &format!("teal waited for {reason}"))
                }
                // A row that the SELECT refuses, say: users must not wait for it.
                Err(MigrateError::Client(error)) if error.server_name().is_some() => {
                    self.not_told(migrating, swap, &error.to_string())
                }
                other => other,
            },
        }
    }

    fn not_told(
        &self,
        migrating: &mut Migrating,
        swap: &Swap,
        reason: &str,
    ) -> Result<(), MigrateError> {
        let (live, other) = (&swap.live, &swap.other);
        let what = format!(
            "no exchange was made, and {other} may lack rows that were written to {live} meanwhile, which folded rows do not tell: {reason}"
        );
        match swap.way {
            Way::Forward => {
                let so = "`teal verify` shows whether it lacks any; if it does: `teal abort`, and `teal apply` once more";
                self.observer.update(Update::Warning { what: format!("{what}. {so}") });
                Ok(())
            }
            Way::Back => {
                self.observer.update(Update::Warning { what });
                self.give_up_view(migrating)?;
                // What it got by the view is nobody's use of it.
                let blue_rows = self.rows_of(other)?;
                let given_up = Event::Turned { forwards_back: false };
                self.record_all(migrating, vec![given_up, Event::StillWritten { blue_rows }])
            }
        }
    }

    /// Copies what came to the readers' table while no view forwarded it. Merges have been off since.
    fn carry_what_was_missed(
        &self,
        migrating: &mut Migrating,
        swap: &Swap,
        swapping: &Swapping,
    ) -> Result<(), MigrateError> {
        let (Some(since), true) = (swapping.since, self.has_log_of_parts()?) else {
            return Err(not_clean("a part_log with table_uuid"));
        };
        let hold = self.hold([&swap.live, &swap.other])?;
        self.refuse_started_anew(swapping.server_start)?;
        self.finish_carrying(migrating, &swap.other)?;
        let carried = swapping_of(migrating).map(|it| it.carried.clone()).unwrap_or_default();
        let mut window = self.cut_parts(&swap.live)?;
        window.retain(|part| part.max_block > swapping.known && !carried.contains(&part.key()));
        refuse_merged(&window, Some(swapping.known))?;
        // A part is there before its entry is; when its INSERT has ended, both are.
        self.wait_for_inserts_in_time().map_err(|error| match error {
            MigrateError::NoCleanCut { reason, .. } => not_clean(&reason),
            other => other,
        })?;
        let written = of_data(&self.data_of(&swap.live)?);
        let forwarded = of_data(&self.data_of(&swap.other)?);
        let missed = self.not_forwarded(&hold, &window, since, (&written, &forwarded))?;
        if !missed.is_empty() {
            self.make_across(migrating, &swap.other)?;
            self.copy_across(migrating, swap, &missed)?;
        }
        Ok(())
    }
}
