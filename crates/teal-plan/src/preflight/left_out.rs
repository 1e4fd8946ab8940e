//! What the new version of a table would not have of the old one.

use teal_catalog::{CatalogColumn, QueryTree, QueryTreeError};
use teal_client::ClientError;
use teal_schema::{QualifiedName, names};

use super::Preflight;
use crate::older::view_from;
use crate::planner::PlanError;
use crate::{Migration, Operation};

impl Preflight<'_> {
    /// A new version that no migration fills, beside an older one with rows.
    pub(super) fn look_at_older(&mut self) {
        let created = |operation: &&Operation| match operation {
            Operation::CreateTable { table, beside: Some(old), .. } => {
                Some((table.clone(), old.clone()))
            }
            _ => None,
        };
        for (new, old) in self.operations.iter().filter_map(created).collect::<Vec<_>>() {
            let rows = self.current.table(&old).map_or(0, |table| table.rows);
            if rows > 0 {
                let says = format!(
                    "it begins empty: no view brings over the {rows} rows of its older version {old}"
                );
                let view = view_from(&old, &new);
                let fix = format!("where they are to be in it, declare a view before: {view}");
                self.found(&new, false, says, fix);
            }
        }
    }

    /// Columns of the old version that the SELECT does not read: the cleanup drops their values with the table.
    pub(super) fn look_at_left_out(&mut self, migration: &Migration) -> Result<(), PlanError> {
        // What one in place leaves out, `--allow-drop` has named.
        if migration.in_place {
            return Ok(());
        }
        let blue = &migration.blue;
        let tree = match QueryTree::explain(self.session, &migration.select) {
            Ok(tree) => tree,
            // It reads a column that an operation before makes.
            Err(QueryTreeError::Client(ClientError::Server { .. })) => return Ok(()),
            Err(QueryTreeError::Client(error)) => return Err(error.into()),
            Err(error @ QueryTreeError::Unreadable { .. }) => {
                return Err(teal_catalog::ShadowError::from(error).into());
            }
        };
        let Some(table) = self.current.table(blue) else {
            return Ok(());
        };
        let made = names(&migration.create_green).unwrap_or_default();
        let is_lost =
            |column: &&CatalogColumn| !brings(&tree, blue, column, made.contains(&column.name));
        let lost = table.columns.iter().filter(is_lost);
        let lost = lost.map(|column| column.name.as_str()).collect::<Vec<_>>();
        if !lost.is_empty() {
            let says = format!(
                "the SELECT of {} does not read {}: {} would not have the values, and `teal cleanup` drops them with the old table",
                migration.view,
                lost.join(", "),
                migration.green
            );
            let fix =
                "where they are to stay, select them into columns of the new version".to_owned();
            self.found(blue, false, says, fix);
        }
        Ok(())
    }
}

/// Whether the values of a column, if it has any, are not lost with the table: the SELECT reads the column, or an
/// element of it. One that is computed has a successor where the new version has its name (`is_there`).
pub(crate) fn brings(
    tree: &QueryTree,
    table: &QualifiedName,
    column: &CatalogColumn,
    is_there: bool,
) -> bool {
    let table = table.to_string();
    let is_read = tree.reads.iter().any(|(of, name)| {
        let rest = name.strip_prefix(&column.name);
        *of == table && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    });
    is_read || !column.is_stored() || (is_there && !column.is_insertable())
}
