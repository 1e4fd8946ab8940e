//! The cutover: readers and writers move to green.
//!
//! `app`: they move by deploying code that uses green's name. Nothing changes on the server; the
//! journal gets that it was done. When they have moved, another `teal cutover` turns the view
//! ([`turn`](crate::cutover::turn)).
//!
//! `alias`: the alias that they use is swapped; see [`alias`](crate::cutover::alias). Then the view is turned.
//!
//! `exchange`: `EXCHANGE TABLES`, with the gate closed where there is one; on a server as
//! [`swap`](crate::cutover::swap) says. An INSERT that ran across the exchange could find its table before and its
//! view after it; with the gate closed none does. The view follows names: if its SELECT is the identity, and
//! blue takes all that green does, it now forwards from the new layout to the old one, which keeps blue in
//! step for a rollback; otherwise it is dropped in the same cut.

pub(crate) mod alias;
pub(crate) mod missed;
pub(crate) mod past_view;
pub(crate) mod readers;
pub(crate) mod swap;
pub(crate) mod turn;

use teal_catalog::CatalogTable;
use teal_plan::Cutover;
use teal_schema::QualifiedName;

use crate::cutover::swap::{Way, lacks_of_exchange};
use crate::journal::phase::{CutOver, Opened};
use crate::journal::state::Migrating;
use crate::{Event, MigrateError, Operator, Phase, Step, Update, failpoint};

impl Operator<'_> {
    /// Moves the readers and writers over, after one more proof of parity.
    ///
    /// # Errors
    /// When the migration is in another phase, parity does not hold, or the cut cannot be made.
    pub fn cutover(&self, migrating: &mut Migrating, how: Cutover) -> Result<(), MigrateError> {
        self.heal_at_last(migrating)?;
        match &migrating.phase {
            Phase::Backfilled(_) | Phase::Verified(_) => (),
            // Rows that an exchange left behind, before it was killed, are found now; and those of an
            // INSERT that was cut off before it.
            Phase::CutOver(state)
                if state.cutover == Cutover::Exchange && self.compares(migrating) =>
            {
                return self.until_clean(migrating, |migrating| self.verify_exchange(migrating));
            }
            Phase::CutOver(CutOver {
                cutover: Cutover::Exchange, forwards_back, compared, ..
            }) => {
                return match *forwards_back || *compared {
                    true => Ok(()),
                    false => self.until_clean(migrating, |it| self.look_past_view(it)),
                };
            }
            Phase::CutOver(_) => return self.turn(migrating, false),
            Phase::Cleaned(_) | Phase::Aborted(_) => {
                return Err(migrating.wrong_phase("it is over"));
            }
            _ => {
                let wanted = "run `teal apply` first, which copies and verifies";
                return Err(migrating.wrong_phase(wanted));
            }
        }
        if migrating.migration.is_exchanged_only() && how != Cutover::Exchange {
            return Err(MigrateError::NoSuchCutover { table: migrating.migration.blue.clone() });
        }
        self.refuse_left_blue(migrating)?;
        if how == Cutover::Alias {
            self.refuse_without_alias(migrating)?;
        }
        if how == Cutover::Exchange {
            for name in [&migrating.migration.blue, &migrating.migration.green] {
                self.refuse_while_chained(migrating, name)?;
            }
            self.refuse_views_that_would_fail(migrating)?;
            self.refuse_fed_in_background(migrating)?;
        }
        if how == Cutover::Exchange && self.server.write_gate().is_none() {
            self.refuse_folded(migrating)?;
        }
        self.until_clean(migrating, |migrating| {
            // The view has run since the last proof; a new one costs a read of both tables.
            self.verify_or_repair(migrating)?;
            self.move_readers(migrating, how)
        })?;
        match how {
            Cutover::Exchange if self.compares(migrating) => {
                self.until_clean(migrating, |migrating| self.verify_exchange(migrating))
            }
            Cutover::Exchange => self.until_clean(migrating, |it| self.look_past_view(it)),
            Cutover::Alias => {
                // It came in the moment of the swap: the turn would take it for rows of the new table.
                self.refuse_missed(migrating, &self.changes_since_proof(migrating)?)?;
                self.turn_at_once(migrating)
            }
            Cutover::App => match self.until_clean(migrating, |it| self.look_past_view(it)) {
                // INSERTs go on for long: the next `teal cutover` looks, and so does `cleanup`.
                Err(error @ MigrateError::NoCleanCut { .. }) => {
                    self.warn_of_rest(&error);
                    Ok(())
                }
                other => other,
            },
        }
    }

    /// Whether the two tables are compared after an exchange. At the gate no INSERT has run across it; but one
    /// may have failed before.
    fn compares(&self, migrating: &Migrating) -> bool {
        let is_kept_current = migrating.migration.view_runs_back();
        self.server.write_gate().is_none() || is_kept_current && lacks_of_exchange(migrating)
    }

    fn move_readers(&self, migrating: &mut Migrating, how: Cutover) -> Result<(), MigrateError> {
        self.step(migrating, Step::Cutover, |migrating| {
            let outcome = match how {
                Cutover::App => self.note_app(migrating)?,
                Cutover::Exchange => self.exchange(migrating)?,
                Cutover::Alias => self.swap_alias(migrating)?,
            };
            failpoint::reached("cut-over");
            Ok(((), outcome))
        })
    }

    /// Nothing happens on the server, so one entry does not wait for the other.
    fn note_app(&self, migrating: &mut Migrating) -> Result<String, MigrateError> {
        // What is done to the old table from here on is told from what the proof covers.
        self.refuse_changed_since_proof(migrating)?;
        let (blue, green) = (migrating.migration.blue.clone(), migrating.migration.green.clone());
        let cutover = Cutover::App;
        let (green_data, seen) = (self.data_of(&green)?, self.see(&green)?);
        let opened = Event::CutoverOpened { cutover, green_data, green: seen };
        let blue_rows = self.rows_of(&blue)?;
        let done = Event::CutOver { cutover, forwards_back: false, blue_rows, old_block: None };
        self.record_all(migrating, vec![opened, done])?;
        Ok(format!("{green} is what code uses from now on"))
    }

    fn exchange(&self, migrating: &mut Migrating) -> Result<String, MigrateError> {
        let name = migrating.migration.blue.clone();
        let readers = self.readers(migrating, &name)?;
        let told = self.exchange_names(migrating)?;
        Ok(format!("{told}{}", self.probe_readers(&name, &readers)?))
    }

    fn exchange_names(&self, migrating: &mut Migrating) -> Result<String, MigrateError> {
        let migration = migrating.migration.clone();
        let (cutover, green_data) = (Cutover::Exchange, self.data_of(&migration.green)?);
        let green = self.see(&migration.green)?;
        self.record(migrating, Event::CutoverOpened { cutover, green_data, green })?;
        failpoint::reached("cutover-opened");
        if self.server.write_gate().is_none() {
            let last_look = |migrating: &Migrating| self.refuse_changed_since_proof(migrating);
            let told = self.swap_or_settle(migrating, Way::Forward, None, &last_look)?;
            return Ok(format!("{} has the new layout; {told}", migration.blue));
        }
        let cut = self.with_gate_closed(|| {
            self.refuse_changed_since_proof(migrating)?;
            if !migration.view_runs_back() {
                self.drop_view(&migration.view)?;
                failpoint::reached("view-dropped");
            }
            self.exchange_tables(&migration.blue, &migration.green)
        });
        if let Err(
            MigrateError::NotClean { .. }
            | MigrateError::Altered { .. }
            | MigrateError::FenceTimeout { .. },
        ) = cut
        {
            self.record(migrating, Event::CutoverUndone)?;
        }
        let held = cut?.held;
        failpoint::reached("exchanged");
        self.record_exchange(migrating)?;
        Ok(format!("{} has the new layout; {held}", migration.blue))
    }

    /// Settles an exchange that a process before did not journal as done: takes note of it if it
    /// happened, and takes it back if not. It is not made now, for the proof of parity is of before
    /// the crash: the crash may have cut an INSERT in two, or the view may have been dropped for the
    /// exchange, and rows may have been written since.
    pub(crate) fn settle_exchange(&self, migrating: &mut Migrating) -> Result<(), MigrateError> {
        let Phase::Verified(state) = &migrating.phase else {
            return Ok(());
        };
        let Some(Opened { green_data, .. }) = &state.cutover_open else {
            return Ok(());
        };
        // The data stays where it is; the names change places.
        let happened = self.data_of(&migrating.migration.blue)? == *green_data;
        let has_gate = self.server.write_gate().is_some();
        if !has_gate {
            self.settle_swap(migrating, Way::Forward, happened)?;
        }
        let how = if happened {
            self.record_exchange(migrating)?;
            "had happened"
        } else {
            if has_gate && !self.exists(&migrating.migration.view)? {
                let create_view = migrating.migration.create_view.clone();
                // With the gate closed, every INSERT from now on is forwarded as a whole; what was
                // not forwarded meanwhile is found by the next verification, and copied.
                self.with_gate_closed(|| self.command(&create_view))?;
            }
            self.record(migrating, Event::CutoverUndone)?;
            "had not happened and was taken back"
        };
        failpoint::reached("exchange-settled");
        let what = format!("the exchange of {} {how}", migrating.migration.green);
        self.observer.update(Update::Healed { what });
        Ok(())
    }

    pub(crate) fn record_exchange(&self, migrating: &mut Migrating) -> Result<(), MigrateError> {
        // Blue's data has green's name now.
        let blue_rows = self.rows_of(&migrating.migration.green)?;
        let old_block = Some(self.last_block_of(&migrating.migration.green)?);
        let migration = &migrating.migration;
        let forwards_back = migration.view_runs_back() && self.exists(&migration.view)?;
        self.record(
            migrating,
            Event::CutOver { cutover: Cutover::Exchange, forwards_back, blue_rows, old_block },
        )
    }

    /// What tells the table's data from any other's, whatever its name. An alias has none of its own.
    pub(crate) fn data_of(&self, table: &QualifiedName) -> Result<String, MigrateError> {
        let catalog = self.catalog_of(&[table])?;
        let table = catalog.table(table).filter(|table| !table.is_alias());
        Ok(table.map(CatalogTable::data).unwrap_or_default().to_owned())
    }
}
