//! How a migration's view and one of its two tables go.
//!
//! After a crash in the middle, somebody may have made another table or view under a name that was
//! dropped, and it must stay. The table is told by its data, which the journal gets before. The view goes
//! before the table does: as long as the table is there, a view of that name writes to it and must go;
//! when it is not, the view had gone, and one that is there is somebody else's.

use serde::Deserialize;
use teal_schema::{QualifiedName, create_alias, read_create};

use crate::journal::state::Migrating;
use crate::{MigrateError, Operator, failpoint, names};

impl Operator<'_> {
    /// Drops the view, whichever way it goes, and takes the name of the table `leaving`, such that no INSERT is on
    /// its way through the view into what is dropped; where it is to be `parked`, it gets that name instead. Then
    /// `leaving` becomes an alias of `alias_of`, if there is one. Each statement can be repeated. `data` tells
    /// the data that `leaving` had when this began. Tells how long INSERTs were held.
    pub(crate) fn retire(
        &self,
        migrating: &Migrating,
        leaving: &QualifiedName,
        data: &str,
        alias_of: Option<&QualifiedName>,
        parked: Option<&QualifiedName>,
    ) -> Result<String, MigrateError> {
        let view = &migrating.migration.view;
        let retired = parked.cloned().unwrap_or_else(|| names::retired(&migrating.id));
        let is_there = self.has_data(leaving, data)?;
        // A table that had been dropped by somebody before leaves a view without a target.
        let is_viewed = (is_there || data.is_empty()) && self.has_own_view(migrating)?;
        let drop_view = || {
            if is_viewed {
                self.drop_view(view)?;
            }
            self.drop_view(&names::reverse(&migrating.id))?;
            failpoint::reached("retiring-view-dropped");
            Ok(())
        };
        let rename = || {
            if is_there {
                let (leaving, retired) = (leaving.sql(), retired.sql());
                self.command_for_good(&format!("RENAME TABLE {leaving} TO {retired}"))?;
            }
            failpoint::reached("retiring-renamed");
            if let Some(kept) = alias_of {
                let create = create_alias(leaving, kept);
                self.command(&create.replacen("CREATE TABLE", "CREATE TABLE IF NOT EXISTS", 1))?;
                // A table of that name that is detached keeps it from being made, without an error (26.9).
                if !self.exists(leaving)? {
                    return Err(MigrateError::Detached { table: leaving.clone() });
                }
            }
            Ok(())
        };
        let mut told = String::new();
        match self.server.write_gate() {
            Some(_) => {
                let cut = self.with_gate_closed(|| drop_view().and_then(|()| rename()));
                let cut = cut.map_err(|error| as_begun(leaving, error))?;
                told = format!("; {}", cut.held);
            }
            None => {
                drop_view()?;
                self.wait_for_inserts_in_time().map_err(|error| as_begun(leaving, error))?;
                rename()?;
            }
        }
        failpoint::reached("retiring-gate-opened");
        Ok(told)
    }

    /// Drops the table that was `leaving`, unless it is parked. Tells what stays under that name.
    pub(crate) fn drop_retired(
        &self,
        migrating: &Migrating,
        leaving: &QualifiedName,
        is_parked: bool,
    ) -> Result<&'static str, MigrateError> {
        if !is_parked {
            self.drop_used(&names::retired(&migrating.id))?;
        }
        failpoint::reached("retired");
        self.drop_own_tables(migrating, names::ANY_ROLE)?;
        Ok(match self.data_of(leaving)?.is_empty() {
            true => "",
            false => "; somebody has made another table of that name, which stays",
        })
    }

    /// Before what a process before began is ended, which may be long ago: `look`s once more whether `leaving` is the
    /// last copy, if it is not gone yet. Where it is, the views go before that is said, for who brings that table to
    /// another place leaves a view that nobody would look for. With its last name they are gone already.
    pub(crate) fn refuse_to_end(
        &self,
        migrating: &Migrating,
        leaving: &QualifiedName,
        data: &str,
        look: impl FnOnce() -> Result<(), MigrateError>,
    ) -> Result<(), MigrateError> {
        let is_viewed = self.has_data(leaving, data)?;
        if !is_viewed && !self.exists(&names::retired(&migrating.id))? {
            return Ok(());
        }
        let looked = look();
        if is_viewed
            && let Err(MigrateError::LastCopy { .. } | MigrateError::NewGone { .. }) = looked
        {
            self.drop_own_views(migrating)?;
        }
        looked
    }

    /// The view, whichever way it goes.
    pub(crate) fn drop_own_views(&self, migrating: &Migrating) -> Result<(), MigrateError> {
        if self.has_own_view(migrating)? {
            self.drop_used(&migrating.migration.view)?;
        }
        self.drop_used(&names::reverse(&migrating.id))
    }

    /// Whether what has the view's name writes to one of the two tables. Behind an exchange without a view, or a turn,
    /// that name is free, and may be that of anything.
    fn has_own_view(&self, migrating: &Migrating) -> Result<bool, MigrateError> {
        #[derive(Deserialize)]
        struct Row {
            create_table_query: String,
        }
        let view = &migrating.migration.view;
        let created = self.with_control(|session| {
            session.rows::<Row>(&format!(
                "SELECT create_table_query FROM system.tables \
                 WHERE engine = 'MaterializedView' AND {}",
                view.condition("name")
            ))
        })?;
        let (old, new) = migrating.tables_now();
        Ok(created.iter().any(|row| {
            let Ok(create) = read_create(&row.create_table_query) else { return true };
            let target = create.and_then(|create| create.target).map(|(database, name)| {
                QualifiedName::new(database.as_deref().unwrap_or(&view.database), name)
            });
            target.is_some_and(|target| [old, new].contains(&&target))
        }))
    }

    /// What the table goes by that is to be dropped: it may have got its last name already.
    pub(crate) fn name_of_leaving(
        &self,
        migrating: &Migrating,
        leaving: &QualifiedName,
    ) -> Result<QualifiedName, MigrateError> {
        let retired = names::retired(&migrating.id);
        Ok(if self.rows_of(&retired)? > 0 { retired } else { leaving.clone() })
    }

    /// What is detached is in no list of tables, and back under its name with the next start of the server.
    pub(crate) fn refuse_detached(&self, table: &QualifiedName) -> Result<(), MigrateError> {
        match self.is_detached(table)? {
            true => Err(MigrateError::Detached { table: table.clone() }),
            false => Ok(()),
        }
    }

    pub(crate) fn is_detached(&self, table: &QualifiedName) -> Result<bool, MigrateError> {
        // An older server does not tell, nor does every engine of a database (26.7).
        const DOES_NOT_TELL: [&str; 2] = ["UNKNOWN_TABLE", "NOT_IMPLEMENTED"];
        let of = table.condition("table");
        match self.count_rows(&format!("SELECT 1 FROM system.detached_tables WHERE {of}")) {
            Err(MigrateError::Client(error))
                if error.server_name().is_some_and(|name| DOES_NOT_TELL.contains(&name)) =>
            {
                Ok(false)
            }
            rows => Ok(rows? > 0),
        }
    }

    /// Whether there is a table of this name with this data, which an alias has not.
    pub(crate) fn has_data(&self, table: &QualifiedName, data: &str) -> Result<bool, MigrateError> {
        let there = self.data_of(table)?;
        Ok(!there.is_empty() && data == there)
    }
}

/// The journal says already that it goes, so the next command goes on with that.
pub(super) fn as_begun(leaving: &QualifiedName, error: MigrateError) -> MigrateError {
    match error {
        MigrateError::NoCleanCut { reason, .. } | MigrateError::FenceTimeout { reason, .. } => {
            MigrateError::RetireOpen { leaving: leaving.clone(), reason }
        }
        other => other,
    }
}
