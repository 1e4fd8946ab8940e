use teal_plan::CopyStrategy;
use teal_schema::{QualifiedName, quote_ident, quote_string};

use super::folded::{self, Ties};
use crate::MigrateError;
use crate::backfill::{columns, select_from};
use crate::state::Migrating;

/// The two sides of a comparison, as SELECTs of the same columns.
pub(crate) struct Sides {
    pub(crate) blue: String,
    pub(crate) green: String,
    /// Blue, cloned once more after green.
    pub(super) later: Option<String>,
    /// Green is what the view reads, as it is after an exchange: it is read behind blue then.
    pub(super) is_turned: bool,
    /// Blue and green, cloned once before.
    pub(super) earlier: Option<(String, String)>,
    /// Where rows are folded by version: what counts the keys of which the two may show other rows.
    pub(super) ties: Option<Ties>,
}

impl Sides {
    /// What a row of green must be in to be no row too many.
    pub(crate) fn last_of_blue(&self) -> &str {
        self.later.as_deref().unwrap_or(&self.blue)
    }
}

/// Whether parity is that of folded rows.
pub(crate) fn folds(migrating: &Migrating) -> bool {
    migrating.migration.fold.is_some() || folds_in_order(migrating)
}

/// Whether green's engine folds rows in the order in which they came. Only a clone keeps that order: blue's
/// parts fit green's layout then, and both sides are read as green's engine would.
pub(super) fn folds_in_order(migrating: &Migrating) -> bool {
    let migration = &migrating.migration;
    migration.green_folds && migration.fold.is_none() && migration.strategy == CopyStrategy::Clone
}

/// Each side as a SELECT of the copied columns, in green's types, `_teal_hash`, and `_teal_key`: equal rows
/// have equal hashes, and rows of different keys have nothing to do with each other.
pub(crate) fn sides(
    migrating: &Migrating,
    blue: &QualifiedName,
    green: &QualifiedName,
) -> Result<Sides, MigrateError> {
    let in_order = folds_in_order(migrating);
    let columns_of_blue = migrating
        .migration
        .columns
        .iter()
        .map(|column| {
            let name = quote_ident(&column.name);
            match &column.from_type {
                Some(_) => {
                    format!("CAST({name}, {}) AS {name}", quote_string(&column.data_type))
                }
                None => name,
            }
        })
        .collect::<Vec<_>>()
        .join(", ");
    let columns = columns(migrating);
    let hashed = |source: String| {
        format!(
            "SELECT {columns}, {} AS _teal_hash, _teal_hash AS _teal_key FROM ({source})",
            row_hash(&columns)
        )
    };
    let selected = format!("SELECT {columns_of_blue} FROM ({})", select_from(migrating, blue)?);
    if let Some(fold) = &migrating.migration.fold {
        let columns = &migrating.migration.columns;
        let green = folded::rows_in(fold, columns, &green.sql());
        let ties = folded::ties(fold, columns, &selected, &green);
        return Ok(Sides {
            blue: folded::rows_of(fold, columns, &selected),
            green,
            later: None,
            is_turned: false,
            earlier: None,
            ties,
        });
    }
    let last = if in_order { " FINAL" } else { "" };
    let blue_source = match in_order {
        true => format!("SELECT {columns} FROM {}{last}", blue.sql()),
        false => selected,
    };
    Ok(Sides {
        blue: hashed(blue_source),
        green: hashed(format!("SELECT {columns} FROM {}{last}", green.sql())),
        later: None,
        is_turned: false,
        earlier: None,
        ties: None,
    })
}

/// The copied columns as a person reads them: of a state, its result.
pub(super) fn shown(migrating: &Migrating) -> String {
    let columns = migrating.migration.columns.iter().map(|column| {
        let name = quote_ident(&column.name);
        match column.data_type.starts_with("AggregateFunction(") {
            true => format!("finalizeAggregation({name}) AS {name}"),
            false => name,
        }
    });
    columns.collect::<Vec<_>>().join(", ")
}

/// The hash of a row, by which rows are compared. The tuple matters: without it a single NULL argument
/// makes the hash NULL, which no sum counts (seen on 26.7).
pub(crate) fn row_hash(columns: &str) -> String {
    format!("xxh3_128(tuple({columns}))")
}

/// Green's partition key over the copied columns; a constant where it has none, or where it needs
/// a column that the copy does not fill.
pub(crate) fn partition_expression(migrating: &Migrating) -> String {
    let migration = &migrating.migration;
    match migration.green_partition_key.as_str() {
        "" => "''".to_owned(),
        key if migration.fills_green => format!("tuple({key})"),
        _ => "''".to_owned(),
    }
}
