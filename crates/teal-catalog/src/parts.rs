use serde::Deserialize;
use teal_client::{ClientError, Session};
use teal_schema::{QualifiedName, quote_string};

/// An active part of a table.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Part {
    pub partition_id: String,
    pub name: String,
    pub rows: u64,
    /// Bytes of the columns before compression.
    pub uncompressed_bytes: u64,
    /// Set where the table assigns uuids to its parts (`assign_part_uuids`). A clone by
    /// `ATTACH PARTITION … FROM` keeps it (seen on 26.7); a merge does not.
    pub uuid: String,
    /// How often its rows were merged. An INSERT into an engine that folds rows gives 1 (seen on 26.7).
    pub level: u32,
}

/// The active parts of `table`, by partition and name.
///
/// # Errors
/// When the server refuses the query.
pub fn active_parts(
    session: &mut dyn Session,
    table: &QualifiedName,
) -> Result<Vec<Part>, ClientError> {
    session.rows(&format!(
        "SELECT partition_id, name, rows, data_uncompressed_bytes AS uncompressed_bytes, \
             toString(uuid) AS uuid, level \
         FROM system.parts \
         WHERE active AND database = {} AND table = {} \
         ORDER BY partition_id, min_block_number, name",
        quote_string(&table.database),
        quote_string(&table.name),
    ))
}
