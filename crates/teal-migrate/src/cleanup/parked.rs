//! Old tables that a cleanup has put aside, with the day on which they may go in their names.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use teal_schema::QualifiedName;

use crate::journal::phase::Cleaned;
use crate::journal::state::Migrating;
use crate::{Event, MigrateError, Operator, Phase, Step, failpoint, names};

/// A table that nothing writes to any more, and that can be had back by a `RENAME`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Parked {
    pub table: QualifiedName,
    /// The first `teal cleanup` after that drops it.
    pub until: Timestamp,
}

impl Parked {
    /// Where `old` goes. Its name is cut, for one that is too long for the server would be found when nothing can be
    /// taken back any more.
    pub(crate) fn of(old: &QualifiedName, until: Timestamp) -> Self {
        let day = until.strftime("%Y%m%d");
        let name = format!("{}_drop_{day}", names::stem(&old.name));
        Self { table: QualifiedName::new(&old.database, name), until }
    }

    /// The next place that it could go to.
    fn beside(&self, number: u32) -> Self {
        let QualifiedName { database, name } = &self.table;
        Self { table: QualifiedName::new(database, format!("{name}_{number}")), until: self.until }
    }
}

impl Operator<'_> {
    /// Drops the parked tables of these migrations whose time is over, and names them. With `force` also where the
    /// server has set parts of the new table aside.
    ///
    /// # Errors
    /// When the target refuses.
    pub fn drop_parked(
        &self,
        of: impl Fn(&Migrating) -> bool,
        force: bool,
    ) -> Result<Vec<QualifiedName>, MigrateError> {
        let mut dropped = Vec::new();
        for mut migrating in self.migrations()?.into_iter().filter(of) {
            let Phase::Cleaned(Cleaned { parked: Some(parked), old_data, new_data, .. }) =
                &migrating.phase
            else {
                continue;
            };
            if parked.until > self.time() {
                continue;
            }
            let (table, data, known) = (parked.table.clone(), old_data.clone(), new_data.clone());
            self.step(&mut migrating, Step::Cleanup, |migrating| {
                let is_there = self.has_data(&table, &data)?;
                if is_there && self.is_last_copy(migrating, &known)? {
                    let new = migrating.tables_now().1;
                    return Ok(((), format!("{table} stays, though its time is over: {new}, which took its place, is gone or was made anew")));
                }
                if is_there && !force {
                    let new = migrating.tables_now().1;
                    match self.refuse_broken(new, &table, None) {
                        Err(broken @ MigrateError::PartsBroken { .. }) => {
                            return Ok(((), format!("{table} stays, though its time is over: {broken}")));
                        }
                        other => other?,
                    }
                }
                if is_there {
                    match self.drop_used(&table) {
                        // A dictionary, say. Others need not wait for it.
                        Err(MigrateError::Client(error))
                            if error.server_name() == Some("HAVE_DEPENDENT_OBJECTS") =>
                        {
                            return Ok(((), format!("{table} stays, though its time is over: {error}")));
                        }
                        other => other?,
                    }
                    dropped.push(table.clone());
                }
                failpoint::reached("parked-dropped");
                self.record(migrating, Event::ParkedDropped)?;
                let outcome = match is_there {
                    true => format!("{table} dropped, whose time is over"),
                    false => format!("{table} is there no more"),
                };
                Ok(((), outcome))
            })?;
        }
        Ok(dropped)
    }

    /// Whether something has this name, or is detached and has it.
    pub(crate) fn is_taken(&self, place: &QualifiedName) -> Result<bool, MigrateError> {
        Ok(self.exists(place)? || self.is_detached(place)?)
    }

    /// The first place beside that one which nobody has taken.
    pub(crate) fn free_beside(&self, parked: &Parked) -> Result<Parked, MigrateError> {
        let mut number = 2;
        loop {
            let beside = parked.beside(number);
            if !self.is_taken(&beside.table)? {
                return Ok(beside);
            }
            number += 1;
        }
    }

    /// The table that took its place is not there, nor has a later version taken that one's; or somebody has made it
    /// anew.
    fn is_last_copy(&self, migrating: &Migrating, known: &str) -> Result<bool, MigrateError> {
        let new = migrating.tables_now().1;
        let data = self.data_of(new)?;
        if !data.is_empty() {
            return Ok(!self.has_known_data(migrating, &data, known)?);
        }
        let has_followed = |other: &Migrating| {
            matches!(other.phase, Phase::CutOver(_) | Phase::Cleaned(_))
                && other.is_later_than(migrating)
                && other.migration.blue == *new
        };
        Ok(!self.migrations()?.iter().any(has_followed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_is_cut_so_that_its_day_fits() {
        let of =
            |name: &str| Parked::of(&QualifiedName::new("d", name), Timestamp::UNIX_EPOCH).table;
        assert_eq!(of("events").name, "events_drop_19700101");
        assert_eq!(of(&"e".repeat(195)).name, format!("{}_drop_19700101", "e".repeat(120)));
    }
}
