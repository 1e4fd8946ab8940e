use serde::Deserialize;
use teal_catalog::{CatalogColumn, CatalogTable, active_parts};
use teal_client::{ClientError, Session};
use teal_schema::{QualifiedName, TokenError, clause, names, quote_ident, quote_string};

use super::Preflight;
use super::in_time::{in_time_up_to, is_out_of_time};
use crate::planner::PlanError;
use crate::{Change, Field, Operation};

/// What stands behind a column's default in its definition.
const CLAUSES: [&[&str]; 3] = [&["COMMENT"], &["CODEC"], &["TTL"]];

impl Preflight<'_> {
    /// Parts that do not store a column are read by its default: an `ALTER` of that, or of the type that it is of, gives
    /// their rows other values, and one that adds a column gives them whatever its default gives at each read.
    pub(super) fn look_at_defaults(&mut self) -> Result<(), PlanError> {
        let altered = |operation: &&Operation| match operation {
            Operation::AlterTable { table, changes, .. } => Some((table.clone(), changes.clone())),
            _ => None,
        };
        for (name, changes) in self.operations.iter().filter_map(altered).collect::<Vec<_>>() {
            let Some(table) = self.current.table(&name).cloned() else {
                continue;
            };
            let counts = |change: &Change| {
                default_of(change).is_some() || matches!(change.field, Field::ColumnType(_))
            };
            if !changes.iter().any(counts) || active_parts(self.session, &name)?.is_empty() {
                continue;
            }
            let type_of = |name: &str| {
                let of = Field::ColumnType(name.to_owned());
                changes.iter().find(|change| change.field == of)?.to.as_deref()
            };
            for change in &changes {
                match (default_of(change), was(change, &changes, &table)) {
                    (Some((new, to)), Some(column)) => {
                        let data_type = type_of(new).unwrap_or(&column.data_type);
                        self.look_at_default(&name, &column, &to, data_type)?;
                    }
                    (Some((column, to)), None) => self.look_at_new(&name, column, &to)?,
                    (None, Some(source)) => {
                        self.look_at_type(&name, &source, &changes, change)?;
                        self.look_at_computed_from(&name, &table, &source, &changes, change)?;
                    }
                    (None, None) => (),
                }
            }
        }
        Ok(())
    }

    /// Rows that would have another value by the same default, of another type.
    fn look_at_type(
        &mut self,
        table: &QualifiedName,
        column: &CatalogColumn,
        changes: &[Change],
        change: &Change,
    ) -> Result<(), PlanError> {
        let (Field::ColumnType(new), Some(to)) = (&change.field, &change.to) else {
            return Ok(());
        };
        let of = Field::ColumnDefault(new.clone());
        // With another default, that is what is looked at.
        if changes.iter().any(|change| change.field == of) {
            return Ok(());
        }
        let same = format!("{} {}", column.default_kind, column.default_expression);
        self.look_at_default(table, column, same.trim_end(), to)
    }

    /// Rows that would have another value by the default `to` (`kind expression`; empty where there is none), of the
    /// type `data_type`.
    fn look_at_default(
        &mut self,
        table: &QualifiedName,
        column: &CatalogColumn,
        to: &str,
        data_type: &str,
    ) -> Result<(), PlanError> {
        let CatalogColumn { name, default_kind: kind, default_expression, .. } = column;
        let (new_kind, new) = to.split_once(' ').unwrap_or_default();
        let has_other_type = column.data_type != data_type;
        let is_same = !kind.is_empty() && default_expression == new && !has_other_type;
        if is_same || kind == "EPHEMERAL" || ["ALIAS", "EPHEMERAL"].contains(&new_kind) {
            return Ok(());
        }
        let lacking = self.parts_that_lack(table, name)?;
        if lacking == 0 {
            return Ok(());
        }
        let rows = match self.rows_with_other(table, column, (new, data_type), None)? {
            Some(found) if found.is_none() => return Ok(()),
            found => found.map_or_else(|| "rows".to_owned(), |found| found.text()),
        };
        let of = |data_type: &str, kind: &str, expression: &str| match (has_other_type, kind) {
            (true, kind) => format!("{data_type} {kind} {expression}").trim_end().to_owned(),
            (false, "") => "none".to_owned(),
            (false, kind) => format!("{kind} {expression}"),
        };
        let says = format!(
            "column {name}: {lacking} parts do not store it, and its default is what they are read by: {rows} would have another value ({} → {})",
            of(&column.data_type, kind, default_expression),
            of(data_type, new_kind, new)
        );
        let (to, name) = (table.sql(), quote_ident(name));
        let store = match kind.as_str() {
            "DEFAULT" => format!("ALTER TABLE {to} MATERIALIZE COLUMN {name}"),
            // One without a default cannot be materialized (26.7).
            "" => format!("ALTER TABLE {to} UPDATE {name} = {name} WHERE 1"),
            // Of a MATERIALIZED one, that would compute anew what is stored.
            _ => format!(
                "make it a DEFAULT column of the same expression first, and ALTER TABLE {to} MATERIALIZE COLUMN {name}"
            ),
        };
        let fix = match kind.as_str() {
            // What it gives was never more than its expression says.
            "ALIAS" => format!("where they are to keep what it gives now, {store}"),
            _ => format!(
                "store what they give now: {store}; where they are to have the new value, make the change by hand"
            ),
        };
        self.found(table, kind != "ALIAS", says, fix);
        Ok(())
    }

    /// Columns that are made of another one, which gets another type: where parts do not store them, they are read by
    /// their defaults, of its new value then.
    fn look_at_computed_from(
        &mut self,
        name: &QualifiedName,
        table: &CatalogTable,
        source: &CatalogColumn,
        changes: &[Change],
        change: &Change,
    ) -> Result<(), PlanError> {
        let to = change.to.as_deref().unwrap_or_default();
        let has_changed = |column: &CatalogColumn| {
            let of = Field::ColumnDefault(column.name.clone());
            changes.iter().any(|change| change.field == of)
        };
        for column in &table.columns {
            let stores = ["DEFAULT", "MATERIALIZED"].contains(&column.default_kind.as_str());
            let named = names(&column.default_expression).unwrap_or_default();
            if !stores || !named.contains(&source.name) || has_changed(column) {
                continue;
            }
            let lacking = self.parts_that_lack(name, &column.name)?;
            if lacking == 0 {
                continue;
            }
            let expression = &column.default_expression;
            let new = (expression.as_str(), column.data_type.as_str());
            let rows = match self.rows_with_other(name, column, new, Some((source, to)))? {
                Some(found) if found.is_none() => continue,
                found => found.map_or_else(|| "rows".to_owned(), |found| found.text()),
            };
            let says = format!(
                "column {}: {lacking} parts do not store it, and are read by its default ({expression}): {rows} would have another value, since {} is {to} then",
                column.name, source.name
            );
            let fix = format!(
                "store what they give now: ALTER TABLE {} MATERIALIZE COLUMN {}",
                name.sql(),
                quote_ident(&column.name)
            );
            self.found(name, true, says, fix);
        }
        Ok(())
    }

    /// A column that comes, with a default that gives another value each time.
    fn look_at_new(
        &mut self,
        table: &QualifiedName,
        name: &str,
        default: &str,
    ) -> Result<(), PlanError> {
        let (kind, expression) = default.split_once(' ').unwrap_or_default();
        if !["DEFAULT", "MATERIALIZED"].contains(&kind) || !self.may_differ(table, expression)? {
            return Ok(());
        }
        let says = format!(
            "column {name} is new: the rows that are there give another value of it each time that they are read ({default})"
        );
        let fix = format!(
            "store what it gives, behind the change: ALTER TABLE {} MATERIALIZE COLUMN {}",
            table.sql(),
            quote_ident(name)
        );
        self.found(table, false, says, fix);
        Ok(())
    }

    /// Of the rows whose parts do not store the column, those that `new`, an expression and its type, gives another
    /// value, where `source` is a column of another type then. Nothing where that cannot be counted.
    fn rows_with_other(
        &mut self,
        table: &QualifiedName,
        column: &CatalogColumn,
        (new, data_type): (&str, &str),
        source: Option<(&CatalogColumn, &str)>,
    ) -> Result<Option<Others>, ClientError> {
        #[derive(Deserialize)]
        struct Row {
            rows: u64,
        }
        let lacking = format!(
            "NOT IN (SELECT name FROM system.parts_columns WHERE active AND column = {} AND {})",
            quote_string(&column.name),
            table.condition("table")
        );
        let Row { rows: all } = self.session.row(&format!(
            "SELECT sum(rows) AS rows FROM system.parts \
             WHERE active AND {} AND NOT startsWith(partition_id, 'patch-') AND name {lacking}",
            table.condition("table")
        ))?;
        // They may be parts of updates alone, which have columns of theirs only.
        if all == 0 {
            return Ok(Some(Others { differ: 0, looked: 0, left: false }));
        }
        let has_other_type = column.data_type != data_type;
        let (name, data_type) = (quote_ident(&column.name), quote_string(data_type));
        let new = match new {
            "" => format!("defaultValueOfTypeName({data_type})"),
            new => format!("CAST({new}, {data_type})"),
        };
        // As arrays of one, NULL is NULL.
        let (is, of) = match source {
            None => {
                let is = if has_other_type {
                    format!("CAST({name}, {data_type})")
                } else {
                    name.clone()
                };
                (is, format!("{} WHERE _part {lacking}", table.sql()))
            }
            Some((source, to)) => {
                let (source, to) = (quote_ident(&source.name), quote_string(to));
                let of = format!(
                    "(SELECT * REPLACE (CAST({source}, {to}) AS {source}), {name} AS _teal_is FROM {} WHERE _part {lacking})",
                    table.sql()
                );
                ("_teal_is".to_owned(), of)
            }
        };
        let query = format!(
            "SELECT count() AS _teal_looked, countIf([{is}] != [{new}]) AS _teal_differ FROM {of} \
             SETTINGS asterisk_include_materialized_columns = 1, asterisk_include_alias_columns = 1"
        );
        let session: &mut dyn Session = self.session;
        match in_time_up_to(|settings| session.row::<Others>(&format!("{query}, {settings}"))) {
            Ok(found) => Ok(found.map(|(found, rows)| Others { left: all > rows, ..found })),
            // It may be made of a column that comes with it.
            Err(error @ ClientError::Server { .. }) if !is_out_of_time(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Rows that would have another value.
#[derive(Deserialize)]
struct Others {
    #[serde(rename = "_teal_looked")]
    looked: u64,
    #[serde(rename = "_teal_differ")]
    differ: u64,
    /// There are more than could be looked at.
    #[serde(skip)]
    left: bool,
}

impl Others {
    fn is_none(&self) -> bool {
        self.differ == 0 && !self.left
    }

    fn text(&self) -> String {
        match self.left {
            false => format!("{} rows", self.differ),
            true => format!(
                "{} of the {} rows that were looked at, and perhaps some of the others,",
                self.differ, self.looked
            ),
        }
    }
}

/// The column that a change gives a default, and that as `kind expression`; empty where the column loses it.
fn default_of(change: &Change) -> Option<(&str, String)> {
    match (&change.field, &change.from, &change.to) {
        (Field::ColumnDefault(name), _, to) => Some((name, to.clone().unwrap_or_default())),
        (Field::Column(name), None, Some(definition)) => {
            let of = |kind: &str| -> Result<Option<String>, TokenError> {
                let expression = clause(definition, &[kind], &CLAUSES)?;
                Ok(expression.map(|expression| format!("{kind} {expression}")))
            };
            let found = ["DEFAULT", "MATERIALIZED"].into_iter().find_map(|kind| of(kind).ok()?);
            Some((name, found?))
        }
        _ => None,
    }
}

/// The column as it is now, by the name that it has now.
fn was(change: &Change, changes: &[Change], table: &CatalogTable) -> Option<CatalogColumn> {
    let (Field::ColumnDefault(name) | Field::ColumnType(name)) = &change.field else {
        return None;
    };
    let renamed = changes.iter().find(|it| it.field == Field::ColumnName(name.clone()));
    let now = renamed.and_then(|renamed| renamed.from.as_ref()).unwrap_or(name);
    table.columns.iter().find(|column| column.name == *now).cloned()
}
