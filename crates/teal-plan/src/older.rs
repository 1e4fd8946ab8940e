//! New versions of tables whose older versions have rows.

use teal_catalog::CatalogTable;
use teal_schema::{QualifiedName, Table, Version, quote_ident};

use crate::Conflict;
use crate::planner::Planner;

impl Planner<'_> {
    /// The newest of the older versions of a table that is to be made empty, where that has rows. One that no model
    /// declares any more is a conflict: whoever only writes a greater number into a model expects the rows to come along.
    pub(crate) fn older_with_rows(&mut self, table: &Table) -> Option<QualifiedName> {
        let name = table.qualified(&self.options.database);
        let version = table.version.as_ref()?;
        let of_version = |there: &CatalogTable| -> Option<Option<Version>> {
            let rest = there.name.strip_prefix(&table.name)?;
            match rest.strip_prefix('_') {
                Some(number) => Some(Some(Version::parse(number).ok()?)),
                None => rest.is_empty().then_some(None),
            }
        };
        let database = &self.options.database;
        let is_had = |there: &QualifiedName| {
            let mut names = self.schema.tables.iter().map(|other| other.qualified(database));
            names.any(|other| other != *there && self.name_now(&other) == *there)
        };
        let declared = |name: &QualifiedName| {
            self.schema.tables.iter().find(|other| other.qualified(database) == *name)
        };
        let older = self.current.tables().filter_map(|there| {
            let older = of_version(there).filter(|older| older.as_ref() < Some(version))?;
            let is_it = there.database == name.database
                && there.rows > 0
                && there.engine.ends_with("MergeTree")
                && !self.history.has_parked(&there.qualified())
                && !is_had(&there.qualified())
                && declared(&there.qualified()).is_none_or(|other| other.name == table.name);
            is_it.then_some((older, there))
        });
        let (_, old) = older.max_by(|(one, _), (other, _)| one.cmp(other))?;
        let (rows, old) = (old.rows, old.qualified());
        if declared(&old).is_some() || self.may_be_dropped(&old.name) {
            return Some(old);
        }
        self.plan.conflicts.push(Conflict {
            differences: vec![format!(
                "it is a new version of {old}, whose {rows} rows would not be in it: {old} is in no model, and no view leads from there"
            )],
            instead: format!(
                "declare {old} beside it (`teal pull` writes its model), and a view that brings its rows over: {}; without the view, the new version begins empty. Of one that is not this project's, declare it EXTERNALLY_MANAGED",
                view_from(&old, &name)
            ),
            object: name,
            declared_at: table.location.clone(),
        });
        None
    }
}

/// The view that would make a migration of it.
pub(crate) fn view_from(old: &QualifiedName, new: &QualifiedName) -> String {
    format!(
        "CREATE MATERIALIZED VIEW {} TO {} AS SELECT * FROM {}",
        quote_ident(&format!("mv_{}", new.name)),
        quote_ident(&new.name),
        quote_ident(&old.name)
    )
}
