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
//! What is changed in place in green (a mutation, a dropped partition) no view forwards. 6 would bring back
//! what was deleted there: it is not done then.

use teal_catalog::{Catalog, CatalogTable};
use teal_plan::{Cutover, expired};
use teal_schema::create_view;

use crate::fence::not_clean;
use crate::seen::BlueSeen;
use crate::stale::first_of;
use crate::state::{CutOver, Migrating};
use crate::verify::Sought;
use crate::{Event, MigrateError, Operator, Parity, Phase, Step, Update, failpoint, names};

impl Operator<'_> {
    /// Turns the view, if that is not done yet, and brings to each table what only the other one has. Does
    /// nothing where rows cannot come back. `is_proven`: green has had all of blue's rows a moment ago.
    ///
    /// # Errors
    /// [`MigrateError::StillWritten`] while somebody writes to blue; what stopped it.
    pub(crate) fn turn(
        &self,
        migrating: &mut Migrating,
        is_proven: bool,
    ) -> Result<(), MigrateError> {
        if !self.can_turn(migrating)? {
            return Ok(());
        }
        if !is_turned(migrating) {
            self.refuse_while_written(migrating, is_proven)?;
        }
        self.until_clean(migrating, |migrating| {
            self.step(migrating, Step::Turn, |migrating| {
                let held = match is_turned(migrating) {
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
                let what = format!("the cutover is done; what comes after it is not: {error}");
                self.observer.update(Update::Warning { what });
                Ok(())
            }
            other => other,
        }
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
        if !migration.can_carry_back() {
            return Ok(false);
        }
        let blue = &migration.blue;
        let catalog = self.with_control(|session| Catalog::read(session, &[&blue.database]))?;
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
        self.refuse_new_changed(migrating)?;
        let seen = self.see(migrating.tables_now().1)?;
        if !is_proven {
            self.refuse_lacking(migrating)?;
        }
        // INSERTs that go on for long would hold it up: better here, where nothing waits.
        self.wait_without_gate()?;
        self.record(migrating, Event::TurnOpened { forwards_back: true, new: Some(seen) })?;
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
            self.command(&format!("DROP TABLE IF EXISTS {}", leaving.sql()))?;
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
                let cut = self.with_gate_closed(|| drop_one().and_then(|()| make_other()))?;
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

    /// Step 6. Tells the rows that the old table got, and the new one.
    pub(crate) fn carry_both(&self, migrating: &Migrating) -> Result<(u64, u64), MigrateError> {
        let found = self.compare(migrating)?;
        if found.holds() {
            return Ok((0, 0));
        }
        match found.missing {
            0 => self.refuse_new_changed(migrating)?,
            _ => self.refuse_either_changed(migrating)?,
        }
        let to_old = self.carry_back_found(migrating, &found, &|_| Ok(()))?;
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
                _ => self.attach_surplus(migrating, &sides.blue, &sides.green, new, parity),
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
            missing => self.lacking_for_good(migrating)?.unwrap_or(missing),
        };
        if rows == 0 {
            return Ok(());
        }
        let reason = match self.refuse_either_changed(migrating) {
            Err(MigrateError::CannotTurn { reason, .. }) => reason,
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
                    None if is_turned(migrating) => "`teal cutover` brings them there".into(),
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

    /// Rows that the new table lacks, without those that its TTL deletes: it comes to some of them earlier than
    /// the old table's. Nothing where it has no such TTL, or one that asks for a column that the old table
    /// has not.
    fn lacking_for_good(&self, migrating: &Migrating) -> Result<Option<u64>, MigrateError> {
        let new = migrating.tables_now().1;
        let catalog = self.with_control(|session| Catalog::read(session, &[&new.database]))?;
        let ttl = catalog.table(new).map(CatalogTable::ttl).transpose()?.flatten();
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
            let lasting = format!("SELECT * FROM ({}) WHERE NOT ifNull({expired}, 0)", sides.blue);
            rows = self.count_surplus(&lasting, &sides.green, &parity.buckets())?;
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

    /// What was changed in the new table in place, no view has forwarded: what the two differ by tells
    /// nothing then.
    fn refuse_new_changed(&self, migrating: &Migrating) -> Result<(), MigrateError> {
        self.refuse_changed_new(migrating, cut_over(migrating)?.new_seen.as_ref())
    }

    /// As [`refuse_new_changed`](Self::refuse_new_changed), with what came to the new table since and went, as far
    /// as the log tells.
    fn refuse_new_lost(&self, migrating: &Migrating) -> Result<(), MigrateError> {
        let (new, seen) = (migrating.tables_now().1, &cut_over(migrating)?.new_seen);
        let seen = seen.as_ref().map(|seen| self.and_logged(new, seen)).transpose()?;
        self.refuse_changed_new(migrating, seen.as_ref())
    }

    fn refuse_changed_new(
        &self,
        migrating: &Migrating,
        seen: Option<&BlueSeen>,
    ) -> Result<(), MigrateError> {
        let change = match self.refuse_changed_in_place(migrating, cut_over(migrating)?) {
            Err(MigrateError::ChangedSince { first, .. }) => Some(first),
            other => {
                other?;
                seen.map(|seen| self.change_of_new(migrating, seen)).transpose()?.flatten()
            }
        };
        let Some(change) = change else { return Ok(()) };
        let (old, new) = migrating.tables_now();
        Err(MigrateError::CannotTurn {
            old: old.clone(),
            new: new.clone(),
            reason: format!("{new} was changed in place since the cutover ({change})").into(),
        })
    }

    /// Whether rows may have gone from the new table since the cutover.
    pub(crate) fn has_new_lost(&self, migrating: &Migrating) -> Result<bool, MigrateError> {
        match self.refuse_new_lost(migrating) {
            Err(MigrateError::CannotTurn { .. }) => Ok(true),
            other => other.map(|()| false),
        }
    }

    /// Before rows of the old table come to the new one. What was changed in the old one is not what users have
    /// written, and what a TTL resets to another value is a row that both have.
    fn refuse_either_changed(&self, migrating: &Migrating) -> Result<(), MigrateError> {
        self.refuse_new_lost(migrating)?;
        let (old, new) = migrating.tables_now();
        let reason = match self.updates_since_proof(migrating)?.first() {
            Some(change) => format!("{old} was changed in place ({change})"),
            None => {
                let databases = [old.database.as_str(), new.database.as_str()];
                let catalog = self.with_control(|session| Catalog::read(session, &databases))?;
                let mut changing = None;
                for table in [old, new] {
                    if catalog.table(table).map(CatalogTable::ttl_changes_rows).transpose()?
                        == Some(true)
                    {
                        changing = Some(format!("{table} has a TTL that changes rows"));
                    }
                }
                match changing {
                    Some(reason) => reason,
                    None => return Ok(()),
                }
            }
        };
        let reason = format!("{reason}, so that rows are not told from those that it had before");
        Err(MigrateError::CannotTurn { old: old.clone(), new: new.clone(), reason: reason.into() })
    }

    fn change_of_new(
        &self,
        migrating: &Migrating,
        seen: &BlueSeen,
    ) -> Result<Option<String>, MigrateError> {
        let new = migrating.tables_now().1;
        if let Some(cause) = self.patches(new, seen.time)? {
            return Ok(Some(cause.what));
        }
        let fate = seen.fate(&self.see(new)?);
        let ids = fate.gone.union(&fate.fewer).cloned().collect::<Vec<_>>();
        Ok((!ids.is_empty()).then(|| format!("parts of partition {} lost rows", first_of(&ids))))
    }
}

pub(crate) const CANNOT_TELL: &str =
    "a moment in which no rows are inserted that are equal to others";

/// It is not known whether INSERTs that began before have ended.
fn open(migration: &teal_plan::Migration, error: MigrateError) -> MigrateError {
    match error {
        MigrateError::NoCleanCut { reason, .. } => {
            MigrateError::TurnOpen { blue: migration.blue.clone(), reason }
        }
        other => other,
    }
}

fn cut_over(migrating: &Migrating) -> Result<&CutOver, MigrateError> {
    match &migrating.phase {
        Phase::CutOver(state) => Ok(state),
        other => Err(MigrateError::WrongPhase {
            migration: migrating.id.clone(),
            phase: other.name(),
            wanted: "run `teal cutover` first",
        }),
    }
}

fn is_turned(migrating: &Migrating) -> bool {
    matches!(&migrating.phase, Phase::CutOver(CutOver { forwards_back: true, .. }))
}

fn is_turn_open(migrating: &Migrating) -> bool {
    matches!(&migrating.phase, Phase::CutOver(CutOver { turn_open: Some(_), .. }))
}
