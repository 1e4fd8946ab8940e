//! How merges are held back while names change places.
//!
//! `SYSTEM STOP MERGES` ends when the server is started anew, and the parts must tell then too what was
//! carried: of two equal rows, one in the old table only and one in the new one only, no comparison of
//! rows could tell that each lacks one. So from just before the exchange until all is carried, merges of
//! both tables are stopped by settings as well, of which the journal has the former values.

use std::collections::BTreeMap;

use teal_plan::MERGE_STOPS;
use teal_schema::QualifiedName;

use super::swapping_of;
use crate::journal::state::Migrating;
use crate::{MigrateError, Operator};

impl Operator<'_> {
    /// The settings of merges that the two tables have, by their data.
    pub(super) fn merge_settings(
        &self,
        tables: [&QualifiedName; 2],
    ) -> Result<BTreeMap<String, BTreeMap<String, String>>, MigrateError> {
        let catalog = self.catalog_of(&tables)?;
        let mut found = BTreeMap::new();
        for name in tables {
            if let Some(table) = catalog.table(name) {
                let mut settings = table.declared_settings()?;
                settings.retain(|name, _| MERGE_STOPS.iter().any(|(stop, _)| stop == name));
                found.insert(self.data_of(name)?, settings);
            }
        }
        Ok(found)
    }

    /// Merges of both tables go on, as they did before the exchange.
    pub(super) fn resume_merges(&self, migrating: &Migrating) -> Result<(), MigrateError> {
        for table in [&migrating.migration.blue, &migrating.migration.green] {
            self.resume_merges_of(migrating, table)?;
        }
        Ok(())
    }

    pub(super) fn resume_merges_of(
        &self,
        migrating: &Migrating,
        table: &QualifiedName,
    ) -> Result<(), MigrateError> {
        if let Some(swapping) = swapping_of(migrating)
            && let Some(settings) = swapping.merge_settings.get(&self.data_of(table)?)
        {
            self.restore_merge_settings(table, settings)?;
        }
        self.start_merges(table)
    }
}
