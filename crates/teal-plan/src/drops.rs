//! What is there and in no model.

use serde::Deserialize;
use teal_schema::{QualifiedName, matches};

use crate::planner::{PlanError, Planner};
use crate::{Operation, PastMigration};

/// Names that a note shows.
const SHOWN: usize = 20;

impl Planner<'_> {
    /// What is there and in no model: dropped where that was allowed by name, else mentioned.
    pub(crate) fn plan_drops(&mut self) -> Result<(), PlanError> {
        let database = &self.options.database;
        let tables = self.schema.tables.iter().map(|table| table.qualified(database));
        let views = self.schema.views.iter().map(|view| view.qualified(database));
        let declared = tables.chain(views).collect::<Vec<_>>();
        let mut left = Vec::new();
        let mut drops = Vec::new();
        let there = self.current.tables().filter(|table| table.database == *database);
        for table in there.cloned().collect::<Vec<_>>() {
            let name = table.qualified();
            let is_inner = table.name.starts_with(".inner");
            let is_known = declared.contains(&name) || self.is_logical_name(&name);
            if is_known || is_inner || self.history.has_parked(&name) {
                continue;
            }
            // As long as it is not over, and as long as a model declares what goes by this name since.
            let is_of = |past: &PastMigration| {
                let tables = [&past.blue, &past.declared_blue, &past.green];
                !past.is_over() || tables.into_iter().any(|table| declared.contains(table))
            };
            if self.history.of(&name).is_some_and(is_of) {
                continue;
            }
            let loss = match table.is_view() {
                true => self.loss(&table)?,
                false => None,
            };
            if !self.may_be_dropped(&table.name) {
                left.push(table.name.clone());
                if let Some(loss) = loss.filter(|_| table.engine == "MaterializedView") {
                    self.refuse_loss(&name, &loss, &loss.declared_at);
                }
                continue;
            }
            let kind = match table.engine.as_str() {
                _ if table.is_view() => "VIEW",
                "Dictionary" if table.create_table_query.starts_with("CREATE DICTIONARY") => {
                    "DICTIONARY"
                }
                _ => "TABLE",
            };
            let operation = Operation::Drop {
                sql: format!("DROP {kind} {}", name.sql()),
                object: name,
                before: table.create_table_query.clone(),
                data: table.data().to_owned(),
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
        let drops = drops.into_iter().map(|(_, operation)| operation).collect();
        let drops = self.needed_last(drops)?;
        self.plan.operations.extend(drops);
        self.refuse_losses_elsewhere()?;
        if !left.is_empty() {
            let named = match left.get(SHOWN..) {
                Some(more) if !more.is_empty() => {
                    format!("{} and {} more", left[..SHOWN].join(", "), more.len())
                }
                _ => left.join(", "),
            };
            self.plan.notes.push(format!(
                "in no model of {database}, and left alone: {named}; `teal pull` writes models of tables and views"
            ));
        }
        Ok(())
    }

    /// What a dictionary is loaded from, say, is not dropped before it (`HAVE_DEPENDENT_OBJECTS`, 26.7).
    fn needed_last(&mut self, mut drops: Vec<Operation>) -> Result<Vec<Operation>, PlanError> {
        #[derive(Deserialize)]
        struct Row {
            database: String,
            name: String,
            needs: Vec<(String, String)>,
        }
        if drops.len() < 2 {
            return Ok(drops);
        }
        let names = drops.iter().map(Operation::object).collect::<Vec<_>>();
        let rows = self.session.rows::<Row>(&format!(
            "SELECT database, name, \
                 arrayZip(loading_dependencies_database, loading_dependencies_table) AS needs \
             FROM system.tables WHERE {} AND notEmpty(loading_dependencies_table)",
            QualifiedName::condition_of_any(&names, "name")
        ))?;
        let needs = |by: &Operation, name: &QualifiedName| {
            let by = by.object();
            by != name
                && rows.iter().any(|row| {
                    (&row.database, &row.name) == (&by.database, &by.name)
                        && row.needs.contains(&(name.database.clone(), name.name.clone()))
                })
        };
        let mut ordered = Vec::with_capacity(drops.len());
        while !drops.is_empty() {
            let is_free = |drop: &Operation| !drops.iter().any(|other| needs(other, drop.object()));
            let next = drops.iter().position(is_free).unwrap_or(0);
            ordered.push(drops.remove(next));
        }
        Ok(ordered)
    }

    /// Whether `--allow-drop` names the table or view.
    pub(crate) fn may_be_dropped(&self, name: &str) -> bool {
        self.options.allow_drop.iter().any(|pattern| matches(pattern, name))
    }
}
