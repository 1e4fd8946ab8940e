//! Columns that a table is to compute where it has values stored: those go, as with a dropped column.

use teal_catalog::{CatalogColumn, CatalogTable, QueryTree};
use teal_schema::{Column, LifeCycle, Location, QualifiedName, Table, names_column};

use crate::Conflict;
use crate::change::Pair;
use crate::declared::Unsafe;
use crate::diff::origin;
use crate::planner::Planner;

/// Whether the values that `old` has stored are gone when it is `new`.
type Loses = fn(&Column, &Column) -> bool;

/// Whatever way the change takes.
pub(crate) const UNSTORED: Loses = |old, new| old.is_stored() && !new.is_stored();

/// By a copy, which computes a `MATERIALIZED` column anew. An `ALTER` to one keeps what is stored.
pub(crate) const RECOMPUTED: Loses = |old, new| old.is_insertable() && !new.is_insertable();

impl Planner<'_> {
    /// Refuses the change where values are lost that nobody has allowed to go.
    pub(crate) fn refuse_loss_of_values(
        &mut self,
        pair: &Pair,
        loses: Loses,
        declared_at: &Location,
    ) -> bool {
        let Pair { name, current, desired, .. } = pair;
        let mut differences = Vec::new();
        let mut columns = Vec::new();
        for new in &desired.columns {
            let Some(old) = origin(new, current, desired).filter(|old| loses(old, new)) else {
                continue;
            };
            let kind = new.default.as_ref().map_or("", |default| default.kind.keyword());
            if self.may_go(desired, name, &old.name) {
                self.plan.notes.push(format!(
                    "what column {} of {name} has stored goes, for it is to be {kind}",
                    old.name
                ));
                continue;
            }
            differences.push(format!(
                "column {} is to be {kind}, and what it has stored would be lost",
                old.name
            ));
            columns.push(format!("--allow-drop {}", self.column_argument(name, &old.name)));
        }
        if columns.is_empty() {
            return false;
        }
        let leave = match desired.life_cycle {
            LifeCycle::FullyManaged => {
                format!("; or let the values go: `{}`", columns.join(" "))
            }
            _ => " (the table is DELETION_PROTECTED)".to_owned(),
        };
        self.plan.conflicts.push(Conflict {
            object: name.clone(),
            declared_at: declared_at.clone(),
            differences,
            instead: format!("leave the column as it is, and compute one of another name{leave}"),
        });
        true
    }

    /// Whether a column of a table may be dropped.
    pub(crate) fn may_go(&self, table: &Table, name: &QualifiedName, column: &str) -> bool {
        let of = self.called(name);
        let mut allowed = self.options.allow_drop.iter();
        table.life_cycle == LifeCycle::FullyManaged
            && allowed.any(|pattern| names_column(pattern, &of, column))
    }
}

/// The new layout computes what the old one stores as it is given.
pub(crate) fn is_computed(pair: &Pair) -> bool {
    let Pair { current, desired, .. } = pair;
    let is_lost =
        |new: &Column| origin(new, current, desired).is_some_and(|old| RECOMPUTED(old, new));
    desired.columns.iter().any(is_lost)
}

/// A new version computes a column whose values the SELECT brings nowhere else.
pub(crate) fn refusal(
    tree: &QueryTree,
    blue: &CatalogTable,
    green: &CatalogTable,
) -> Option<Unsafe> {
    let is_of_blue =
        |column: &CatalogColumn| blue.insertable_columns().any(|it| it.name == column.name);
    let is_brought = |column: &CatalogColumn| {
        let is_read = tree.reads.iter().any(|(_, name)| *name == column.name);
        is_read && tree.columns.iter().all(|(name, _)| *name != column.name)
    };
    let mut computed = green.columns.iter().filter(|column| !column.is_insertable());
    let lost = computed
        .find(|column| tree.grouped.is_none() && is_of_blue(column) && !is_brought(column))?;
    Some(Unsafe {
        reason: format!(
            "the new version computes the column {} ({}), and what the old one has in it would be lost",
            lost.name, lost.default_kind
        ),
        instead: "select it as a column of another name; or, where its values may go, let the old version's model compute it too",
    })
}
