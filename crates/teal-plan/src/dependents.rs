//! Views that read a column which the plan takes away.

use std::collections::BTreeSet;

use teal_catalog::{CatalogTable, QueryTree, QueryTreeError, reading_views};
use teal_client::ClientError;
use teal_schema::{LifeCycle, Location, QualifiedName};

use crate::planner::{PlanError, Planner};
use crate::{Change, Conflict, Field, Operation};

/// A column that a view reads, and an operation drops or gives another name.
pub(crate) struct Loss {
    /// The operation's place in the plan.
    pub(crate) at: usize,
    pub(crate) table: QualifiedName,
    pub(crate) column: String,
    /// An ALTER gives it another name, which ClickHouse does whoever reads it.
    pub(crate) is_renamed_by_alter: bool,
    /// Where the table is declared.
    pub(crate) declared_at: Location,
}

impl Planner<'_> {
    /// What the operations that are planned so far take away from the view `view` as it is.
    pub(crate) fn loss(&mut self, view: &CatalogTable) -> Result<Option<Loss>, PlanError> {
        self.loss_of(&view.as_select)
    }

    fn loss_of(&mut self, select: &str) -> Result<Option<Loss>, PlanError> {
        let losses = self.losses();
        if losses.is_empty() {
            return Ok(None);
        }
        let Some(tree) = self.explain_now(select)? else {
            return Ok(None);
        };
        let is_read =
            |loss: &Loss| tree.reads.contains(&(loss.table.to_string(), loss.column.clone()));
        Ok(losses.into_iter().find(is_read))
    }

    /// Of the materialized views that no operation is about and no model declares, those in other databases too.
    pub(crate) fn refuse_losses_elsewhere(&mut self) -> Result<(), PlanError> {
        let tables = self.losses().into_iter().map(|loss| loss.table).collect::<BTreeSet<_>>();
        for table in tables {
            for view in reading_views(self.session.as_mut(), &table)? {
                let database = &self.options.database;
                let is_known = self.plan.operations.iter().any(|it| *it.object() == view.name)
                    || self.plan.conflicts.iter().any(|it| it.object == view.name)
                    || self.schema.views.iter().any(|it| {
                        it.life_cycle != LifeCycle::ExternallyManaged
                            && it.qualified(database) == view.name
                    });
                if !view.is_materialized || is_known {
                    continue;
                }
                if let Some(loss) = self.loss_of(&view.select)? {
                    self.refuse_loss(&view.name, &loss, &loss.declared_at);
                }
            }
        }
        Ok(())
    }

    fn losses(&self) -> Vec<Loss> {
        let losses = self.plan.operations.iter().enumerate().flat_map(|(at, operation)| {
            let (changes, by_alter, declared_at) = match operation {
                Operation::AlterTable { changes, declared_at, .. } => {
                    (changes.as_slice(), true, Some(declared_at))
                }
                Operation::Migrate { migration, declared_at, .. } => {
                    (migration.changes.as_slice(), false, Some(declared_at))
                }
                _ => ([].as_slice(), false, None),
            };
            changes.iter().filter_map(move |change| {
                let (column, is_renamed) = lost_column(change)?;
                Some(Loss {
                    at,
                    table: operation.object().clone(),
                    column: column.to_owned(),
                    is_renamed_by_alter: is_renamed && by_alter,
                    declared_at: declared_at?.clone(),
                })
            })
        });
        losses.collect()
    }

    /// The materialized view `view` would have every INSERT into the table fail, or ClickHouse lets the
    /// column not go.
    pub(crate) fn refuse_loss(&mut self, view: &QualifiedName, loss: &Loss, at: &Location) {
        self.plan.conflicts.push(Conflict {
            object: view.clone(),
            declared_at: at.clone(),
            differences: vec![format!(
                "it reads the column {} of {}, which the plan takes away",
                loss.column, loss.table
            )],
            instead: "let the table have its column under that name until a plan has changed the view's SELECT, or dropped the view".to_owned(),
        });
    }

    /// How the server reads a SELECT from the tables as they are; nothing where it does not work on them.
    pub(crate) fn explain_now(&mut self, select: &str) -> Result<Option<QueryTree>, PlanError> {
        match QueryTree::explain(self.session.as_mut(), select) {
            Ok(tree) => Ok(Some(tree)),
            Err(QueryTreeError::Client(ClientError::Server { .. })) => Ok(None),
            Err(QueryTreeError::Client(error)) => Err(error.into()),
            Err(error) => Err(PlanError::Shadow(error.into())),
        }
    }
}

/// The column that a change takes away, by its old name, and whether it gives it another one.
fn lost_column(change: &Change) -> Option<(&str, bool)> {
    match (&change.field, &change.from, &change.to) {
        (Field::Column(name), Some(_), None) => Some((name, false)),
        (Field::ColumnName(_), Some(old), _) => Some((old, true)),
        _ => None,
    }
}
