//! Tables and views that are there and are not as declared: what is altered in place, and what takes
//! a migration.

use teal_catalog::{CatalogTable, Declaration, QueryTreeError, Shadow, ShadowError, widens};
use teal_schema::{LifeCycle, QualifiedName, Table, View, create_view, matches, quote_ident};

use crate::alter::statements;
use crate::diff::{compare, origin};
use crate::migration::{Declared, Unsafe};
use crate::plan::AlterCost;
use crate::planner::{PlanError, Planner};
use crate::{Change, Conflict, Cutover, Field, Migration, Needs, Operation, Statement};

/// What a table is and what it is to be, in the server's own words.
struct Pair {
    name: QualifiedName,
    current: Table,
    desired: Table,
    changes: Vec<Change>,
}

impl Planner<'_> {
    /// Plans what makes the table `name` what `table` declares.
    pub(crate) fn plan_change(
        &mut self,
        table: &Table,
        name: &QualifiedName,
    ) -> Result<(), PlanError> {
        let Some(pair) = self.pair(table, name)? else {
            return Ok(());
        };
        let desired = pair.desired.clone();
        self.plan_pair(table, pair)?;
        // The views that come later read the table as it is declared.
        Ok(self.shadow.put(name, &desired)?)
    }

    fn plan_pair(&mut self, table: &Table, pair: Pair) -> Result<(), PlanError> {
        let name = &pair.name.clone();
        let why_not_alter = match self.try_alter(&pair)? {
            Ok((statements, cost)) => {
                self.note_unbuilt(&pair);
                let now = self.current.table(name);
                let bytes = now.map_or(0, |now| now.bytes);
                self.plan.operations.push(Operation::AlterTable {
                    table: name.clone(),
                    statements,
                    changes: pair.changes,
                    cost,
                    rows: now.map_or(0, |now| now.rows),
                    bytes,
                    needs: Needs::of_alter(cost, bytes),
                    before: now.map(|now| now.create_table_query.clone()).unwrap_or_default(),
                    declared_at: table.location.clone(),
                });
                return Ok(());
            }
            Err(reason) => reason,
        };
        match self.migration_in_place(table, &pair, None)? {
            Ok(migration) => {
                self.migrating.push(name.clone());
                let changes = pair.changes;
                let migration = Migration { changes, why: Some(why_not_alter), ..migration };
                self.migrate(migration, None, &table.location);
            }
            Err(Unsafe { reason, instead }) => self.plan.conflicts.push(Conflict {
                object: name.clone(),
                declared_at: table.location.clone(),
                differences: pair
                    .changes
                    .iter()
                    .map(ToString::to_string)
                    .chain([
                        format!("not by ALTER: {why_not_alter}"),
                        format!("not by a migration: {reason}"),
                    ])
                    .collect(),
                instead: instead.to_owned(),
            }),
        }
        Ok(())
    }

    /// A table that is there before the migration that is to make it: only what is just as declared
    /// may be filled.
    pub(crate) fn refuse_other_green(
        &mut self,
        table: &Table,
        name: &QualifiedName,
    ) -> Result<(), PlanError> {
        if let Some(pair) = self.pair(table, name)? {
            self.plan.conflicts.push(Conflict {
                object: name.clone(),
                declared_at: table.location.clone(),
                differences: std::iter::once(
                    "the migration's green table is there already, and is not as declared"
                        .to_owned(),
                )
                .chain(pair.changes.iter().map(ToString::to_string))
                .collect(),
                instead: "drop it, or give the new version another number".to_owned(),
            });
        }
        Ok(())
    }

    /// What an `ALTER` adds only to the parts to come.
    fn note_unbuilt(&mut self, pair: &Pair) {
        for change in pair.changes.iter().filter(|change| change.to.is_some()) {
            let (kind, name) = match &change.field {
                Field::Index(name) => ("INDEX", name),
                Field::Projection(name) => ("PROJECTION", name),
                _ => continue,
            };
            let table = &pair.name;
            self.plan.notes.push(format!(
                "{} of {table} is built for new parts and by merges; `ALTER TABLE {} MATERIALIZE {kind} {}` builds it for all",
                change.field,
                table.sql(),
                quote_ident(name)
            ));
        }
    }

    /// The migration of a changed model that is under way.
    pub(crate) fn resume_change(
        &mut self,
        table: &Table,
        name: &QualifiedName,
        id: &str,
        green: &QualifiedName,
    ) -> Result<(), PlanError> {
        let Some(pair) = self.pair(table, name)? else {
            self.plan.conflicts.push(Conflict {
                object: name.clone(),
                declared_at: table.location.clone(),
                differences: vec![format!(
                    "its migration {id} is under way, and the model is as the table was before it"
                )],
                instead: "give the model the new layout again, and let the migration end"
                    .to_owned(),
            });
            return Ok(());
        };
        let migration = self.migration_in_place(table, &pair, Some(green))?;
        self.shadow.put(name, &pair.desired)?;
        let migration = migration.map_err(|refused| {
            PlanError::refused(
                &format!("the migration {id} cannot go on"),
                refused,
                &table.location,
            )
        })?;
        self.migrating.push(name.clone());
        let migration = Migration { changes: pair.changes, ..migration };
        self.migrate(migration, Some(id.to_owned()), &table.location);
        Ok(())
    }

    /// The two definitions, where they differ.
    fn pair(&mut self, table: &Table, name: &QualifiedName) -> Result<Option<Pair>, PlanError> {
        let declaration = || Declaration::of(table);
        let Some(current) = self.current.table(name) else {
            return Ok(None);
        };
        // A table without a shadow is as it is declared.
        let Some(desired) = self.desired.table(&self.shadow.name(name)) else {
            return Ok(None);
        };
        let unreadable = |error| PlanError::unreadable_table(table, &error);
        let current = current.declared(declaration()).map_err(unreadable)?;
        let mut desired = desired.declared(declaration()).map_err(unreadable)?;
        for column in &mut desired.columns {
            let declared = table.columns.iter().find(|other| other.name == column.name);
            column.renamed_from = declared.and_then(|declared| declared.renamed_from.clone());
        }
        if desired.engine.name.starts_with("Replicated")
            && table.engine.arguments.first().is_none_or(|first| !first.starts_with('\''))
            && current.engine.name == desired.engine.name
        {
            // Where the replicas meet is the server's default, which it writes out.
            let path = current.engine.arguments.iter().take(2).cloned();
            desired.engine.arguments = path.chain(desired.engine.arguments).collect();
        }
        self.keep_columns(&mut desired, &current, name);
        let changes = compare(&current, &desired);
        let name = name.clone();
        Ok((!changes.is_empty()).then_some(Pair { name, current, desired, changes }))
    }

    /// By what the table that goes by `actual` is not as `table` declares it, but for columns that no model knows.
    pub(crate) fn changes_of(
        &self,
        table: &Table,
        name: &QualifiedName,
        actual: &QualifiedName,
    ) -> Result<Vec<Change>, PlanError> {
        let (Some(current), Some(desired)) =
            (self.current.table(actual), self.desired.table(&self.shadow.name(name)))
        else {
            return Ok(Vec::new());
        };
        let unreadable = |error| PlanError::unreadable_table(table, &error);
        let current = current.declared(Declaration::of(table)).map_err(unreadable)?;
        let desired = desired.declared(Declaration::of(table)).map_err(unreadable)?;
        let mut changes = compare(&current, &desired);
        changes.retain(|change| !matches!(change.field, Field::Column(_)) || change.to.is_some());
        Ok(changes)
    }

    /// As [`keep_columns`](Self::keep_columns), of a table whose rows go by another name now.
    pub(crate) fn keep_columns_of(
        &mut self,
        table: &Table,
        now: &QualifiedName,
    ) -> Result<(), PlanError> {
        let name = table.qualified(&self.options.database);
        let (Some(current), Some(desired)) =
            (self.current.table(now), self.desired.table(&self.shadow.name(&name)))
        else {
            return Ok(());
        };
        let unreadable = |error| PlanError::unreadable_table(table, &error);
        let current = current.declared(Declaration::of(table)).map_err(unreadable)?;
        let mut desired = desired.declared(Declaration::of(table)).map_err(unreadable)?;
        self.keep_columns(&mut desired, &current, now);
        Ok(())
    }

    /// A column that no model declares stays where it is, unless it may be dropped.
    fn keep_columns(&mut self, desired: &mut Table, current: &Table, name: &QualifiedName) {
        for (i, column) in current.columns.iter().enumerate() {
            let is_declared = desired.columns.iter().any(|new| {
                origin(new, current, desired).is_some_and(|origin| origin.name == column.name)
            });
            if is_declared {
                continue;
            }
            let full = format!("{}.{}", name.name, column.name);
            let may_go = desired.life_cycle == LifeCycle::FullyManaged
                && self.options.allow_drop.iter().any(|pattern| matches(pattern, &full));
            if may_go {
                continue;
            }
            let how = match desired.life_cycle {
                LifeCycle::FullyManaged => format!("`--allow-drop {full}` drops it"),
                _ => "the table is DELETION_PROTECTED".to_owned(),
            };
            self.plan
                .notes
                .push(format!("column {} of {name} is in no model, and stays; {how}", column.name));
            if column.is_stored() {
                self.kept.push((name.clone(), column.name.clone()));
            }
            let before = i.checked_sub(1).and_then(|i| current.columns.get(i));
            let at = before
                .and_then(|before| desired.columns.iter().position(|c| c.name == before.name))
                .map_or(0, |at| at + 1);
            desired.columns.insert(at, column.clone());
        }
    }

    /// Tries the change on an empty copy of the table. Gives the statements, or why they are no way.
    fn try_alter(
        &mut self,
        pair: &Pair,
    ) -> Result<Result<(Vec<Statement>, AlterCost), String>, PlanError> {
        let rebuilt = |field: &Field| {
            matches!(
                field,
                Field::Engine | Field::PartitionKey | Field::PrimaryKey | Field::SamplingKey
            )
        };
        if let Some(change) = pair.changes.iter().find(|change| rebuilt(&change.field)) {
            return Ok(Err(format!("ClickHouse cannot change the {} of a table", change.field)));
        }
        if !Shadow::is_faithful(&pair.current) {
            return Ok(Err(format!(
                "a change of a table of the engine {} cannot be tried",
                pair.current.engine.name
            )));
        }
        let Pair { name, current, desired, changes } = pair;
        for change in changes {
            let (Field::ColumnType(column), Some(from), Some(to)) =
                (&change.field, &change.from, &change.to)
            else {
                continue;
            };
            if widens(self.session.as_mut(), from, to)? {
                continue;
            }
            // What needs no part rewritten changes no value: an Enum that gets more values.
            self.shadow.put(name, current)?;
            let old = desired.columns.iter().find(|c| c.name == *column);
            let old = old.and_then(|new| origin(new, current, desired));
            let old = old.map_or(column.as_str(), |old| old.name.as_str());
            let shadow = self.shadow.name(name).sql();
            let sql = format!("ALTER TABLE {shadow} MODIFY COLUMN {} {to}", quote_ident(old));
            let taken = self.shadow.attempt(&sql)?;
            if taken.is_err() || self.shadow.mutations(name)? > 0 {
                return Ok(Err(format!(
                    "{change}: not every value of the one type is one of the other"
                )));
            }
        }
        self.shadow.put(name, current)?;
        let tried = statements(&self.shadow.name(name), current, desired, changes);
        let real = statements(name, current, desired, changes);
        let mut done = Vec::with_capacity(real.len());
        for (trial, sql) in tried.into_iter().zip(real) {
            if let Err(reason) = self.shadow.attempt(&trial)? {
                return Ok(Err(format!("ClickHouse refuses to alter it: {reason}")));
            }
            let catalog = self.shadow.catalog()?;
            let after = self.shadow.definition(&catalog, name).unwrap_or_default();
            done.push(Statement { sql, after });
        }
        let cost = match self.shadow.mutations(name)? {
            0 => AlterCost::Metadata,
            _ => AlterCost::Mutation,
        };
        let made = self.read_shadow(name, desired)?;
        let rest = made.map(|made| compare(&made, desired)).unwrap_or_default();
        Ok(match rest.first() {
            None => Ok((done, cost)),
            Some(change) => Err(format!("after the ALTER there would still differ: {change}")),
        })
    }

    fn read_shadow(
        &mut self,
        name: &QualifiedName,
        like: &Table,
    ) -> Result<Option<Table>, PlanError> {
        let catalog = self.shadow.catalog()?;
        let made = catalog.table(&self.shadow.name(name));
        let made = made.map(|made| made.declared(Declaration::of(like))).transpose();
        made.map_err(|error| PlanError::unreadable_table(like, &error))
    }

    /// The migration from the table as it is to the layout that its model has now.
    fn migration_in_place(
        &mut self,
        table: &Table,
        pair: &Pair,
        under_way: Option<&QualifiedName>,
    ) -> Result<Result<Migration, Unsafe>, PlanError> {
        let Pair { name, current, desired, .. } = pair;
        let named = |name: &str, layout: &Table| Table {
            name: name.to_owned(),
            version: None,
            database: table.database.clone(),
            ..layout.clone()
        };
        let green_name = match under_way {
            Some(green) => green.name.clone(),
            None => self.free_name(&name.database, &format!("{}_green", name.name)),
        };
        let (blue, green) = (named(&name.name, current), named(&green_name, desired));
        let filled = desired.columns.iter().filter(|column| column.is_insertable());
        let items = filled
            .filter_map(|column| {
                let old = quote_ident(&origin(column, current, desired)?.name);
                let new = quote_ident(&column.name);
                Some(if old == new { new } else { format!("{old} AS {new}") })
            })
            .collect::<Vec<_>>();
        let select = format!("SELECT {} FROM {}", items.join(", "), name.sql());
        let view = View {
            name: format!("mv_{}_to_green", name.name),
            database: table.database.clone(),
            select: select.clone(),
            select_tables: vec![blue.reference()],
            target: Some(green.reference()),
            life_cycle: LifeCycle::FullyManaged,
            location: table.location.clone(),
        };
        let database = &self.options.database;
        let green_full = green.qualified(database);
        let no_shadow = |error: teal_client::ClientError| match error {
            teal_client::ClientError::Server { message, .. } => Ok(Unsafe {
                reason: format!("ClickHouse does not copy it: {message}"),
                instead: "make the change by hand, or leave the model as the table is",
            }),
            other => Err(other),
        };
        for (full, table) in [(name, &blue), (&green_full, &green)] {
            if let Err(error) = self.shadow.put(full, table) {
                return Ok(Err(no_shadow(error)?));
            }
        }
        let tree = match self.shadow.explain(&view) {
            Ok(tree) => tree,
            Err(ShadowError::QueryTree(QueryTreeError::Client(error))) => {
                return Ok(Err(no_shadow(error)?));
            }
            Err(error) => return Err(error.into()),
        };
        let catalog = self.shadow.catalog()?;
        let shadow_of = |name: &QualifiedName| catalog.table(&self.shadow.name(name)).cloned();
        let (Some(blue_shadow), Some(green_shadow)) = (shadow_of(name), shadow_of(&green_full))
        else {
            return Ok(Err(Unsafe {
                reason: "the server did not list its tables in the shadow database".to_owned(),
                instead: "try again",
            }));
        };
        let now = self.current.table(name);
        let blue_shadow = CatalogTable {
            rows: now.map_or(0, |now| now.rows),
            bytes: now.map_or(0, |now| now.bytes),
            ..blue_shadow
        };
        let declared = Declared {
            view: &view,
            blue: &blue,
            green: &green,
            blue_now: name.clone(),
            select,
            database,
            cutover: Cutover::Exchange,
        };
        let planned =
            declared.plan(&self.features, &mut self.shadow, &tree, &blue_shadow, &green_shadow)?;
        let version = table.version.as_ref().map_or_else(String::new, ToString::to_string);
        Ok(planned.map(|migration| Migration {
            table: table.name.clone(),
            from_version: version.clone(),
            to_version: version,
            in_place: true,
            ..migration
        }))
    }

    /// A name that no table has and none is declared with.
    fn free_name(&self, database: &str, wanted: &str) -> String {
        let is_taken = |name: &str| {
            let full = QualifiedName::new(database, name);
            let declared = self.schema.tables.iter().map(|t| t.qualified(&self.options.database));
            self.current.table(&full).is_some() || declared.into_iter().any(|other| other == full)
        };
        let numbered = (2..).map(|n| format!("{wanted}_{n}"));
        let mut names = std::iter::once(wanted.to_owned()).chain(numbered);
        names.find(|name| !is_taken(name)).unwrap_or_else(|| wanted.to_owned())
    }

    /// Plans a view that is no migration.
    pub(crate) fn plan_plain_view(
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
                Some(table) => self.plan.notes.push(format!(
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
        let is_select = changes.iter().all(|change| change.field == Field::Select);
        let mut at = self.plan.operations.len();
        match self.loss(&current)? {
            Some(loss) if is_select && !changes.is_empty() && self.explain_now(select)?.is_some() => {
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
                    self.plan.notes.push(format!(
                        "view {name} is changed by a plan after the cutover of {table}"
                    ));
                    return Ok(());
                }
            }
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

    /// What is there and in no model: dropped where that was allowed by name, else mentioned.
    pub(crate) fn plan_drops(&mut self) -> Result<(), PlanError> {
        let database = &self.options.database;
        let tables = self.schema.tables.iter().map(|table| table.qualified(database));
        let views = self.schema.views.iter().map(|view| view.qualified(database));
        let declared = tables.chain(views).collect::<Vec<_>>();
        let mut left = 0;
        let mut drops = Vec::new();
        let there = self.current.tables().filter(|table| table.database == *database);
        for table in there.cloned().collect::<Vec<_>>() {
            let name = table.qualified();
            let is_inner = table.name.starts_with(".inner");
            let is_known = declared.contains(&name) || self.is_logical_name(&name);
            if is_known || is_inner || self.history.of(&name).is_some() {
                continue;
            }
            let loss = match table.is_view() {
                true => self.loss(&table)?,
                false => None,
            };
            if !self.options.allow_drop.iter().any(|pattern| matches(pattern, &table.name)) {
                left += 1;
                if let Some(loss) = loss.filter(|_| table.engine == "MaterializedView") {
                    self.refuse_loss(&name, &loss, &loss.declared_at);
                }
                continue;
            }
            let kind = if table.is_view() { "VIEW" } else { "TABLE" };
            let operation = Operation::Drop {
                sql: format!("DROP {kind} {}", name.sql()),
                object: name,
                before: table.create_table_query.clone(),
                rows: table.rows,
                bytes: table.bytes,
            };
            match loss {
                Some(loss) => self.plan.operations.insert(loss.at, operation),
                None => drops.push((!table.is_view(), operation)),
            }
        }
        // Views before the tables that they read.
        drops.sort_by_key(|(is_table, _)| *is_table);
        self.plan.operations.extend(drops.into_iter().map(|(_, operation)| operation));
        if left > 0 {
            self.plan.notes.push(format!(
                "{left} tables or views of {database} are in no model, and stay; `teal pull` declares them, `--allow-drop NAME` drops them"
            ));
        }
        Ok(())
    }
}
