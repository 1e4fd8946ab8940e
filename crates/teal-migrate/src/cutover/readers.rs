//! The users' views that read a table by its name. They follow the name through a cutover, and are
//! looked at afterwards: whether their SELECT still works over the new layout, and whether they are still
//! told of INSERTs (release 26.5 could forget that at an exchange, ClickHouse issue 105021).

use std::collections::BTreeSet;

use serde::Deserialize;
use teal_catalog::{ReadingView, reading_views};
use teal_schema::QualifiedName;

use crate::journal::state::Migrating;
use crate::{MigrateError, Operator};

pub(crate) struct Reader {
    pub(crate) view: ReadingView,
    /// INSERTs into the table reach it.
    is_told: bool,
}

impl Operator<'_> {
    /// The views that read what goes by `read`, in whatever database, without the migration's own.
    pub(crate) fn readers(
        &self,
        migrating: &Migrating,
        read: &QualifiedName,
    ) -> Result<Vec<Reader>, MigrateError> {
        let told = self.told_of_inserts(read)?;
        let mut views = self.with_control(|session| reading_views(session, read))?;
        views.retain(|view| view.name != migrating.migration.view);
        let reader = |view: ReadingView| Reader { is_told: told.contains(&view.name), view };
        Ok(views.into_iter().map(reader).collect())
    }

    /// A view of somebody's that brings rows of the new table to the old one, beside the migration's own.
    pub(crate) fn refuse_fed_otherwise(&self, migrating: &Migrating) -> Result<(), MigrateError> {
        let (old, new) = migrating.tables_now();
        let feeds = |reader: &Reader| reader.view.target.as_ref() == Some(old);
        match self.readers(migrating, new)?.into_iter().find(feeds) {
            None => Ok(()),
            Some(reader) => {
                Err(MigrateError::FedOtherwise { view: reader.view.name, old: old.clone() })
            }
        }
    }

    /// Looks at those of `read` after its cutover, and says what is to be known.
    pub(crate) fn probe_readers(
        &self,
        read: &QualifiedName,
        readers: &[Reader],
    ) -> Result<String, MigrateError> {
        if readers.is_empty() {
            return Ok(String::new());
        }
        let told = self.told_of_inserts(read)?;
        let said = readers.iter().map(|reader| {
            let asked = self.with_control(|session| {
                session.command(&format!("EXPLAIN {}", reader.view.select))
            });
            let name = &reader.view.name;
            match asked {
                // A view with parameters gets them from its reader.
                Err(error) if error.server_name() == Some("UNKNOWN_QUERY_PARAMETER") => {
                    format!("{name} follows")
                }
                Err(error) => format!("{name} does not select any more: {error}"),
                Ok(_) if reader.is_told && !told.contains(name) => format!(
                    "{name} is not told of INSERTs any more: DETACH TABLE {sql}, then ATTACH TABLE {sql}",
                    sql = name.sql()
                ),
                Ok(_) => format!("{name} follows"),
            }
        });
        Ok(format!("; views that read it: {}", said.collect::<Vec<_>>().join(", ")))
    }

    /// The views that an INSERT into the table fires.
    fn told_of_inserts(
        &self,
        table: &QualifiedName,
    ) -> Result<BTreeSet<QualifiedName>, MigrateError> {
        #[derive(Deserialize)]
        struct Row {
            databases: Vec<String>,
            tables: Vec<String>,
        }
        let rows = self.with_control(|session| {
            session.rows::<Row>(&format!(
                "SELECT dependencies_database AS databases, dependencies_table AS tables \
                 FROM system.tables WHERE {}",
                table.condition("name")
            ))
        })?;
        let names = rows.into_iter().flat_map(|row| row.databases.into_iter().zip(row.tables));
        Ok(names.map(|(database, name)| QualifiedName::new(database, name)).collect())
    }
}
