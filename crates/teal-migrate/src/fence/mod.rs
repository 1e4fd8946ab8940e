//! The fence: attaches the view, and tells which of blue's rows it forwards from those that are to be
//! copied, so that each row gets into green once.
//!
//! ClickHouse binds an INSERT to the views that exist when it starts. Where every statement passes
//! through teal, no INSERT runs while the view is made: [`gate`]. On a server, the parts of the INSERTs
//! that ran meanwhile are told apart by the server's log: [`part_log`].
//!
//! A crash anywhere between `FenceOpened` and `Attached` is undone by the next process, whatever of
//! the cut had happened: view and snapshot are dropped, green is emptied. That loses nothing, for
//! until the migration is attached blue has every row, and rows that somebody wrote to green itself are
//! looked for before ([`direct`]).

pub(crate) mod clone;
mod direct;
mod gate;
mod part_log;
mod parts;
mod running;

pub(crate) use direct::{Look, without};
pub(crate) use part_log::{Hold, PAUSE, not_clean};
pub(crate) use parts::{CutPart, refuse_merged};
pub(crate) use running::long_inserts;
use teal_catalog::Amount;
use teal_plan::{CopyStrategy, FenceKind};
use teal_schema::QualifiedName;

use crate::at_once::at_once;
use crate::journal::phase::{Prepared, Snapshot};
use crate::journal::state::Migrating;
use crate::repair::seen::see_at_rest;
use crate::{Event, MigrateError, Operator, Step, Update, failpoint, names};

impl Operator<'_> {
    /// Makes the cut. When it fails, what was done of it is undone at once.
    pub(crate) fn attach(
        &self,
        migrating: &mut Migrating,
        state: Prepared,
    ) -> Result<(), MigrateError> {
        if state.fence_open {
            self.heal_fence(migrating, Look::Full)?;
        }
        self.step(migrating, Step::Fence, |migrating| {
            let mut before = Vec::from_iter(self.definitions_to_record(migrating)?);
            let mut aside = self.server.session(&[])?;
            let blue = &migrating.migration.blue;
            let (is_ours, seen) = at_once(
                || self.refuse_what_is_not_ours(migrating),
                || see_at_rest(aside.as_mut(), blue),
            );
            is_ours?;
            // A snapshot would have the parts as they were before a mutation, and the view does not forward what
            // a mutation changes.
            before.push(Event::Seen { blue: seen? });
            let (attached, outcome) = match self.server.write_gate() {
                Some(_) => self.try_cut(migrating, before, |it| self.cut_at_gate(it))?,
                None => self.cut_by_log(migrating, before)?,
            };
            // Of a clone, nothing is left to copy.
            let backfilled = match &attached {
                Event::Attached { snapshot: None, rows, .. } => {
                    Some(Event::Backfilled { rows: *rows })
                }
                _ => None,
            };
            self.record_all(migrating, [attached].into_iter().chain(backfilled).collect())?;
            failpoint::reached("attached");
            Ok(((), outcome))
        })
    }

    /// Opens the fence, in one entry with what was found before it, and makes a cut; undoes it where that fails.
    fn try_cut<T>(
        &self,
        migrating: &mut Migrating,
        before: Vec<Event>,
        cut: impl FnOnce(&Migrating) -> Result<T, MigrateError>,
    ) -> Result<T, MigrateError> {
        self.record_all(migrating, before.into_iter().chain([Event::FenceOpened]).collect())?;
        failpoint::reached("fence-opened");
        cut(migrating).inspect_err(|_| {
            // Should this fail too, the next command undoes it; the first error tells why.
            if self.undo_fence(migrating, Look::Full).is_err() {
                self.warn_of_merges(migrating);
            }
        })
    }

    /// Takes back the fence that a process before left open.
    pub(crate) fn heal_fence(
        &self,
        migrating: &mut Migrating,
        look: Look,
    ) -> Result<(), MigrateError> {
        self.undo_fence(migrating, look)?;
        let what = format!("the open fence of {} was undone", migrating.migration.green);
        self.observer.update(Update::Healed { what });
        Ok(())
    }

    /// Takes back a fence that was not journalled as done.
    pub(crate) fn undo_fence(
        &self,
        migrating: &mut Migrating,
        look: Look,
    ) -> Result<(), MigrateError> {
        match self.server.write_gate() {
            Some(_) => self.drop_view_at_gate(migrating)?,
            None => self.drop_view_and_wait(migrating)?,
        }
        // Somebody may have dropped blue, or exchanged the two by hand.
        self.refuse_last_copy(migrating)?;
        self.until_clean(migrating, |migrating| self.empty_green(migrating, look))?;
        self.drop_table(&names::snapshot(&migrating.id))?;
        self.drop_table(&names::across(&migrating.id))?;
        if migrating.migration.keeps_order() {
            self.drop_table(&names::history(&migrating.id))?;
        }
        failpoint::reached("undo-snapshot-dropped");
        self.record(migrating, Event::FenceUndone)
    }

    /// Makes the table that chunks are published to, where that is not green itself.
    fn make_history(&self, migrating: &Migrating) -> Result<(), MigrateError> {
        match migrating.migration.keeps_order() {
            true => self.make_own(&names::history(&migrating.id), &migrating.migration.green),
            false => Ok(()),
        }
    }

    /// The journal's entry of a cut that gave so much to be copied.
    fn attached(
        &self,
        migrating: &Migrating,
        cut: Amount,
        attempts: u32,
        fence: FenceKind,
        held: &str,
    ) -> (Event, String) {
        let Amount { parts, rows, uncompressed_bytes: bytes } = cut;
        let is_rewrite = migrating.migration.strategy == CopyStrategy::Rewrite;
        let snapshot = is_rewrite.then(|| Snapshot {
            rows,
            parts,
            chunk_rows: self.options.backfill.chunk_rows(rows, bytes),
            // Twice the goal, so that rows that are somewhat wider than others make no odd little chunks.
            chunk_bytes: self.options.backfill.chunk_bytes.saturating_mul(2),
        });
        let outcome = format!("{rows} rows in {parts} parts cut off; {held}");
        (Event::Attached { snapshot, rows, attempts, fence }, outcome)
    }

    /// Before `STOP MERGES`, which cancels the mutations that run then: a user who waits for one is told that
    /// it failed (`UNFINISHED`, 26.9), though it is done later. One that begins in the next moment meets that
    /// still.
    pub(crate) fn cut_without_mutations(&self, table: &QualifiedName) -> Result<(), MigrateError> {
        match self.refuse_mutating(table) {
            Err(MigrateError::MutationsRunning { blue, first, .. }) => {
                Err(not_clean(&format!("the end of a mutation of {blue}: {first}")))
            }
            other => other,
        }
    }
}
