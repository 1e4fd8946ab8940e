//! Where the rows of an INSERT go on: by the materialized views of its table into others. And in which order they
//! are made.
//!
//! Where they come back to a table that they went through, ClickHouse refuses every INSERT into it (306,
//! `TOO_DEEP_RECURSION`), and accepts the view that closes the circle (26.7, 26.9).

use std::collections::{BTreeMap, BTreeSet};

use teal_catalog::{QueryTree, fired_views, reads};
use teal_schema::{
    Location, QualifiedName, View, read_create, rewrite_table_references, shell_word,
};

use crate::planner::{PlanError, Planner, source};
use crate::preflight::Preflight;
use crate::{Conflict, Operation};

/// What a materialized view forwards.
struct Flow {
    view: QualifiedName,
    select: String,
    reads: Vec<Read>,
    /// The table whose INSERTs fire it, where the server tells it.
    fired_by: Option<QualifiedName>,
    writes: QualifiedName,
    /// Where it is declared, if the plan is to make it.
    planned: Option<Location>,
}

struct Read {
    /// As the SELECT names it.
    name: QualifiedName,
    /// The table, also where that is an alias of it.
    table: QualifiedName,
}

/// What is wrong with a view, and what to do.
type Wrong = (String, String);

impl Planner<'_> {
    /// A migration makes the table of the new version, and views that name it come behind. Others do not wait for
    /// the copy.
    pub(crate) fn put_views_behind_their_tables(&mut self) {
        let operations = std::mem::take(&mut self.plan.operations);
        let green = |operation: &Operation| match operation {
            Operation::Migrate { migration, .. } => Some(migration.green.clone()),
            _ => None,
        };
        let mut late = operations.iter().filter_map(green).collect::<BTreeSet<_>>();
        late.retain(|green| self.current.table(green).is_none());
        // What reads a view that comes later comes later.
        loop {
            let names_late = |of: &&Operation| {
                late.iter().any(|name| names(of, name)) && !late.contains(of.object())
            };
            let Some(next) = operations.iter().find(names_late) else { break };
            late.insert(next.object().clone());
        }
        let is_late = |of: &Operation| is_view(of) && late.contains(of.object());
        let (behind, before): (Vec<_>, Vec<_>) = operations.into_iter().partition(is_late);
        self.plan.operations = before.into_iter().chain(behind).collect();
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
                    shell_word(&green.name)
                );
                (past.view.clone(), instead)
            })
            .next();
        let declared = self.schema.views.iter().take_while(|other| *other != view);
        let beside_other = declared
            .filter(|other| {
                source(self.schema, other, &self.options.database).is_some()
                    && self.is_migration(other)
            })
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

    /// The table that fires each planned view that reads more than one, as the server tells it of the models.
    pub(crate) fn fired_by(&mut self) -> Result<BTreeMap<QualifiedName, String>, PlanError> {
        let mut fired_by = BTreeMap::new();
        for view in self.schema.views.iter().filter(|view| view.target.is_some()) {
            let name = view.qualified(&self.options.database);
            let is_made = self.plan.operations.iter().any(|operation| match operation {
                Operation::Migrate { migration, .. } => migration.view == name,
                other => is_view(other) && *other.object() == name,
            });
            if !is_made {
                continue;
            }
            let mut read = 0;
            rewrite_table_references(&view.select, |table| {
                read += usize::from(!table.after_in);
                None
            })
            .map_err(|error| PlanError::unreadable(view, &error))?;
            if read != 1
                && let Some(table) = self.shadow.explain(view)?.fired_by
            {
                fired_by.insert(name, table);
            }
        }
        Ok(fired_by)
    }
}

impl Preflight<'_> {
    /// Refuses views whose tables are gone, and those by which rows would come back to where they came from, or
    /// twice to where a migration brings them.
    pub(crate) fn look_at_flows(&mut self) -> Result<(), PlanError> {
        let mut flows = self.flows()?;
        let is_planned = |flow: &&Flow| flow.planned.is_some();
        let is_migration = |it: &Operation| matches!(it, Operation::Migrate { .. });
        let has_migrations = self.operations.iter().any(|it| is_migration(it));
        // Most views read only what fires them, and the server need not be asked.
        let may_be_wrong = flows.iter().filter(is_planned).any(|flow| {
            let any = |read: &Read| is_in_circle(flow, &read.table, &flows, false).is_some();
            flow.reads.iter().any(any)
                || self.history.is_used(&flow.writes)
                || flow.reads.iter().any(|read| self.history.is_used(&read.table))
                || has_migrations
        });
        if may_be_wrong {
            for flow in &mut flows {
                flow.fired_by = self.fires(flow);
            }
        }
        let conflicts = flows.iter().filter(is_planned).filter_map(|flow| {
            let (differs, instead) = self
                .beside_a_migration(flow)
                .or_else(|| self.of_both_versions(flow, &flows))
                .or_else(|| in_a_circle(flow, &flows))
                .or_else(|| self.of_a_dropped_table(flow))?;
            let (object, declared_at) = (flow.view.clone(), flow.planned.clone()?);
            Some(Conflict { object, declared_at, differences: vec![differs], instead })
        });
        let mut conflicts = conflicts.collect::<Vec<_>>();
        conflicts.extend(self.of_a_second_name()?);
        self.conflicts.extend(conflicts);
        Ok(())
    }

    /// A view that the plan makes beside one that forwards the same rows: they would come twice, and where the plan
    /// drops the other one, they would do so until then.
    fn of_a_second_name(&mut self) -> Result<Vec<Conflict>, PlanError> {
        let made = self.operations.iter().filter_map(|operation| match operation {
            Operation::CreateView { view, statement, declared_at } => {
                Some((self.flow(view, &statement.after, None)?, declared_at.clone()))
            }
            _ => None,
        });
        let made = made.collect::<Vec<_>>();
        if made.is_empty() {
            return Ok(Vec::new());
        }
        let there = fired_views(self.session)?;
        let there = there.iter().filter_map(|(name, sql)| self.flow(name, sql, None));
        let there = there.collect::<Vec<_>>();
        let second = made.into_iter().filter_map(|(flow, declared_at)| {
            let is_same = |it: &&Flow| it.writes == flow.writes && it.select == flow.select;
            let first = there.iter().find(is_same)?;
            let instead = format!(
                "keep that name; or `RENAME TABLE {} TO {}`, by which no INSERT misses the view, and make the plan anew",
                first.view.sql(),
                flow.view.sql()
            );
            Some(Conflict {
                object: flow.view,
                declared_at,
                differences: vec![format!(
                    "the view {} brings the same rows to {}: they would come there twice",
                    first.view, flow.writes
                )],
                instead,
            })
        });
        Ok(second.collect())
    }

    /// What forwards rows when the plan is carried out, in whatever database.
    fn flows(&mut self) -> Result<Vec<Flow>, PlanError> {
        let there = fired_views(self.session)?;
        let mut flows = Vec::new();
        let mut replaced = BTreeSet::new();
        for operation in &self.operations {
            let flow = match operation {
                Operation::CreateView { view, statement, declared_at } => {
                    self.flow(view, &statement.sql, Some(declared_at))
                }
                Operation::ChangeView { view, statement, declared_at, .. } => {
                    self.flow(view, &statement.after, Some(declared_at))
                }
                Operation::Migrate { migration, declared_at, .. } => {
                    self.flow(&migration.view, &migration.create_view, Some(declared_at))
                }
                _ => None,
            };
            replaced.insert(match operation {
                Operation::Migrate { migration, .. } => &migration.view,
                other => other.object(),
            });
            flows.extend(flow);
        }
        let kept = there.iter().filter(|(name, _)| !replaced.contains(name));
        flows.extend(kept.filter_map(|(name, sql)| self.flow(name, sql, None)));
        Ok(flows)
    }

    fn flow(&self, view: &QualifiedName, sql: &str, planned: Option<&Location>) -> Option<Flow> {
        let create = read_create(sql).ok()??;
        let (database, name) = create.target?;
        let select = create.select?;
        let mut reads = Vec::new();
        rewrite_table_references(select, |table| {
            let of = table.database.as_deref().unwrap_or(&view.database);
            let name = QualifiedName::new(of, &table.name);
            // Behind IN a column may be meant.
            if !table.after_in {
                reads.push(Read { table: self.behind(&name), name });
            }
            None
        })
        .ok()?;
        let writes = QualifiedName::new(database.as_deref().unwrap_or(&view.database), name);
        let fired_by = match reads.as_slice() {
            [only] => Some(only.table.clone()),
            _ => None,
        };
        Some(Flow {
            view: view.clone(),
            select: select.to_owned(),
            reads,
            fired_by,
            writes: self.behind(&writes),
            planned: planned.cloned(),
        })
    }

    fn fires(&mut self, flow: &Flow) -> Option<QualifiedName> {
        if flow.fired_by.is_some() {
            return flow.fired_by.clone();
        }
        let planned = self.fired_by.get(&flow.view).filter(|_| flow.planned.is_some());
        let named = match planned {
            Some(named) => named.clone(),
            // Of a view that cannot be explained, nothing is said.
            None => QueryTree::explain(self.session, &flow.select).ok()?.fired_by?,
        };
        let read = flow.reads.iter().find(|read| read.name.to_string() == named);
        read.map(|read| read.table.clone())
    }

    /// The table that a name means, also where it is that of an alias.
    fn behind(&self, name: &QualifiedName) -> QualifiedName {
        let table = self.current.tables().map(|table| table.qualified());
        let mut table = table.filter(|table| self.current.is_alias_of(name, table));
        table.next().unwrap_or_else(|| name.clone())
    }

    /// A view between the two tables of a migration that is not over.
    fn beside_a_migration(&self, flow: &Flow) -> Option<Wrong> {
        let fired_by = flow.fired_by.as_ref()?;
        let past = self.history.migrations.iter().rev().find(|past| {
            let is_one = |name: &QualifiedName| [&past.blue, &past.green].contains(&name);
            !past.is_over()
                && past.view != flow.view
                && is_one(&flow.writes)
                && is_one(fired_by)
                && *fired_by != flow.writes
        })?;
        let green = shell_word(&past.green.name);
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

    /// One view takes the rows of the old version and another one those of the new to the same table. While a view
    /// runs between the versions, whichever way, each row takes both.
    fn of_both_versions(&self, flow: &Flow, flows: &[Flow]) -> Option<Wrong> {
        let fired_by = flow.fired_by.as_ref()?;
        let begun = self.history.migrations.iter().filter(|past| !past.is_over());
        let begun = begun.map(|past| (&past.blue, &past.green, &past.view));
        let planned = self.operations.iter().filter_map(|operation| match operation {
            Operation::Migrate { migration, .. } => {
                Some((&migration.blue, &migration.green, &migration.view))
            }
            _ => None,
        });
        let (other, own) = begun.chain(planned).find_map(|(blue, green, view)| {
            let other = match fired_by {
                it if it == blue => green,
                it if it == green => blue,
                _ => return None,
            };
            (flow.view != *view).then_some((other, view))
        })?;
        let beside = flows.iter().find(|it| {
            it.view != flow.view
                && it.view != *own
                && it.writes == flow.writes
                && it.fired_by.as_ref() == Some(other)
        })?;
        Some((
            format!(
                "it brings the rows of {fired_by} to {}, as {} does with those of {other}: the migration's view brings them from the one to the other, so they would come there twice",
                flow.writes, beside.view
            ),
            format!(
                "one view, {}; after the cutover let its SELECT read the new version, which is changed in place and misses no INSERT",
                beside.view.name
            ),
        ))
    }

    /// A table that a cleanup has dropped, and that its model is still there of.
    fn of_a_dropped_table(&self, flow: &Flow) -> Option<Wrong> {
        let is_made = |name: &QualifiedName| {
            self.operations.iter().any(|operation| match operation {
                Operation::Migrate { migration, .. } => migration.green == *name,
                other => other.object() == name,
            })
        };
        let gone =
            flow.reads.iter().map(|read| &read.table).chain([&flow.writes]).find(|name| {
                let past =
                    self.history.of(name).filter(|past| past.is_over() && past.is_blue(name));
                past.is_some() && self.current.table(name).is_none() && !is_made(name)
            })?;
        let past = self.history.of(gone)?;
        Some((
            format!("{gone} was dropped at the end of the migration {}", past.id),
            format!("name a table that is there, as {}", past.green),
        ))
    }
}

fn is_view(operation: &Operation) -> bool {
    matches!(operation, Operation::CreateView { .. } | Operation::ChangeView { .. })
}

/// Whether the view that the operation leaves reads the table, or writes to it.
fn names(operation: &Operation, table: &QualifiedName) -> bool {
    let (view, declared) = match operation {
        Operation::CreateView { view, statement, .. } => (view, &statement.sql),
        Operation::ChangeView { view, statement, .. } => (view, &statement.after),
        _ => return false,
    };
    let Ok(Some(create)) = read_create(declared) else { return false };
    let is_target = |(of, name): (Option<String>, String)| {
        QualifiedName::new(of.as_deref().unwrap_or(&view.database), name) == *table
    };
    create.target.is_some_and(is_target)
        || create.select.is_some_and(|select| reads(select, &view.database, table))
}

fn in_a_circle(flow: &Flow, flows: &[Flow]) -> Option<Wrong> {
    let back = flow.fired_by.as_ref()?;
    let by = match is_in_circle(flow, back, flows, true)?.as_slice() {
        [] => String::new(),
        by => {
            format!(" (by {})", by.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
        }
    };
    Some((
        format!(
            "rows that are written to {back} would come back to it{by}, and ClickHouse would refuse every INSERT, or write rows twice"
        ),
        "leave out one of these views".to_owned(),
    ))
}

/// By which views rows come back to `back` that the flow takes from there. Where it is not `surely`, by any table
/// that they read.
fn is_in_circle<'f>(
    flow: &Flow,
    back: &QualifiedName,
    flows: &'f [Flow],
    surely: bool,
) -> Option<Vec<&'f QualifiedName>> {
    let mut reached = BTreeSet::from([&flow.writes]);
    let mut by = Vec::new();
    let is_next = |it: &&Flow, reached: &BTreeSet<&QualifiedName>| {
        !reached.contains(&it.writes)
            && match surely {
                true => it.fired_by.as_ref().is_some_and(|table| reached.contains(table)),
                false => it.reads.iter().any(|read| reached.contains(&read.table)),
            }
    };
    while let Some(next) = flows.iter().find(|it| is_next(it, &reached)) {
        reached.insert(&next.writes);
        by.push(&next.view);
    }
    reached.contains(back).then_some(by)
}
