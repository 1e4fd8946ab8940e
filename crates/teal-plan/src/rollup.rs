//! A SELECT with GROUP BY into an engine that merges rows: the materialized-view rollup. The view groups
//! the rows of each INSERT by itself, and the backfill those of each chunk, so green's merges must make
//! the same of the pieces as the SELECT would make of the whole.

use teal_catalog::{Grouped, QueryTree};

use crate::{CopyColumn, Fold};

/// Why the pieces would not add up to the whole.
pub(crate) fn why_not(
    tree: &QueryTree,
    grouped: &[Grouped],
    fold: &Fold,
    columns: &[CopyColumn],
) -> Option<String> {
    let Fold::Merge { key, merged, .. } = fold else {
        return Some(
            "only a SummingMergeTree or an AggregatingMergeTree puts groups together".to_owned(),
        );
    };
    for ((name, _), made_by) in tree.columns.iter().zip(grouped) {
        let is_key = key.contains(name);
        let merged = merged.iter().find(|merged| merged.column == *name);
        let reason = match (made_by, merged) {
            (Grouped::Key, _) if is_key => None,
            (Grouped::Aggregate(_) | Grouped::More, _) if is_key => Some(
                "it is in green's sorting key, and what is aggregated differs from one piece to the next",
            ),
            (_, None) => None,
            (Grouped::Key, Some(_)) => {
                Some("green would add up or merge it, and the SELECT groups by it")
            }
            (Grouped::More, Some(_)) => Some(
                "something is around its aggregate function; leave that to those who read the table",
            ),
            (Grouped::Aggregate(made), Some(merged)) => {
                match puts_together(
                    made,
                    &merged.function,
                    columns.iter().find(|c| c.name == *name),
                ) {
                    true => None,
                    false => {
                        return Some(format!(
                            "column {name}: green merges by {} what the SELECT makes by {made}",
                            merged.function
                        ));
                    }
                }
            }
        };
        if let Some(reason) = reason {
            return Some(format!("column {name}: {reason}"));
        }
    }
    None
}

/// The aggregate functions that give of no row at all what changes nothing.
const ADDITIVE: [&str; 6] =
    ["sum", "sumWithOverflow", "count", "groupBitOr", "groupBitXor", "groupBitAnd"];

/// Whether what the SELECT gives of no row changes no other value: NULL, or for `max` the least value of the type.
fn gives_nothing(bare: &str, column: &CopyColumn) -> bool {
    let given = column.from_type.as_deref().unwrap_or(&column.data_type);
    let least_is_default = given.starts_with("UInt") || given.starts_with("DateTime");
    given.starts_with("Nullable(") || bare == "max" && (least_is_default || given == "Date")
}

/// Whether `merge` makes of the values that `made` gives of some rows each what it gives of all of them.
fn puts_together(made: &str, merge: &str, column: Option<&CopyColumn>) -> bool {
    let bare = match made.strip_suffix("If") {
        // Of no row at all, these give what changes no other value; `min` and others give 0, unless they give NULL.
        Some(bare) if ADDITIVE.contains(&bare) => bare,
        Some(bare) if column.is_some_and(|column| gives_nothing(bare, column)) => bare,
        _ => made,
    };
    if merge.contains("MergeState") {
        // The type says of which function the state is; it must be green's own.
        return made.contains("State") && column.is_some_and(|column| column.from_type.is_none());
    }
    match merge {
        "sum" | "sumWithOverflow" => matches!(bare, "sum" | "sumWithOverflow" | "count"),
        _ => bare == merge,
    }
}
