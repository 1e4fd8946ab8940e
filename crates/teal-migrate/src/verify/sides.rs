use teal_plan::CopyStrategy;
use teal_schema::{QualifiedName, quote_ident, quote_string};

use crate::MigrateError;
use crate::backfill::{columns, select_from};
use crate::state::Migrating;

/// The two sides of a comparison, as SELECTs of the same columns.
pub(crate) struct Sides {
    pub(crate) blue: String,
    pub(crate) green: String,
    /// Blue, cloned once more after green.
    pub(super) later: Option<String>,
}

impl Sides {
    /// What a row of green must be in to be no row too many.
    pub(crate) fn last_of_blue(&self) -> &str {
        self.later.as_deref().unwrap_or(&self.blue)
    }
}

/// Whether parity is that of the folded rows. After a clone blue's parts fit green's layout, and
/// both sides are read as green's engine would.
pub(super) fn folds(migrating: &Migrating) -> bool {
    let migration = &migrating.migration;
    migration.green_folds && migration.strategy == CopyStrategy::Clone
}

/// Each side as a SELECT of the copied columns, in green's types, and `_teal_hash`.
pub(crate) fn sides(
    migrating: &Migrating,
    blue: &QualifiedName,
    green: &QualifiedName,
) -> Result<Sides, MigrateError> {
    let folds = folds(migrating);
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
    // The tuple matters: without it a single NULL argument makes the hash NULL, which no sum
    // counts (seen on 26.7).
    let hashed = |source: String| {
        format!("SELECT {columns}, xxh3_128(tuple({columns})) AS _teal_hash FROM ({source})")
    };
    let last = if folds { " FINAL" } else { "" };
    let blue_source = match folds {
        true => format!("SELECT {columns} FROM {}{last}", blue.sql()),
        false => format!("SELECT {columns_of_blue} FROM ({})", select_from(migrating, blue)?),
    };
    Ok(Sides {
        blue: hashed(blue_source),
        green: hashed(format!("SELECT {columns} FROM {}{last}", green.sql())),
        later: None,
    })
}

/// Green's partition key over the copied columns; a constant where it has none, or where it needs
/// a column that the copy does not fill.
pub(super) fn partition_expression(migrating: &Migrating) -> String {
    let migration = &migrating.migration;
    match migration.green_partition_key.as_str() {
        "" => "''".to_owned(),
        key if migration.fills_green => format!("tuple({key})"),
        _ => "''".to_owned(),
    }
}
