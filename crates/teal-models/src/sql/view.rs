//! Views of SQL models, as their statements say them.

use teal_schema::{
    Create, CreateKind, LifeCycle, Location, Table, TableRef, View, rewrite_table_references,
};

use super::directive::Directive;
use super::failure;
use crate::ModelError;

#[derive(Debug)]
pub(crate) struct SqlView {
    name: String,
    database: Option<String>,
    select: String,
    /// The database, where one is named, and the name.
    target: Option<(Option<String>, String)>,
    life_cycle: LifeCycle,
    location: Location,
}

impl SqlView {
    pub(super) fn read(
        create: Create<'_>,
        directive: Directive,
        location: Location,
    ) -> Result<Self, ModelError> {
        let Some(select) = create.select.filter(|select| !select.is_empty()) else {
            return Err(failure(
                location,
                format!("view {} has no SELECT", create.name),
                "add AS SELECT …",
            ));
        };
        if create.kind == CreateKind::MaterializedView && create.target.is_none() {
            return Err(failure(
                location,
                format!("the materialized view {} has a table of its own inside", create.name),
                "declare its target as a table, and write CREATE MATERIALIZED VIEW … TO that table",
            ));
        }
        if create.kind == CreateKind::MaterializedView && create.is_refreshed {
            return Err(failure(
                location,
                format!("the materialized view {} runs by the clock (REFRESH)", create.name),
                "make it by hand: teal declares views that INSERTs fire",
            ));
        }
        if create.has_security && directive.life_cycle != LifeCycle::ExternallyManaged {
            return Err(failure(
                location,
                format!(
                    "view {} says whose rights it runs with (DEFINER, SQL SECURITY), which teal does not carry over",
                    create.name
                ),
                "leave that out of the model; or make the view by hand, and declare it with `-- teal: lifecycle externally_managed`",
            ));
        }
        if directive.life_cycle != LifeCycle::ExternallyManaged
            && let Some((what, instead)) = not_carried(&create)
        {
            let message =
                format!("view {} has {what}, which teal does not carry over", create.name);
            let hint = format!(
                "{instead}; or make the view by hand, and declare it with `-- teal: lifecycle externally_managed`"
            );
            return Err(failure(location, message, &hint));
        }
        Ok(Self {
            name: create.name,
            database: create.database,
            select: select.to_owned(),
            target: create.target,
            life_cycle: directive.life_cycle,
            location,
        })
    }

    /// The view, with the tables that it means among `tables`. `own` is the project's database.
    pub(crate) fn resolved(self, tables: &[Table], own: &str) -> Result<View, ModelError> {
        let in_database = |database: Option<&String>| {
            let database = database.filter(|database| *database != own);
            let is_there = |table: &&Table| table.database.as_ref() == database;
            tables.iter().filter(is_there).collect::<Vec<_>>()
        };
        let target = match &self.target {
            Some((database, name)) => {
                let here = in_database(database.as_ref());
                let mut target = self.meant(name, &here)?;
                if target.is_none() && database.is_none() {
                    target = self.meant(name, &tables.iter().collect::<Vec<_>>())?;
                }
                Some(target.ok_or_else(|| self.unknown_target(database.as_deref(), name, tables))?)
            }
            None => None,
        };
        let mut names = Vec::new();
        rewrite_table_references(&self.select, |table| {
            names.push((table.database.clone(), table.name.clone()));
            None
        })
        .map_err(|error| {
            let message = format!("cannot read the SELECT of view {}: {error}", self.name);
            failure(self.location.clone(), message, "close the string or comment")
        })?;
        let mut select_tables = Vec::new();
        for (database, name) in names {
            if let Some(table) = self.meant(&name, &in_database(database.as_ref()))?
                && !select_tables.contains(&table)
            {
                select_tables.push(table);
            }
        }
        Ok(View {
            name: self.name,
            database: self.database,
            select: self.select,
            select_tables,
            target,
            life_cycle: self.life_cycle,
            location: self.location,
        })
    }

    /// The table of this physical name; else that of this logical name, if it has one version.
    fn meant(&self, name: &str, tables: &[&Table]) -> Result<Option<TableRef>, ModelError> {
        let of = |is_it: &dyn Fn(&Table) -> bool| {
            let named = tables.iter().filter(|table| is_it(table));
            named.map(|table| table.reference()).collect::<Vec<_>>()
        };
        let physical = of(&|table| table.physical_name() == name);
        let logical = of(&|table| table.name == name);
        match if physical.is_empty() { logical } else { physical }.as_slice() {
            [] => Ok(None),
            [table] => Ok(Some(table.clone())),
            several => {
                let names = several.iter().map(TableRef::called).collect::<Vec<_>>();
                Err(failure(
                    self.location.clone(),
                    format!("view {} names {name}, of which there are several", self.name),
                    &format!("name one of them: {}", names.join(", ")),
                ))
            }
        }
    }

    fn unknown_target(&self, database: Option<&str>, name: &str, tables: &[Table]) -> ModelError {
        let others = tables.iter().filter(|it| it.name == name || it.physical_name() == name);
        let others = others.map(|table| table.reference().called()).collect::<Vec<_>>();
        let target = database.map_or_else(|| name.to_owned(), |of| format!("{of}.{name}"));
        failure(
            self.location.clone(),
            format!("the target {target} of view {} is declared in no model", self.name),
            &match others.as_slice() {
                [] => "declare it with CREATE TABLE".to_owned(),
                others => format!(
                    "declare it with CREATE TABLE, or write TO a table that is: {}",
                    others.join(", ")
                ),
            },
        )
    }
}

/// What of a view's statement the view that teal makes would not have, and what to write instead.
fn not_carried(create: &Create<'_>) -> Option<(String, &'static str)> {
    if let Some(cluster) = &create.cluster {
        let instead = "leave ON CLUSTER out: teal changes the one server that it is connected to";
        return Some((format!("ON CLUSTER {cluster}"), instead));
    }
    // With `TO`, the columns are the target's, and what SHOW CREATE lists says no more.
    let is_list = |other: &str| other.starts_with('(') && other.ends_with(')');
    let is_told = |other: &&&str| create.target.is_none() || !is_list(other);
    let text = create.others.iter().find(is_told)?.split_whitespace().collect::<Vec<_>>().join(" ");
    let word = text.split(' ').next().unwrap_or_default().to_uppercase();
    Some(match word.as_str() {
        _ if text.starts_with('(') => (
            format!("a list of columns, {text}"),
            "leave the list out, and give the names and types in the SELECT (toUInt32(a) AS id)",
        ),
        "POPULATE" => (
            text,
            "leave it out, and fill the target with `teal query` (INSERT INTO … SELECT); a migration from version to version copies what is there",
        ),
        "COMMENT" => (text, "leave it out, or write it as a comment of the file (-- …)"),
        _ => (text, "leave it out"),
    })
}
