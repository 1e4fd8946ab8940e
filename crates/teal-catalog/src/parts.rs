use serde::Deserialize;
use teal_client::{ClientError, Session};
use teal_schema::QualifiedName;

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

/// How much there is in the active parts of a table that have rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub struct Amount {
    pub parts: u64,
    #[serde(rename = "_teal_rows")]
    pub rows: u64,
    pub uncompressed_bytes: u64,
}

/// What is in the active parts of `table`, without a list of them.
///
/// # Errors
/// When the server refuses the query.
pub fn amount(session: &mut dyn Session, table: &QualifiedName) -> Result<Amount, ClientError> {
    session.row(&format!(
        "SELECT count() AS parts, sum(rows) AS _teal_rows, \
             sum(data_uncompressed_bytes) AS uncompressed_bytes \
         FROM system.parts WHERE active AND rows > 0 AND {}",
        table.condition("table")
    ))
}

/// The active parts of `table` that have rows, by partition and name. (Where a partition was dropped, a part without
/// any may stand for a while.)
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
         WHERE active AND rows > 0 AND {} \
         ORDER BY partition_id, min_block_number, name",
        table.condition("table"),
    ))
}
