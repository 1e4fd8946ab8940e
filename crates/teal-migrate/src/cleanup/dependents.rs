//! What else hangs on the tables of a migration, and would be left without them: other migrations, views,
//! dictionaries.

use serde::Deserialize;
use teal_catalog::{Feeder, FeederKind, ReadingView, feeders};
use teal_client::{ClientError, Session};
use teal_schema::{QualifiedName, quote_ident, rewrite_table_references};

use crate::journal::phase::CutOver;
use crate::journal::state::Migrating;
use crate::{MigrateError, Operator, Phase};

impl Operator<'_> {
    /// Migrations of a table follow each other: the new table of one is the old table of the next. None of them
    /// takes a table away, or another meaning from its name, that another one has still to do with.
    ///
    /// # Errors
    /// [`MigrateError::Chained`], with the other one.
    pub(crate) fn refuse_while_chained(
        &self,
        migrating: &Migrating,
        table: &QualifiedName,
    ) -> Result<(), MigrateError> {
        let has_it = |other: &Migrating| {
            let migration = &other.migration;
            other.id != migrating.id
                && !other.phase.is_over()
                && [&migration.blue, &migration.green].contains(&table)
        };
        match self.migrations()?.into_iter().find(has_it) {
            None => Ok(()),
            Some(other) => Err(MigrateError::Chained {
                table: table.clone(),
                phase: other.phase.name(),
                other: other.migration.green,
            }),
        }
    }

    /// Two versions may be made from one table. When readers and writers have gone to one of them, the other one lacks
    /// what they write there.
    ///
    /// # Errors
    /// [`MigrateError::BlueLeft`], with the version that they are on.
    pub(crate) fn refuse_left_blue(&self, migrating: &Migrating) -> Result<(), MigrateError> {
        let blue = &migrating.migration.blue;
        let has_left = |other: &Migrating| {
            other.id != migrating.id && other.has_left_blue() && other.migration.blue == *blue
        };
        match self.migrations()?.into_iter().find(has_left) {
            None => Ok(()),
            Some(other) => Err(MigrateError::BlueLeft {
                blue: blue.clone(),
                green: migrating.migration.green.clone(),
                live: Box::new(other.migration.green),
            }),
        }
    }

    /// A row that comes to the new table by an INSERT goes on by the views of that table. What a repair removes there,
    /// it does not remove behind them.
    ///
    /// # Errors
    /// [`MigrateError::Chained`], with the migration whose new table readers are on.
    pub(crate) fn refuse_while_read_behind(
        &self,
        migrating: &Migrating,
    ) -> Result<(), MigrateError> {
        let green = &migrating.migration.green;
        let is_behind = |other: &Migrating| {
            matches!(other.phase, Phase::CutOver(_)) && other.migration.blue == *green
        };
        match self.migrations()?.into_iter().find(is_behind) {
            None => Ok(()),
            Some(other) => Err(MigrateError::Chained {
                table: green.clone(),
                phase: other.phase.name(),
                other: other.migration.green,
            }),
        }
    }

    /// Views that would read a table which is not there any more, or get nothing of what is written under its name.
    pub(crate) fn refuse_while_viewed(
        &self,
        migrating: &Migrating,
        state: &CutOver,
    ) -> Result<(), MigrateError> {
        let (old, new) = migrating.tables_now();
        let mut readers = self.readers(migrating, old)?;
        // Its name becomes an alias of the new table, which a SELECT does not mind; no INSERT fires a view of one.
        if self.keeps_alias(migrating, state.cutover)? {
            readers.retain(|reader| reader.view.is_materialized);
        }
        match readers.is_empty() {
            true => Ok(()),
            false => Err(MigrateError::StillViewed {
                old: old.clone(),
                new: new.clone(),
                views: readers.into_iter().map(|reader| reader.view.name).collect(),
            }),
        }
    }

    /// What would go on to write to a name that is gone: a Buffer loses its rows then without an error.
    pub(crate) fn refuse_while_fed(
        &self,
        migrating: &Migrating,
        state: &CutOver,
    ) -> Result<(), MigrateError> {
        let (old, new) = migrating.tables_now();
        // Its name becomes an alias of the new table, which takes what is written.
        if self.keeps_alias(migrating, state.cutover)? {
            return Ok(());
        }
        let mut feeders = self.feeders_of(migrating, old)?;
        // The alias that users know goes along; another one is an alias of nothing then.
        let logical = migrating.migration.logical_name();
        feeders.retain(|feeder| {
            feeder.by.is_empty() && (feeder.into == *old || feeder.into != logical)
        });
        match feeders.is_empty() {
            true => Ok(()),
            false => Err(MigrateError::StillFed {
                old: old.clone(),
                new: new.clone(),
                by: feeders.iter().map(Feeder::told).collect::<Vec<_>>().join(", "),
            }),
        }
    }

    /// Before the names change places: no cut can wait for what is written in the background, and what runs across may
    /// be in one of the tables only, or in both.
    pub(crate) fn refuse_fed_in_background(
        &self,
        migrating: &Migrating,
    ) -> Result<(), MigrateError> {
        for table in [&migrating.migration.blue, &migrating.migration.green] {
            let mut feeders = self.feeders_of(migrating, table)?;
            feeders.retain(Feeder::is_in_background);
            if !feeders.is_empty() {
                // What is detached is attached when the embedded engine is opened again.
                let replaces = |it: &Feeder| it.kind == (FeederKind::Refreshed { appends: false });
                let (verb, then) = match self.server.is_exclusive() {
                    true => ("DROP TABLE", "make it anew behind it"),
                    // It would put its rows in the place of those of the new layout.
                    false if feeders.iter().any(replaces) => {
                        ("DETACH TABLE", "leave it detached until the cleanup")
                    }
                    false => ("DETACH TABLE", "ATTACH behind it"),
                };
                let stop = feeders.iter().map(|it| format!("{verb} {}", it.name.sql()));
                return Err(MigrateError::FedInBackground {
                    table: table.clone(),
                    stop: stop.collect::<Vec<_>>().join("; "),
                    then,
                    by: feeders.iter().map(Feeder::told).collect::<Vec<_>>().join(", "),
                });
            }
        }
        Ok(())
    }

    /// Without the migration's own view, and what comes by it.
    fn feeders_of(
        &self,
        migrating: &Migrating,
        table: &QualifiedName,
    ) -> Result<Vec<Feeder>, MigrateError> {
        let own = Some(&migrating.migration.view);
        Ok(self.with_control(|session| feeders(session, table, own))?)
    }

    /// The server lets a table go only before what is loaded after it, a dictionary say.
    pub(crate) fn refuse_while_loaded(&self, migrating: &Migrating) -> Result<(), MigrateError> {
        #[derive(Deserialize)]
        struct Row {
            databases: Vec<String>,
            tables: Vec<String>,
        }
        let old = migrating.tables_now().0;
        let rows = self.with_control(|session| {
            session.rows::<Row>(&format!(
                "SELECT loading_dependent_database AS databases, loading_dependent_table AS tables \
                 FROM system.tables WHERE {}",
                old.condition("name")
            ))
        })?;
        let names = rows.into_iter().flat_map(|row| row.databases.into_iter().zip(row.tables));
        let names = names.map(|(database, name)| QualifiedName::new(database, name));
        let dependents = names.collect::<Vec<_>>();
        match dependents.is_empty() {
            true => Ok(()),
            false => Err(MigrateError::StillLoaded { old: old.clone(), dependents }),
        }
    }

    /// Other names of the table.
    fn aliases_of(&self, table: &QualifiedName) -> Result<Vec<QualifiedName>, MigrateError> {
        #[derive(Deserialize)]
        struct Row {
            database: String,
            name: String,
        }
        let rows = self.with_control(|session| {
            session.rows::<Row>(&format!(
                "SELECT database, name FROM system.tables WHERE engine = 'Alias' AND data_paths = (\
                     SELECT any(data_paths) FROM system.tables WHERE {}) ORDER BY database, name",
                table.condition("name")
            ))
        })?;
        Ok(rows.into_iter().map(|row| QualifiedName::new(row.database, row.name)).collect())
    }

    /// Before the names change places: a materialized view follows its name, and where its SELECT does not work
    /// over the other layout, every INSERT fails.
    pub(crate) fn refuse_views_that_would_fail(
        &self,
        migrating: &Migrating,
    ) -> Result<(), MigrateError> {
        let (blue, green) = (&migrating.migration.blue, &migrating.migration.green);
        let mut names = vec![(blue.clone(), green), (green.clone(), blue)];
        names.extend(self.aliases_of(blue)?.into_iter().map(|alias| (alias, green)));
        names.extend(self.aliases_of(green)?.into_iter().map(|alias| (alias, blue)));
        for (read, then) in &names {
            for ReadingView { name, select, is_materialized, target, .. } in
                self.readers(migrating, read)?.into_iter().map(|reader| reader.view)
            {
                let then = rewrite_table_references(&select, |table| {
                    let database = table.database.as_ref().unwrap_or(&name.database);
                    let is_it = QualifiedName::new(database, &table.name) == *read;
                    is_it.then(|| then.sql())
                })?;
                let explain = |select: &str| {
                    self.with_control(|session| explain_into(session, target.as_ref(), select))
                };
                match explain(&then) {
                    Err(error) if error.server_name().is_none() => return Err(error.into()),
                    // One that cannot be explained as it is (for want of a right, say) tells nothing.
                    Err(error) if is_materialized && explain(&select).is_ok() => {
                        return Err(MigrateError::ViewWouldFail {
                            view: name,
                            read: read.clone(),
                            source: Box::new(error),
                        });
                    }
                    _ => (),
                }
            }
        }
        Ok(())
    }
}

/// Has the server plan a SELECT, and the INSERT of what it gives into the table that the view writes to.
fn explain_into(
    session: &mut dyn Session,
    target: Option<&QualifiedName>,
    select: &str,
) -> Result<(), ClientError> {
    #[derive(Deserialize)]
    struct Row {
        name: String,
    }
    session.command(&format!("EXPLAIN {select}"))?;
    let Some(target) = target else {
        return Ok(());
    };
    let given = session.rows::<Row>(&format!("DESCRIBE TABLE ({select})"))?;
    let taken = session.rows::<Row>(&format!(
        "SELECT name FROM system.columns \
         WHERE {} AND default_kind NOT IN ('ALIAS', 'MATERIALIZED')",
        target.condition("table")
    ))?;
    // A view leaves out what its table has no column for.
    let filled = given.iter().filter(|given| taken.iter().any(|taken| taken.name == given.name));
    let filled = filled.map(|row| quote_ident(&row.name)).collect::<Vec<_>>().join(", ");
    match filled.is_empty() {
        true => Ok(()),
        // Makes the conversions, and writes nothing (26.7).
        false => session
            .command(&format!(
                "EXPLAIN PIPELINE INSERT INTO {} ({filled}) SELECT {filled} FROM ({select})",
                target.sql()
            ))
            .map(drop),
    }
}
