//! How a migration's view and one of its two tables go.

use teal_catalog::Catalog;
use teal_schema::QualifiedName;

use crate::state::Migrating;
use crate::{MigrateError, Operator, failpoint, names};

impl Operator<'_> {
    /// Drops the view and the table `leaving`, such that no INSERT is on its way through the view into
    /// what is dropped; then `leaving` becomes an alias of `alias_of`, if there is one. Each statement can
    /// be repeated. Tells how long INSERTs were held.
    pub(crate) fn retire(
        &self,
        migrating: &Migrating,
        leaving: &QualifiedName,
        alias_of: Option<&QualifiedName>,
    ) -> Result<String, MigrateError> {
        let view = migrating.migration.view.sql();
        let retired = names::retired(&migrating.id);
        let is_there = self.exists_as_table(leaving)?;
        let drop_view = || {
            self.command(&format!("DROP TABLE IF EXISTS {view}"))?;
            failpoint::reached("retiring-view-dropped");
            Ok(())
        };
        let rename = || {
            if is_there {
                self.command(&format!("RENAME TABLE {} TO {}", leaving.sql(), retired.sql()))?;
            }
            failpoint::reached("retiring-renamed");
            if let Some(kept) = alias_of {
                self.command(&format!(
                    "CREATE TABLE IF NOT EXISTS {} ENGINE = Alias({})",
                    leaving.sql(),
                    kept.sql()
                ))?;
            }
            Ok(())
        };
        let held = match self.server.write_gate() {
            Some(_) => {
                let cut = self.with_gate_closed(|| drop_view().and_then(|()| rename()))?;
                format!("; {}", cut.held)
            }
            None => {
                drop_view()?;
                self.wait_for_inserts_in_time()?;
                rename()?;
                String::new()
            }
        };
        failpoint::reached("retiring-gate-opened");
        self.drop_table(&retired)?;
        failpoint::reached("retired");
        self.drop_own_tables(migrating, names::ANY_ROLE)?;
        Ok(held)
    }

    /// Whether there is a table of this name that is not the alias which took its place.
    fn exists_as_table(&self, name: &QualifiedName) -> Result<bool, MigrateError> {
        let catalog = self.with_control(|session| Catalog::read(session, &[&name.database]))?;
        Ok(catalog.table(name).is_some_and(|table| table.engine != "Alias"))
    }
}
