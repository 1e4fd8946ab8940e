//! Where the rows of an INSERT go on: by the materialized views of its table into others.
//!
//! Where they come back to a table that they went through, ClickHouse refuses every INSERT into it (306,
//! `TOO_DEEP_RECURSION`), and accepts the view that closes the circle (26.7, 26.9).

use std::collections::BTreeSet;

use teal_schema::{Location, QualifiedName, View, read_create, rewrite_table_references};

use crate::planner::{Planner, source};
use crate::{Conflict, Operation};

/// What a materialized view forwards.
struct Flow {
    view: QualifiedName,
    /// In the order of its SELECT: INSERTs into the first fire it.
    reads: Vec<QualifiedName>,
    writes: QualifiedName,
    /// Where it is declared, if the plan is to make it.
    planned: Option<Location>,
}

impl Planner<'_> {
    /// Refuses views whose tables are gone, and those by which rows would come back to where they came from, or
    /// twice to where a migration brings them.
    pub(crate) fn refuse_flows(&mut self) {
        let flows = self.flows();
        let conflicts = flows.iter().filter_map(|flow| {
            let declared_at = flow.planned.clone()?;
            let (differs, instead) = self
                .beside_a_migration(flow)
                .or_else(|| self.in_a_circle(flow, &flows))
                .or_else(|| self.of_a_dropped_table(flow))?;
            let object = flow.view.clone();
            Some(Conflict { object, declared_at, differences: vec![differs], instead })
        });
        let conflicts = conflicts.collect::<Vec<_>>();
        self.plan.conflicts.extend(conflicts);
    }

    /// Refuses a second view that would bring rows to the same new version.
    pub(crate) fn refuse_second_view(&mut self, view: &View, name: &QualifiedName) -> bool {
        let database = &self.options.database;
        let Some(green) = self.schema.target(view).map(|green| green.qualified(database)) else {
            return false;
        };
        let under_way = self.history.migrations.iter().rev();
        let by_other = under_way
            .filter(|past| past.green == green && !past.is_over() && past.view != *name)
            .map(|past| {
                let instead = format!(
                    "give the view that name until the migration is over (`teal cleanup {0}`); or `teal abort {0}`, and begin again with this model",
                    green.name
                );
                (past.view.clone(), instead)
            })
            .next();
        let declared = self.schema.views.iter().take_while(|other| *other != view);
        let beside_other = declared
            .filter(|other| source(self.schema, other).is_some() && self.is_migration(other))
            .find(|other| {
                self.schema.target(other).is_some_and(|it| it.qualified(database) == green)
            })
            .map(|other| {
                let instead = "one view whose SELECT gives all rows of the new version".to_owned();
                (other.qualified(database), instead)
            });
        let Some((other, instead)) = by_other.or(beside_other) else {
            return false;
        };
        self.plan.conflicts.push(Conflict {
            object: name.clone(),
            declared_at: view.location.clone(),
            differences: vec![format!("the migration into {green} is that of view {other}")],
            instead,
        });
        true
    }

    /// What forwards rows when the plan is carried out.
    fn flows(&self) -> Vec<Flow> {
        let mut flows = Vec::new();
        let mut replaced = BTreeSet::new();
        for operation in &self.plan.operations {
            let flow = match operation {
                Operation::CreateView { view, statement, declared_at }
                | Operation::ChangeView { view, statement, declared_at, .. } => {
                    self.flow(view, &statement.sql, Some(declared_at))
                }
                Operation::Migrate { migration, declared_at, .. } => Some(Flow {
                    view: migration.view.clone(),
                    reads: vec![self.behind(&migration.blue)],
                    writes: self.behind(&migration.green),
                    planned: Some(declared_at.clone()),
                }),
                _ => None,
            };
            replaced.extend(match operation {
                Operation::Migrate { migration, .. } => Some(&migration.view),
                other => Some(other.object()),
            });
            flows.extend(flow);
        }
        let there = self.current.tables().filter(|table| table.is_view());
        let kept = there.map(|view| (view.qualified(), &view.create_table_query));
        let kept = kept.filter(|(name, _)| !replaced.contains(name));
        flows.extend(kept.filter_map(|(name, sql)| self.flow(&name, sql, None)));
        flows
    }

    fn flow(&self, view: &QualifiedName, sql: &str, planned: Option<&Location>) -> Option<Flow> {
        let create = read_create(sql).ok()??;
        let (database, name) = create.target?;
        let mut reads = Vec::new();
        rewrite_table_references(create.select?, |table| {
            let of = table.database.as_deref().unwrap_or(&view.database);
            // Behind IN a column may be meant.
            if !table.after_in {
                reads.push(self.behind(&QualifiedName::new(of, &table.name)));
            }
            None
        })
        .ok()?;
        let writes = QualifiedName::new(database.as_deref().unwrap_or(&view.database), name);
        Some(Flow {
            view: view.clone(),
            reads,
            writes: self.behind(&writes),
            planned: planned.cloned(),
        })
    }

    /// The table that a name means, also where it is that of an alias.
    fn behind(&self, name: &QualifiedName) -> QualifiedName {
        let table = self.current.tables().map(|table| table.qualified());
        let mut table = table.filter(|table| self.current.is_alias_of(name, table));
        table.next().unwrap_or_else(|| name.clone())
    }

    /// A view between the two tables of a migration that is not over.
    fn beside_a_migration(&self, flow: &Flow) -> Option<(String, String)> {
        let past = self.history.migrations.iter().rev().find(|past| {
            let is_one = |name: &QualifiedName| [&past.blue, &past.green].contains(&name);
            !past.is_over()
                && past.view != flow.view
                && is_one(&flow.writes)
                && flow.reads.first().is_some_and(|read| is_one(read) && *read != flow.writes)
        })?;
        let green = &past.green.name;
        Some((
            format!(
                "it writes to {}, which the migration {} keeps in step with the table that it reads: INSERTs would fail, or rows come twice",
                flow.writes, past.id
            ),
            format!(
                "`teal rollback {green}` is the way back; or `teal cleanup {green}`, and declare a further version, with a view from the newer one to it"
            ),
        ))
    }

    fn in_a_circle(&self, flow: &Flow, flows: &[Flow]) -> Option<(String, String)> {
        let mut reached = BTreeSet::from([&flow.writes]);
        let mut by = Vec::new();
        loop {
            let next = flows.iter().find(|it| {
                !reached.contains(&it.writes)
                    && it.reads.first().is_some_and(|read| reached.contains(read))
            });
            match next {
                Some(next) => {
                    reached.insert(&next.writes);
                    by.push(&next.view);
                }
                None => break,
            }
        }
        let back = flow.reads.first().filter(|read| reached.contains(read))?;
        let by = match by.as_slice() {
            [] => String::new(),
            by => format!(
                " (by {})",
                by.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
            ),
        };
        Some((
            format!(
                "rows that are written to {back} would come back to it{by}, and ClickHouse would refuse every INSERT, or write rows twice"
            ),
            "leave out one of these views".to_owned(),
        ))
    }

    /// A table that a cleanup has dropped, and that its model is still there of.
    fn of_a_dropped_table(&self, flow: &Flow) -> Option<(String, String)> {
        let is_made = |name: &QualifiedName| {
            self.plan.operations.iter().any(|operation| match operation {
                Operation::Migrate { migration, .. } => migration.green == *name,
                other => other.object() == name,
            })
        };
        let gone = flow.reads.iter().chain([&flow.writes]).find(|name| {
            let past = self.history.of(name).filter(|past| past.is_over() && past.is_blue(name));
            past.is_some() && self.current.table(name).is_none() && !is_made(name)
        })?;
        let past = self.history.of(gone)?;
        Some((
            format!("{gone} was dropped at the end of the migration {}", past.id),
            format!("name a table that is there, as {}", past.green),
        ))
    }
}
