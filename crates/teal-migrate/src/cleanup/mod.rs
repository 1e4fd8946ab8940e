//! The end: the view and blue are dropped.
//!
//! After an exchange the names have changed places: blue's data goes by green's name. That name
//! becomes an alias of the new layout, so that code which uses it, as the models tell it to, works.

pub(crate) mod dependents;
pub(crate) mod parked;
pub(crate) mod retire;
pub(crate) mod still_used;

use std::collections::BTreeSet;

use jiff::Timestamp;
use teal_catalog::Features;
use teal_plan::{Cutover, row_policies};
use teal_schema::{QualifiedName, quote_ident};

use crate::cleanup::retire::as_begun;
use crate::cutover::turn::cut_over;
use crate::journal::phase::{Cleaned, CleanupBegun, CutOver};
use crate::journal::state::Migrating;
use crate::repair::stale::first_of;
use crate::verify::Sought;
use crate::{Event, MigrateError, Operator, Parked, Phase, Step, Update, failpoint, names};

impl Operator<'_> {
    /// Drops what the migration does not need any more.
    ///
    /// # Errors
    /// When the migration has not been cut over, or (without `force`) someone still uses the old table
    /// or it is to be kept.
    pub fn cleanup(&self, migrating: &mut Migrating, force: bool) -> Result<(), MigrateError> {
        match &migrating.phase {
            Phase::CutOver(state) if state.cleanup.is_some() && force => {
                self.finish_cleanup(migrating, true)?;
                self.healed(migrating);
            }
            _ => self.heal_at_last(migrating)?,
        }
        let state = match &migrating.phase {
            Phase::CutOver(state) => state.clone(),
            Phase::Cleaned(_) => return Ok(()),
            Phase::Aborted(_) => return Err(migrating.wrong_phase("there is nothing to clean up")),
            _ => return Err(migrating.wrong_phase("run `teal cutover` first")),
        };
        self.refuse_while_chained(migrating, migrating.tables_now().0)?;
        self.refuse_detached(migrating.tables_now().0)?;
        self.refuse_changed_places(migrating, &state)?;
        self.refuse_without_new(migrating, &state, force)?;
        self.refuse_while_loaded(migrating)?;
        let mut seen = None;
        if !force {
            let (old, new) = migrating.tables_now();
            seen = Some(Box::new(self.see(old)?));
            self.refuse_broken(new, old, None)?;
            self.refuse_while_viewed(migrating, &state)?;
            self.refuse_while_fed(migrating, &state)?;
            self.until_clean(migrating, |migrating| self.refuse_while_kept(migrating, &state))?;
            // Where nothing keeps the old table current, later changes of it go with it.
            let may_have_missed = state.forwards_back || !state.compared;
            match state.cutover {
                Cutover::Exchange if may_have_missed => {
                    self.refuse_missed(migrating, &self.mutations_since_proof(migrating)?)?;
                }
                Cutover::Exchange => (),
                Cutover::App | Cutover::Alias => {
                    self.until_clean(migrating, |it| self.refuse_undone_changes(it, &state))?;
                }
            }
        }
        self.step(migrating, Step::Cleanup, |migrating| {
            // INSERTs that go on for long would hold it up: better here, where nothing has begun.
            self.wait_without_gate()?;
            let old_data = self.data_of(migrating.tables_now().0)?;
            let parked = match old_data.is_empty() {
                true => None,
                false => self.place_to_park(migrating)?,
            };
            // The proof has read what may not be on the disk yet, and the old table's rows are all there.
            self.server.sync()?;
            let opened = Event::CleanupOpened { old_data, parked, force, old: seen, late: false };
            self.record(migrating, opened)?;
            failpoint::reached("cleanup-opened");
            Ok(((), self.clean(migrating, force)?))
        })
    }

    /// Of rows that the server cannot read any more in one table, the other one may have the last copy. `among`: the
    /// partitions that count, where the table is older than the migration.
    pub(crate) fn refuse_broken(
        &self,
        kept: &QualifiedName,
        leaving: &QualifiedName,
        among: Option<&BTreeSet<String>>,
    ) -> Result<(), MigrateError> {
        let mut broken = Vec::from_iter(self.broken_parts(kept)?);
        broken.retain(|id| among.is_none_or(|among| among.contains(id)));
        if broken.is_empty() || self.rows_of(leaving)? == 0 {
            return Ok(());
        }
        let (kept, leaving, partitions) = (kept.clone(), leaving.clone(), first_of(&broken));
        Err(MigrateError::PartsBroken { kept, leaving, partitions })
    }

    /// Users may have been on the old table until now, or until its view was turned. What they deleted or changed there
    /// the new one has still as it was, and with the old one goes what tells of it.
    fn refuse_undone_changes(
        &self,
        migrating: &Migrating,
        state: &CutOver,
    ) -> Result<(), MigrateError> {
        let (old, new) = migrating.tables_now();
        if !self.exists(old)? {
            return Ok(());
        }
        let changes = self.removals_by_users(migrating)?;
        let Some(change) = changes.first() else { return Ok(()) };
        // What was written to the new one alone is not told from what the old one has lost.
        if !state.forwards_back {
            let what = format!(
                "{old} was changed in place since the cutover or shortly before ({change}), which nothing has forwarded to {new}: do the same there, if it is meant for both"
            );
            self.observer.update(Update::Warning { what });
            return Ok(());
        }
        let extra = self.seek(migrating, Sought::OfGreen)?.extra;
        let rows = match extra {
            0 => 0,
            extra => self.rows_for_good(migrating, Sought::OfGreen)?.unwrap_or(extra),
        };
        if rows == 0 {
            return Ok(());
        }
        let (old, new, change) = (old.clone(), new.clone(), change.as_str().into());
        Err(MigrateError::NewKeeps { old, new, change, rows })
    }

    /// Where somebody has let the two names change places once more, the old one's is that of the new layout.
    fn refuse_changed_places(
        &self,
        migrating: &Migrating,
        state: &CutOver,
    ) -> Result<(), MigrateError> {
        let (old, new) = migrating.tables_now();
        match self.has_data(old, &state.new_data)? {
            true => Err(MigrateError::ChangedPlaces { old: old.clone(), new: new.clone() }),
            false => Ok(()),
        }
    }

    /// Without the new table, or where somebody has made it anew, the old one may be all that there is of its rows.
    /// With `force`, a new one of whatever data will do.
    pub(crate) fn refuse_without_new(
        &self,
        migrating: &Migrating,
        state: &CutOver,
        force: bool,
    ) -> Result<(), MigrateError> {
        let (old, new) = migrating.tables_now();
        let data = self.data_of(new)?;
        let is_there = !data.is_empty();
        if is_there && (force || self.has_known_data(migrating, &data, &state.new_data)?) {
            return Ok(());
        }
        let what = if is_there { "was made anew since the cutover" } else { "is gone" };
        let old = self.name_of_leaving(migrating, old)?;
        match self.rows_of(&old)? {
            0 => Ok(()),
            rows => {
                let new = new.clone();
                Err(MigrateError::NewGone { new, old, rows, what, is_there })
            }
        }
    }

    /// Whether `data`, which the new table has now, is the one that is `known` of the cutover, or what another
    /// migration has given its name to since.
    pub(crate) fn has_known_data(
        &self,
        migrating: &Migrating,
        data: &str,
        known: &str,
    ) -> Result<bool, MigrateError> {
        let table = migrating.tables_now().1;
        if known == data {
            return Ok(true);
        }
        let has_it = |other: &Migrating| match &other.phase {
            Phase::CutOver(CutOver { cutover: Cutover::Exchange, new_data, .. })
            | Phase::Cleaned(Cleaned { cutover: Cutover::Exchange, new_data, .. }) => {
                other.is_later_than(migrating) && other.migration.blue == *table && new_data == data
            }
            _ => false,
        };
        Ok(self.migrations()?.iter().any(has_it))
    }

    /// Ends a cleanup that a process before did not journal as done. That may be long ago, and who wrote to the old
    /// table since, behind the view, has rows there alone.
    pub(crate) fn finish_cleanup(
        &self,
        migrating: &mut Migrating,
        force: bool,
    ) -> Result<(), MigrateError> {
        let state = cut_over(migrating)?.clone();
        let Some(begun) = &state.cleanup else { return Ok(()) };
        let (old, data) = (migrating.tables_now().0.clone(), &begun.old_data);
        let is_forced = force || begun.forced;
        self.refuse_detached(&old)?;
        let look = || {
            self.refuse_changed_places(migrating, &state)?;
            self.refuse_without_new(migrating, &state, true)?;
            match is_forced {
                true => Ok(()),
                false => {
                    let leaving = self.name_of_leaving(migrating, &old)?;
                    self.refuse_broken(migrating.tables_now().1, &leaving, None)
                }
            }
        };
        self.refuse_to_end(migrating, &old, data, look)?;
        let may_have_more = self.has_data(&old, data)? && migrating.migration.rows_tell();
        if may_have_more && !is_forced {
            self.step(migrating, Step::Verify, |migrating| {
                self.wait_without_gate()?;
                self.until_clean(migrating, |it| self.refuse_old_alone(it, &state))?;
                Ok(((), "nothing in the old table alone".to_owned()))
            })?;
        }
        self.park_elsewhere_if_taken(migrating)?;
        let told = self.clean(migrating, is_forced)?;
        let what = format!("the cleanup of {} was finished: {told}", migrating.migration.green);
        self.observer.update(Update::Healed { what });
        Ok(())
    }

    fn clean(&self, migrating: &mut Migrating, is_forced: bool) -> Result<String, MigrateError> {
        let CutOver { cutover, cleanup, .. } = cut_over(migrating)?.clone();
        let Some(begun) = cleanup else {
            return Err(migrating.wrong_phase("no cleanup was begun"));
        };
        let old_data = begun.old_data.clone();
        let parked = begun.parked.as_ref().map(|parked| parked.table.clone());
        let (leaving, kept) = migrating.tables_now();
        let (leaving, kept) = (leaving.clone(), kept.clone());
        let keeps_alias = self.keeps_alias(migrating, cutover)?;
        // It is an alias of that still where only the code was moved.
        self.move_alias(migrating, &leaving, &kept, &|| Ok(()))?;
        let alias_of = keeps_alias.then_some(&kept);
        let mut told = self.retire(migrating, &leaving, &old_data, alias_of, parked.as_ref())?;
        if !is_forced {
            let by_now = parked.clone().unwrap_or_else(|| names::retired(&migrating.id));
            let looked = self.refuse_late(migrating, &by_now);
            match looked.map_err(|error| as_begun(&leaving, error)) {
                // They are not lost there.
                Err(MigrateError::NewLacks { old, new, rows, reason }) if parked.is_some() => {
                    let what = format!("{old} has {rows} rows that {new} lacks: {reason}");
                    self.observer.update(Update::Warning { what });
                }
                Err(error @ MigrateError::NewLacks { .. }) => {
                    if !begun.late {
                        let CleanupBegun { old_data, parked, forced: force, old, .. } = begun;
                        let late = true;
                        let found = Event::CleanupOpened { old_data, parked, force, old, late };
                        self.record(migrating, found)?;
                    }
                    return Err(error);
                }
                other => other?,
            }
        }
        told += self.drop_retired(migrating, &leaving, parked.is_some())?;
        self.record(migrating, Event::Cleaned)?;
        failpoint::reached("cleaned");
        let gone = match (&parked, keeps_alias) {
            (Some(parked), _) => format!("blue is {parked} now"),
            // Somebody had dropped it before.
            (None, _) if old_data.is_empty() => format!("{leaving} is gone already"),
            (None, true) => "blue dropped".to_owned(),
            (None, false) => format!("{leaving} dropped"),
        };
        Ok(match keeps_alias {
            true => format!("{gone}, {leaving} is an alias of {kept}{told}"),
            false => format!("{gone}{told}"),
        })
    }

    /// Whether the old table's name becomes one of the new table: code may know it, unless teal chose it.
    pub(crate) fn keeps_alias(
        &self,
        migrating: &Migrating,
        cutover: Cutover,
    ) -> Result<bool, MigrateError> {
        let may_be_known = cutover == Cutover::Exchange && !migrating.migration.in_place;
        Ok(may_be_known && self.with_control(Features::read)?.alias.is_there)
    }

    /// Somebody may have taken the place since it was chosen. As long as the old table is not there, another will do.
    fn park_elsewhere_if_taken(&self, migrating: &mut Migrating) -> Result<(), MigrateError> {
        let Some(begun) = cut_over(migrating)?.cleanup.clone() else { return Ok(()) };
        let CleanupBegun { old_data, parked: Some(parked), forced: force, old, late } = begun
        else {
            return Ok(());
        };
        let is_parked = !self.has_data(migrating.tables_now().0, &old_data)?;
        if is_parked || !self.is_taken(&parked.table)? {
            return Ok(());
        }
        let beside = self.free_beside(&parked)?;
        self.refuse_open(migrating.tables_now().0, &beside.table)?;
        let parked = Some(beside);
        self.record(migrating, Event::CleanupOpened { old_data, parked, force, old, late })
    }

    fn place_to_park(&self, migrating: &Migrating) -> Result<Option<Parked>, MigrateError> {
        let Some(time) = self.options.park else {
            return Ok(None);
        };
        let until = self.time().saturating_add(time).unwrap_or(Timestamp::MAX);
        let parked = Parked::of(&migrating.migration.declared_blue(), until);
        match self.is_taken(&parked.table)? {
            true => Err(MigrateError::PlaceTaken { table: parked.table }),
            false => {
                self.refuse_open(migrating.tables_now().0, &parked.table)?;
                Ok(Some(parked))
            }
        }
    }

    /// A row policy is of a name, and holds under no other one (26.7).
    fn refuse_open(&self, old: &QualifiedName, parked: &QualifiedName) -> Result<(), MigrateError> {
        let Some(policies) = self.with_control(|session| row_policies(session, &[old, parked]))?
        else {
            // Nobody but this process uses an engine of its own.
            if self.server.is_exclusive() {
                return Ok(());
            }
            let what = format!(
                "teal may not see row policies (SHOW ROW POLICIES): where {old} has one, readers of {parked} see all rows"
            );
            self.observer.update(Update::Warning { what });
            return Ok(());
        };
        let is_on_parked =
            |name: &str| policies.iter().any(|it| it.is_on(parked) && it.name == name);
        let mut of_old = policies.iter().filter(|policy| policy.is_on(old));
        match of_old.find(|policy| !is_on_parked(&policy.name)) {
            None => Ok(()),
            Some(policy) => Err(MigrateError::ParkedOpen {
                old: old.clone(),
                parked: parked.clone(),
                policy: quote_ident(&policy.name),
            }),
        }
    }
}
