//! Settings of single statements.

use teal_schema::{QualifiedName, quote_string};

/// Of an INSERT that copies rows as they are: equal ones stay, and in however many partitions they may be.
pub(crate) const AS_THEY_ARE: &str = "insert_deduplicate = 0, max_partitions_per_insert_block = 0";

/// Lets a statement read those rows only of each table for which its condition holds. The user's SELECT stays as it is.
pub(crate) fn table_filters(tables: &[(&QualifiedName, &str)]) -> String {
    let filters = tables.iter().map(|(table, condition)| {
        format!("{}: {}", quote_string(&table.to_string()), quote_string(condition))
    });
    format!("additional_table_filters = {{{}}}", filters.collect::<Vec<_>>().join(", "))
}
