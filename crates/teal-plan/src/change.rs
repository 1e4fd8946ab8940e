//! Tables and views that are there and are not as declared: what is altered in place, and what takes
//! a migration.

use serde::Deserialize;
use teal_catalog::{
    CatalogTable, Declaration, QueryTreeError, Shadow, ShadowError, reads_alike, time_zones, widens,
};
use teal_client::ClientError;
use teal_schema::{
    Column, DefaultKind, LifeCycle, QualifiedName, Table, View, names, quote_ident, quote_string,
    shell_word, sorting_key,
};

use crate::alter::statements;
use crate::computed::{RECOMPUTED, UNSTORED, is_computed};
use crate::declared::{Declared, Unsafe};
use crate::diff::{compare, origin};
use crate::fold::folds_alike;
use crate::plan::AlterCost;
use crate::planner::{PlanError, Planner};
use crate::{Change, Conflict, Cutover, Field, Migration, Needs, Operation, Statement};

/// What a table is and what it is to be, in the server's own words.
pub(crate) struct Pair {
    pub(crate) name: QualifiedName,
    pub(crate) current: Table,
    pub(crate) desired: Table,
    pub(crate) changes: Vec<Change>,
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
        let (current, desired) = (pair.current.clone(), pair.desired.clone());
        let conflicts = self.plan.conflicts.len();
        self.plan_pair(table, pair)?;
        // The views that come later read the table as it is declared; where that is no table, as it is.
        match self.shadow.put(name, &desired) {
            Err(ClientError::Server { .. }) if self.plan.conflicts.len() > conflicts => (),
            put => return Ok(put?),
        }
        match self.shadow.put(name, &current) {
            Err(ClientError::Server { .. }) => Ok(()),
            put => Ok(put?),
        }
    }

    fn plan_pair(&mut self, table: &Table, pair: Pair) -> Result<(), PlanError> {
        if self.refuse_loss_of_values(&pair, UNSTORED, &table.location) {
            return Ok(());
        }
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
        if self.refuse_loss_of_values(&pair, RECOMPUTED, &table.location) {
            return Ok(());
        }
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
            let hint = |name: &str| {
                let declared = table.columns.iter().find(|other| other.name == name)?;
                declared.renamed_from.clone()
            };
            // Of a Nested column, the server has a column of each element: `name.element`.
            let of_nested = || {
                let (name, element) = column.name.split_once('.')?;
                Some(format!("{}.{element}", hint(name)?))
            };
            column.renamed_from = hint(&column.name).or_else(of_nested);
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
            if self.may_go(desired, name, &column.name) {
                continue;
            }
            let how = match desired.life_cycle {
                LifeCycle::FullyManaged => {
                    format!("`--allow-drop {}` drops it", self.column_argument(name, &column.name))
                }
                _ => "the table is DELETION_PROTECTED".to_owned(),
            };
            self.plan
                .notes
                .push(format!("column {} of {name} is in no model, and stays; {how}", column.name));
            if column.is_stored() {
                self.kept.push((name.clone(), column.name.clone()));
            }
            // Behind the nearest of the columns before it that stays, by whatever name.
            let place = |before: &Column| {
                desired.columns.iter().position(|new| {
                    origin(new, current, desired).is_some_and(|it| it.name == before.name)
                })
            };
            let before = current.columns.iter().take(i).rev().find_map(place);
            let at = before.map_or(0, |at| at + 1);
            desired.columns.insert(at, column.clone());
        }
    }

    /// As a user names it: with its database, where that is not the project's own.
    pub(crate) fn called(&self, name: &QualifiedName) -> String {
        match name.database == self.options.database {
            true => name.name.clone(),
            false => name.to_string(),
        }
    }

    /// A column as an argument of `--allow-drop`, for a shell.
    pub(crate) fn column_argument(&self, name: &QualifiedName, column: &str) -> String {
        shell_word(&format!("{}.{column}", self.called(name))).into_owned()
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
        let is_lost = |item: &&String| !pair.desired.order_by.contains(item);
        if pair.current.engine.folds_rows()
            && let Some(item) = pair.current.order_by.iter().find(is_lost)
        {
            return Ok(Err(format!(
                "the engine would fold rows that differ by {item}, which leaves the sorting key"
            )));
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
            if !folds_alike(&current.engine, from, to) {
                return Ok(Err(format!(
                    "{change}: the engine would make something else of the rows that are there"
                )));
            }
            let old = desired.columns.iter().find(|c| c.name == *column);
            let old = old.and_then(|new| origin(new, current, desired));
            let old = old.map_or(column.as_str(), |old| old.name.as_str());
            if is_alias(desired, column) && lies_nowhere(current, old) {
                continue;
            }
            if let Some(what) = computed_from(current, old)
                && self.changes_zone(from, to)?
            {
                return Ok(Err(format!(
                    "{change}: the {what} computes from it by its time zone, and the rows that are there lie by the old one"
                )));
            }
            if widens(self.session.as_mut(), from, to)? {
                continue;
            }
            let no = || {
                Ok(Err(format!("{change}: not every value of the one type is one of the other")))
            };
            if !reads_alike(from, to) {
                return no();
            }
            // An Enum that gets more values, where no part needs to be rewritten for it.
            if let Err(reason) = self.put_current(pair)? {
                return Ok(Err(reason));
            }
            let shadow = self.shadow.name(name).sql();
            let sql = format!("ALTER TABLE {shadow} MODIFY COLUMN {} {to}", quote_ident(old));
            let taken = self.shadow.attempt(&sql)?;
            if taken.is_err() || self.shadow.mutations(name)? > 0 {
                return no();
            }
        }
        if let Err(reason) = self.put_current(pair)? {
            return Ok(Err(reason));
        }
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

    /// Makes the shadow as the table is. Gives the server's reason where it does not make such a table any more.
    fn put_current(&mut self, pair: &Pair) -> Result<Result<(), String>, PlanError> {
        match self.shadow.put(&pair.name, &pair.current) {
            Ok(()) => Ok(Ok(())),
            Err(ClientError::Server { message, .. }) => {
                let message = self.shadow.unshadowed(&message);
                Ok(Err(format!("ClickHouse does not make the table as it is: {message}")))
            }
            Err(other) => Err(other.into()),
        }
    }

    /// Whether times of the one type are read in other time zones than those of the other.
    fn changes_zone(&mut self, from: &str, to: &str) -> Result<bool, PlanError> {
        #[derive(Deserialize)]
        struct Row {
            zone: String,
        }
        let (from, to) = (time_zones(from), time_zones(to));
        if from == to || from.len() != to.len() {
            return Ok(false);
        }
        let row = self.session.row::<Row>("SELECT serverTimeZone() AS zone")?;
        let zone = |zone: &Option<String>| zone.clone().unwrap_or_else(|| quote_string(&row.zone));
        Ok(!from.iter().map(zone).eq(to.iter().map(zone)))
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
        let view_name = format!("mv_{}_to_green", name.name);
        // Such as that of a migration whose journal was lost.
        let view_full = QualifiedName::new(&name.database, &view_name);
        if under_way.is_none() && self.current.table(&view_full).is_some() {
            return Ok(Err(Unsafe {
                reason: format!(
                    "there is a view {view_full} already, and nothing in the journal tells of its migration"
                ),
                instead: "where it is what a migration has left whose journal was lost, drop it, and then its table (…_green) and the tables of it in the database _teal",
            }));
        }
        let (blue, green) = (named(&name.name, current), named(&green_name, desired));
        let filled = desired.columns.iter().filter(|column| column.is_insertable());
        let items = filled
            .filter_map(|column| {
                let origin = origin(column, current, desired)?;
                // No row has a value of it, and a view that reads it refuses every INSERT (26.7).
                if origin.default.as_ref().is_some_and(|it| it.kind == DefaultKind::Ephemeral) {
                    return None;
                }
                let old = quote_ident(&origin.name);
                let new = quote_ident(&column.name);
                Some(if old == new { new } else { format!("{old} AS {new}") })
            })
            .collect::<Vec<_>>();
        let select = format!("SELECT {} FROM {}", items.join(", "), name.sql());
        let view = View {
            name: view_name,
            database: table.database.clone(),
            select: select.clone(),
            select_tables: vec![blue.reference()],
            target: Some(green.reference()),
            life_cycle: LifeCycle::FullyManaged,
            location: table.location.clone(),
        };
        let database = &self.options.database;
        let green_full = green.qualified(database);
        let no_shadow = |error: ClientError| match error {
            ClientError::Server { message, .. } => Ok(Unsafe {
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
            features: &self.features,
        };
        let planned = declared.plan(&mut self.shadow, &tree, &blue_shadow, &green_shadow)?;
        let version = table.version.as_ref().map_or_else(String::new, ToString::to_string);
        Ok(planned.map(|migration| Migration {
            table: table.name.clone(),
            from_version: version.clone(),
            to_version: version,
            in_place: true,
            green_computes: is_computed(pair),
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
}

fn is_alias(table: &Table, column: &str) -> bool {
    let mut columns = table.columns.iter().filter(|it| it.name == column);
    let kind = columns.find_map(|it| it.default.as_ref()).map(|default| default.kind);
    kind == Some(DefaultKind::Alias)
}

/// Whether the column is computed when it is read, and nothing that is stored is made of it.
fn lies_nowhere(table: &Table, column: &str) -> bool {
    let columns = table.columns.iter().flat_map(|it| {
        let default = it.default.as_ref().map(|default| &default.expression);
        default.into_iter().chain(&it.ttl)
    });
    let indexes = table.indexes.iter().map(|index| &index.expression);
    let projections = table.projections.iter().map(|projection| &projection.body);
    let mut texts = columns.chain(&table.ttl).chain(indexes).chain(projections);
    let names_it =
        |text: &String| names(text).map_or(true, |names| names.iter().any(|it| it == column));
    is_alias(table, column) && !texts.any(names_it)
}

/// What the rows that are there lie by, and is computed from the column: where such a value would be another one,
/// queries would not find the rows. The order of a column's own values stays.
fn computed_from(table: &Table, column: &str) -> Option<Field> {
    let names_it = |text: &str| names(text).is_ok_and(|names| names.iter().any(|it| it == column));
    let computes = |key: &str| {
        let items = sorting_key(key, |name| name == column).unwrap_or_default();
        items.iter().any(|item| names_it(item) && *item != quote_ident(column))
    };
    let keys = [
        (Field::PartitionKey, table.partition_by.clone()),
        (Field::PrimaryKey, table.primary_key.clone()),
        (Field::SortingKey, Some(table.order_by.join(", "))),
        (Field::SamplingKey, table.sample_by.clone()),
    ];
    let indexes = table.indexes.iter();
    let indexes = indexes.map(|it| (Field::Index(it.name.clone()), Some(it.expression.clone())));
    let mut keys = keys.into_iter().chain(indexes);
    let key = keys.find_map(|(field, key)| key.is_some_and(|key| computes(&key)).then_some(field));
    // An interval of days is an hour more or less in another time zone, which is no other time to live.
    let ttl = || {
        let ttl = table.ttl.as_deref().filter(|ttl| names_it(ttl))?;
        let mut names = names(ttl).ok()?.into_iter();
        let computes =
            |name: String| !name.starts_with("toInterval") && ttl.contains(&format!("{name}("));
        names.any(computes).then_some(Field::Ttl)
    };
    let projection = || {
        let computes = |body: &str| body.contains('(') && names_it(body);
        let found = table.projections.iter().find(|it| computes(&it.body))?;
        Some(Field::Projection(found.name.clone()))
    };
    key.or_else(projection).or_else(ttl)
}
