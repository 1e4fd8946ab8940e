//! Whether every value of the old table is the same in green's types.
//!
//! The copy, the view and the comparison all read blue by the same conversion, which wraps integers and cuts
//! off fractions without a word (26.7). So equal rows do not show that no value was changed; this does. It is
//! asked behind the comparison, and so of all that was compared.

use teal_plan::{Values, may_lose, values};

use crate::backfill::select_from;
use crate::journal::state::Migrating;
use crate::{MigrateError, Operator};

impl Operator<'_> {
    /// # Errors
    /// [`MigrateError::ValuesLost`], with how many, and one of them.
    pub(crate) fn refuse_lost_values(&self, migrating: &Migrating) -> Result<(), MigrateError> {
        let (old, new) = migrating.tables_now();
        let select = select_from(migrating, old)?;
        for column in &migrating.migration.columns {
            let found = self.with_control(|session| match may_lose(session, column)? {
                true => values(session, &select, column, ""),
                false => Ok(None),
            })?;
            let to = &column.data_type;
            let says = match found {
                None | Some(Ok(Values { lost: 0, .. })) => continue,
                Some(Ok(Values { rows, lost, example })) => format!(
                    "{lost} of {rows} rows have a value that is not the same as {to}, such as {example}"
                ),
                Some(Err(message)) => {
                    format!("it is not known that each value is the same as {to}: {message}")
                }
            };
            let says = format!("column {} of {old}: {says}", column.name).into();
            return Err(MigrateError::ValuesLost { old: old.clone(), new: new.clone(), says });
        }
        Ok(())
    }
}
