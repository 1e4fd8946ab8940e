use teal_catalog::amount;
use teal_plan::MERGE_STOPS;
use teal_schema::quote_string;

use crate::journal::phase::Started;
use crate::journal::state::Migrating;
use crate::{Event, MigrateError, Operator, Step, failpoint, names};

/// The settings of a table whose parts nobody merges.
pub(crate) fn merges_stopped() -> String {
    MERGE_STOPS.map(|(name, value)| format!("{name} = {value}")).join(", ")
}

impl Operator<'_> {
    /// Creates green.
    pub(crate) fn prepare(
        &self,
        migrating: &mut Migrating,
        _: Started,
    ) -> Result<(), MigrateError> {
        self.step(migrating, Step::Prepare, |migrating| {
            self.refuse_altered(migrating)?;
            let migration = migrating.migration.clone();
            if self.exists(&migration.green)? {
                self.refuse_rows_in_green(migrating)?;
                self.refuse_other_green(&migration)?;
            } else {
                self.command(&migration.create_green)?;
            }
            failpoint::reached("green-created");
            let mut events = Vec::from_iter(self.definitions_to_record(migrating)?);
            events.push(Event::Prepared);
            self.record_all(migrating, events)?;
            let outcome = format!("{} created", migration.green);
            failpoint::reached("prepared");
            Ok(((), outcome))
        })
    }

    /// Makes `own` a table of the layout of `like` whose parts nobody merges and which can be told
    /// from any other by their uuids.
    pub(crate) fn make_own(
        &self,
        own: &teal_schema::QualifiedName,
        like: &teal_schema::QualifiedName,
    ) -> Result<(), MigrateError> {
        self.drop_table(own)?;
        self.command(&format!("CREATE TABLE {} AS {}", own.sql(), like.sql()))?;
        self.command(&format!(
            "ALTER TABLE {} MODIFY SETTING {}, assign_part_uuids = 1",
            own.sql(),
            merges_stopped()
        ))?;
        Ok(())
    }

    pub(crate) fn refuse_rows_in_green(&self, migrating: &Migrating) -> Result<(), MigrateError> {
        let green = &migrating.migration.green;
        match self.rows_of(green)? {
            0 => Ok(()),
            rows => Err(MigrateError::GreenNotEmpty { green: green.clone(), rows }),
        }
    }

    /// Rows in the active parts of a table.
    pub(crate) fn rows_of(&self, table: &teal_schema::QualifiedName) -> Result<u64, MigrateError> {
        Ok(self.with_control(|session| amount(session, table))?.rows)
    }

    /// Drops the tables that teal made for itself in this migration: those whose role begins so.
    pub(crate) fn drop_own_tables(
        &self,
        migrating: &Migrating,
        role: &str,
    ) -> Result<(), MigrateError> {
        let prefix = quote_string(&format!("{}_{role}", migrating.id));
        let own = self.named(names::TEAL_DATABASE, &format!("startsWith(name, {prefix})"))?;
        own.iter().try_for_each(|table| self.drop_table(table))
    }
}
