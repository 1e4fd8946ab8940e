//! Engines that go by the order in which rows came: a `ReplacingMergeTree` without a version keeps the last
//! row of a key, and in a `CollapsingMergeTree` a row cancels one before it.
//!
//! A part of blue has its rows in the order of blue's sorting key, and equal ones in that of their
//! insertion; of two parts of a partition, the one with the later block came later. So the order of rows
//! is known, and a copy can keep it, if rows that green folds into one are equal by blue's sorting key and
//! lie in one partition of blue. Of others it has been lost already.

use std::collections::BTreeSet;

use teal_catalog::{CatalogTable, QueryTree};
use teal_schema::{TokenError, names, sorting_key};

use crate::declared::{Declared, has_on, numbers_rows};
use crate::{CopyColumn, Fold, fold::unquoted};

/// How green folds rows, if a rewrite can keep their order; else why it cannot, where it is not the engine.
pub(crate) fn fold(
    tree: &QueryTree,
    declared: &Declared<'_>,
    blue: &CatalogTable,
    green: &CatalogTable,
    columns: &[CopyColumn],
) -> Result<Fold, Option<String>> {
    let unreadable = |error: TokenError| Some(error.to_string());
    let key = items(green).map_err(unreadable)?;
    let sorted_by = sorting_key(&green.sorting_key, |name| is_column(green, name));
    let engine = &declared.green.engine;
    let sign = match (engine.name.as_str(), engine.arguments.as_slice()) {
        // All rows of a partition would be one.
        _ if sorted_by.map_err(unreadable)?.is_empty() => return Err(None),
        ("ReplacingMergeTree", []) => None,
        ("CollapsingMergeTree", [sign]) => Some(unquoted(sign)),
        _ => return Err(None),
    };
    if !tree.is_identity {
        return Err(Some("the SELECT does not give blue's rows as they are".to_owned()));
    }
    let is_copied =
        |name: &str| columns.iter().any(|column| column.name == name && column.from_type.is_none());
    if let Some(name) = sign.iter().find(|name| !is_copied(name)) {
        return Err(Some(format!("the SELECT does not fill column {name}")));
    }
    // Only an ordinary `MergeTree` is written so: blue's rows lie otherwise than the view gets them.
    if has_on(blue, declared.features, "optimize_row_order").map_err(unreadable)? {
        return Err(Some(
            "blue's setting optimize_row_order moves rows of equal keys, so that blue does not know which of them came first"
                .to_owned(),
        ));
    }
    // What is put behind the history gets other blocks than its merged parts store.
    if numbers_rows(green, declared.features) {
        return Err(Some(
            "green numbers its rows (enable_block_number_column), and in the history's order others would have the same numbers"
                .to_owned(),
        ));
    }
    let mut plain = BTreeSet::new();
    for item in &key {
        let names = names(item).map_err(unreadable)?;
        if let Some(name) = names.iter().find(|name| is_column(green, name) && !is_copied(name)) {
            return Err(Some(format!("column {name} of its key is not copied as it is")));
        }
        plain.extend(Some(unquoted(item)).filter(|name| is_column(green, name)));
    }
    let of_blue = items(blue).map_err(unreadable)?;
    for item in &of_blue {
        let names = names(item).map_err(unreadable)?;
        let follows = names.iter().all(|name| !is_column(blue, name) || plain.contains(name));
        if !follows && !key.contains(item) {
            return Err(Some(format!(
                "rows of one key of green may differ by {item}, which is in blue's key, and blue does not \
                 know which of them came first"
            )));
        }
    }
    let folds_alike = sign.is_none() && declared.blue.engine == *engine && of_blue == key;
    match declared.blue.engine.folds_rows() && !folds_alike {
        true => Err(None),
        false => Ok(Fold::Last { key: key.into_iter().collect(), sign }),
    }
}

/// What to do where the order cannot be kept.
pub(crate) fn instead(engine: &str) -> &'static str {
    match engine {
        "ReplacingMergeTree" => {
            "give the engine a version column whose greatest value is the newest row, as in ReplacingMergeTree(updated_at)"
        }
        "CollapsingMergeTree" => {
            "use VersionedCollapsingMergeTree(sign, version), which does not go by the order of rows"
        }
        _ => "change the engine and the layout in two versions, the layout first",
    }
}

/// The items of the sorting key and of the partition key: rows that are equal by them are folded.
fn items(table: &CatalogTable) -> Result<BTreeSet<String>, TokenError> {
    let mut items = BTreeSet::new();
    for key in [&table.sorting_key, &table.partition_key] {
        items.extend(sorting_key(key, |name| is_column(table, name))?);
    }
    Ok(items)
}

fn is_column(table: &CatalogTable, name: &str) -> bool {
    table.columns.iter().any(|column| column.name == name)
}
