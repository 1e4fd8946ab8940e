//! The way out of a migration that has not been cut over: everything that it made is dropped, and blue
//! is as it would be without it. A crash in the middle is finished by the next command.

use teal_schema::QualifiedName;

use crate::fence::Look;
use crate::journal::phase::{Aborting, Backfilled, Prepared};
use crate::journal::state::Migrating;
use crate::verify::Sought;
use crate::{Event, MigrateError, Operator, Phase, Step, Update, failpoint, names};

impl Operator<'_> {
    /// Drops all that the migration made.
    ///
    /// # Errors
    /// When it has been cut over; when (without `force`) green has rows that blue has not, which
    /// would be lost.
    pub fn abort(&self, migrating: &mut Migrating, force: bool) -> Result<(), MigrateError> {
        // An open fence is undone below, with `force`; and what is being published goes with all the rest.
        match migrating.phase {
            Phase::Aborting(_) if force => {
                self.finish_abort(migrating, true)?;
                self.healed(migrating);
            }
            Phase::Verified(_) | Phase::CutOver(_) | Phase::Aborting(_) => {
                self.heal_at_last(migrating)?;
            }
            _ => (),
        }
        let was_attached = match &migrating.phase {
            Phase::Started(_) | Phase::Prepared(_) => false,
            Phase::Attached(_) | Phase::Backfilled(_) | Phase::Verified(_) => true,
            Phase::Aborting(_) | Phase::Aborted(_) => return Ok(()),
            Phase::CutOver(_) => return Err(migrating.wrong_phase("run `teal rollback` first")),
            Phase::Cleaned(_) => return Err(migrating.wrong_phase("the old table is gone")),
        };
        self.refuse_while_chained(migrating, &migrating.migration.green)?;
        if was_attached {
            self.refuse_last_copy(migrating)?;
            if !force {
                self.refuse_blue_broken(migrating, &migrating.migration.green)?;
            }
        }
        self.step(migrating, Step::Abort, |migrating| {
            if matches!(migrating.phase, Phase::Prepared(Prepared { fence_open: true })) {
                let look = if force { Look::None } else { Look::Full };
                self.heal_fence(migrating, look)?;
            }
            let (blue, green) =
                (migrating.migration.blue.clone(), migrating.migration.green.clone());
            self.move_alias(migrating, &green, &blue, &|| Ok(()))?;
            // Nobody but teal knows the name that teal chose, unless the users were on that table.
            let were_users_there =
                matches!(migrating.phase, Phase::Backfilled(Backfilled { rolled_back: true, .. }));
            let may_be_used = !migrating.migration.in_place || were_users_there;
            if was_attached && may_be_used && !force {
                self.until_clean(migrating, |migrating| self.refuse_to_lose_rows(migrating))?;
            }
            if was_attached {
                // INSERTs that go on for long would hold it up: better here, where nothing has begun.
                self.wait_without_gate()?;
            }
            let data = self.data_of(&migrating.migration.green)?;
            self.record(migrating, Event::AbortOpened { green_data: data.clone(), force })?;
            failpoint::reached("abort-opened");
            let outcome = self.drop_everything(migrating, was_attached, &data)?;
            Ok(((), outcome))
        })
    }

    /// Without blue, green is all that there is of its rows; and where the two have changed places by hand, what has
    /// green's name is blue itself.
    pub(crate) fn refuse_last_copy(&self, migrating: &Migrating) -> Result<(), MigrateError> {
        let (blue, green) = (&migrating.migration.blue, &migrating.migration.green);
        let green = self.name_of_leaving(migrating, green)?;
        match self.rows_of(&green)? {
            rows if rows > 0 && !self.is_blue_itself(migrating)? => Err(MigrateError::LastCopy {
                blue: blue.clone(),
                what: match self.exists(blue)? {
                    true => "is another table than the one that the migration began with",
                    false => "is gone",
                },
                green,
                rows,
            }),
            _ => Ok(()),
        }
    }

    /// Of what blue has lost since the migration began, green may have the last copy.
    fn refuse_blue_broken(
        &self,
        migrating: &Migrating,
        leaving: &QualifiedName,
    ) -> Result<(), MigrateError> {
        let blue = &migrating.migration.blue;
        let gone = match &migrating.seen {
            Some(seen) => Some(self.and_logged(blue, seen)?.fate(&self.see(blue)?).gone),
            None => None,
        };
        self.refuse_broken(blue, leaving, gone.as_ref())
    }

    /// Ends an abort that a process before did not journal as done. That may be long ago, and who wrote to green since has
    /// rows there alone.
    pub(crate) fn finish_abort(
        &self,
        migrating: &mut Migrating,
        force: bool,
    ) -> Result<(), MigrateError> {
        let Phase::Aborting(Aborting { was_attached, green_data, forced }) =
            migrating.phase.clone()
        else {
            return Ok(());
        };
        if was_attached {
            let green = &migrating.migration.green;
            let is_forced = force || forced;
            let look = || {
                self.refuse_last_copy(migrating)?;
                match is_forced {
                    true => Ok(()),
                    false => {
                        self.refuse_blue_broken(migrating, &self.name_of_leaving(migrating, green)?)
                    }
                }
            };
            self.refuse_to_end(migrating, green, &green_data, look)?;
            // Nobody but teal knows the name that teal chose. And folded sums would be others in the midst of the copy.
            let may_be_used = !migrating.migration.in_place && migrating.migration.rows_tell();
            if may_be_used && !is_forced && self.has_data(green, &green_data)? {
                // What is copied to blue then does not come to green once more.
                self.drop_own_views(migrating)?;
                self.step(migrating, Step::Verify, |migrating| {
                    self.wait_without_gate()?;
                    self.until_clean(migrating, |it| self.refuse_to_lose_rows(it))?;
                    Ok(((), "nothing in green alone".to_owned()))
                })?;
            }
        }
        let told = self.drop_everything(migrating, was_attached, &green_data)?;
        let what = format!("the abort of {} was finished: {told}", migrating.migration.green);
        self.observer.update(Update::Healed { what });
        Ok(())
    }

    fn drop_everything(
        &self,
        migrating: &mut Migrating,
        was_attached: bool,
        green_data: &str,
    ) -> Result<String, MigrateError> {
        let green = migrating.migration.green.clone();
        let outcome = if was_attached {
            let told = self.retire(migrating, &green, green_data, None, None)?;
            format!("{green} dropped{told}{}", self.drop_retired(migrating, &green, false)?)
        } else {
            // A view of this name is not this migration's yet, and neither are rows in green.
            self.drop_own_tables(migrating, names::ANY_ROLE)?;
            match (self.has_data(&green, green_data)?, self.rows_of(&green)?) {
                // A table that somebody has made since is not this migration's.
                (false, _) => format!("its {green} is gone"),
                (true, 0) => match self.refuse_other_green(&migrating.migration) {
                    // Of rows that are in no parts nothing is known.
                    Err(MigrateError::OtherGreen { .. }) => {
                        format!("{green} stays: it is not what the migration makes")
                    }
                    other => {
                        other?;
                        self.drop_used(&green)?;
                        format!("{green} dropped")
                    }
                },
                (true, rows) => format!("{green} stays: it has {rows} rows of somebody else's"),
            }
        };
        failpoint::reached("abort-dropped");
        self.record(migrating, Event::Aborted)?;
        Ok(outcome)
    }

    fn refuse_to_lose_rows(&self, migrating: &Migrating) -> Result<(), MigrateError> {
        if !self.exists(&migrating.migration.green)? {
            return Ok(());
        }
        let copied = self.as_if_copied(migrating)?;
        let compared = self.seek(&copied, Sought::OfGreen).map_err(|error| match error {
            MigrateError::Altered { altered } => MigrateError::AlteredBeyondCompare { altered },
            other => other,
        })?;
        if compared.extra + compared.unsure == 0 {
            return Ok(());
        }
        match self.unexplained(&copied)? {
            0 => Ok(()),
            rows => {
                let (blue, green) = migrating.tables_now();
                let (blue, green) = (blue.clone(), green.clone());
                Err(match migrating.migration.rows_tell() {
                    true if matches!(migrating.phase, Phase::Aborting(_)) => {
                        MigrateError::LateRows { blue, green, rows }
                    }
                    true => {
                        let is_copied = !matches!(migrating.phase, Phase::Attached(_));
                        MigrateError::WouldLoseRows { blue, green, rows, is_copied }
                    }
                    false => MigrateError::FoldsDiffer { blue, green, rows },
                })
            }
        }
    }
}
