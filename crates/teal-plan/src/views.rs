//! Declared views: what each reads, and what is to be done for it.

use std::collections::BTreeSet;

use teal_catalog::{CatalogColumn, CatalogTable, QueryTreeError, ShadowError};
use teal_schema::{
    Diagnostic, LifeCycle, Location, QualifiedName, Table, View, create_view, quote_string,
    rewrite_table_references,
};

use crate::declared::{Declared, Unsafe};
use crate::planner::{PlanError, Planner, is_older, source};
use crate::preflight::brings;
use crate::{Change, Conflict, Cutover, Field, Migration, Operation, Standing, Statement};

impl Planner<'_> {
    pub(crate) fn plan_views(&mut self) -> Result<(), PlanError> {
        let schema = self.schema;
        for view in &schema.views {
            let name = view.qualified(&self.options.database);
            if view.life_cycle == LifeCycle::ExternallyManaged {
                self.note_not_there(&name);
                continue;
            }
            let is_migration = self.is_migration(view);
            let select = self.real_select(view, is_migration)?;
            self.check_references(view)?;
            match (is_migration, self.history.of_view(&name)) {
                (true, None) => self.plan_migration(view, name, select)?,
                (true, Some(past)) if past.standing == Standing::UnderWay => {
                    let id = past.id.clone();
                    let migration = self.migration(view, select)?;
                    self.migrate(migration, Some(id), &view.location);
                }
                (true, Some(past)) => {
                    let past = past.clone();
                    self.refuse_other_select(view, &past, &select)?;
                }
                (false, _) => self.plan_plain_view(view, name, &select)?,
            }
        }
        self.note_undeclared();
        Ok(())
    }

    fn plan_migration(
        &mut self,
        view: &View,
        name: QualifiedName,
        select: String,
    ) -> Result<(), PlanError> {
        if self.refuse_second_view(view, &name) {
            return Ok(());
        }
        if self.current.table(&name).is_some() {
            // What can be no migration is told first: it would be none when it is attached anew either.
            self.migration(view, select)?;
            let instead = format!(
                "the view was not attached by teal, so nobody can tell which rows it missed; drop it (`DROP VIEW {}`), and teal will attach it exactly",
                name.sql()
            );
            self.plan.conflicts.push(Conflict {
                object: name,
                declared_at: view.location.clone(),
                differences: vec!["a view of this name is there already".to_owned()],
                instead,
            });
            return Ok(());
        }
        let tables = source(self.schema, view, &self.options.database)
            .into_iter()
            .chain(self.schema.target(view));
        let names = tables.map(|table| table.qualified(&self.options.database));
        if let Some(table) = names.into_iter().find(|name| self.migrating.contains(name)) {
            let note = format!(
                "the migration by view {name} waits for the cutover of {table}, which gets another layout first"
            );
            self.plan.later.push(note);
            return Ok(());
        }
        if self.refuse_exchanged(view) || self.refuse_left(view, &name) {
            return Ok(());
        }
        let migration = self.migration(view, select)?;
        if let Some(green) = self.current.table(&migration.green)
            && green.rows > 0
        {
            self.plan.conflicts.push(Conflict {
                object: migration.green.clone(),
                declared_at: view.location.clone(),
                differences: vec![format!(
                    "the migration's green table has {} rows already, which no migration brought there",
                    green.rows
                )],
                instead: "where a migration of before is over, delete the models of the older version and of this view; else give the new version another number, or empty the table".to_owned(),
            });
            return Ok(());
        }
        if let Some(blue) =
            source(self.schema, view, &self.options.database).filter(|_| migration.was_exchanged())
        {
            self.keep_columns_of(blue, &migration.blue)?;
        }
        if self.refuse_lost_columns(&migration.blue, &view.location)
            || self.refuse_unread_columns(view)?
        {
            return Ok(());
        }
        self.migrate(migration, None, &view.location);
        Ok(())
    }

    /// A migration brings over what the models know, and its cleanup drops the rest with the old table.
    fn refuse_lost_columns(&mut self, blue: &QualifiedName, at: &Location) -> bool {
        let lost = self.kept.iter().filter(|(table, _)| table == blue);
        let says = |(_, column): &(QualifiedName, String)| {
            format!(
                "column {column} is in no model, so the migration would not bring it over, and its cleanup would drop it"
            )
        };
        let differences = lost.map(says).collect::<Vec<_>>();
        if differences.is_empty() {
            return false;
        }
        self.plan.conflicts.push(Conflict {
            object: blue.clone(),
            declared_at: at.clone(),
            differences,
            instead: format!(
                "declare it in the old version's model, and in the new one's where it is to stay; or `--allow-drop {}`",
                self.column_argument(blue, "COLUMN")
            ),
        });
        true
    }

    /// A DELETION_PROTECTED table loses no column, and the cleanup of a migration would drop what its SELECT does not
    /// read.
    fn refuse_unread_columns(&mut self, view: &View) -> Result<bool, PlanError> {
        let database = &self.options.database;
        let Some(blue) = source(self.schema, view, database)
            .filter(|blue| blue.life_cycle == LifeCycle::DeletionProtected)
        else {
            return Ok(false);
        };
        let name = blue.qualified(database);
        let tree = self.shadow.explain(view)?;
        let desired = self.desired.table(&self.shadow.name(&name));
        let columns = desired.into_iter().flat_map(|table| &table.columns);
        let green = self.schema.target(view);
        let is_there = |name: &str| {
            green.is_some_and(|green| green.columns.iter().any(|column| column.name == name))
        };
        let is_lost =
            |column: &&CatalogColumn| !brings(&tree, &name, column, is_there(&column.name));
        let lost = columns.filter(is_lost);
        let says = |column: &CatalogColumn| {
            format!(
                "the table is DELETION_PROTECTED, and the SELECT of {} does not read its column {}, which the cleanup would drop",
                view.name, column.name
            )
        };
        let differences = lost.map(says).collect::<Vec<_>>();
        if differences.is_empty() {
            return Ok(false);
        }
        self.plan.conflicts.push(Conflict {
            object: name,
            declared_at: view.location.clone(),
            differences,
            instead: "select it into a column of the new version; or give the model of the old version another life cycle"
                .to_owned(),
        });
        Ok(true)
    }

    fn migration(&mut self, view: &View, select: String) -> Result<Migration, PlanError> {
        let refused = |refused| {
            let what = format!("the migration by view {} is refused", view.name);
            PlanError::refused(&what, refused, &view.location)
        };
        let (Some(blue), Some(green)) =
            (source(self.schema, view, &self.options.database), self.schema.target(view))
        else {
            return Err(refused(Unsafe {
                reason: "one of its tables is declared in no model".to_owned(),
                instead: "declare both",
            }));
        };
        let tree = self.shadow.explain(view)?;
        let database = &self.options.database;
        let shadow_of =
            |table: &Table| self.desired.table(&self.shadow.name(&table.qualified(database)));
        let (Some(desired_blue), Some(desired_green)) = (shadow_of(blue), shadow_of(green)) else {
            return Err(refused(Unsafe {
                reason: "the server did not list its tables in the shadow database".to_owned(),
                instead: "try again",
            }));
        };
        let declared_blue = blue.qualified(database);
        let blue_now = self.name_now(&declared_blue);
        let there = self.current.table(&blue_now);
        let desired_blue = CatalogTable {
            rows: there.map_or(0, |table| table.rows),
            bytes: there.map_or(0, |table| table.bytes),
            ..desired_blue.clone()
        };
        let desired_green = desired_green.clone();
        // Readers and writers know the rows by a name that is not their version's, and is to stay.
        let cutover = match blue_now == declared_blue {
            true => self.options.cutover,
            false => Cutover::Exchange,
        };
        let features = &self.features;
        let declared =
            Declared { view, blue, green, blue_now, select, database, cutover, features };
        let planned = declared.plan(&mut self.shadow, &tree, &desired_blue, &desired_green)?;
        match crate::computed::refusal(&tree, &desired_blue, &desired_green) {
            Some(refusal) => planned.and(Err(refusal)).map_err(refused),
            None => planned.map_err(refused),
        }
    }

    /// Plans a view that is no migration.
    fn plan_plain_view(
        &mut self,
        view: &View,
        name: QualifiedName,
        select: &str,
    ) -> Result<(), PlanError> {
        let database = &self.options.database;
        let target = self.schema.target(view).map(|table| table.qualified(database));
        let waits_for = view.select_tables.iter().chain(&view.target);
        let waits_for = waits_for.filter_map(|table| self.schema.table(table));
        let waits_for = waits_for
            .map(|table| table.qualified(database))
            .find(|table| self.migrating.contains(table));
        let Some(current) = self.current.table(&name).cloned() else {
            match waits_for {
                Some(table) => self.plan.later.push(format!(
                    "view {name} is created by a plan after the cutover of {table}, whose new layout it may need"
                )),
                None => self.plan.operations.push(Operation::CreateView {
                    statement: Statement {
                        sql: create_view(&name, target.as_ref(), select),
                        after: self.shadow.definition(&self.desired, &name).unwrap_or_default(),
                    },
                    view: name,
                    declared_at: view.location.clone(),
                }),
            }
            return Ok(());
        };
        let desired = self.desired.table(&self.shadow.name(&name));
        let Some(desired) = desired else {
            return Ok(());
        };
        let engine = if target.is_some() { "MaterializedView" } else { "View" };
        let mut changes = Vec::new();
        let mut field = |field: Field, from: String, to: String| {
            if from != to {
                changes.push(Change { field, from: Some(from), to: Some(to) });
            }
        };
        field(Field::Engine, current.engine.clone(), engine.to_owned());
        if current.engine == engine {
            let of = |table: &CatalogTable| {
                let text = self.shadow.unshadowed(&table.create_table_query);
                let create = teal_schema::read_create(&text)?;
                let target = create.and_then(|create| create.target);
                let full = |(of, name): (Option<String>, String)| match of {
                    Some(of) => format!("{of}.{name}"),
                    None => format!("{database}.{name}"),
                };
                Ok::<_, teal_schema::TokenError>(target.map(full).unwrap_or_default())
            };
            let unreadable = |error| PlanError::unreadable(view, &error);
            field(
                Field::Target,
                of(&current).map_err(unreadable)?,
                of(desired).map_err(unreadable)?,
            );
            let declared = self.shadow.unshadowed(&desired.as_select);
            field(Field::Select, current.as_select.clone(), declared);
        }
        let has_other_text = !changes.is_empty();
        if target.is_none() && !has_other_text {
            let desired = desired.clone();
            changes = self.other_columns(&current, &desired, select)?;
            if !changes.is_empty() && self.has_security(view, &current)? {
                self.plan.notes.push(format!(
                    "view {name} goes on to give the columns that it was made with: make it anew by hand (`CREATE OR REPLACE VIEW`), for it says whose rights it runs with"
                ));
                return Ok(());
            }
        }
        let is_select =
            !changes.iter().any(|change| matches!(change.field, Field::Engine | Field::Target));
        let mut at = self.plan.operations.len();
        match self.loss(&current)? {
            Some(loss) if is_select && has_other_text && self.explain_now(select)?.is_some() => {
                at = loss.at;
            }
            Some(loss) if target.is_some() && !loss.is_renamed_by_alter => {
                self.refuse_loss(&name, &loss, &view.location);
                return Ok(());
            }
            Some(loss) if target.is_some() => self.plan.notes.push(format!(
                "INSERTs into {} fail from the statement that renames its column {} until the one that changes view {name}",
                loss.table, loss.column
            )),
            _ if changes.is_empty() => return Ok(()),
            _ => {
                if let Some(table) = waits_for {
                    self.plan.later.push(format!(
                        "view {name} is changed by a plan after the cutover of {table}"
                    ));
                    return Ok(());
                }
            }
        }
        // An ALTER leaves them as they are.
        if engine == "View" && is_select && self.has_security(view, &current)? {
            self.plan.conflicts.push(Conflict {
                object: name,
                declared_at: view.location.clone(),
                differences: changes.iter().map(ToString::to_string).collect(),
                instead: "it says whose rights it runs with (DEFINER, SQL SECURITY), which a view that teal makes in its place would not: change it by hand, `CREATE OR REPLACE VIEW … DEFINER = … SQL SECURITY … AS SELECT …`".to_owned(),
            });
            return Ok(());
        }
        let sql = match (engine, is_select) {
            ("View", true) => format!("CREATE OR REPLACE VIEW {} AS\n{select}", name.sql()),
            // Each INSERT is forwarded by the one SELECT or by the other.
            (_, true) => format!("ALTER TABLE {} MODIFY QUERY {select}", name.sql()),
            (_, false) => {
                self.plan.conflicts.push(Conflict {
                    object: name,
                    declared_at: view.location.clone(),
                    differences: changes.iter().map(ToString::to_string).collect(),
                    instead: "a view that is dropped and made anew misses the INSERTs in between: declare the new one under another name beside it, and drop the old one later".to_owned(),
                });
                return Ok(());
            }
        };
        if engine == "View" && !current.comment.is_empty() {
            self.plan.notes.push(format!(
                "view {name} is made anew, and is without its comment then ({}), which models cannot declare",
                quote_string(&current.comment)
            ));
        }
        let change = Operation::ChangeView {
            before: current.create_table_query.clone(),
            statement: Statement {
                sql,
                after: self.shadow.definition(&self.desired, &name).unwrap_or_default(),
            },
            view: name,
            changes,
            declared_at: view.location.clone(),
        };
        self.plan.operations.insert(at, change);
        Ok(())
    }

    /// What the columns of a plain view differ by from those that its SELECT gives: now, or when this plan has changed
    /// what it reads.
    fn other_columns(
        &mut self,
        current: &CatalogTable,
        desired: &CatalogTable,
        select: &str,
    ) -> Result<Vec<Change>, PlanError> {
        let columns = |table: &CatalogTable| {
            let columns = table.columns.iter();
            columns.map(|it| (it.name.clone(), it.data_type.clone())).collect::<Vec<_>>()
        };
        let there = columns(current);
        let now = self.explain_now(select)?;
        // A SELECT that does not work now may read anything.
        let reads = |name: &QualifiedName| {
            now.as_ref().is_none_or(|now| now.tables.contains(&name.to_string()))
        };
        let is_changed = self.plan.operations.iter().any(|operation| match operation {
            Operation::AlterTable { table: name, .. }
            | Operation::ChangeView { view: name, .. } => reads(name),
            _ => false,
        });
        // Where nothing changes what it reads, a view that is made anew has the columns of now, whatever the models say.
        Ok(match is_changed {
            true => differences(&there, &columns(desired)),
            false => now.map_or_else(Vec::new, |now| differences(&there, &now.columns)),
        })
    }

    fn has_security(&self, view: &View, current: &CatalogTable) -> Result<bool, PlanError> {
        let create = teal_schema::read_create(&current.create_table_query)
            .map_err(|error| PlanError::unreadable(view, &error))?;
        Ok(create.is_some_and(|create| create.has_security))
    }

    /// A view from an older version of a table to a newer one.
    pub(crate) fn is_migration(&self, view: &View) -> bool {
        let Some(target) = self.schema.target(view) else {
            return false;
        };
        source(self.schema, view, &self.options.database).is_some_and(|blue| is_older(blue, target))
    }

    /// The view's SELECT, every table by its full name; for a migration, by that which its rows have now.
    fn real_select(&self, view: &View, is_migration: bool) -> Result<String, PlanError> {
        let database = &self.options.database;
        let declared = |name: &QualifiedName| {
            self.schema.tables.iter().any(|t| t.qualified(database) == *name)
        };
        rewrite_table_references(&view.select, |table| {
            let name = QualifiedName::new(table.database.as_ref().unwrap_or(database), &table.name);
            // Behind IN a column or an alias may be meant.
            let meant = if is_migration { self.name_now(&name) } else { name.clone() };
            (!table.after_in || declared(&name)).then(|| meant.sql())
        })
        .map_err(|error| PlanError::unreadable(view, &error))
    }

    /// Asks the server whether the SELECT reads the tables that it should: versions are put in by
    /// tokens, and what a name means is the server's to say.
    fn check_references(&mut self, view: &View) -> Result<(), PlanError> {
        /// What a SELECT without FROM reads.
        const ONE: &str = "system.one";
        let database = &self.options.database;
        let mut named = BTreeSet::from([ONE.to_owned()]);
        rewrite_table_references(&view.select, |table| {
            let of = table.database.as_ref().unwrap_or(database);
            named.insert(QualifiedName::new(of, &table.name).to_string());
            None
        })
        .map_err(|error| PlanError::unreadable(view, &error))?;
        let tree = match self.shadow.explain(view) {
            // One with parameters (`{name:String}`) cannot be explained without them.
            Err(ShadowError::QueryTree(QueryTreeError::Client(error)))
                if view.target.is_none()
                    && error.server_name() == Some("UNKNOWN_QUERY_PARAMETER") =>
            {
                return Ok(());
            }
            other => other?,
        };
        if let Some(other) = tree.tables.iter().find(|table| !named.contains(*table)) {
            let message = format!(
                "the SELECT of view {} reads {other}, which teal does not find in its text",
                view.name
            );
            let instead = "write the table with its database, as in `FROM database.table`";
            let diagnostic = Diagnostic::at(&view.location, message).instead(instead);
            return Err(PlanError::References(Box::new(diagnostic)));
        }
        for table in view.select_tables.iter().filter_map(|table| self.schema.table(table)) {
            let name = table.qualified(database);
            if !tree.tables.contains(&name.to_string()) {
                self.plan.notes.push(format!(
                    "view {} lists {name} among the tables that it reads, and its SELECT does not read it",
                    view.name
                ));
            }
        }
        Ok(())
    }
}

/// A plain view gives the columns that its SELECT gave when it was made: what has another type since is converted to
/// the one of then, in silence, and what came since is not there (26.7).
fn differences(from: &[(String, String)], to: &[(String, String)]) -> Vec<Change> {
    let type_in = |columns: &[(String, String)], name: &str| {
        columns.iter().find(|(other, _)| other == name).map(|(_, data_type)| data_type.clone())
    };
    let mut changes = Vec::new();
    for (name, data_type) in to {
        let before = type_in(from, name);
        let field = match before {
            None => Field::Column(name.clone()),
            Some(_) => Field::ColumnType(name.clone()),
        };
        if before.as_ref() != Some(data_type) {
            changes.push(Change { field, from: before, to: Some(data_type.clone()) });
        }
    }
    for (name, data_type) in from {
        if type_in(to, name).is_none() {
            let field = Field::Column(name.clone());
            changes.push(Change { field, from: Some(data_type.clone()), to: None });
        }
    }
    changes
}
