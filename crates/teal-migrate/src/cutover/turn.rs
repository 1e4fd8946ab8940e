//! Turning the view, after a cutover by app or alias: it forwards from green to blue from then on, so that
//! blue is kept current.
//!
//! The view, and the one the other way, must never be there both: each INSERT would be refused
//! (`TOO_DEEP_RECURSION`, 26.9). And no INSERT may know the first and find the second behind it: its rows
//! would come back to the table that they came from. So, after the entry `turnOpened`:
//!
//! 1. The view that is there is dropped.
//! 2. The INSERTs that run then are waited for. Each may know that view.
//! 3. The other view is made.
//! 4. The INSERTs that run then are waited for. Each may not know it.
//! 5. The entry `turned`.
//! 6. Both tables are compared, and each gets what only the other one has: attached as parts, so that no
//!    view forwards it.
//!
//! With the gate closed, 1 and 3 are one moment, without 2 and 4. What an INSERT can have met:
//!
//! - into green, begun before 3: it is in green only, and has ended when 6 looks. Begun later: it is in
//!   both.
//! - into blue, begun before 1: it knows the first view, and is in both. Begun later: it is in blue only, and
//!   6 finds it, if it has ended by then. That is a straggler: the view is turned only when nobody writes
//!   to blue any more. If somebody does so later, `teal cutover` does 6 again, and `cleanup` does not drop
//!   blue before.
//!
//! 6 tells rows by their values. Until a straggler's rows are in green they are not told from equal ones
//! that were written to green only, since the cutover; behind 6 each row of green is in blue, and they are.
//!
//! A crash, of teal or of the server, behind `turnOpened` and before `turned`: the next command of any kind
//! does 1 to 5 again, from the start. Each can be repeated, in any state: whichever of the views is there,
//! both orders end with one. It does not go back, since neither way is safer: in between, rows lack in blue
//! (or, a straggler's, in green), which 6 finds. It is not done by that command, for it reads both tables:
//! `teal cutover` does it, and so does `rollback` before it needs it.
//!
//! Rows that some other view brings from green to blue would be there twice, and 6 would take the second ones for
//! a straggler's: it is not done then.
//!
//! What is changed in place in green (a mutation, a dropped partition) no view forwards. 6 would bring back
//! what was deleted there: it is not done then.

use teal_plan::{Cutover, Migration};
use teal_schema::create_view;

use crate::journal::phase::CutOver;
use crate::journal::state::Migrating;
use crate::{Event, MigrateError, Operator, Phase, Step, Update, failpoint, names};

impl Operator<'_> {
    /// Turns the view, if that is not done yet, and brings to each table what only the other one has. Where
    /// rows cannot come back, it only looks whether somebody still writes to blue. `is_proven`: green has had all
    /// of blue's rows a moment ago.
    ///
    /// # Errors
    /// [`MigrateError::StillWrittenBeforeTurn`] while somebody writes to blue; what stopped it.
    pub(crate) fn turn(
        &self,
        migrating: &mut Migrating,
        is_proven: bool,
    ) -> Result<(), MigrateError> {
        let can_turn = self.can_turn(migrating)?;
        if !migrating.forwards_back() {
            // Who writes to blue is told in any case, and `cleanup` counts from here.
            let written = self.refuse_while_written(migrating, is_proven);
            if !can_turn || matches!(&written, Err(MigrateError::StillWrittenBeforeTurn { .. })) {
                match self.until_clean(migrating, |it| self.look_past_view(it)) {
                    // Who writes is what keeps it from being clean.
                    Err(MigrateError::NoCleanCut { .. }) if written.is_err() => (),
                    other => other?,
                }
            }
            written?;
        }
        if !can_turn {
            return Ok(());
        }
        self.refuse_fed_otherwise(migrating)?;
        self.until_clean(migrating, |migrating| {
            self.step(migrating, Step::Turn, |migrating| {
                let held = match migrating.forwards_back() {
                    true => String::new(),
                    false => self.turn_forward(migrating, is_proven)?,
                };
                let (to_old, to_new) = self.carry_both(migrating)?;
                failpoint::reached("turn-carried");
                let (old, new) = migrating.tables_now();
                let outcome = format!(
                    "a view keeps {old} current{held}; {to_old} rows carried to it, {to_new} to {new}"
                );
                Ok(((), outcome))
            })
        })
    }

    /// As [`turn`](Self::turn), where the cutover itself is done whatever comes of it.
    pub(crate) fn turn_at_once(&self, migrating: &mut Migrating) -> Result<(), MigrateError> {
        match self.turn(migrating, true) {
            Err(error) if error.is_refusal() && !is_turn_open(migrating) => {
                self.warn_of_rest(&error);
                Ok(())
            }
            other => other,
        }
    }

    pub(crate) fn warn_of_rest(&self, error: &MigrateError) {
        let what = format!("the cutover is done; what comes after it is not: {error}");
        self.observer.update(Update::Warning { what });
    }

    /// Before a rollback: as it was before [`turn`](Self::turn).
    pub(crate) fn turn_back(&self, migrating: &mut Migrating) -> Result<(), MigrateError> {
        let state = cut_over(migrating)?;
        if state.cutover == Cutover::Exchange || !state.forwards_back {
            return Ok(());
        }
        self.step(migrating, Step::Turn, |migrating| {
            self.wait_without_gate()?;
            self.record(migrating, Event::TurnOpened { forwards_back: false, new: None })?;
            failpoint::reached("turn-opened");
            let held = self.turn_views(migrating, false)?;
            let (old, new) = migrating.tables_now();
            Ok(((), format!("the view forwards from {old} to {new} again{held}")))
        })
    }

    /// Ends a turn that a process before did not journal as done.
    pub(crate) fn settle_turn(
        &self,
        migrating: &mut Migrating,
        forwards_back: bool,
    ) -> Result<(), MigrateError> {
        self.turn_views(migrating, forwards_back)?;
        let what = format!("the turn of the view of {} was finished", migrating.migration.green);
        self.observer.update(Update::Healed { what });
        Ok(())
    }

    /// Whether a view can bring green's rows back to blue as they are, and no INSERT fails for it.
    pub(crate) fn can_turn(&self, migrating: &Migrating) -> Result<bool, MigrateError> {
        let migration = &migrating.migration;
        if !migration.can_carry_back() || migration.blue_checks_more {
            return Ok(false);
        }
        let blue = &migration.blue;
        let catalog = self.catalog_of(&[blue])?;
        let Some(blue) = catalog.table(blue) else { return Ok(false) };
        // A type that is narrower, or a column that nobody can write, would fail the users' INSERTs.
        Ok(migration.columns.iter().all(|column| {
            blue.insertable_columns()
                .any(|it| it.name == column.name && it.data_type == column.data_type)
        }))
    }

    fn turn_forward(
        &self,
        migrating: &mut Migrating,
        is_proven: bool,
    ) -> Result<String, MigrateError> {
        // Behind a proof, the look that was made before the cutover tells more: users are on green since, and
        // what they have dropped there must not come back.
        let new = match is_proven {
            true => None,
            false => Some(self.see(migrating.tables_now().1)?),
        };
        if !is_proven {
            self.refuse_lacking(migrating)?;
        }
        // INSERTs that go on for long would hold it up: better here, where nothing waits.
        self.wait_without_gate()?;
        self.record(migrating, Event::TurnOpened { forwards_back: true, new })?;
        failpoint::reached("turn-opened");
        self.turn_views(migrating, true)
    }

    /// Steps 1 to 5. Tells how long INSERTs were held.
    fn turn_views(
        &self,
        migrating: &mut Migrating,
        forwards_back: bool,
    ) -> Result<String, MigrateError> {
        let migration = migrating.migration.clone();
        let reverse = names::reverse(&migrating.id);
        let (leaving, coming, create) = match forwards_back {
            true => {
                let select = format!(
                    "SELECT {} FROM {}",
                    crate::backfill::columns(migrating),
                    migration.green.sql()
                );
                let create = create_view(&reverse, Some(&migration.blue), &select);
                (&migration.view, &reverse, create)
            }
            false => (&reverse, &migration.view, migration.create_view.clone()),
        };
        let drop_one = || {
            self.drop_view(leaving)?;
            failpoint::reached("turn-view-dropped");
            Ok(())
        };
        let make_other = || {
            if !self.exists(coming)? {
                self.command(&create)?;
            }
            failpoint::reached("turn-view-made");
            Ok(())
        };
        let held = match self.server.write_gate() {
            Some(_) => {
                let cut = self
                    .with_gate_closed(|| drop_one().and_then(|()| make_other()))
                    .map_err(|error| open(&migration, error))?;
                format!("; {}", cut.held)
            }
            None => {
                let wait =
                    || self.wait_for_inserts_in_time().map_err(|error| open(&migration, error));
                drop_one()?;
                wait()?;
                make_other()?;
                wait()?;
                String::new()
            }
        };
        self.record(migrating, Event::Turned { forwards_back })?;
        failpoint::reached("turned");
        Ok(held)
    }

    pub(crate) fn wait_without_gate(&self) -> Result<(), MigrateError> {
        match self.server.write_gate() {
            Some(_) => Ok(()),
            None => self.wait_for_inserts_in_time(),
        }
    }
}

/// It is not known whether INSERTs that began before have ended.
fn open(migration: &Migration, error: MigrateError) -> MigrateError {
    match error {
        MigrateError::NoCleanCut { reason, .. } | MigrateError::FenceTimeout { reason, .. } => {
            MigrateError::TurnOpen { blue: migration.blue.clone(), reason }
        }
        other => other,
    }
}

pub(crate) fn cut_over(migrating: &Migrating) -> Result<&CutOver, MigrateError> {
    match &migrating.phase {
        Phase::CutOver(state) => Ok(state),
        _ => Err(migrating.wrong_phase("run `teal cutover` first")),
    }
}

fn is_turn_open(migrating: &Migrating) -> bool {
    matches!(&migrating.phase, Phase::CutOver(CutOver { turn_open: Some(_), .. }))
}
