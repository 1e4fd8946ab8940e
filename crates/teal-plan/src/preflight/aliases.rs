//! The logical names. Where the cutover is by alias, the name of a versioned table without its version is
//! an alias, which readers and writers use whatever version is behind it.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use teal_schema::{LifeCycle, QualifiedName, Table, create_alias, quote_ident, shell_word};

use crate::planner::{PlanError, Planner};
use crate::preflight::Preflight;
use crate::{Cutover, Migration, Operation, Standing};

impl Planner<'_> {
    /// Plans an alias for each versioned table whose logical name is free.
    pub(crate) fn plan_aliases(&mut self) {
        if self.options.cutover != Cutover::Alias {
            return;
        }
        let mut versions = BTreeMap::<QualifiedName, Vec<&Table>>::new();
        for table in self.schema.tables.iter().filter(|table| table.version.is_some()) {
            versions.entry(self.logical_name(table)).or_default().push(table);
        }
        let greens = self.greens();
        for (alias, versions) in versions {
            match self.current.table(&alias) {
                Some(there) if there.is_alias() => continue,
                None if !self.is_declared(&alias) && self.features.alias.is_there => (),
                there => {
                    let why = match there.is_some() || self.is_declared(&alias) {
                        true => "the name is that of a table or view",
                        false => "the server has no engine Alias",
                    };
                    let note = format!("{alias} does not become an alias of its versions: {why}");
                    self.plan.notes.push(note);
                    continue;
                }
            }
            let newest = versions
                .into_iter()
                .filter(|table| self.has_the_readers(table, &greens))
                .max_by_key(|table| &table.version);
            if let Some(newest) = newest {
                let target = newest.qualified(&self.options.database);
                self.plan.operations.push(Operation::CreateAlias {
                    sql: create_alias(&alias, &target),
                    alias,
                    target,
                    declared_at: newest.location.clone(),
                });
            }
        }
    }

    /// Whether this is the logical name of a versioned table, and an alias.
    pub(crate) fn is_logical_name(&self, name: &QualifiedName) -> bool {
        let is_it = |table: &Table| table.version.is_some() && self.logical_name(table) == *name;
        self.current.table(name).is_some_and(|table| table.is_alias())
            && self.schema.tables.iter().any(is_it)
    }

    fn logical_name(&self, table: &Table) -> QualifiedName {
        QualifiedName::new(table.qualified(&self.options.database).database, &table.name)
    }

    fn is_declared(&self, name: &QualifiedName) -> bool {
        let database = &self.options.database;
        self.schema.tables.iter().any(|table| table.qualified(database) == *name)
            || self.schema.views.iter().any(|view| view.qualified(database) == *name)
    }

    /// Whether the version is there, or will be, and no migration has still to move the readers to it.
    fn has_the_readers(&self, table: &Table, greens: &BTreeSet<QualifiedName>) -> bool {
        let name = table.qualified(&self.options.database);
        let is_created = |operation: &Operation| {
            matches!(operation, Operation::CreateTable { .. }) && *operation.object() == name
        };
        let is_there = match self.current.table(&name) {
            Some(there) => !there.is_alias(),
            None => self.plan.operations.iter().any(is_created),
        };
        let has_moved = match self.history.of(&name) {
            Some(past) if past.green == name => matches!(
                past.standing,
                Standing::CutOver(Cutover::App | Cutover::Alias)
                    | Standing::Cleaned(Cutover::App | Cutover::Alias)
            ),
            Some(_) => true,
            None => !greens.contains(&name),
        };
        is_there && has_moved && table.life_cycle != LifeCycle::ExternallyManaged
    }
}

impl Preflight<'_> {
    /// What keeps the logical name from being the alias that a cutover by alias swaps.
    pub(crate) fn look_at_aliases(&mut self) -> Result<(), PlanError> {
        let begins = self.operations.iter().filter_map(|operation| match operation {
            Operation::Migrate { migration, .. } if migration.cutover == Cutover::Alias => {
                (!self.history.is_on_its_way(&migration.green)).then(|| (**migration).clone())
            }
            _ => None,
        });
        for migration in begins.collect::<Vec<_>>() {
            let (alias, blue) = (migration.logical_name(), &migration.blue);
            let by_exchange = "cutover = \"exchange\" under [migrate] in teal.toml";
            let (says, fix) = match self.current.table(&alias) {
                _ if alias == *blue => (
                    format!(
                        "{blue} has no version, so its name is the table's own and cannot be an alias"
                    ),
                    by_exchange.to_owned(),
                ),
                _ if !self.features.alias.is_there => (
                    "the server has no engine Alias, by which the cutover would be".to_owned(),
                    format!("{by_exchange}, or \"app\""),
                ),
                Some(there) if !there.is_alias() => (
                    format!(
                        "the cutover would be by the alias {alias}, and a table or view has that name"
                    ),
                    format!("{by_exchange}, or \"app\"; or give that table another name"),
                ),
                Some(_) if self.begins_with(blue) => (
                    format!(
                        "{alias} will be moved to {blue} by another migration of this plan, from which this one begins"
                    ),
                    format!(
                        "leave the models of {} out until `teal cutover {}`",
                        migration.green,
                        shell_word(&blue.name)
                    ),
                ),
                Some(_) if self.is_to_be_moved_to(blue) => (
                    format!("{alias} is not moved to {blue} yet, from which this migration begins"),
                    format!("`teal cutover {}` first", shell_word(&blue.name)),
                ),
                Some(_) if !self.current.is_alias_of(&alias, blue) => (
                    format!("{alias}, by which the cutover would be, is an alias of another table"),
                    format!("DROP TABLE {}, and plan again", alias.sql()),
                ),
                _ => {
                    self.look_at_users(&migration)?;
                    continue;
                }
            };
            self.found(&alias, true, says, fix);
        }
        Ok(())
    }

    /// Whether the plan has a migration into this table.
    fn begins_with(&self, table: &QualifiedName) -> bool {
        self.operations.iter().any(|operation| {
            matches!(operation, Operation::Migrate { migration, .. } if migration.green == *table)
        })
    }

    /// Whether a migration into this table has still to move the readers to it.
    fn is_to_be_moved_to(&self, table: &QualifiedName) -> bool {
        self.history.of(table).is_some_and(|past| {
            past.green == *table && matches!(past.standing, Standing::UnderWay | Standing::Verified)
        })
    }

    /// Who may use blue by its own name, and not green: the new code would be refused. An alias lets a user do what he
    /// may do with the table behind it (26.9), which the swap changes.
    pub(crate) fn look_at_users(&mut self, migration: &Migration) -> Result<(), PlanError> {
        #[derive(Deserialize)]
        struct Row {
            grantee: String,
            rights: Vec<String>,
        }
        let (blue, green) = (&migration.blue, &migration.green);
        let of = |table: &QualifiedName| {
            format!(
                "SELECT ifNull(user_name, role_name) AS grantee, toString(access_type) AS right FROM system.grants \
                 WHERE access_type IN ('SELECT', 'INSERT') AND NOT is_partial_revoke AND {}",
                table.condition("table")
            )
        };
        let rows = self.session.rows::<Row>(&format!(
            "SELECT grantee, arraySort(groupUniqArray(right)) AS rights FROM ({}) \
             WHERE (grantee, right) NOT IN ({}) GROUP BY grantee ORDER BY grantee",
            of(blue),
            of(green)
        ));
        let rows = match rows {
            // Who is no administrator may not see what others may do.
            Err(error) if error.server_name() == Some("ACCESS_DENIED") => return Ok(()),
            other => other?,
        };
        for Row { grantee, rights } in rows {
            let rights = rights.join(", ");
            let why = match migration.cutover {
                Cutover::Alias => "the alias gives nobody more than the table behind it",
                Cutover::App | Cutover::Exchange => "code that uses the new name would be refused",
            };
            let says = format!("{grantee} has {rights} on it and not on {green}, and {why}");
            let fix = format!("GRANT {rights} ON {} TO {}", green.sql(), quote_ident(&grantee));
            self.found(blue, false, says, fix);
        }
        Ok(())
    }
}
